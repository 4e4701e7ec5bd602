//! `Idempotency-Key`: a write that is repeated with the same key is done once and answered twice.
//!
//! The key belongs to its actor and to one request: the same key with another body is a conflict. The
//! answer to a successful write is kept for a day. Answers that show a secret are not kept, because
//! secrets are never at rest: a repetition is told that it was done. A write that failed frees its key.

use axum::{
    body::{Body, Bytes, to_bytes},
    extract::{FromRequest, Request},
    middleware::Next,
    response::{IntoResponse, Response},
};
use countersign_model::{Digest, Seconds};
use countersign_store::{Reservation, StoreError, StoredResponse, WriteKey};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts};

use super::{ApiState, extract::body_problem, problem::Problem};
use crate::identity::Actor;

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// How long a key is taken by a write that never comes to an end.
const IN_FLIGHT: Seconds = Seconds::new(60);
/// How long an answer is kept.
const KEPT: Seconds = Seconds::new(24 * 60 * 60);
/// The longest key.
const MAX_KEY: usize = 255;
/// The longest answer that is kept.
const MAX_ANSWER: usize = 1024 * 1024;

/// Whether a route's answer shows a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answers {
    /// It can be kept and given again.
    Plain,
    /// It shows a secret, once.
    Secret,
}

/// Runs a write, once for each key.
pub(super) async fn run(
    state: ApiState,
    actor: &Actor,
    answers: Answers,
    request: Request,
    next: Next,
) -> Response {
    let key = match key_of(request.headers()) {
        Ok(None) => return next.run(request).await,
        Ok(Some(key)) => key,
        Err(problem) => return problem.into_response(),
    };
    let (parts, body) = request.into_parts();
    // The route's own limit holds for this read as well: the layer below put it into the request.
    let read = Request::from_parts(parts.clone(), body);
    let body = match Bytes::from_request(read, &()).await {
        Ok(body) => body,
        Err(error) => return body_problem(&error).into_response(),
    };
    let key = WriteKey { actor: actor.audit_name(), key, request: fingerprint(&parts, &body) };
    let work = once(state, key, answers, Request::from_parts(parts, Body::from(body)), next);
    // A caller that hangs up must not leave the write half known.
    match tokio::spawn(work).await {
        Ok(response) => response,
        Err(error) => Problem::internal(&error).into_response(),
    }
}

fn key_of(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get(KEY) else { return Ok(None) };
    let key = value.to_str().unwrap_or_default();
    let fits = (1..=MAX_KEY).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic());
    if fits {
        return Ok(Some(key.to_owned()));
    }
    Err(Problem::bad_request("Idempotency-Key: 1 to 255 visible ASCII characters"))
}

/// What makes two requests the same: method, target, precondition and body.
fn fingerprint(parts: &Parts, body: &Bytes) -> Digest {
    let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
    let condition = parts.headers.get(header::IF_MATCH).map_or(&[][..], HeaderValue::as_bytes);
    let part = |bytes: &[u8]| Digest::of(bytes).as_bytes().to_vec();
    let joined = [parts.method.as_str().as_bytes(), target.as_bytes(), condition, body].map(part).concat();
    Digest::of(&joined)
}

async fn once(state: ApiState, key: WriteKey, answers: Answers, request: Request, next: Next) -> Response {
    let now = state.identity.now();
    match state.identity.people().reserve_write(key.clone(), now, now.plus(IN_FLIGHT)).await {
        Ok(Reservation::New) => {}
        Ok(Reservation::Done(stored)) => return replay(stored),
        Ok(Reservation::InFlight) => {
            return conflict("idempotency_in_flight", "A request with this key is being worked on")
                .header(header::RETRY_AFTER, HeaderValue::from_static("1"))
                .into_response();
        }
        Ok(Reservation::OtherRequest) => {
            return conflict("idempotency_key_reused", "This key was used for another request")
                .into_response();
        }
        Err(error) => return Problem::unavailable(&error).into_response(),
    }
    let response = next.run(request).await;
    match keep(&state, key, answers, response).await {
        Ok(response) => response,
        Err(error) => Problem::unavailable(&error).into_response(),
    }
}

fn conflict(code: &str, title: &str) -> Problem {
    Problem::new(StatusCode::CONFLICT, code, title)
}

async fn keep(
    state: &ApiState,
    key: WriteKey,
    answers: Answers,
    response: Response,
) -> Result<Response, StoreError> {
    let people = state.identity.people();
    if !response.status().is_success() {
        people.release_write(key).await?;
        return Ok(response);
    }
    let (parts, body) = response.into_parts();
    let until = state.identity.now().plus(KEPT);
    let stored = match to_bytes(body, MAX_ANSWER).await {
        Ok(bytes) => StoredResponse {
            status: parts.status.as_u16(),
            headers: worth_repeating(&parts.headers),
            body: String::from_utf8_lossy(&bytes).into_owned(),
        },
        Err(error) => return Ok(Problem::internal(&error).into_response()),
    };
    let kept = match answers {
        Answers::Plain => stored.clone(),
        Answers::Secret => shown_once(),
    };
    people.complete_write(key, kept, until).await?;
    Ok(http::Response::from_parts(parts, Body::from(stored.body)))
}

fn worth_repeating(headers: &HeaderMap) -> Vec<(String, String)> {
    [header::CONTENT_TYPE, header::ETAG]
        .iter()
        .filter_map(|name| Some((name.as_str().to_owned(), headers.get(name)?.to_str().ok()?.to_owned())))
        .collect()
}

/// What a repetition is told of a write whose answer showed a secret.
fn shown_once() -> StoredResponse {
    let status = StatusCode::CONFLICT;
    let body = serde_json::json!({
        "type": "urn:countersign:problem:shown_once",
        "title": "This was done, and its secret was shown then",
        "status": status.as_u16(),
        "detail": "A secret is shown once and is not kept. If the answer never reached you, revoke what was \
                   made and make another.",
        "code": "shown_once",
    });
    StoredResponse {
        status: status.as_u16(),
        headers: vec![("content-type".to_owned(), "application/problem+json".to_owned())],
        body: body.to_string(),
    }
}

fn replay(stored: StoredResponse) -> Response {
    let status = StatusCode::from_u16(stored.status).unwrap_or(StatusCode::OK);
    let mut response = (status, stored.body).into_response();
    for (name, value) in stored.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().insert(name, value);
        }
    }
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(target: &str, condition: Option<&'static str>) -> Parts {
        let mut request = Request::builder().method("POST").uri(target).body(()).unwrap();
        if let Some(condition) = condition {
            request.headers_mut().insert(header::IF_MATCH, HeaderValue::from_static(condition));
        }
        request.into_parts().0
    }

    #[test]
    fn requests_that_differ_have_different_fingerprints() {
        let body = Bytes::from_static(b"{}");
        let one = fingerprint(&request("/a", None), &body);
        assert_eq!(one, fingerprint(&request("/a", None), &body));
        assert_ne!(one, fingerprint(&request("/b", None), &body));
        assert_ne!(one, fingerprint(&request("/a?x", None), &body));
        assert_ne!(one, fingerprint(&request("/a", Some("\"1\"")), &body));
        assert_ne!(one, fingerprint(&request("/a", None), &Bytes::from_static(b"{ }")));
    }

    #[test]
    fn a_key_is_short_and_visible() {
        let key = |value: &str| key_of(&HeaderMap::from_iter([(KEY, HeaderValue::from_str(value).unwrap())]));
        assert_eq!(key("retry-1").unwrap().unwrap(), "retry-1");
        assert!(key("").is_err() && key("a b").is_err() && key(&"x".repeat(256)).is_err());
        assert!(key_of(&HeaderMap::new()).unwrap().is_none());
    }
}
