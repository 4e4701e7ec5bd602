//! HTTP with a bearer token, answers with everything a test looks at.

use reqwest::{Client, Method, header::HeaderMap};
use serde_json::Value;

/// A base address and a token.
#[derive(Debug, Clone)]
pub struct Http {
    client: Client,
    base: String,
    token: String,
}

/// A response, read to its end.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as text.
    pub text: String,
}

impl Answer {
    /// The body as JSON; `null` when it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }

    /// The body as JSON, of a response that must have succeeded.
    ///
    /// # Panics
    /// When it did not.
    pub fn ok(&self) -> Value {
        assert!((200..300).contains(&self.status), "{} {}", self.status, self.text);
        self.json()
    }

    /// A header as text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

impl Http {
    /// Speaks to `base` with this token.
    ///
    /// # Panics
    /// When no HTTP client can be made.
    #[must_use]
    pub fn new(base: &str, token: &str) -> Self {
        let client = Client::builder().no_proxy().build().expect("an HTTP client");
        Self { client, base: base.trim_end_matches('/').to_owned(), token: token.to_owned() }
    }

    /// The same address with another token.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: token.to_owned(), ..self.clone() }
    }

    /// One request; `Err` when the connection failed.
    pub async fn try_send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Answer, reqwest::Error> {
        let url = if path.starts_with("http") { path.to_owned() } else { format!("{}{path}", self.base) };
        let mut request = self.client.request(method, url);
        if !self.token.is_empty() {
            request = request.bearer_auth(&self.token);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Answer { status, headers, text: response.text().await? })
    }

    /// `GET`.
    ///
    /// # Panics
    /// When the connection fails.
    pub async fn get(&self, path: &str) -> Answer {
        self.try_send(Method::GET, path, &[], None).await.expect("an answer")
    }

    /// `POST` of JSON.
    ///
    /// # Panics
    /// When the connection fails.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_with(path, &[], body).await
    }

    /// `POST` of JSON with headers.
    ///
    /// # Panics
    /// When the connection fails.
    pub async fn post_with(&self, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        self.try_send(Method::POST, path, headers, Some(body)).await.expect("an answer")
    }
}
