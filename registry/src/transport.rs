//! Requests over HTTP: redirects, errors and retries, with no knowledge of what is asked for.
//!
//! Redirects are followed here and not by the HTTP library, so that it is plain to see that a credential
//! does not go along: it is sent to the server that it was made for, and a redirect to any other server
//! goes without.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::{
    ACCEPT, AUTHORIZATION, CONTENT_LENGTH, HeaderName, HeaderValue, LOCATION, RANGE, RETRY_AFTER,
};
use reqwest::{Certificate, Method, Response, StatusCode, Url};

use crate::endpoint::{Endpoint, is_loopback, origin};
use crate::{RegistryConfig, RegistryError};

/// How long a server may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a server may be silent in the middle of an answer.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(30);
/// Redirects that are followed.
const MAX_REDIRECTS: usize = 5;
/// Times that a request is made before its failure counts.
pub(crate) const MAX_TRIES: u32 = 4;
/// The wait before the first repetition; it doubles each time.
const FIRST_WAIT: Duration = Duration::from_millis(200);
/// The longest wait that a server can ask for.
const MAX_WAIT: Duration = Duration::from_secs(10);
/// How much of an error's body is read.
const MAX_MESSAGE_BYTES: usize = 4 << 10;

/// Why one server did not give what was asked for.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It cannot be reached at all; plain HTTP may still do.
    NoConnection(String),
    /// It may work if asked again, after so long.
    Transient(String, Option<Duration>),
    /// It does not have it.
    NotFound(String),
    /// It wants a credential, or another.
    Unauthorised(String),
    /// It answered in a way that is of no use.
    Unusable(String),
    /// What it sent is wrong; another server may do better.
    Bad(RegistryError),
    /// The fault is on this side; no other server would do better.
    Ours(RegistryError),
}

/// What is asked of a server.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) accept: Option<&'static str>,
    /// Bytes to leave out at the start.
    pub(crate) skip_bytes: u64,
    pub(crate) authorization: Option<HeaderValue>,
    /// Headers that go along wherever a redirect leads.
    pub(crate) conditions: Vec<(HeaderName, HeaderValue)>,
    /// What is sent along, of a request that sends something.
    pub(crate) body: Option<Vec<u8>>,
}

impl Request {
    pub(crate) const fn get(url: Url) -> Self {
        Self {
            method: Method::GET,
            url,
            accept: None,
            skip_bytes: 0,
            authorization: None,
            conditions: Vec::new(),
            body: None,
        }
    }

    /// A request that changes something at the server, or asks for no body.
    pub(crate) fn of(method: Method, url: Url, body: Option<Vec<u8>>) -> Self {
        Self { method, body, ..Self::get(url) }
    }
}

/// The HTTP clients, one for each host, since each may trust other authorities.
#[derive(Debug)]
pub(crate) struct Transport {
    config: RegistryConfig,
    clients: Mutex<BTreeMap<String, reqwest::Client>>,
}

impl Transport {
    pub(crate) fn new(config: RegistryConfig) -> Self {
        // A provider that someone else installed before serves as well.
        let _installed = rustls::crypto::ring::default_provider().install_default();
        Self { config, clients: Mutex::new(BTreeMap::new()) }
    }

    /// Sends a request and follows redirects; an answer of any status is a success here.
    pub(crate) async fn send(
        &self,
        endpoint: &Endpoint,
        request: &Request,
    ) -> Result<Response, Failure> {
        let mut url = request.url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let client = self.client(endpoint, &url).map_err(Failure::Ours)?;
            let mut builder = client.request(request.method.clone(), url.clone());
            if let Some(body) = &request.body {
                // An empty body has a length too, which servers of uploads insist on.
                builder = builder.header(CONTENT_LENGTH, body.len()).body(body.clone());
            }
            if let Some(accept) = request.accept {
                builder = builder.header(ACCEPT, accept);
            }
            if request.skip_bytes > 0 {
                builder = builder.header(RANGE, format!("bytes={}-", request.skip_bytes));
            }
            for (name, value) in &request.conditions {
                builder = builder.header(name, value);
            }
            if let Some(value) = &request.authorization
                && url.origin() == request.url.origin()
            {
                builder = builder.header(AUTHORIZATION, value);
            }
            let response = builder.send().await.map_err(|error| failure(&error))?;
            if !is_redirect(response.status()) {
                return Ok(response);
            }
            let is_read = matches!(request.method, Method::GET | Method::HEAD);
            if !is_read && !matches!(response.status().as_u16(), 307 | 308) {
                // Any other redirect would have it become a GET.
                let status = response.status();
                return Err(Failure::Unusable(format!("it redirects what is sent with {status}")));
            }
            url = target(&url, &response).map_err(Failure::Unusable)?;
            tracing::debug!(host = %origin(&url), "following a redirect");
        }
        Err(Failure::Unusable(format!("it redirects more than {MAX_REDIRECTS} times")))
    }

    /// The client for the host of an address, which need not be the endpoint's.
    pub(crate) fn client(
        &self,
        endpoint: &Endpoint,
        url: &Url,
    ) -> Result<reqwest::Client, RegistryError> {
        let is_endpoint = url.origin() == endpoint.base.origin();
        let host = if is_endpoint { endpoint.host.clone() } else { authority(url) };
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&host) {
            return Ok(client.clone());
        }
        let client = self.build(&host)?;
        clients.insert(host, client.clone());
        Ok(client)
    }

    fn build(&self, host: &str) -> Result<reqwest::Client, RegistryError> {
        let config = self.config.host(host);
        let setup = |source| RegistryError::Setup { host: host.to_owned(), source };
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("kiln/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(SILENCE_TIMEOUT);
        let mut authorities = Vec::new();
        for path in &config.ca {
            let pem = std::fs::read(path)
                .map_err(|source| RegistryError::ReadFile { path: path.clone(), source })?;
            authorities.extend(Certificate::from_pem_bundle(&pem).map_err(setup)?);
        }
        if !authorities.is_empty() {
            builder = builder.tls_certs_merge(authorities);
        }
        if config.insecure {
            builder = builder.tls_danger_accept_invalid_certs(true);
        }
        if is_loopback(host) {
            builder = builder.no_proxy();
        }
        builder.build().map_err(setup)
    }
}

/// The host and port of an address, as a key of the configuration.
pub(crate) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

const fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// Where a redirect leads, or where an upload goes on.
pub(crate) fn target(from: &Url, response: &Response) -> Result<Url, String> {
    let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let location = location.ok_or("it redirects to nowhere")?;
    let mut url = from.join(location).map_err(|_| "it redirects to what is no address")?;
    // A name and a password in an address are a credential too.
    if !url.username().is_empty() || url.password().is_some() {
        return Err("it redirects to an address with a password in it".to_owned());
    }
    url.set_fragment(None);
    match (from.scheme(), url.scheme()) {
        (_, "https") | ("http", "http") => Ok(url),
        ("https", "http") => Err("it redirects from https to plain http".to_owned()),
        (_, other) => Err(format!("it redirects to `{other}`")),
    }
}

/// What an error of the HTTP library means.
pub(crate) fn failure(error: &reqwest::Error) -> Failure {
    if error.is_connect() {
        let late = format!("no connection within {} s", CONNECT_TIMEOUT.as_secs());
        return Failure::NoConnection(if error.is_timeout() { late } else { cause(error) });
    }
    if error.is_timeout() {
        let silence = format!("it was silent for {} s", SILENCE_TIMEOUT.as_secs());
        return Failure::Transient(silence, None);
    }
    if error.is_builder() || error.is_request() && error.source().is_none() {
        return Failure::Unusable(cause(error));
    }
    Failure::Transient(cause(error), None)
}

/// The innermost cause: the outer ones say no more than that a request failed.
fn cause(error: &reqwest::Error) -> String {
    let mut deepest: &dyn std::error::Error = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}

/// Makes a failure of an answer that is not a success.
pub(crate) async fn check(response: Response) -> Result<Response, Failure> {
    let status = response.status();
    if matches!(status, StatusCode::OK | StatusCode::PARTIAL_CONTENT) {
        return Ok(response);
    }
    let wait = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let wait = wait.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
    let reason = match message(response).await {
        Some(message) => format!("{status}: {message}"),
        None => status.to_string(),
    };
    Err(match status.as_u16() {
        404 => Failure::NotFound(reason),
        401 | 403 => Failure::Unauthorised(reason),
        408 | 429 | 500 | 502 | 503 | 504 => Failure::Transient(reason, wait),
        _ => Failure::Unusable(reason),
    })
}

/// Makes a failure of an answer to a change that is not a success.
pub(crate) async fn check_changed(response: Response) -> Result<Response, Failure> {
    if response.status().is_success() { Ok(response) } else { check(response).await }
}

/// The message in an error's body, in the form that the specification gives it.
async fn message(response: Response) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Body {
        errors: Vec<Item>,
    }
    #[derive(serde::Deserialize)]
    struct Item {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let bytes = read_limited(response, MAX_MESSAGE_BYTES).await.ok()??;
    let body: Body = serde_json::from_slice(&bytes).ok()?;
    let first = body.errors.first()?;
    let text = if first.message.is_empty() { &first.code } else { &first.message };
    // It goes to a terminal.
    let text: String = text.chars().filter(|c| !c.is_control()).take(200).collect();
    (!text.is_empty()).then_some(text)
}

/// A body of limited size; `None` for one that is larger.
pub(crate) async fn read_limited(
    mut response: Response,
    max_bytes: usize,
) -> Result<Option<Vec<u8>>, Failure> {
    if response.content_length().is_some_and(|length| length > max_bytes as u64) {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| failure(&error))? {
        if bytes.len() + chunk.len() > max_bytes {
            return Ok(None);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Some(bytes))
}

/// The wait before another try; `tries` have been made.
pub(crate) fn wait_before(tries: u32, asked: Option<Duration>) -> Duration {
    let own = FIRST_WAIT * 2_u32.saturating_pow(tries.saturating_sub(1).min(5));
    own.max(asked.unwrap_or_default()).min(MAX_WAIT)
}

/// Makes a request again while its failure is transient, a limited number of times.
pub(crate) async fn with_retries<T>(
    mut request: impl AsyncFnMut() -> Result<T, Failure>,
) -> Result<T, Failure> {
    for tries in 1.. {
        match request().await {
            Err(Failure::Transient(reason, asked)) if tries < MAX_TRIES => {
                tracing::debug!(reason, tries, "asking again");
                tokio::time::sleep(wait_before(tries, asked)).await;
            }
            result => return result,
        }
    }
    unreachable!("the last try returns")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_are_bounded() {
        let waits: Vec<_> = (1..4).map(|tries| wait_before(tries, None).as_millis()).collect();
        assert_eq!(waits, [200, 400, 800]);
        assert_eq!(wait_before(1, Some(Duration::from_secs(3))), Duration::from_secs(3));
        assert_eq!(wait_before(1, Some(Duration::from_secs(86_400))), MAX_WAIT);
    }
}
