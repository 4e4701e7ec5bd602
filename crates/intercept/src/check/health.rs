//! Whether the sidecar lives, and whether it can decide.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use countersign_gate::ports::NoPolicy;
use http::StatusCode;
use serde_json::json;

use super::{Check, answer::json_response};

/// `GET /healthz`
pub(super) async fn alive() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: ready while a policy is in force; names its revision and its age.
pub(super) async fn ready(State(check): State<Check>) -> Response {
    let gate = &check.desk.gate;
    match gate.policy() {
        Ok(snapshot) => {
            let age = gate.now().millis_since(snapshot.activated_at).max(0) / 1_000;
            json_response(&json!({"ready": true, "revision": snapshot.revision, "age_seconds": age}))
        }
        Err(NoPolicy::Missing) => unready(&json!({"ready": false, "reason": "no_policy"})),
        Err(NoPolicy::LeaseEnded(snapshot)) => {
            let body = json!({"ready": false, "reason": "lease_ended", "revision": snapshot.revision});
            unready(&body)
        }
    }
}

fn unready(body: &serde_json::Value) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, json_response(body)).into_response()
}
