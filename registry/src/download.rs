//! Files from any server: a GET with the conditions of HTTP caching, limited in size.
//!
//! A name and a password in the address are taken out of it and sent as a header, to the address's server
//! alone, like any other credential. Nothing is decoded: the bytes are those that the server has.

use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{
    ETAG, HeaderMap, HeaderName, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED,
};
use reqwest::{Response, StatusCode, Url};

use crate::endpoint::Endpoint;
use crate::fetch::Session;
use crate::transport::{Failure, Request, authority, check, failure, with_retries};
use crate::{Attempt, RegistryError};

/// A file that is wanted.
#[derive(Debug)]
pub struct DownloadRequest<'a> {
    /// `http://…` or `https://…`.
    pub url: &'a str,
    /// The address in messages.
    pub shown: &'a str,
    /// The value of an `Authorization` header; nothing for what the address holds.
    pub authorization: Option<&'a [u8]>,
    /// Of the file as it is known; both empty fetches it in any case.
    pub validators: Validators,
    /// The most bytes that are accepted.
    pub limit_bytes: u64,
}

/// What a server says of a version of a file, to be asked whether it is still the current one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Validators {
    /// The `ETag`, as it came.
    pub etag: Option<String>,
    /// The `Last-Modified`, as it came.
    pub last_modified: Option<String>,
}

/// What came of a download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Downloaded {
    /// The file is the one that was known.
    Unchanged,
    /// The file was written.
    Fresh(Validators),
}

impl Session {
    pub(crate) async fn download(
        &self,
        wanted: &DownloadRequest<'_>,
        open: &mut dyn FnMut() -> io::Result<Box<dyn Write>>,
        progress: &dyn Fn(u64, Option<u64>),
    ) -> Result<Downloaded, RegistryError> {
        let (endpoint, request) = self.prepare(wanted)?;
        let attempt = async || {
            let response = self.transport.send(&endpoint, &request).await?;
            if response.status() == StatusCode::NOT_MODIFIED && !request.conditions.is_empty() {
                return Ok(Downloaded::Unchanged);
            }
            let response = check(response).await?;
            let validators = Validators::of(response.headers());
            let out = open().map_err(|source| ours(wanted, source))?;
            let host = endpoint.origin();
            write(response, out, &Limit { wanted, host }, progress).await?;
            Ok(Downloaded::Fresh(validators))
        };
        with_retries(attempt).await.map_err(|failure| error(wanted, endpoint.origin(), failure))
    }

    /// The server and what is asked of it.
    pub(crate) fn prepare(
        &self,
        wanted: &DownloadRequest<'_>,
    ) -> Result<(Endpoint, Request), RegistryError> {
        let no_address = || RegistryError::Address { address: wanted.shown.to_owned() };
        let mut url = Url::parse(wanted.url).map_err(|_| no_address())?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(no_address());
        }
        let in_address = take_credential(&mut url).ok_or_else(no_address)?;
        url.set_fragment(None);
        let given = wanted.authorization.map(|value| HeaderValue::from_bytes(value.trim_ascii()));
        let given = given.transpose().map_err(|_| RegistryError::Unauthorised {
            what: wanted.shown.to_owned(),
            attempts: vec![Attempt {
                host: authority(&url),
                reason: "the credential for it holds what no header can".to_owned(),
            }],
        })?;
        let mut base = url.clone();
        base.set_path("/");
        base.set_query(None);
        let host = authority(&url);
        let config = self.config.host(&host);
        let mut request = Request::get(url);
        request.authorization = given.or(in_address).map(|mut value| {
            value.set_sensitive(true);
            value
        });
        request.conditions = wanted.validators.conditions();
        Ok((Endpoint { host, base, config }, request))
    }
}

impl Validators {
    fn of(headers: &HeaderMap) -> Self {
        let text = |name| headers.get(name)?.to_str().ok().map(str::to_owned);
        Self { etag: text(ETAG), last_modified: text(LAST_MODIFIED) }
    }

    /// As headers. A date counts only without a tag, which is the surer of the two.
    fn conditions(&self) -> Vec<(HeaderName, HeaderValue)> {
        let header = |name: HeaderName, value: &Option<String>| {
            let value = HeaderValue::from_str(value.as_deref()?).ok()?;
            Some((name, value))
        };
        let tag = header(IF_NONE_MATCH, &self.etag);
        tag.or_else(|| header(IF_MODIFIED_SINCE, &self.last_modified)).into_iter().collect()
    }
}

/// Takes name and password out of an address, as a header's value if there are any.
fn take_credential(url: &mut Url) -> Option<Option<HeaderValue>> {
    if url.username().is_empty() && url.password().is_none() {
        return Some(None);
    }
    let plain = |text: &str| percent_encoding::percent_decode_str(text).collect::<Vec<u8>>();
    let mut pair = plain(url.username());
    pair.push(b':');
    pair.extend(plain(url.password().unwrap_or_default()));
    url.set_username("").ok()?;
    url.set_password(None).ok()?;
    HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(pair))).ok().map(Some)
}

/// How much may come, and from where.
struct Limit<'a> {
    wanted: &'a DownloadRequest<'a>,
    host: String,
}

impl Limit<'_> {
    fn exceeded(&self) -> Failure {
        Failure::Bad(RegistryError::TooLarge {
            host: self.host.clone(),
            what: self.wanted.shown.to_owned(),
            limit_bytes: self.wanted.limit_bytes,
        })
    }
}

async fn write(
    mut response: Response,
    mut out: Box<dyn Write>,
    limit: &Limit<'_>,
    progress: &dyn Fn(u64, Option<u64>),
) -> Result<(), Failure> {
    let total = response.content_length();
    if total.is_some_and(|total| total > limit.wanted.limit_bytes) {
        return Err(limit.exceeded());
    }
    let mut written = 0;
    while let Some(chunk) = response.chunk().await.map_err(|error| failure(&error))? {
        written += chunk.len() as u64;
        if written > limit.wanted.limit_bytes {
            return Err(limit.exceeded());
        }
        out.write_all(&chunk).map_err(|source| ours(limit.wanted, source))?;
        progress(written, total);
    }
    out.flush().map_err(|source| ours(limit.wanted, source))
}

fn ours(wanted: &DownloadRequest<'_>, source: io::Error) -> Failure {
    Failure::Ours(RegistryError::Write { what: wanted.shown.to_owned(), source })
}

fn error(wanted: &DownloadRequest<'_>, host: String, failure: Failure) -> RegistryError {
    let what = wanted.shown.to_owned();
    let one = |reason| vec![Attempt { host, reason }];
    match failure {
        Failure::NotFound(reason) => RegistryError::NotFound { what, attempts: one(reason) },
        Failure::Unauthorised(reason) => {
            RegistryError::Unauthorised { what, attempts: one(reason) }
        }
        Failure::NoConnection(reason)
        | Failure::Transient(reason, _)
        | Failure::Unusable(reason) => RegistryError::Unreachable { what, attempts: one(reason) },
        Failure::Bad(error) | Failure::Ours(error) => error,
    }
}
