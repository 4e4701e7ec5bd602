//! A caller of the check API, for the tests of it.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests fail like tests, and not every test file uses all of them"
)]

use axum::{Router, body::Body};
use countersign_intercept::check::{Check, Settings};
use countersign_model::ApprovalId;
use countersign_testkit::World;
use http::{HeaderMap, Request, StatusCode, header};
use serde_json::{Value, json};
use tower::ServiceExt as _;

pub(crate) const EVALUATION: &str = "/access/v1/evaluation";
pub(crate) const EVALUATIONS: &str = "/access/v1/evaluations";
pub(crate) const REQUESTS: &str = "/access/v1/requests";

/// The check API of a world.
pub(crate) struct Api {
    pub(crate) world: World,
    pub(crate) routes: Router,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }

    pub(crate) fn decision(&self) -> bool {
        assert_eq!(self.status, StatusCode::OK, "{}", self.text);
        self.json()["decision"].as_bool().unwrap()
    }

    pub(crate) fn context(&self, pointer: &str) -> Value {
        self.json()["context"].pointer(pointer).cloned().unwrap_or(Value::Null)
    }

    /// What an approval that did not help was answered with.
    pub(crate) fn next(&self) -> (Value, Value) {
        assert!(!self.decision(), "{}", self.text);
        (self.context("/reason"), self.context("/next_action"))
    }

    pub(crate) fn problem(&self, code: &str) {
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert_eq!(self.json()["type"], format!("urn:openid:authzen:access-request:error:{code}"));
        assert_eq!(self.json()["status"], self.status.as_u16());
    }
}

impl Api {
    pub(crate) fn new() -> Self {
        Self::with(Settings::default())
    }

    pub(crate) fn with(settings: Settings) -> Self {
        let world = World::new();
        let routes = Check::new(world.gate.clone(), settings, "http://localhost:7702").routes();
        Self { world, routes }
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Reply {
        send(&self.routes, request).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Reply {
        self.send(post(path, body)).await
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn task(&self, id: ApprovalId) -> Value {
        self.get(&format!("{REQUESTS}/{id}")).await.json()
    }

    /// Asks for a deployment, is held, and asks people. Returns the approval, and the task.
    pub(crate) async fn requested(&self) -> (ApprovalId, Value) {
        let denial = self.post(EVALUATION, &deploy()).await;
        let reply = self.post(REQUESTS, &submission(&denial)).await;
        assert_eq!(reply.status, StatusCode::ACCEPTED, "{}", reply.text);
        let task = reply.json()["task"].clone();
        (task["id"].as_str().unwrap().parse().unwrap(), task)
    }

    /// The same, and people have approved it. Returns what the caller presents then.
    pub(crate) async fn approved(&self) -> (ApprovalId, Value) {
        let (id, _) = self.requested().await;
        self.world.control.approve(id);
        let task = self.task(id).await;
        assert_eq!(task["task"]["status"], "approved");
        assert_eq!(task["result"]["mode"], "reevaluate");
        (id, task["result"]["approval"].clone())
    }

    pub(crate) async fn present(&self, mut request: Value, approval: &Value) -> Reply {
        request["context"]["approval"] = approval.clone();
        self.post(EVALUATION, &request).await
    }
}

pub(crate) async fn send(routes: &Router, request: Request<Body>) -> Reply {
    let response = routes.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    Reply { status: parts.status, headers: parts.headers, text }
}

pub(crate) fn post(path: &str, body: &Value) -> Request<Body> {
    raw(path, "application/json", body.to_string())
}

pub(crate) fn raw(path: &str, kind: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post(path).header(header::CONTENT_TYPE, kind).body(body.into()).unwrap()
}

pub(crate) fn request(action: &str) -> Value {
    json!({
        "subject": {"type": "user", "id": "alice@example.com"},
        "action": {"name": action},
        "resource": {"type": "Service", "id": "payments"},
    })
}

/// What needs approval.
pub(crate) fn deploy() -> Value {
    let mut request = request("deploy");
    request["action"]["properties"] = json!({"version": "1"});
    request
}

/// What asks people about a denial of [`deploy`].
pub(crate) fn submission(denial: &Reply) -> Value {
    let mut body = deploy();
    body["context"] = json!({"business_justification": "the customer waits"});
    body["denial"] = json!({
        "evaluation_id": denial.context("/evaluation_id"),
        "expires_at": denial.context("/access_request/expires_at"),
        "reason": denial.context("/reason"),
    });
    body
}

/// A copy with one member changed.
pub(crate) fn changed(body: &Value, pointer: &str, value: Value) -> Value {
    let mut body = body.clone();
    let (parent, leaf) = pointer.rsplit_once('/').unwrap();
    body.pointer_mut(parent).unwrap()[leaf] = value;
    body
}
