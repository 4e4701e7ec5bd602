//! Calls to an identity provider: bounded in time and size, never redirected, never in the clear over a network.

use reqwest::{Client, RequestBuilder, Url};
use serde::de::DeserializeOwned;

use super::config::is_plain_loopback;
use crate::channel::http::{Reach, client, reason};

/// The largest answer that is read.
const MAX_ANSWER: usize = 512 * 1024;

/// Why there is no answer to go by.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    /// Nobody answers, or not in time, or something that is none.
    #[error("{0}")]
    Unreachable(String),
    /// It answers that it will not.
    #[error("it answers with status {0}")]
    Refused(u16),
}

/// A client for one provider's endpoints.
#[derive(Debug, Clone)]
pub(super) struct Http {
    client: Client,
    plain: bool,
}

impl Http {
    /// A client; one for a provider on this machine (`loopback`) may use plain HTTP.
    pub(super) fn new(loopback: bool) -> Result<Self, reqwest::Error> {
        Ok(Self { client: client(Reach::Private)?, plain: loopback })
    }

    /// An endpoint's address, if it is one that may be called.
    pub(super) fn endpoint(&self, text: &str) -> Result<Url, CallError> {
        let usable = |url: &Url| url.scheme() == "https" || (self.plain && is_plain_loopback(text));
        let url = Url::parse(text).ok().filter(usable);
        url.ok_or_else(|| CallError::Unreachable("one of its endpoints is no https:// address".to_owned()))
    }

    pub(super) fn get(&self, url: Url) -> RequestBuilder {
        self.client.get(url)
    }

    pub(super) fn post(&self, url: Url) -> RequestBuilder {
        self.client.post(url)
    }
}

/// Sends a request and reads the JSON that answers it.
pub(super) async fn json<T: DeserializeOwned>(request: RequestBuilder) -> Result<T, CallError> {
    let unreachable = |error| CallError::Unreachable(reason(error));
    let mut response = request.header("accept", "application/json").send().await.map_err(unreachable)?;
    if !response.status().is_success() {
        return Err(CallError::Refused(response.status().as_u16()));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err(CallError::Unreachable("its answer is too large".to_owned()));
        }
        body.extend_from_slice(&chunk);
    }
    serde_json::from_slice(&body).map_err(|_| CallError::Unreachable("its answer is no such JSON".to_owned()))
}
