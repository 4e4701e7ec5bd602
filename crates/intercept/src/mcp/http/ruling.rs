//! What policy says about a message, and what its sender is told when that is no.

use countersign_gate::{Act, Answer, Denial, Execution, Held, Intent, Interceptor, Outcome, Permit, Status};
use countersign_model::{Digest, EvaluationId, Provenance};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::{Server, edit::Members, revision::Revision, state};
use crate::{
    local::wire::{DeniedEvent, Direction, OutcomeReport},
    mcp::{
        envelope::{EnvelopeError, Id},
        normalise::{Seen, Unreadable, act},
        refusal,
    },
};

/// How long after the last moment for a decision a client may come back for it, in milliseconds.
const STATE_OUTLIVES: i64 = 10 * 60 * 1_000;

/// A request of the client.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) id: Id,
    pub(super) method: String,
    pub(super) params: Option<String>,
}

impl Server {
    /// Has the gate decide about a request. What cannot be read is denied (I6).
    pub(super) async fn decide(&self, direction: Direction, method: &str, params: Option<&str>) -> Answer {
        match self.intent(direction, method, params) {
            Ok(intent) => self.gate.decide(intent).await,
            Err(unreadable) => {
                let refused = self.gate.refuse(Interceptor::Mcp, &unreadable.about, unreadable.why, None);
                Answer::Denied(refused.await)
            }
        }
    }

    /// Whether a request for an item of a list could be let through.
    pub(super) fn could(&self, method: &str, parameter: &str, name: &str) -> bool {
        let params = json!({parameter: name}).to_string();
        self.intent(Direction::ToServer, method, Some(&params)).is_ok_and(|intent| self.gate.could(&intent))
    }

    /// A request, with what the sidecar knows about what it is for.
    fn intent(&self, direction: Direction, method: &str, params: Option<&str>) -> Result<Intent, Unreadable> {
        let (mut act, trace) = act(&Seen { server: &self.name, direction, method, params }, None)?;
        let mut tool_pin = None;
        match &mut act {
            Act::Tool { tool, facts, declared, .. } => {
                tool_pin = self.definitions.digest(tool);
                *declared = self.definitions.declared(tool);
                facts.insert("tool".to_owned(), self.definitions.facts(tool).into());
            }
            Act::Method { method, params, facts, .. } if method.starts_with("tasks/") => {
                let id = params.get("taskId").and_then(Value::as_str).unwrap_or_default();
                facts.insert("task".to_owned(), json!({"own": self.tasks.is_own(id)}));
            }
            _ => {}
        }
        Ok(Intent {
            interceptor: Interceptor::Mcp,
            act,
            provenance: Provenance::default(),
            asserted_subject: None,
            trace,
            tool_pin,
        })
    }

    /// The tool that a request calls, and the digest of its definition.
    pub(super) fn pin(&self, call: &Call) -> Option<(String, Option<Digest>)> {
        if call.method != "tools/call" {
            return None;
        }
        let tool = Members::parse(call.params.as_deref()?).ok()?.string("name")?;
        let digest = self.definitions.digest(&tool);
        Some((tool, digest))
    }

    /// The agent that all requests are made by.
    pub(super) fn agent(&self) -> &str {
        &self.gate.agent().id
    }

    /// What a client is told whose patience ends before people have decided.
    pub(super) fn pending(&self, call: &Call, revision: Revision, status: &Status) -> String {
        let console = self.console.as_deref().map(|console| console.trim_end_matches('/'));
        let place =
            console.map(|console| format!(" at {console}/approvals/{}", status.id)).unwrap_or_default();
        let denied = DeniedEvent {
            evaluation: None,
            approval: Some(status.id),
            code: refusal::PENDING.to_owned(),
            retry: true,
            message: format!(
                "Approval pending: people are deciding about this{place}, and nothing was executed. Make exactly \
                 the same call again to go on waiting: once approved it runs, once, and never by itself"
            ),
            policies: Vec::new(),
        };
        if revision.is_stateless() && can_ask_for_input(&call.method) {
            let expires = status.decide_by.as_millis().saturating_add(STATE_OUTLIVES);
            let bound = (status.id, countersign_model::Timestamp::from_millis(expires));
            if let Some(state) = self.seal.issue(self.agent(), &call.method, call.params.as_deref(), bound) {
                let member = state::STATE;
                let result = json!({"resultType": "input_required", member: state});
                return message(call.id.raw(), "result", &result);
            }
        }
        refused(call, &denied)
    }
}

/// The requests that a server may answer with questions (2026-07-28, multi round-trip requests).
pub(super) fn can_ask_for_input(method: &str) -> bool {
    matches!(method, "tools/call" | "resources/read" | "prompts/get")
}

/// The tool is not what it was when the call was decided about.
pub(super) fn changed(permit: &Permit) -> DeniedEvent {
    DeniedEvent {
        evaluation: Some(permit.evaluation()),
        approval: permit.used().map(|used| used.approval),
        code: "tool_changed".to_owned(),
        retry: true,
        message: "the server has changed the tool's definition in the meantime".to_owned(),
        policies: Vec::new(),
    }
}

/// What a client is told whose request is refused.
pub(super) fn refused(call: &Call, denied: &DeniedEvent) -> String {
    let answer = if call.method == "tools/call" { refusal::tool_result } else { refusal::error };
    String::from_utf8(answer(call.id.raw(), denied)).unwrap_or_default().trim_end().to_owned()
}

/// What the sender of an unacceptable message is told.
pub(super) fn unacceptable(id: &Id, code: i32, why: &dyn std::error::Error) -> String {
    let error = EnvelopeError { id: Some(id.raw().to_owned()), code, message: why.to_string() };
    String::from_utf8(refusal::unacceptable(&error)).unwrap_or_default().trim_end().to_owned()
}

/// A message of our own, with the id exactly as it was written.
pub(super) fn message(id: &str, member: &str, value: &Value) -> String {
    format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"{member}\":{value}}}")
}

pub(super) fn denied(denial: &Denial) -> DeniedEvent {
    DeniedEvent::of(denial)
}

/// Policy asks for something else each time it is asked.
pub(super) fn unsettled(held: &Held) -> DeniedEvent {
    DeniedEvent::still_held(held)
}

pub(super) fn stopping(evaluation: EvaluationId) -> DeniedEvent {
    DeniedEvent::stopping(evaluation)
}

/// Starts what is permitted. Its outcome is recorded when it is known, or as unknown when nobody can tell
/// any more.
pub(super) fn start(permit: Permit, outcome: oneshot::Receiver<OutcomeReport>) {
    let execution = permit.consume();
    tokio::spawn(async move {
        if let Ok(outcome) = outcome.await {
            finish(execution, outcome).await;
        }
    });
}

async fn finish(execution: Execution, outcome: OutcomeReport) {
    match outcome {
        OutcomeReport::Executed { result } => execution.finish_with(Outcome::Executed, result).await,
        OutcomeReport::Failed { reason } => execution.finish(Outcome::Failed { detail: reason }).await,
    }
}
