//! One HTTP request: a message or a batch of them ([`super::job`]), a stream of what the server says by itself, or
//! the end of a session.

use std::sync::Arc;

use axum::{
    body::{Body, to_bytes},
    extract::State,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use tokio::time::Instant;

use super::{
    Server,
    exchange::Exchange,
    headers,
    job::Job,
    posted::{Posted, Rejection, forbidden},
    reply,
    revision::{Named, named},
};
use crate::mcp::{envelope::MAX_MESSAGE, known::Origin};

/// Serves one request for a server.
pub(super) async fn serve(State(server): State<Arc<Server>>, request: Request<Body>) -> Response {
    let arrived = Instant::now();
    let (head, body) = request.into_parts();
    match head.method {
        Method::POST => match to_bytes(body, MAX_MESSAGE).await {
            Ok(body) => match admitted(&server, &head.headers, body) {
                Ok((posted, origin)) => Job::new(server, posted, origin, &head.headers, arrived).run().await,
                Err(rejection) => rejection.into_response(),
            },
            Err(_) => (StatusCode::PAYLOAD_TOO_LARGE, format!("a body may have at most {MAX_MESSAGE} bytes"))
                .into_response(),
        },
        Method::GET | Method::DELETE => of_session(server, head.method, &head.headers).await,
        _ => not_allowed(),
    }
}

/// Takes a body apart, if the server can be asked at all.
fn admitted(server: &Server, headers: &HeaderMap, body: Bytes) -> Result<(Posted, Origin), Rejection> {
    let posted = Posted::read(&server.sessions, headers, body)?;
    server.upstream.admit(headers, posted.revision, posted.begins())?;
    let origin = server.known.origin(headers).map_err(|refused| forbidden(refused.to_string()))?;
    Ok((posted, origin))
}

fn not_allowed() -> Response {
    (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "GET, POST, DELETE")]).into_response()
}

/// A stream of what the server says by itself, or the end of a session. Revisions without sessions have
/// neither.
async fn of_session(server: Arc<Server>, method: Method, headers: &HeaderMap) -> Response {
    let session = server.sessions.of(headers);
    let revision = match named(headers) {
        Named::Known(revision) if !revision.is_stateless() => revision,
        Named::Not => session.revision(),
        Named::Known(_) | Named::Unknown(_) | Named::Unclear => return not_allowed(),
    };
    if let Err(rejection) = server.upstream.admit(headers, revision, false) {
        return rejection.into_response();
    }
    let ends = method == Method::DELETE;
    match server.upstream.send(method, headers::to_server(headers, revision), Bytes::new()).await {
        Ok(response) => {
            if ends && response.status().is_success() {
                server.sessions.ended(headers);
            }
            let exchange = Exchange::new(server, session, revision, headers::own(headers), Vec::new());
            reply::respond(Arc::new(exchange), response, Vec::new()).await
        }
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}
