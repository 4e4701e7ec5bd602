//! What the decision point says about itself (AuthZEN §9, ARAP §3).

use axum::{extract::State, response::Response};
use http::{HeaderValue, header};
use serde_json::json;

use super::{Check, answer::json_response, problem::Problem};

/// `GET /.well-known/authzen-configuration`
pub(super) async fn configuration(State(check): State<Check>) -> Response {
    let base = &check.base;
    cached(json_response(&json!({
        "policy_decision_point": &**base,
        "access_evaluation_endpoint": format!("{base}/access/v1/evaluation"),
        "access_evaluations_endpoint": format!("{base}/access/v1/evaluations"),
        "access_request_endpoint": format!("{base}/access/v1/requests"),
        "jwks_uri": format!("{base}/access/v1/jwks"),
        "capabilities": ["urn:openid:authzen:capability:access-request"],
    })))
}

/// `GET /access/v1/jwks`: the keys of the bundle in force, which sign `approval.state`.
pub(super) async fn jwks(State(check): State<Check>) -> Result<Response, Problem> {
    match check.desk.gate.policy() {
        Ok(snapshot) => Ok(cached(json_response(&snapshot.jwks))),
        Err(_) => Err(Problem::unavailable("no policy is in force, and keys come with the policy")),
    }
}

fn cached(mut response: Response) -> Response {
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=60"));
    response
}
