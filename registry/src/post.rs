//! Something of ours for a server: one POST, of which nothing but the success is wanted.
//!
//! A redirect is a failure, and nothing is sent twice: whether the first try arrived cannot be told.

use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue};

use crate::download::{DownloadRequest, Validators};
use crate::fetch::Session;
use crate::transport::{Failure, check, failure};
use crate::{Attempt, RegistryError};

/// What is sent.
#[derive(Debug)]
pub struct PostRequest<'a> {
    /// `http://…` or `https://…`; a name and a password in it go to its server alone.
    pub url: &'a str,
    /// The address in messages.
    pub shown: &'a str,
    /// Names and values of headers.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Session {
    pub(crate) async fn post(&self, wanted: PostRequest<'_>) -> Result<(), RegistryError> {
        let place = DownloadRequest {
            url: wanted.url,
            shown: wanted.shown,
            authorization: None,
            validators: Validators::default(),
            limit_bytes: 0,
        };
        let (endpoint, request) = self.prepare(&place)?;
        let send = async {
            let client = self.transport.client(&endpoint, &request.url).map_err(Failure::Ours)?;
            let mut builder = client.post(request.url.clone()).body(wanted.body);
            for (name, value) in &wanted.headers {
                let name = HeaderName::try_from(name.as_str());
                let value = HeaderValue::from_bytes(value);
                let (Ok(name), Ok(value)) = (name, value) else { continue };
                builder = builder.header(name, value);
            }
            if let Some(value) = &request.authorization {
                builder = builder.header(AUTHORIZATION, value);
            }
            let response = builder.send().await.map_err(|error| failure(&error))?;
            check(response).await.map(drop)
        };
        send.await.map_err(|failure| match failure {
            Failure::NoConnection(reason)
            | Failure::Transient(reason, _)
            | Failure::NotFound(reason)
            | Failure::Unauthorised(reason)
            | Failure::Unusable(reason) => RegistryError::Unsent {
                what: wanted.shown.to_owned(),
                attempts: vec![Attempt { host: endpoint.origin(), reason }],
            },
            Failure::Bad(error) | Failure::Ours(error) => error,
        })
    }
}
