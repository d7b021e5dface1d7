//! Logging in: tokens and credentials, each to the server that it is for.
//!
//! A registry answers 401 and names where to get a token. That place is named by the registry, so it is
//! not trusted: a credential goes there only if it is the registry's own host and port, the well-known
//! companion of a public registry, or a host that the user listed in `token_hosts`. Any other place is
//! asked anonymously, which is what public images need.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{HeaderValue, WWW_AUTHENTICATE};
use reqwest::{Response, Url};
use serde::Deserialize;

use crate::challenge::{Challenge, parse_challenges};
use crate::endpoint::Endpoint;
use crate::transport::{Failure, Request, Transport, authority, check, read_limited, with_retries};
use crate::{Credential, Credentials};

/// The largest answer of a server of tokens.
const MAX_TOKEN_BYTES: usize = 256 << 10;
/// How long a token lasts that does not say so; the specification's figure.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(60);
/// A token is not used in the last moments of its life.
const MARGIN: Duration = Duration::from_secs(10);

/// Public registries whose tokens come from another host of the same owner.
const COMPANIONS: [(&str, &str); 2] =
    [("docker.io", "auth.docker.io"), ("registry.gitlab.com", "gitlab.com")];

/// The credentials, and the tokens got with them.
#[derive(Debug)]
pub(crate) struct Authenticator {
    credentials: Credentials,
    /// (server, scope) → what to send.
    granted: Mutex<BTreeMap<(String, String), Grant>>,
}

/// What is to be done, and in which repositories.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Scope<'a> {
    /// Reading from a repository.
    Pull(&'a str),
    /// Reading from and writing to a repository.
    Push(&'a str),
    /// The same, with blobs of another repository of the server.
    PushFrom(&'a str, &'a str),
}

impl Scope<'_> {
    /// In the specification's words, one for each repository.
    fn words(self) -> Vec<String> {
        let pull = |repository: &str| format!("repository:{repository}:pull");
        match self {
            Self::Pull(repository) => vec![pull(repository)],
            Self::Push(repository) => vec![format!("{},push", pull(repository))],
            Self::PushFrom(repository, other) => {
                vec![format!("{},push", pull(repository)), pull(other)]
            }
        }
    }
}

struct Grant {
    header: HeaderValue,
    until: Option<Instant>,
}

impl std::fmt::Debug for Grant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Grant(…)")
    }
}

impl Authenticator {
    pub(crate) const fn new(credentials: Credentials) -> Self {
        Self { credentials, granted: Mutex::new(BTreeMap::new()) }
    }

    /// What to send with a request before being asked.
    pub(crate) fn known(&self, endpoint: &Endpoint, scope: Scope<'_>) -> Option<HeaderValue> {
        let granted = self.granted.lock().unwrap_or_else(PoisonError::into_inner);
        let grant = granted.get(&(endpoint.origin(), scope.words().join(" ")))?;
        grant.until.is_none_or(|until| Instant::now() < until).then(|| grant.header.clone())
    }

    /// What to send after the challenge in an answer.
    pub(crate) async fn answer(
        &self,
        transport: &Transport,
        endpoint: &Endpoint,
        scope: Scope<'_>,
        response: &Response,
    ) -> Result<HeaderValue, Failure> {
        let headers = response.headers().get_all(WWW_AUTHENTICATE).iter();
        let challenges: Vec<_> =
            headers.filter_map(|value| value.to_str().ok()).flat_map(parse_challenges).collect();
        let of = |scheme| challenges.iter().find(|challenge| challenge.scheme == scheme);
        let grant = if let Some(challenge) = of("bearer") {
            self.token(transport, endpoint, scope, challenge).await?
        } else if of("basic").is_some() {
            let credential = self.credential(endpoint)?.ok_or_else(|| {
                Failure::Unauthorised("it wants a credential and there is none".to_owned())
            })?;
            Grant { header: basic(&credential)?, until: None }
        } else {
            let reason = "it wants a credential of a kind that is not known";
            return Err(Failure::Unauthorised(reason.to_owned()));
        };
        let header = grant.header.clone();
        let mut granted = self.granted.lock().unwrap_or_else(PoisonError::into_inner);
        granted.insert((endpoint.origin(), scope.words().join(" ")), grant);
        Ok(header)
    }

    fn credential(&self, endpoint: &Endpoint) -> Result<Option<Credential>, Failure> {
        self.credentials.get(&endpoint.host).map_err(Failure::Ours)
    }

    /// Gets a token from the place that a challenge names.
    async fn token(
        &self,
        transport: &Transport,
        endpoint: &Endpoint,
        scope: Scope<'_>,
        challenge: &Challenge,
    ) -> Result<Grant, Failure> {
        let mut url = realm(endpoint, challenge).map_err(Failure::Unauthorised)?;
        let place = authority(&url);
        {
            let mut query = url.query_pairs_mut();
            if let Some(service) = challenge.parameters.get("service") {
                query.append_pair("service", service);
            }
            // The scope is made here: what the registry wrote could ask for more than is wanted.
            for word in scope.words() {
                query.append_pair("scope", &word);
            }
        }
        let credential = self.credential(endpoint)?;
        let is_trusted = may_have_credential(endpoint, &url);
        let mut request = Request::get(url);
        if let Some(credential) = credential.as_ref().filter(|_| is_trusted) {
            request.authorization = Some(basic(credential)?);
        }
        let answer = with_retries(async || {
            let response = check(transport.send(endpoint, &request).await?).await?;
            read_limited(response, MAX_TOKEN_BYTES).await
        });
        match answer.await {
            Ok(bytes) => grant(&bytes.unwrap_or_default(), &place),
            Err(Failure::Unauthorised(reason)) if credential.is_some() && !is_trusted => {
                Err(Failure::Unauthorised(format!(
                    "it sends logins to {place}, which was not given the credential of {}: {reason}",
                    endpoint.host
                )))
            }
            Err(Failure::NotFound(reason) | Failure::NoConnection(reason)) => {
                Err(Failure::Unauthorised(format!("no token from {place}: {reason}")))
            }
            Err(other) => Err(other),
        }
    }
}

/// The place that a challenge names, if it may be asked at all.
fn realm(endpoint: &Endpoint, challenge: &Challenge) -> Result<Url, String> {
    let realm = challenge.parameters.get("realm").ok_or("it does not say where to log in")?;
    let url = Url::parse(realm).map_err(|_| "it sends logins to what is no address")?;
    let is_allowed = match url.scheme() {
        "https" => true,
        // Whoever speaks plain HTTP is already read by others, but nobody is dragged down to it.
        "http" => endpoint.base.scheme() == "http",
        _ => false,
    };
    if !is_allowed || !url.username().is_empty() || url.password().is_some() {
        return Err(format!("it sends logins to `{}`, which is not safe", authority(&url)));
    }
    Ok(url)
}

/// Whether a place may see the endpoint's credential.
fn may_have_credential(endpoint: &Endpoint, place: &Url) -> bool {
    let host = authority(place);
    let is_companion = place.scheme() == "https" && COMPANIONS.contains(&(&endpoint.host, &host));
    place.origin() == endpoint.base.origin()
        || is_companion
        || endpoint.config.token_hosts.contains(&host)
}

fn basic(credential: &Credential) -> Result<HeaderValue, Failure> {
    let pair = STANDARD.encode(format!("{}:{}", credential.username, credential.secret));
    secret_header(&format!("Basic {pair}"))
}

fn secret_header(text: &str) -> Result<HeaderValue, Failure> {
    let mut header = HeaderValue::from_str(text)
        .map_err(|_| Failure::Unauthorised("the token is not valid".to_owned()))?;
    header.set_sensitive(true);
    Ok(header)
}

/// Reads the answer of a server of tokens.
fn grant(bytes: &[u8], place: &str) -> Result<Grant, Failure> {
    #[derive(Deserialize)]
    struct Answer {
        #[serde(default)]
        token: String,
        #[serde(default)]
        access_token: String,
        #[serde(default)]
        expires_in: Option<u64>,
    }
    // The parser's message could quote the token.
    let unreadable = || Failure::Unusable(format!("the token of {place} cannot be read"));
    let answer: Answer = serde_json::from_slice(bytes).map_err(|_| unreadable())?;
    let token = if answer.token.is_empty() { &answer.access_token } else { &answer.token };
    if token.is_empty() {
        return Err(unreadable());
    }
    let lifetime = answer.expires_in.map_or(DEFAULT_LIFETIME, Duration::from_secs);
    let until = Instant::now().checked_add(lifetime.saturating_sub(MARGIN));
    Ok(Grant { header: secret_header(&format!("Bearer {token}"))?, until })
}
