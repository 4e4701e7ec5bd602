//! Request parts, read strictly: whatever does not fit is a problem detail, never axum's plain text.

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Path, Query, Request, rejection::BytesRejection},
};
use countersign_model::strict_json;
use http::{HeaderMap, StatusCode, header, request::Parts};
use serde::de::DeserializeOwned;

use super::problem::Problem;
use crate::identity::{Actor, Credential};

/// A JSON body: strict JSON (no duplicate names), of the declared type, with no unknown members.
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                "The body must be application/json",
            ));
        }
        let bytes = Bytes::from_request(request, state).await.map_err(|error| body_problem(&error))?;
        let value = strict_json::parse(&bytes).map_err(|error| Problem::bad_request(error.to_string()))?;
        serde_json::from_value(value).map(Self).map_err(|error| Problem::unprocessable(error.to_string()))
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = content_type.and_then(|value| value.split(';').next()).map(str::trim);
    essence.is_some_and(|essence| essence.eq_ignore_ascii_case("application/json"))
}

/// A body that could not be read, as a problem.
pub(crate) fn body_problem(error: &BytesRejection) -> Problem {
    if error.status() == StatusCode::PAYLOAD_TOO_LARGE {
        return Problem::new(error.status(), "too_large", "The body is too large");
    }
    Problem::bad_request(error.to_string())
}

/// Query parameters.
pub(crate) struct QueryOf<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for QueryOf<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Query::from_request_parts(parts, state).await {
            Ok(Query(value)) => Ok(Self(value)),
            Err(error) => Err(Problem::bad_request(error.to_string())),
        }
    }
}

/// A parameter in the path. One that cannot be such a name or id names nothing: 404.
pub(crate) struct PathOf<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for PathOf<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(value)) => Ok(Self(value)),
            Err(error) => Err(Problem::not_found(error.to_string())),
        }
    }
}

/// The actor that the route's guard let in.
pub(crate) struct Caller(pub(crate) Actor);

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        // Fails closed: on a route whose guard let nobody in, there is nobody.
        let actor = parts.extensions.get::<Actor>().cloned();
        actor.map(Self).ok_or_else(|| Problem::unauthenticated("send a bearer token"))
    }
}

/// The credential that the route's guard accepted.
pub(crate) struct Signed(pub(crate) Credential);

impl<S: Send + Sync> FromRequestParts<S> for Signed {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let credential = parts.extensions.get::<Credential>().cloned();
        credential.map(Self).ok_or_else(|| Problem::unauthenticated("send a bearer token"))
    }
}
