//! Sending blobs and manifests to the registry that a name says.
//!
//! What is there is not sent: a blob is asked for first, and taken over from another repository of the
//! registry where one is known to have it. A small blob goes in one piece, a larger one in pieces of limited
//! size, so that what is lost on the way is one piece. Where an upload goes on is named by the registry and
//! not trusted: a credential goes to the registry's own host and port alone. Mirrors are for reading.

use std::io::{self, Read, Seek, SeekFrom};

use kiln_image::{Descriptor, ImageRef, OciDigest};
use reqwest::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderName, HeaderValue, RANGE};
use reqwest::{Method, Response, StatusCode, Url};

use crate::RegistryError;
use crate::auth::Scope;
use crate::endpoint::Endpoint;
use crate::fetch::{Failures, Session};
use crate::transport::{
    Failure, MAX_TRIES, Request, check, check_changed, target, wait_before, with_retries,
};

/// What goes in one request; each upload under way holds as much in memory.
const PIECE_BYTES: u64 = 8 << 20;
const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// How a blob came to be in a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// It was there.
    Present,
    /// The registry took it over from another of its repositories.
    Mounted,
    /// It was sent.
    Sent,
}

/// A blob to be sent.
pub struct Upload<'a, R> {
    /// Names the repository.
    pub image: &'a ImageRef,
    /// What it is.
    pub blob: &'a Descriptor,
    /// Read only when the repository lacks the blob, from its start, and again when a piece is lost.
    pub content: &'a mut R,
    /// A repository of the same registry that is known to have the blob, from which the registry may take it over.
    pub also_in: Option<&'a str>,
    /// Told how many bytes the registry has taken so far.
    pub progress: &'a dyn Fn(u64),
}

impl<R> std::fmt::Debug for Upload<'_, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upload").field("blob", &self.blob.digest).finish_non_exhaustive()
    }
}

/// An upload that the registry has begun.
struct Begun {
    /// Where the next piece goes.
    next: Url,
    /// How much the registry has.
    taken_bytes: u64,
}

impl<R: Read + Seek> Upload<'_, R> {
    fn what(&self) -> String {
        format!("{}/{}@{}", self.image.registry(), self.image.repository(), self.blob.digest)
    }

    fn scope(&self) -> Scope<'_> {
        let repository = self.image.repository();
        match self.also_in.filter(|other| *other != repository) {
            Some(other) => Scope::PushFrom(repository, other),
            None => Scope::Push(repository),
        }
    }

    /// The next piece from a place on; shorter than it may be only at the end.
    fn piece(&mut self, from_bytes: u64) -> Result<Vec<u8>, Failure> {
        let wanted = PIECE_BYTES.min(self.blob.size_bytes - from_bytes);
        let mut piece = Vec::new();
        let read = self
            .content
            .seek(SeekFrom::Start(from_bytes))
            .and_then(|_| self.content.by_ref().take(wanted).read_to_end(&mut piece));
        let source = match read {
            Ok(read) if read as u64 == wanted => return Ok(piece),
            Ok(_) => io::ErrorKind::UnexpectedEof.into(),
            Err(source) => source,
        };
        Err(Failure::Ours(RegistryError::Read { what: self.what(), source }))
    }
}

impl Session {
    /// Sends a blob, if the repository lacks it.
    pub(crate) async fn push_blob<R: Read + Seek>(
        &self,
        upload: &mut Upload<'_, R>,
    ) -> Result<Pushed, RegistryError> {
        let (image, what) = (upload.image, upload.what());
        self.at_registry(image, what, async |endpoint| self.push_blob_to(endpoint, upload).await)
            .await
    }

    /// Gives a manifest its name in a repository.
    pub(crate) async fn push_manifest(
        &self,
        image: &ImageRef,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<OciDigest, RegistryError> {
        let digest = OciDigest::of(bytes);
        let id = image.tag().map_or_else(|| digest.to_string(), str::to_owned);
        let what = format!("{}/{}:{id}", image.registry(), image.repository());
        self.at_registry(image, what, async |endpoint| {
            let kind = HeaderValue::from_str(media_type)
                .map_err(|_| Failure::Unusable("its media type is none".to_owned()))?;
            let url = endpoint.address(image.repository(), "manifests", &id);
            let mut request = Request::of(Method::PUT, url, Some(bytes.to_vec()));
            request.conditions = vec![(CONTENT_TYPE, kind)];
            let scope = Scope::Push(image.repository());
            let put = async || {
                check_changed(self.ask(endpoint, scope, request.clone()).await?).await.map(drop)
            };
            with_retries(put).await
        })
        .await?;
        Ok(digest)
    }

    /// Does something at the registry itself, over TLS or, where that is allowed, without.
    async fn at_registry<T>(
        &self,
        image: &ImageRef,
        what: String,
        mut act: impl AsyncFnMut(&Endpoint) -> Result<T, Failure>,
    ) -> Result<T, RegistryError> {
        let mut failures = Failures::new(what);
        for endpoint in self.own_endpoints(image)? {
            if failures.settles(&endpoint) {
                continue;
            }
            match act(&endpoint).await {
                Ok(value) => {
                    self.remember(&endpoint);
                    return Ok(value);
                }
                Err(failure) => failures.add(endpoint, failure)?,
            }
        }
        Err(failures.into_refusal())
    }

    async fn push_blob_to<R: Read + Seek>(
        &self,
        endpoint: &Endpoint,
        upload: &mut Upload<'_, R>,
    ) -> Result<Pushed, Failure> {
        let id = upload.blob.digest.to_string();
        let url = endpoint.address(upload.image.repository(), "blobs", &id);
        let is_there = with_retries(async || {
            let head = Request::of(Method::HEAD, url.clone(), None);
            match check(self.ask(endpoint, upload.scope(), head).await?).await {
                Ok(_) => Ok(true),
                Err(Failure::NotFound(_)) => Ok(false),
                Err(other) => Err(other),
            }
        });
        if is_there.await? {
            return Ok(Pushed::Present);
        }
        let mut tries = 0;
        loop {
            let failed = match self.upload(endpoint, upload).await {
                Err(Failure::Transient(reason, asked)) => (reason, asked),
                result => return result,
            };
            tries += 1;
            if tries >= MAX_TRIES {
                return Err(Failure::Transient(failed.0, None));
            }
            tracing::debug!(reason = failed.0, tries, "sending a blob again");
            tokio::time::sleep(wait_before(tries, failed.1)).await;
        }
    }

    /// One upload from its beginning to its end.
    async fn upload<R: Read + Seek>(
        &self,
        endpoint: &Endpoint,
        upload: &mut Upload<'_, R>,
    ) -> Result<Pushed, Failure> {
        let Some(mut begun) = self.begin(endpoint, upload).await? else {
            return Ok(Pushed::Mounted);
        };
        let size_bytes = upload.blob.size_bytes;
        if size_bytes > PIECE_BYTES {
            while begun.taken_bytes < size_bytes {
                self.send_piece(endpoint, upload, &mut begun).await?;
                (upload.progress)(begun.taken_bytes);
            }
        }
        let rest = upload.piece(begun.taken_bytes)?;
        let mut url = begun.next;
        url.query_pairs_mut().append_pair("digest", &upload.blob.digest.to_string());
        let mut request = Request::of(Method::PUT, url, Some(rest));
        request.conditions = vec![(CONTENT_TYPE, OCTETS)];
        check_changed(self.ask(endpoint, upload.scope(), request).await?).await?;
        (upload.progress)(size_bytes);
        Ok(Pushed::Sent)
    }

    /// Begins an upload; nothing when the registry took the blob over from elsewhere.
    async fn begin<R: Read + Seek>(
        &self,
        endpoint: &Endpoint,
        upload: &Upload<'_, R>,
    ) -> Result<Option<Begun>, Failure> {
        let mut url = endpoint.address(upload.image.repository(), "blobs", "uploads/");
        if let Scope::PushFrom(_, other) = upload.scope() {
            let digest = upload.blob.digest.to_string();
            url.query_pairs_mut().append_pair("mount", &digest).append_pair("from", other);
        }
        let request = Request::of(Method::POST, url, Some(Vec::new()));
        let response = self.ask(endpoint, upload.scope(), request).await?;
        let response = check_changed(response).await?;
        if response.status() == StatusCode::CREATED {
            return Ok(None);
        }
        Ok(Some(Begun { next: next(&response)?, taken_bytes: 0 }))
    }

    /// Sends one piece. When it fails on the way the registry is asked how much it has.
    async fn send_piece<R: Read + Seek>(
        &self,
        endpoint: &Endpoint,
        upload: &mut Upload<'_, R>,
        begun: &mut Begun,
    ) -> Result<(), Failure> {
        let mut tries = 0;
        loop {
            let from = begun.taken_bytes;
            let piece = upload.piece(from)?;
            let until = from + piece.len() as u64;
            let failed = match self.patch(endpoint, upload.scope(), begun, piece).await {
                Ok(next) => {
                    *begun = Begun { next, taken_bytes: until };
                    return Ok(());
                }
                Err(Failure::Transient(reason, asked)) => (reason, asked),
                Err(other) => return Err(other),
            };
            tries += 1;
            if tries >= MAX_TRIES {
                return Err(Failure::Transient(failed.0, None));
            }
            tokio::time::sleep(wait_before(tries, failed.1)).await;
            let status = Request::get(begun.next.clone());
            let status = self.ask(endpoint, upload.scope(), status).await?;
            let known =
                (status.status().is_success()).then(|| Some((next(&status).ok()?, has(&status)?)));
            // A registry that has forgotten the upload gets it anew.
            let (next, taken_bytes) =
                known.flatten().ok_or_else(|| Failure::Transient(failed.0.clone(), None))?;
            if taken_bytes > upload.blob.size_bytes {
                return Err(Failure::Unusable("it has more than was sent".to_owned()));
            }
            *begun = Begun { next, taken_bytes };
            if taken_bytes > from {
                return Ok(());
            }
        }
    }

    async fn patch(
        &self,
        endpoint: &Endpoint,
        scope: Scope<'_>,
        begun: &Begun,
        piece: Vec<u8>,
    ) -> Result<Url, Failure> {
        let last = (begun.taken_bytes + piece.len() as u64).saturating_sub(1);
        let range = format!("{}-{last}", begun.taken_bytes);
        let mut request = Request::of(Method::PATCH, begun.next.clone(), Some(piece));
        let range = HeaderValue::from_str(&range)
            .map_err(|_| Failure::Unusable("a range is no header".to_owned()))?;
        let headers: Vec<(HeaderName, HeaderValue)> =
            vec![(CONTENT_TYPE, OCTETS), (CONTENT_RANGE, range)];
        request.conditions = headers;
        next(&check_changed(self.ask(endpoint, scope, request).await?).await?)
    }
}

/// Where an upload goes on.
fn next(response: &Response) -> Result<Url, Failure> {
    target(response.url(), response).map_err(Failure::Unusable)
}

/// How much of an upload the registry says that it has: `0-N` is N + 1 bytes.
fn has(response: &Response) -> Option<u64> {
    let range = response.headers().get(RANGE)?.to_str().ok()?;
    let last: u64 = range.trim_start_matches("bytes=").split_once('-')?.1.trim().parse().ok()?;
    // Nothing at all is `0-0` to some and `0--1` to others; one byte more than is there is sent again.
    Some(if last == 0 { 0 } else { last + 1 })
}
