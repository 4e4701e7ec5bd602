//! Who may ask over TCP, and the identification of requests.

use axum::{
    body::Body,
    extract::State,
    middleware::Next,
    response::{IntoResponse, Response},
};
use countersign_model::Digest;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, header};

use super::problem::Rejection;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The bearer token of the TCP listener. Only its digest is kept, and digests are what is compared: how
/// long that takes tells nothing about the token.
#[derive(Debug, Clone, Copy)]
pub struct Token(Digest);

impl Token {
    /// The token that callers must present.
    #[must_use]
    pub fn new(token: &str) -> Self {
        Self(Digest::of(token.as_bytes()))
    }
}

/// Lets a request through that carries the token (AuthZEN §11.3).
pub(super) async fn demand_token(State(token): State<Token>, request: Request<Body>, next: Next) -> Response {
    match unauthorized(token, request.headers(), "send the check token as `Authorization: Bearer …`") {
        Some(refused) => refused,
        None => next.run(request).await,
    }
}

/// The answer to a request that does not carry the token; `None` when it does.
pub(crate) fn unauthorized(token: Token, headers: &HeaderMap, message: &'static str) -> Option<Response> {
    let given = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
    let error = match given.map(bearer) {
        Some(Some(given)) if Digest::of(given) == token.0 => return None,
        None => "Bearer realm=\"countersign\"",
        Some(_) => "Bearer realm=\"countersign\", error=\"invalid_token\"",
    };
    Some((StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, error)], message).into_response())
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

/// Lets a request through that means this machine by an address or as `localhost`. A page on the web can
/// have its own name resolve to a loopback address, but it cannot make a browser lie about that name.
pub(super) async fn demand_local_host(request: Request<Body>, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    if host.is_some_and(is_local) {
        return next.run(request).await;
    }
    let message = "the Host of a request must be localhost or a loopback address".to_owned();
    Rejection { status: StatusCode::MISDIRECTED_REQUEST, message }.into_response()
}

/// Whether a host, with or without a port, is this machine.
pub(crate) fn is_local(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Gives a request's identifier back with its answer, whatever that is (AuthZEN §10.1.3).
pub(super) async fn echo_request_id(request: Request<Body>, next: Next) -> Response {
    let id = request.headers().get(REQUEST_ID).cloned();
    let mut response = next.run(request).await;
    if let Some(id) = id {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_local() {
        for host in ["localhost", "LOCALHOST:7702", "127.0.0.1:7702", "127.8.9.1", "[::1]:7702", "[::1]"] {
            assert!(is_local(host), "{host}");
        }
        for host in
            ["example.com", "127.0.0.1.example.com:80", "localhost.example.com", "[::2]", "10.0.0.1", ""]
        {
            assert!(!is_local(host), "{host}");
        }
    }

    #[test]
    fn a_bearer_token_is_taken_from_its_header() {
        assert_eq!(bearer(b"Bearer abc"), Some(b"abc".as_slice()));
        assert_eq!(bearer(b"bearer  abc "), Some(b"abc".as_slice()));
        assert_eq!(bearer(b"Basic abc"), None);
        assert_eq!(bearer(b"Bear"), None);
    }
}
