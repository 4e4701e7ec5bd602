//! A server at a URL: one pool of connections, and the credentials that agents never see.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};

use super::UpstreamError;

/// How long a connection may take to come about.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// How long an unused connection is kept.
const IDLE_FOR: Duration = Duration::from_secs(30);

pub(crate) type HttpClient = Client<HttpsConnector<HttpConnector>, Body>;

/// A pool of connections.
pub(crate) fn client() -> Result<HttpClient, UpstreamError> {
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_connect_timeout(Some(CONNECT_WITHIN));
    let https = HttpsConnectorBuilder::new()
        .try_with_platform_verifier()
        .map_err(|error| UpstreamError::Tls(error.to_string()))?
        .https_or_http()
        .enable_http1()
        .wrap_connector(http);
    let mut builder = Client::builder(TokioExecutor::new());
    builder.pool_idle_timeout(IDLE_FOR).pool_timer(TokioTimer::new());
    Ok(builder.build(https))
}

/// One server.
pub(super) struct Remote {
    client: HttpClient,
    url: Uri,
    credential: Option<(HeaderName, HeaderValue)>,
}

impl Remote {
    pub(super) fn new(client: HttpClient, url: Uri, credential: Option<(HeaderName, HeaderValue)>) -> Self {
        Self { client, url, credential }
    }

    /// Sends a request, and returns with the head of its answer.
    pub(super) async fn send(
        &self,
        method: Method,
        mut headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response<Body>, UpstreamError> {
        if let Some((name, value)) = &self.credential {
            headers.insert(name.clone(), value.clone());
        }
        let mut request = Request::new(Body::from(body));
        *request.method_mut() = method;
        *request.uri_mut() = self.url.clone();
        *request.headers_mut() = headers;
        let response = self.client.request(request).await.map_err(|error| {
            let text = describe(&error);
            if error.is_connect() { UpstreamError::Unreachable(text) } else { UpstreamError::Broken(text) }
        })?;
        Ok(response.map(Body::new))
    }
}

/// An error with its causes: the outermost alone says little.
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
