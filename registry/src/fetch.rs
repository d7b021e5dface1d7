//! Fetching documents and blobs from the first host that has them, verified while they come.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use kiln_image::{
    Descriptor, DigestWriter, Document, ImageRef, MAX_DOCUMENT_BYTES, OciDigest, parse_document,
};
use reqwest::header::{CONTENT_RANGE, CONTENT_TYPE};
use reqwest::{Response, StatusCode};

use crate::auth::{Authenticator, Scope};
use crate::client::Resolved;
use crate::endpoint::{Endpoint, endpoints, own_endpoints};
use crate::transport::{
    Failure, MAX_TRIES, Request, Transport, check, failure, read_limited, wait_before, with_retries,
};
use crate::{Attempt, Credentials, RegistryConfig, RegistryError};

/// How long a document may take to come, tries and all.
const DOCUMENT_TIMEOUT: Duration = Duration::from_secs(90);
/// The most pieces that one host may send a blob in.
const MAX_PIECES: u32 = 100;
/// The kinds of documents that are understood.
const ACCEPT_DOCUMENTS: &str = "application/vnd.oci.image.index.v1+json, \
     application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.docker.distribution.manifest.v2+json";

/// The state that requests share.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) config: RegistryConfig,
    pub(crate) transport: Transport,
    auth: Authenticator,
    /// Hosts that turned out to speak plain HTTP only, where that is allowed.
    plain_hosts: Mutex<BTreeSet<String>>,
    /// (server, blob) that did not match: not asked again.
    distrusted: Mutex<BTreeSet<(String, OciDigest)>>,
}

/// One blob on its way.
pub(crate) struct Download<'a> {
    pub(crate) image: &'a ImageRef,
    pub(crate) blob: &'a Descriptor,
    pub(crate) out: DigestWriter<Box<dyn Write + 'a>>,
    pub(crate) progress: &'a dyn Fn(u64),
}

impl Download<'_> {
    fn what(&self) -> String {
        format!("{}/{}@{}", self.image.registry(), self.image.repository(), self.blob.digest)
    }
}

impl Session {
    pub(crate) fn new(config: RegistryConfig, credentials: Credentials) -> Self {
        Self {
            transport: Transport::new(config.clone()),
            auth: Authenticator::new(credentials),
            config,
            plain_hosts: Mutex::default(),
            distrusted: Mutex::default(),
        }
    }

    /// Fetches the manifest or index that a tag or a digest names.
    pub(crate) async fn document(
        &self,
        image: &ImageRef,
        digest: Option<OciDigest>,
    ) -> Result<Resolved, RegistryError> {
        let id = digest.map_or_else(
            || image.tag().unwrap_or_default().to_owned(),
            |digest| digest.to_string(),
        );
        let mut failures = Failures::new(image.to_string());
        for endpoint in self.endpoints(image)? {
            if failures.settles(&endpoint) {
                continue;
            }
            let tries =
                with_retries(async || self.document_at(&endpoint, image, &id, digest).await);
            let late =
                || Failure::Unusable(format!("no answer in {} s", DOCUMENT_TIMEOUT.as_secs()));
            let result =
                tokio::time::timeout(DOCUMENT_TIMEOUT, tries).await.unwrap_or_else(|_| Err(late()));
            match result {
                Ok(resolved) => {
                    self.remember(&endpoint);
                    return Ok(resolved);
                }
                Err(failure) => failures.add(endpoint, failure)?,
            }
        }
        Err(failures.into_error())
    }

    async fn document_at(
        &self,
        endpoint: &Endpoint,
        image: &ImageRef,
        id: &str,
        expected: Option<OciDigest>,
    ) -> Result<Resolved, Failure> {
        let repository = image.repository();
        let mut request = Request::get(endpoint.address(repository, "manifests", id));
        request.accept = Some(ACCEPT_DOCUMENTS);
        let response = self.get(endpoint, repository, request).await?;
        let declared = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let declared = declared.and_then(|value| value.split(';').next()).unwrap_or_default();
        let declared = declared.trim().to_owned();
        let limit = usize::try_from(MAX_DOCUMENT_BYTES).unwrap_or(usize::MAX);
        let host = endpoint.origin();
        let Some(bytes) = read_limited(response, limit).await? else {
            let (what, limit_bytes) = (image.to_string(), MAX_DOCUMENT_BYTES);
            return Err(Failure::Bad(RegistryError::TooLarge { host, what, limit_bytes }));
        };
        let digest = OciDigest::of(&bytes);
        if let Some(expected) = expected.filter(|expected| *expected != digest) {
            let error = RegistryError::DigestMismatch { host, expected, actual: digest };
            return Err(Failure::Bad(error));
        }
        let document = parse_document(&bytes, &declared).map_err(|source| {
            let what = image.to_string();
            Failure::Bad(RegistryError::Document { host, what, source })
        })?;
        let media_type = match &document {
            Document::Index(index) => index.media_type.clone(),
            Document::Manifest(manifest) => manifest.media_type.clone(),
        };
        Ok(Resolved { digest, media_type, bytes, document })
    }

    /// Fetches a blob to its end, from as many hosts as it takes.
    pub(crate) async fn blob(&self, mut download: Download<'_>) -> Result<(), RegistryError> {
        let mut failures = Failures::new(download.what());
        let digest = download.blob.digest;
        for endpoint in self.endpoints(download.image)? {
            let is_distrusted = self.lock_distrusted().contains(&(endpoint.origin(), digest));
            if is_distrusted || failures.settles(&endpoint) {
                continue;
            }
            match self.blob_at(&endpoint, &mut download).await {
                Ok(()) => {
                    self.remember(&endpoint);
                    let (actual, _, _) = download.out.finish();
                    if actual == digest {
                        return Ok(());
                    }
                    let host = endpoint.origin();
                    self.lock_distrusted().insert((host.clone(), digest));
                    return Err(RegistryError::DigestMismatch { host, expected: digest, actual });
                }
                Err(failure) => failures.add(endpoint, failure)?,
            }
        }
        Err(failures.into_error())
    }

    /// Fetches what is missing of a blob from one host, taking up again what breaks off.
    async fn blob_at(
        &self,
        endpoint: &Endpoint,
        download: &mut Download<'_>,
    ) -> Result<(), Failure> {
        let mut tries = 0;
        for _ in 0..MAX_PIECES {
            let before = download.out.size_bytes();
            let (reason, asked) = match self.piece(endpoint, download).await {
                Err(Failure::Transient(reason, asked)) => (reason, asked),
                result => return result,
            };
            let has_moved = download.out.size_bytes() > before;
            tries = if has_moved { 1 } else { tries + 1 };
            if tries >= MAX_TRIES {
                return Err(Failure::Transient(reason, None));
            }
            tracing::debug!(reason, tries, "going on with a blob");
            tokio::time::sleep(wait_before(tries, asked)).await;
        }
        Err(Failure::Unusable(format!("it broke off {MAX_PIECES} times")))
    }

    /// Makes one request and writes what comes.
    async fn piece(&self, endpoint: &Endpoint, download: &mut Download<'_>) -> Result<(), Failure> {
        let repository = download.image.repository();
        let id = download.blob.digest.to_string();
        let size_bytes = download.blob.size_bytes;
        let mut request = Request::get(endpoint.address(repository, "blobs", &id));
        request.skip_bytes = download.out.size_bytes();
        let mut response = self.get(endpoint, repository, request).await?;
        let mut skip = skip_bytes(&response, download.out.size_bytes())?;
        let too_large = || {
            let (host, what) = (endpoint.origin(), download.blob.digest.to_string());
            Failure::Bad(RegistryError::TooLarge { host, what, limit_bytes: size_bytes })
        };
        let left = size_bytes - download.out.size_bytes() + skip;
        if response.content_length().is_some_and(|length| length > left) {
            return Err(too_large());
        }
        while let Some(chunk) = response.chunk().await.map_err(|error| failure(&error))? {
            let skipped = usize::try_from(skip).unwrap_or(usize::MAX).min(chunk.len());
            skip -= skipped as u64;
            let new = &chunk[skipped..];
            if download.out.size_bytes() + new.len() as u64 > size_bytes {
                return Err(too_large());
            }
            if let Err(source) = download.out.write_all(new) {
                return Err(Failure::Ours(RegistryError::Write { what: download.what(), source }));
            }
            (download.progress)(download.out.size_bytes());
        }
        if download.out.size_bytes() < size_bytes {
            let got = download.out.size_bytes();
            return Err(Failure::Transient(
                format!("it ended after {got} of {size_bytes} bytes"),
                None,
            ));
        }
        Ok(())
    }

    async fn get(
        &self,
        endpoint: &Endpoint,
        repository: &str,
        request: Request,
    ) -> Result<Response, Failure> {
        check(self.ask(endpoint, Scope::Pull(repository), request).await?).await
    }

    /// Makes a request, logging in where that is asked for. An answer of any status is a success here. What
    /// goes to another server than the endpoint's goes without a credential.
    pub(crate) async fn ask(
        &self,
        endpoint: &Endpoint,
        scope: Scope<'_>,
        mut request: Request,
    ) -> Result<Response, Failure> {
        let is_own = request.url.origin() == endpoint.base.origin();
        request.authorization = self.auth.known(endpoint, scope).filter(|_| is_own);
        let response = self.transport.send(endpoint, &request).await?;
        if response.status() == StatusCode::UNAUTHORIZED
            && is_own
            && response.url().origin() == endpoint.base.origin()
        {
            let answer = self.auth.answer(&self.transport, endpoint, scope, &response);
            request.authorization = Some(answer.await?);
            return self.transport.send(endpoint, &request).await;
        }
        Ok(response)
    }

    /// The ways of reaching the registry itself, with no mirrors: where changes go.
    pub(crate) fn own_endpoints(&self, image: &ImageRef) -> Result<Vec<Endpoint>, RegistryError> {
        let mut list = own_endpoints(&self.config, image)?;
        self.drop_known_plain(&mut list);
        Ok(list)
    }

    /// The hosts to ask for an image; of one that is known to speak plain HTTP only, no TLS.
    fn endpoints(&self, image: &ImageRef) -> Result<Vec<Endpoint>, RegistryError> {
        let mut list = endpoints(&self.config, image)?;
        self.drop_known_plain(&mut list);
        Ok(list)
    }

    fn drop_known_plain(&self, list: &mut Vec<Endpoint>) {
        let plain = self.plain_hosts.lock().unwrap_or_else(PoisonError::into_inner);
        list.retain(|endpoint| endpoint.base.scheme() == "http" || !plain.contains(&endpoint.host));
    }

    /// Notes that a host answered over plain HTTP.
    pub(crate) fn remember(&self, endpoint: &Endpoint) {
        if endpoint.base.scheme() == "http" {
            let mut plain = self.plain_hosts.lock().unwrap_or_else(PoisonError::into_inner);
            plain.insert(endpoint.host.clone());
        }
    }

    fn lock_distrusted(&self) -> std::sync::MutexGuard<'_, BTreeSet<(String, OciDigest)>> {
        self.distrusted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many bytes at the start of an answer were had before.
fn skip_bytes(response: &Response, had_bytes: u64) -> Result<u64, Failure> {
    if response.status() != StatusCode::PARTIAL_CONTENT {
        return Ok(had_bytes);
    }
    let range = response.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
    let start = range
        .and_then(|range| range.strip_prefix("bytes ")?.split('-').next()?.parse::<u64>().ok())
        .ok_or_else(|| Failure::Unusable("it sent a part without saying which".to_owned()))?;
    let reason = || Failure::Unusable("it sent another part than was asked for".to_owned());
    had_bytes.checked_sub(start).filter(|_| start == had_bytes).ok_or_else(reason)
}

/// What came of the hosts that were asked.
pub(crate) struct Failures {
    what: String,
    attempts: Vec<Attempt>,
    last: Option<(Endpoint, Failure)>,
}

impl Failures {
    pub(crate) const fn new(what: String) -> Self {
        Self { what, attempts: Vec::new(), last: None }
    }

    /// Whether the last failure speaks for this endpoint too: the same host under its other scheme is
    /// asked only if there was no connection under the first.
    pub(crate) fn settles(&self, endpoint: &Endpoint) -> bool {
        self.last.as_ref().is_some_and(|(last, failure)| {
            last.host == endpoint.host
                && last.base.path() == endpoint.base.path()
                && !matches!(failure, Failure::NoConnection(_))
        })
    }

    /// Notes a failure; an error of ours ends it all.
    pub(crate) fn add(
        &mut self,
        endpoint: Endpoint,
        failure: Failure,
    ) -> Result<(), RegistryError> {
        let reason = match &failure {
            Failure::NoConnection(reason)
            | Failure::Transient(reason, _)
            | Failure::NotFound(reason)
            | Failure::Unauthorised(reason)
            | Failure::Unusable(reason) => reason.clone(),
            Failure::Bad(error) => error.to_string(),
            Failure::Ours(_) => String::new(),
        };
        if let Failure::Ours(error) = failure {
            return Err(error);
        }
        tracing::debug!(host = endpoint.origin(), reason, "a host failed");
        self.attempts.push(Attempt { host: endpoint.origin(), reason });
        self.last = Some((endpoint, failure));
        Ok(())
    }

    /// What is told of something that was to be sent.
    pub(crate) fn into_refusal(self) -> RegistryError {
        let Self { what, attempts, last } = self;
        match last {
            Some((_, Failure::Unauthorised(_))) => RegistryError::Unauthorised { what, attempts },
            Some((_, Failure::Bad(error) | Failure::Ours(error))) => error,
            Some((
                _,
                Failure::NotFound(_)
                | Failure::NoConnection(_)
                | Failure::Transient(..)
                | Failure::Unusable(_),
            ))
            | None => RegistryError::Unsent { what, attempts },
        }
    }

    /// The last host is the registry itself: what it said decides what the error is.
    fn into_error(self) -> RegistryError {
        let Self { what, attempts, last } = self;
        match last {
            Some((_, Failure::NotFound(_))) => RegistryError::NotFound { what, attempts },
            Some((_, Failure::Unauthorised(_))) => RegistryError::Unauthorised { what, attempts },
            Some((_, Failure::Bad(error) | Failure::Ours(error))) => error,
            Some((_, Failure::NoConnection(_) | Failure::Transient(..) | Failure::Unusable(_)))
            | None => RegistryError::Unreachable { what, attempts },
        }
    }
}
