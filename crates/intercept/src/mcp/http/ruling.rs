//! What policy says about a message, and what its sender is told when that is no.

use countersign_gate::{
    Act, Answer, Denial, Execution, Held, Intent, Interceptor, Outcome, Permit, Produced, Status,
};
use countersign_model::{ApprovalId, Digest, EvaluationId, Provenance, Timestamp};
use countersign_policy::outputs::{OutputRules, ResultOf};
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

/// The code for a request that can go on once a person has opened an address (2025-11-25).
const URL_ELICITATION_REQUIRED: i32 = -32042;

/// How long after the last moment for a decision a client may come back for it, in milliseconds.
const STATE_OUTLIVES: i64 = 10 * 60 * 1_000;

/// A request of the client.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) id: Id,
    pub(super) method: String,
    pub(super) params: Option<String>,
}

/// A request that was forwarded, and the rules for its answer.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) call: Call,
    pub(super) rules: OutputRules,
    /// The new instructions of the server that policy knew of.
    pub(super) instructions: Option<Digest>,
}

/// What a request relies on, as it was when it was decided about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Pin {
    /// A tool, and the digest of its definition.
    Tool(String, Option<Digest>),
    /// The digest of instructions that nobody has accepted.
    Instructions(Option<Digest>),
}

impl Asked {
    /// Whether its answer has to be kept whole, because it may have to be changed.
    pub(super) fn may_change(&self) -> bool {
        let method = &self.call.method;
        method.ends_with("/list") || connects(method) || !self.rules.is_empty()
    }
}

impl Call {
    /// The tool that it calls, if it calls one.
    pub(super) fn tool(&self) -> Option<String> {
        (self.method == "tools/call").then(|| self.parameter("name"))?
    }

    pub(super) fn parameter(&self, name: &str) -> Option<String> {
        Members::parse(self.params.as_deref()?).ok()?.string(name)
    }
}

/// The requests that a server answers with its instructions.
pub(super) fn connects(method: &str) -> bool {
    matches!(method, "initialize" | "server/discover")
}

impl Server {
    /// A request that goes on under a permit.
    pub(super) fn asked(&self, call: Call, pin: Option<&Pin>, permit: &Permit) -> Asked {
        let outputs = permit.outputs();
        let rules = match call.method.as_str() {
            "tools/call" => {
                outputs.of(&self.name, call.tool().as_deref().map_or(ResultOf::SomeTool, ResultOf::Tool))
            }
            "tasks/get" | "tasks/result" => {
                let tool = call.parameter("taskId").and_then(|id| self.tasks.tool(&id));
                outputs.of(&self.name, tool.as_deref().map_or(ResultOf::SomeTool, ResultOf::Tool))
            }
            "resources/read" | "prompts/get" => outputs.of(&self.name, ResultOf::Other),
            _ => OutputRules::default(),
        };
        let instructions = match pin {
            Some(Pin::Instructions(digest)) => *digest,
            Some(Pin::Tool(..)) | None => None,
        };
        Asked { call, rules, instructions }
    }

    /// A person has approved what relies on this.
    pub(super) fn accept(&self, pin: Pin) {
        match pin {
            Pin::Tool(tool, Some(digest)) => self.definitions.accept(&tool, digest),
            Pin::Instructions(Some(digest)) => self.definitions.accept_instructions(digest),
            Pin::Tool(_, None) | Pin::Instructions(None) => {}
        }
    }

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
            Act::Method { method, facts, .. } if connects(method) => {
                tool_pin = self.definitions.new_instructions();
                let told = self.definitions.instruction_facts();
                facts.extend(told.map(|told| ("instructions".to_owned(), Value::Object(told))));
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

    /// What a request relies on.
    pub(super) fn pin(&self, call: &Call) -> Option<Pin> {
        if connects(&call.method) {
            return Some(Pin::Instructions(self.definitions.new_instructions()));
        }
        let tool = call.tool()?;
        let digest = self.definitions.digest(&tool);
        Some(Pin::Tool(tool, digest))
    }

    /// The agent that all requests are made by.
    pub(super) fn agent(&self) -> &str {
        &self.gate.agent().id
    }

    /// What a client is told whose patience ends before people have decided.
    pub(super) fn pending(
        &self,
        call: &Call,
        revision: Revision,
        opens_urls: bool,
        status: &Status,
    ) -> String {
        let console = self.console.as_deref().map(|console| console.trim_end_matches('/'));
        let url = console.map(|console| format!("{console}/approvals/{}", status.id));
        let place = url.as_ref().map(|url| format!(" at {url}")).unwrap_or_default();
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
            let bound = (status.id, comes_back_until(status));
            if let Some(state) = self.seal.issue(self.agent(), &call.method, call.params.as_deref(), bound) {
                let member = state::STATE;
                let result = json!({"resultType": "input_required", member: state});
                return message(call.id.raw(), "result", &result);
            }
        }
        match url.filter(|_| opens_urls) {
            Some(url) => to_be_opened(call, &denied, status.id, &url),
            None => refused(call, &denied),
        }
    }
}

/// Until when a client may come back for what people are deciding about.
pub(super) fn comes_back_until(status: &Status) -> Timestamp {
    Timestamp::from_millis(status.decide_by.as_millis().saturating_add(STATE_OUTLIVES))
}

/// Has the client's person look at the request where people decide about it, and make the call again after
/// that (2025-11-25, URL elicitation required).
fn to_be_opened(call: &Call, denied: &DeniedEvent, approval: ApprovalId, url: &str) -> String {
    let elicitation = json!({
        "mode": "url",
        "elicitationId": approval,
        "url": url,
        "message": "This call waits for an approval. Here is where people decide about it.",
    });
    let error = json!({
        "code": URL_ELICITATION_REQUIRED,
        "message": refusal::describe(denied),
        "data": {"elicitations": [elicitation], "countersign/denial": denied},
    });
    message(call.id.raw(), "error", &error)
}

/// The requests that a server may answer with questions (2026-07-28, multi round-trip requests).
pub(super) fn can_ask_for_input(method: &str) -> bool {
    matches!(method, "tools/call" | "resources/read" | "prompts/get")
}

/// The tool is not what it was when the call was decided about, or the server's instructions are not.
pub(super) fn changed(permit: &Permit) -> DeniedEvent {
    DeniedEvent {
        evaluation: Some(permit.evaluation()),
        approval: permit.used().map(|used| used.approval),
        code: "tool_changed".to_owned(),
        retry: true,
        message: "the server has changed what it says of itself in the meantime".to_owned(),
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
        OutcomeReport::Executed { result, ruled } => {
            execution.finish_with(Outcome::Executed, Produced { digest: result, ruled }).await;
        }
        OutcomeReport::Failed { reason } => execution.finish(Outcome::Failed { detail: reason }).await,
    }
}
