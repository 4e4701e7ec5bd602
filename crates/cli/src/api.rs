//! The control plane's REST API, as the verbs use it.

use std::{fmt, time::Duration};

use anyhow::Result;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::credentials::{self, Credentials, Given};

/// How long a request may take, unless it waits on purpose.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why the control plane did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// It cannot be reached.
    #[error("the control plane at {url} cannot be reached: {why}; is it running, and is the address right?")]
    Unreachable {
        /// Where.
        url: String,
        /// Why not.
        why: String,
    },
    /// It refuses.
    #[error("{problem}{}", advice(*status))]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What it says.
        problem: Problem,
    },
    /// It answers in a way that this version does not understand.
    #[error("the control plane's answer cannot be read: {0}; are both of the same version?")]
    Unreadable(String),
}

fn advice(status: u16) -> &'static str {
    match status {
        401 => "; the token is not valid (any more): run `countersign login`, or set COUNTERSIGN_TOKEN",
        412 => "; it changed since you looked: show it again",
        429 => "; wait a little",
        _ => "",
    }
}

/// An error of the API (RFC 9457), as far as it is shown.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
pub(crate) struct Problem {
    #[serde(default)]
    pub(crate) title: String,
    #[serde(default)]
    pub(crate) detail: Option<String>,
    #[serde(default)]
    pub(crate) code: String,
    #[serde(default)]
    pub(crate) validation: Option<Value>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.title)?;
        match &self.detail {
            Some(detail) => write!(f, ": {detail}"),
            None => Ok(()),
        }
    }
}

/// A page of a list.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    pub(crate) next: Option<String>,
}

/// A control plane that is spoken to with a token.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    http: reqwest::Client,
    credentials: Credentials,
}

impl Api {
    /// The control plane that the environment, the command line or `login` names.
    ///
    /// # Errors
    /// When none of them has a token.
    pub(crate) fn connect(url: Option<String>) -> Result<Self> {
        let kept = credentials::load(&credentials::file()?)?;
        Self::with(Given::from_environment(url).resolve(kept)?)
    }

    /// A control plane with known credentials.
    pub(crate) fn with(credentials: Credentials) -> Result<Self> {
        let http = reqwest::Client::builder()
            .user_agent(concat!("countersign/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            // A redirect could carry the token elsewhere.
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self { http, credentials })
    }

    /// Where it is.
    pub(crate) fn url(&self) -> &str {
        &self.credentials.url
    }

    /// Reads something.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str, query: &[(&str, String)]) -> Result<T> {
        let url = self.address(path, query)?;
        Self::read(self.send(self.http.request(Method::GET, url).timeout(TIMEOUT)).await?).await
    }

    /// Reads something that may take its time.
    pub(crate) async fn stream(&self, path: &str, query: &[(&str, String)]) -> Result<Response> {
        let url = self.address(path, query)?;
        Ok(self.send(self.http.request(Method::GET, url)).await?)
    }

    /// Changes something.
    pub(crate) async fn post<T: DeserializeOwned, B: Serialize + Sync>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<T> {
        let url = self.address(path, &[])?;
        let request = self.http.request(Method::POST, url).json(body).timeout(TIMEOUT);
        Self::read(self.send(request).await?).await
    }

    /// Changes something, if it is still at the version that was seen.
    pub(crate) async fn post_if<T: DeserializeOwned, B: Serialize + Sync>(
        &self,
        path: &str,
        body: &B,
        version: u64,
    ) -> Result<T> {
        let request = self.http.request(Method::POST, self.address(path, &[])?).json(body).timeout(TIMEOUT);
        Self::read(self.send(request.header("if-match", format!("\"{version}\""))).await?).await
    }

    fn address(&self, path: &str, query: &[(&str, String)]) -> Result<reqwest::Url> {
        let mut url = reqwest::Url::parse(&format!("{}{path}", self.url()))?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url)
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, ApiError> {
        let sent = request.bearer_auth(&self.credentials.token).send().await;
        let response = sent
            .map_err(|error| ApiError::Unreachable { url: self.url().to_owned(), why: root_cause(&error) })?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let problem = response.json::<Problem>().await.unwrap_or_else(|_| unexplained(status));
        Err(ApiError::Refused { status: status.as_u16(), problem })
    }

    async fn read<T: DeserializeOwned>(response: Response) -> Result<T> {
        let body = response.bytes().await.map_err(|error| ApiError::Unreadable(root_cause(&error)))?;
        Ok(serde_json::from_slice(&body).map_err(|error| ApiError::Unreadable(error.to_string()))?)
    }
}

fn unexplained(status: StatusCode) -> Problem {
    Problem { title: format!("the control plane answers {status}"), ..Problem::default() }
}

/// The innermost cause: `connection refused` says more than what is wrapped around it.
fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
