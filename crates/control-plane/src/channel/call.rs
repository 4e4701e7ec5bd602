//! Calls to chat services, whose answers are read: bounded in size, and over HTTPS but to this machine itself.

use std::{net::IpAddr, time::Duration};

use http::StatusCode;
use reqwest::{RequestBuilder, Url};
use serde::de::DeserializeOwned;

use super::{
    DeliveryError,
    http::{reason, retry_after},
};

/// The longest answer that is read, in bytes.
const MAX_ANSWER: usize = 1024 * 1024;

/// Why a call came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CallError {
    /// It does not answer, or not in time.
    #[error("it does not answer: {0}")]
    Unreachable(String),
    /// It asks for patience.
    #[error("it asks for patience")]
    Busy(Option<Duration>),
    /// It answers something else than was agreed.
    #[error("its answer cannot be read: {0}")]
    Malformed(String),
}

/// What a service answered.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Its status.
    pub(crate) status: StatusCode,
    /// Its body, whole.
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The body as JSON.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, CallError> {
        serde_json::from_slice(&self.body).map_err(|error| CallError::Malformed(error.to_string()))
    }
}

/// Makes a call and reads its answer to the end.
pub(crate) async fn call(request: RequestBuilder) -> Result<Answer, CallError> {
    let unreachable = |error| CallError::Unreachable(reason(error));
    let mut response = request.send().await.map_err(unreachable)?;
    let status = response.status();
    if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        return Err(CallError::Busy(retry_after(&response)));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err(CallError::Malformed(format!("it is longer than {MAX_ANSWER} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer { status, body })
}

impl From<CallError> for DeliveryError {
    fn from(error: CallError) -> Self {
        let why = error.to_string();
        match error {
            CallError::Busy(after) => Self::Later { why, after },
            CallError::Unreachable(_) | CallError::Malformed(_) => Self::later(why),
        }
    }
}

/// Whether tokens may be sent there: over HTTPS, or to this machine itself.
pub(crate) fn is_private(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    let is_loopback = || address.is_ok_and(|address| address.is_loopback());
    let secure = matches!(url.scheme(), "https" | "wss");
    secure || (matches!(url.scheme(), "http" | "ws") && is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_go_over_https_or_stay_on_this_machine() {
        for private in ["https://slack.com/api/", "wss://x.example", "http://127.0.0.1:1/", "http://[::1]/"] {
            assert!(is_private(&private.parse().unwrap()), "{private}");
        }
        for open in [
            "http://slack.com/",
            "http://127.0.0.1.example.com/",
            "ws://10.0.0.1/",
            "http://localhost/",
            "ftp://127.0.0.1/",
            "file:///etc",
        ] {
            assert!(!is_private(&open.parse().unwrap()), "{open}");
        }
    }
}
