//! What policy says about a message, and what its sender is told when that is no.

use std::sync::Arc;

use countersign_gate::{Denial, Execution, Held, Permit, Status, intent::Replaced};
use countersign_model::{ApprovalId, Digest, EvaluationId, Timestamp};
use countersign_policy::outputs::OutputRules;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::{
    edit::Members,
    envelope::{EnvelopeError, Id},
    known::Known,
    lists, refusal, revision, state,
};
use crate::local::wire::{DeniedEvent, OutcomeReport, Review};

/// The code for a request that can go on once a person has opened an address (2025-11-25).
const URL_ELICITATION_REQUIRED: i32 = -32042;

/// How long after the last moment for a decision a client may come back for it, in milliseconds.
const STATE_OUTLIVES: i64 = 10 * 60 * 1_000;

/// A request of the client.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// Under which id it is answered.
    pub(crate) id: Id,
    /// What is asked.
    pub(crate) method: String,
    /// The raw parameters.
    pub(crate) params: Option<String>,
}

/// A request that was forwarded, and the rules for its answer.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) call: Call,
    pub(super) rules: OutputRules,
    /// The new instructions of the server that policy knew of.
    pub(super) instructions: Option<Digest>,
    /// What reviewers made of its arguments.
    pub(super) edited: Option<Arc<Replaced>>,
}

/// What a request relies on, as it was when it was decided about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Pin {
    /// A tool, and the digest of its definition.
    Tool(String, Option<Digest>),
    /// The digest of instructions that nobody has accepted.
    Instructions(Option<Digest>),
}

impl Asked {
    /// A request that policy does not look at.
    pub(crate) fn unruled(call: Call) -> Self {
        Self { call, rules: OutputRules::default(), instructions: None, edited: None }
    }

    /// Which answers to it have to be looked at before the client sees them.
    pub(crate) fn review(&self) -> Review {
        let method = &self.call.method;
        let is_told_of = !self.rules.is_empty() || self.edited.is_some();
        if lists::is_list(method) || connects(method) || is_told_of {
            Review::Every
        } else {
            Review::Concerning
        }
    }

    /// Whether its answer has to be kept whole, because it may have to be changed.
    pub(super) fn may_change(&self) -> bool {
        self.review() == Review::Every
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

impl Known {
    /// What a client is told whose patience ends before people have decided.
    pub(crate) fn pending(
        &self,
        call: &Call,
        is_stateless: bool,
        opens_urls: bool,
        status: &Status,
    ) -> String {
        let console = self.shared.console.as_deref().map(|console| console.trim_end_matches('/'));
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
        if is_stateless && can_ask_for_input(&call.method) {
            let bound = (status.id, comes_back_until(status));
            if let Some(state) =
                self.kept.seal.issue(self.agent(), &call.method, call.params.as_deref(), bound)
            {
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
pub(crate) fn changed(permit: &Permit) -> DeniedEvent {
    DeniedEvent::changed(permit.evaluation(), permit.used().map(|used| used.approval))
}

/// What a client is told whose request is refused.
pub(crate) fn refused(call: &Call, denied: &DeniedEvent) -> String {
    let answer = if call.method == "tools/call" { refusal::tool_result } else { refusal::error };
    String::from_utf8(answer(call.id.raw(), denied)).unwrap_or_default().trim_end().to_owned()
}

/// What the sender of an unacceptable message is told.
pub(crate) fn unacceptable(id: &Id, code: i32, why: &dyn std::error::Error) -> String {
    let error = EnvelopeError { id: Some(id.raw().to_owned()), code, message: why.to_string() };
    String::from_utf8(refusal::unacceptable(&error)).unwrap_or_default().trim_end().to_owned()
}

/// What the sender of a message in a revision that is not understood is told.
pub(crate) fn unsupported(call: &Call, requested: &str) -> String {
    let (text, data) = revision::unsupported(requested);
    let error = json!({"code": revision::UNSUPPORTED, "message": text, "data": data});
    message(call.id.raw(), "error", &error)
}

/// What a client is told in place of an answer that it may not see.
pub(crate) fn not_let_through(id: &Id, why: &str) -> String {
    let message = format!("refused by Countersign: the server's answer was not let through: {why}");
    self::message(id.raw(), "error", &json!({"code": refusal::UNAVAILABLE, "message": message}))
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
    let (outcome, produced) = outcome.split();
    execution.finish_with(outcome, produced).await;
}
