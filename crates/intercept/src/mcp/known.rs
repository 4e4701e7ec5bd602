//! What the sidecar knows of one MCP server as it is reached in one way, and the gate that decides about its
//! messages. Both transports decide here, so that a message means the same on each.

use std::sync::Arc;

use countersign_gate::{Act, Answer, Arguments, Denial, Gate, Intent, Interceptor, Permit};
use countersign_model::Provenance;
use countersign_policy::outputs::{OutputRules, ResultOf};
use http::HeaderMap;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{
    definitions::Definitions,
    edit::Members,
    normalise::{Seen, Unreadable, act},
    ruling::{self, Asked, Call, Pin, connects},
    servers::{Kept, Shared},
    tasks::Tasks,
};
use crate::{initiator::Refused, local::wire::Direction};

/// One server, as it is reached in one way.
pub(crate) struct Known {
    /// The name that policy knows it by.
    pub(crate) name: String,
    /// What its tools are.
    pub(super) definitions: Definitions,
    /// The tasks that were begun in this way.
    pub(super) tasks: Tasks,
    pub(super) gate: Gate,
    pub(super) kept: Arc<Kept>,
    pub(super) shared: Shared,
}

/// Why and where a message was sent, as far as its sender says.
#[derive(Debug, Clone, Default)]
pub(crate) struct Origin {
    /// Why and where.
    pub(crate) provenance: Provenance,
    /// The sender's `traceparent`; one in the message goes first.
    pub(crate) trace: Option<String>,
}

impl Known {
    pub(super) fn new(name: &str, gate: Gate, kept: Arc<Kept>, shared: Shared) -> Self {
        Self {
            name: name.to_owned(),
            definitions: Definitions::new(Arc::clone(&kept.accepted)),
            tasks: Tasks::default(),
            gate,
            kept,
            shared,
        }
    }

    /// Where a message over HTTP comes from: from whom its token vouches for, if it has one.
    ///
    /// # Errors
    /// When the token does not hold.
    pub(super) fn origin(&self, headers: &HeaderMap) -> Result<Origin, Refused> {
        let initiator = self.shared.initiators.of(headers, self.gate.now())?;
        Ok(Origin { provenance: Provenance { initiator, ..Provenance::default() }, trace: None })
    }

    /// Cancelled when the sidecar stops.
    pub(super) fn stop(&self) -> &CancellationToken {
        &self.shared.stop
    }

    /// Has the gate decide about a request. What cannot be read is denied (I6).
    pub(crate) async fn decide(
        &self,
        direction: Direction,
        method: &str,
        params: Option<&str>,
        origin: &Origin,
    ) -> Answer {
        match self.intent(direction, method, params, origin) {
            Ok(intent) => self.gate.decide(intent).await,
            Err(unreadable) => Answer::Denied(self.refuse(unreadable, origin).await),
        }
    }

    /// Denies what cannot be read.
    pub(crate) async fn refuse(&self, unreadable: Unreadable, origin: &Origin) -> Denial {
        let Unreadable { about, why } = unreadable;
        self.gate.refuse(Interceptor::Mcp, &about, why, origin.trace.as_deref()).await
    }

    /// Whether a request for an item of a list could be let through.
    pub(super) fn could(&self, method: &str, parameter: &str, name: &str) -> bool {
        let params = json!({parameter: name}).to_string();
        let intent = self.intent(Direction::ToServer, method, Some(&params), &Origin::default());
        intent.is_ok_and(|intent| self.gate.could(&intent))
    }

    /// A request, with what the sidecar knows about what it is for.
    fn intent(
        &self,
        direction: Direction,
        method: &str,
        params: Option<&str>,
        origin: &Origin,
    ) -> Result<Intent, Unreadable> {
        let (mut act, trace) = act(&Seen { server: &self.name, direction, method, params })?;
        let mut tool_pin = None;
        match &mut act {
            Act::Tool { tool, facts, declared, .. } => {
                tool_pin = self.definitions.digest(tool);
                *declared = self.definitions.declared(tool);
                facts.insert("tool".to_owned(), self.definitions.facts(tool).into());
            }
            Act::Method { method, facts, .. } if connects(method) => {
                tool_pin = self.kept.accepted.new_instructions();
                let told = self.kept.accepted.instruction_facts();
                facts.extend(told.map(|told| ("instructions".to_owned(), Value::Object(told))));
            }
            Act::Method { method, params, facts, .. } if method.starts_with("tasks/") => {
                let id = params.get("taskId").and_then(Value::as_str).unwrap_or_default();
                facts.insert("task".to_owned(), json!({"own": self.tasks.is_own(id)}));
            }
            _ => {}
        }
        let arguments = match &act {
            Act::Tool { .. } => Arguments::Replaceable,
            _ => Arguments::AsGiven,
        };
        Ok(Intent {
            interceptor: Interceptor::Mcp,
            act,
            arguments,
            provenance: origin.provenance.clone(),
            asserted_subject: None,
            trace: trace.or_else(|| origin.trace.clone()),
            tool_pin,
        })
    }

    /// Whether what the server's tools are should be found out before a call is decided about.
    pub(crate) fn wants_tools(&self, call: &Call) -> bool {
        call.method == "tools/call" && self.definitions.are_wanted()
    }

    /// The server has said that often that its tools have changed.
    pub(crate) fn heard_of_changes(&self, changes: u64) {
        self.definitions.outdated_to(changes);
    }

    /// How often the server has said that its tools have changed.
    pub(crate) fn changes(&self) -> u64 {
        self.definitions.changes()
    }

    /// The server does not say what its tools are.
    pub(crate) fn refused_to_list(&self) {
        self.definitions.refused();
    }

    /// What a request relies on.
    pub(crate) fn pin(&self, call: &Call) -> Option<Pin> {
        if connects(&call.method) {
            return Some(Pin::Instructions(self.kept.accepted.new_instructions()));
        }
        let tool = call.tool()?;
        let digest = self.definitions.digest(&tool);
        Some(Pin::Tool(tool, digest))
    }

    /// A person has approved what relies on this.
    pub(crate) fn accept(&self, pin: &Pin) {
        match pin {
            Pin::Tool(tool, Some(digest)) => self.definitions.accept(tool, *digest),
            Pin::Instructions(Some(digest)) => self.kept.accepted.accept_instructions(*digest),
            Pin::Tool(_, None) | Pin::Instructions(None) => {}
        }
    }

    /// A request that goes on under a permit.
    pub(crate) fn asked(&self, call: Call, pin: Option<&Pin>, permit: &Permit) -> Asked {
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
        Asked { call, rules, instructions, edited: permit.edited().cloned() }
    }

    /// Takes a state of ours out of a request that is made again, so that it is the one that it was. Returns
    /// the message as it was then; `None` when it has no such state.
    ///
    /// # Errors
    /// When the state is not for it: the answer to give.
    pub(crate) fn restore(&self, call: &mut Call, message: &str) -> Result<Option<String>, String> {
        let Some(params) = &call.params else { return Ok(None) };
        let restored = self.kept.seal.restore(self.agent(), &call.method, params, self.gate.now());
        let restored = restored.map_err(|error| ruling::unacceptable(&call.id, -32602, &error))?;
        let Some((params, mut members)) = restored.zip(Members::parse(message).ok()) else { return Ok(None) };
        members.set("params", params.clone());
        call.params = Some(params);
        Ok(Some(members.to_string()))
    }

    /// The agent that all requests are made by.
    pub(super) fn agent(&self) -> &str {
        &self.gate.agent().id
    }
}
