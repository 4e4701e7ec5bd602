//! Everything that is served over HTTP: the API and the console, and what holds for both.

use std::{any::Any, time::Duration};

use axum::{
    Router,
    extract::Request,
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
};
use http::{HeaderName, HeaderValue, StatusCode, Uri, header};
use tokio_util::sync::CancellationToken;
use tower_http::{catch_panic::CatchPanicLayer, timeout::RequestBodyTimeoutLayer};

use crate::{
    api::{self, Problem},
    console,
    identity::Identity,
    services::Services,
};

/// How long a request's body may pause.
const BODY_PAUSE: Duration = Duration::from_secs(20);

/// No script or style but our own files, no frames, no forms to elsewhere, nothing inline.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// What every response carries unless its handler has said otherwise.
const HEADERS: [(HeaderName, &str); 8] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    ),
];

/// The whole HTTP side of the control plane. Serve it with `into_make_service_with_connect_info`, so
/// that failed sign-ins can be counted by address. Requests that wait for something end with `stop`.
pub fn router(services: Services, identity: Identity, stop: CancellationToken) -> Router {
    router_with(services, identity, stop, Router::new())
}

/// The same, with the routes that chats post to.
pub(crate) fn router_with(
    services: Services,
    identity: Identity,
    stop: CancellationToken,
    hooks: Router,
) -> Router {
    let secure = identity.cookie().is_secure();
    api::router(services.clone(), identity.clone(), stop)
        .merge(console::router(services, identity))
        .merge(hooks)
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .layer(RequestBodyTimeoutLayer::new(BODY_PAUSE))
        .layer(CatchPanicLayer::custom(|reason: Box<dyn Any + Send>| panicked(reason.as_ref())))
        .layer(from_fn_with_state(secure, protect))
}

async fn protect(secure: axum::extract::State<bool>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    if secure.0 {
        let value = HeaderValue::from_static("max-age=31536000");
        headers.entry(header::STRICT_TRANSPORT_SECURITY).or_insert(value);
    }
    response
}

fn is_for_programs(uri: &Uri) -> bool {
    uri.path().starts_with("/api/") || ["/healthz", "/readyz", "/openapi.json"].contains(&uri.path())
}

async fn not_found(uri: Uri) -> Response {
    if is_for_programs(&uri) {
        return Problem::not_found(format!("nothing is served at {}", uri.path())).into_response();
    }
    console::PageError::NotFound.into_response()
}

async fn wrong_method(uri: Uri) -> Response {
    if is_for_programs(&uri) {
        let title = "The resource does not take this method";
        return Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", title).into_response();
    }
    console::PageError::Method.into_response()
}

fn panicked(reason: &(dyn Any + Send)) -> Response {
    let reason = reason.downcast_ref::<&str>().copied().unwrap_or("a panic without a text");
    Problem::internal(&reason).into_response()
}
