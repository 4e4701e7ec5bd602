//! HTTP interactivity: Slack posts clicks to us, signed.

use std::sync::Arc;

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    response::{IntoResponse, Response},
    routing::post,
};
use http::{HeaderMap, StatusCode};

use super::{inbox::Inbox, signature::SigningSecret};
use crate::clock::Clock;

/// The longest body that is read: a payload repeats the whole card.
const MAX_BODY: usize = 512 * 1024;

/// Where Slack posts.
#[derive(Clone)]
struct Endpoint(Arc<Parts>);

struct Parts {
    secret: SigningSecret,
    clock: Clock,
    inbox: Arc<Inbox>,
}

/// The route that Slack posts to. The signature is over the body as it came, so it is read as bytes.
pub(super) fn router(path: &str, secret: SigningSecret, clock: Clock, inbox: Arc<Inbox>) -> Router {
    let endpoint = Endpoint(Arc::new(Parts { secret, clock, inbox }));
    let route = post(interact).layer(DefaultBodyLimit::max(MAX_BODY));
    Router::new().route(path, route).with_state(endpoint)
}

/// Answers at once; Slack waits three seconds, people's work can take longer.
async fn interact(State(endpoint): State<Endpoint>, headers: HeaderMap, body: Bytes) -> Response {
    let Parts { secret, clock, inbox } = endpoint.0.as_ref();
    if let Err(error) = secret.verify(&headers, &body, clock.now()) {
        tracing::warn!(%error, "a request that claims to come from Slack is refused");
        return (StatusCode::UNAUTHORIZED, error.to_string()).into_response();
    }
    let payload = form_urlencoded::parse(&body).find(|(name, _)| name == "payload");
    let Some((_, payload)) = payload else { return StatusCode::BAD_REQUEST.into_response() };
    match inbox.take(&body, &payload) {
        Ok(()) => StatusCode::OK.into_response(),
        Err(busy) => (StatusCode::SERVICE_UNAVAILABLE, busy.to_string()).into_response(),
    }
}
