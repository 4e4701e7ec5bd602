//! From the gate's answer to an AuthZEN decision.

use axum::response::{IntoResponse, Response};
use countersign_gate::{Cause, Denial, Held, Permit};
use countersign_model::{ApprovalId, DecidingPolicy, EvaluationId, Object, RequirementName};
use http::{HeaderValue, header};
use serde::Serialize;
use serde_json::{Value, json};

use super::{Check, problem::Rejection};

/// How long a caller should wait before it tries again what failed for a passing reason, in seconds.
const RETRY_AFTER: u32 = 5;

/// An AuthZEN decision (§5.5).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Decision {
    pub(super) decision: bool,
    pub(super) context: Object,
}

/// What a caller should do after its approval did not help (ARAP §7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NextAction {
    Request,
    Retry,
    None,
}

impl NextAction {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Retry => "retry",
            Self::None => "none",
        }
    }
}

impl Decision {
    fn of(decision: bool, evaluation: EvaluationId) -> Self {
        let mut context = Object::new();
        context.insert("evaluation_id".to_owned(), Value::String(evaluation.to_string()));
        Self { decision, context }
    }

    fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.context.insert(name.to_owned(), value.into());
        self
    }

    /// It may run. The caller is told until when an approval may be relied on.
    pub(super) fn permitted(permit: &Permit) -> Self {
        let decision = Self::of(true, permit.evaluation());
        match permit.used() {
            Some(used) => {
                decision.with("approval", json!({"id": used.approval, "approved_until": used.not_after}))
            }
            None => decision,
        }
    }

    /// It may not run.
    pub(super) fn denied(check: &Check, denial: &Denial) -> Self {
        let now = check.desk.gate.now();
        check.desk.denials.remember_final(denial.evaluation, now);
        Self::of(false, denial.evaluation)
            .with("evaluated_at", json!(now))
            .with("reason", reason(&denial.cause))
            .with("message", denial.to_string())
            .with("policies", policies(&denial.policies))
    }

    /// It may run once people have approved it: a requestable denial (ARAP §4).
    pub(super) fn held(check: &Check, held: Held) -> Self {
        let now = check.desk.gate.now();
        let names: Vec<&str> = held.requirements().iter().map(RequirementName::as_str).collect();
        let title = format!("Approval needed: {}", names.join(", "));
        let why: Vec<&str> = held.policies().iter().filter_map(|policy| policy.reason.as_deref()).collect();
        let decision = Self::of(false, held.evaluation())
            .with("evaluated_at", json!(held.at()))
            .with("reason", "approval_required")
            .with("message", title.as_str())
            .with("requirements", json!(names))
            .with("policies", policies(held.policies()));
        let mut request = json!({
            "endpoint": format!("{}/access/v1/requests", check.base),
            "template": names.join("+"),
            "display": {"title": title, "description": why.join("; ")},
        });
        let until = check.desk.denials.remember(held, now);
        if let Value::Object(members) = &mut request {
            members.insert("expires_at".to_owned(), json!(until));
        }
        decision.with("access_request", request)
    }

    /// Not even an evaluation, within a request for several (AuthZEN §7.2.1).
    pub(super) fn failed(rejection: &Rejection) -> Self {
        let mut context = Object::new();
        let error = json!({"status": rejection.status.as_u16(), "message": rejection.message});
        context.insert("error".to_owned(), error);
        Self { decision: false, context }
    }

    /// Tells a caller whose approval did not help what to do (ARAP §7).
    pub(super) fn after_approval(self, reason: &str, next: NextAction) -> Self {
        let decision = self.with("reason", reason).with("next_action", next.as_str());
        if next == NextAction::Retry { decision.with("retry_after", RETRY_AFTER) } else { decision }
    }

    /// Replaces the text for people.
    pub(super) fn explained(self, message: &str) -> Self {
        self.with("message", message)
    }

    /// Names the approval that was presented.
    pub(super) fn about_approval(self, id: ApprovalId) -> Self {
        self.with("approval", json!({"id": id}))
    }
}

impl IntoResponse for Decision {
    fn into_response(self) -> Response {
        json_response(&self)
    }
}

/// A `200 OK` with JSON.
pub(super) fn json_response<T: Serialize>(value: &T) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => {
            let json = HeaderValue::from_static("application/json");
            ([(header::CONTENT_TYPE, json)], body).into_response()
        }
        Err(error) => {
            (http::StatusCode::INTERNAL_SERVER_ERROR, format!("the answer cannot be written: {error}"))
                .into_response()
        }
    }
}

/// The machine-readable reason of a denial.
fn reason(cause: &Cause) -> &'static str {
    match cause {
        Cause::Policy => "policy_denied",
        other => other.code(),
    }
}

fn policies(policies: &[DecidingPolicy]) -> Value {
    policies.iter().map(|policy| json!({"id": policy.id, "reason": policy.reason})).collect()
}

/// How a refusal of an approval is told (ARAP §7): its reason, and what to do next.
pub(super) fn after(cause: &Cause) -> (&'static str, NextAction) {
    match cause {
        Cause::Policy => ("policy_denied", NextAction::None),
        Cause::OutOfScope => ("out_of_scope", NextAction::Request),
        Cause::Used
        | Cause::Lapsed
        | Cause::Revoked(_)
        | Cause::Invalidated(_)
        | Cause::Expired
        | Cause::Edited(_)
        | Cause::Cancelled(_) => ("approval_expired", NextAction::Request),
        Cause::Grant(_) | Cause::NotAccepted(_) => ("approval_unverifiable", NextAction::None),
        Cause::Refused(_) => ("approval_denied", NextAction::None),
        Cause::Malformed(_) => ("malformed", NextAction::None),
        Cause::Undecided => ("approval_pending", NextAction::Retry),
        Cause::NoPolicy
        | Cause::LeaseEnded
        | Cause::Unrecorded(_)
        | Cause::Busy
        | Cause::TooManyRequests(_)
        | Cause::Unreachable(_)
        | Cause::Journal(_) => (cause.code(), NextAction::Retry),
    }
}
