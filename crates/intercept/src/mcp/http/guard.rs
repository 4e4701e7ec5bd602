//! Who may ask, and from where: the token, and `Origin` and `Host` against DNS rebinding. The server
//! behind never sees the client's `Host`, so what it would check is checked here.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::State,
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, Request, StatusCode, header};

use crate::check::{Token, is_local, unauthorized};

/// Who may ask one server.
pub(super) struct Guard {
    token: Token,
    origins: Vec<String>,
    hosts: Vec<String>,
}

impl Guard {
    pub(super) fn new(token: Token, origins: Vec<String>, hosts: Vec<String>) -> Self {
        Self { token, origins, hosts }
    }

    fn admits_host(&self, headers: &HeaderMap) -> bool {
        let Some(host) = single(headers, &header::HOST) else { return false };
        is_local(host) || self.hosts.iter().any(|known| known.eq_ignore_ascii_case(host))
    }

    /// Only browsers send an origin. One of this machine, or one that the operator named, may call.
    fn admits_origin(&self, headers: &HeaderMap) -> bool {
        if !headers.contains_key(header::ORIGIN) {
            return true;
        }
        let Some(origin) = single(headers, &header::ORIGIN) else { return false };
        let local = origin.split_once("://").is_some_and(|(_, host)| is_local(host));
        local || self.origins.iter().any(|known| known.eq_ignore_ascii_case(origin))
    }
}

fn single<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Option<&'a str> {
    let mut given = headers.get_all(name).iter();
    match (given.next(), given.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

pub(super) async fn admit(State(guard): State<Arc<Guard>>, request: Request<Body>, next: Next) -> Response {
    let headers = request.headers();
    if !guard.admits_host(headers) || !guard.admits_origin(headers) {
        let message = "this Origin or Host may not call; name it in the server's origins or hosts";
        return (StatusCode::FORBIDDEN, message).into_response();
    }
    match unauthorized(
        guard.token,
        headers,
        "send the file mcp-token of the data folder as `Authorization: Bearer …`",
    ) {
        Some(refused) => refused,
        None => next.run(request).await,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn guard() -> Guard {
        Guard::new(
            Token::new("secret"),
            vec!["https://ide.example".to_owned()],
            vec!["mcp.internal:1".to_owned()],
        )
    }

    fn headers(name: &header::HeaderName, values: &[&'static str]) -> HeaderMap {
        values.iter().map(|value| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn pages_of_elsewhere_may_not_call() {
        let admits = |origin: &[&'static str]| guard().admits_origin(&headers(&header::ORIGIN, origin));
        assert!(admits(&[]) && admits(&["http://localhost:6274"]) && admits(&["https://ide.example"]));
        for bad in [
            &["http://evil.example"][..],
            &["null"],
            &["http://localhost.evil.example"],
            &["http://localhost", "http://evil.example"],
            &["https://ide.example.evil.example"],
        ] {
            assert!(!admits(bad), "{bad:?}");
        }
    }

    #[test]
    fn a_rebound_name_may_not_be_addressed() {
        let admits = |host: &[&'static str]| guard().admits_host(&headers(&header::HOST, host));
        assert!(admits(&["localhost:1"]) && admits(&["127.0.0.1"]) && admits(&["MCP.internal:1"]));
        assert!(!admits(&["evil.example"]) && !admits(&[]) && !admits(&["localhost", "evil.example"]));
    }
}
