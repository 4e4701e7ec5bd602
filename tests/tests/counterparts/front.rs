//! A proxy that passes bytes on and knows nothing of MCP: it stands for a client's configuration where the
//! client cannot be given a token, and, when it buffers, for the proxies that break MCP.

use std::net::SocketAddr;

use axum::{Router, body::Body, extract::State, http::Request, response::Response};
use tokio::{net::TcpListener, task::JoinHandle};

/// What it does with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Passes it on as it comes.
    Stream,
    /// Keeps the answer to a POST until it is whole.
    Buffer,
}

#[derive(Clone)]
struct Route {
    to: String,
    token: Option<String>,
    mode: Mode,
    client: reqwest::Client,
}

/// A proxy that listens.
pub(crate) struct Front {
    address: SocketAddr,
    server: JoinHandle<()>,
}

impl Front {
    pub(crate) async fn start(to: String, token: Option<String>, mode: Mode) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let route = Route { to, token, mode, client: reqwest::Client::new() };
        let routes = Router::new().fallback(pass).with_state(route);
        let server = tokio::spawn(async move { axum::serve(listener, routes).await.expect("it serves") });
        Self { address, server }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn pass(State(route): State<Route>, request: Request<Body>) -> Response {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.expect("a body");
    let mut headers = head.headers;
    if let Some(token) = &route.token {
        headers.insert("authorization", format!("Bearer {token}").parse().expect("a header"));
    }
    let mode = if head.method == "POST" { route.mode } else { Mode::Stream };
    let asked = route.client.request(head.method, &route.to).headers(headers).body(body).send().await;
    let answer = match asked {
        Ok(answer) => answer,
        Err(error) => {
            return Response::builder().status(502).body(Body::from(error.to_string())).expect("an answer");
        }
    };
    let mut response = Response::builder().status(answer.status());
    for (name, value) in answer.headers() {
        if name != "transfer-encoding" && name != "connection" {
            response = response.header(name, value);
        }
    }
    let body = match mode {
        Mode::Stream => Body::from_stream(answer.bytes_stream()),
        Mode::Buffer => Body::from(answer.bytes().await.unwrap_or_default()),
    };
    response.body(body).expect("an answer")
}
