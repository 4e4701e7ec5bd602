//! The messages of the local API, as JSON. One operation is one exchange: a request, then a stream
//! of events, one JSON object a line (NDJSON).

use std::collections::BTreeMap;

use countersign_approval::{Phase, Progress, Status};
use countersign_gate::{Denial, Held, Outcome, Produced};
use countersign_model::{
    ApprovalId, DecidingPolicy, Digest, EvaluationId, Object, PersonId, Provenance, RequirementName,
    Timestamp,
};
use countersign_policy::outputs::Ruled;
use serde::{Deserialize, Serialize};

use crate::hook::part::Part;

/// Where an operation is submitted (POST).
pub const OPERATIONS: &str = "/local/v1/operations";

/// Where a relay tells what tools its server has (POST).
pub const TOOLS: &str = "/local/v1/mcp/tools";

/// The most bytes that one request of the local API may have: the largest MCP message, escaped.
pub const MAX_REQUEST: usize = 12 * 1024 * 1024;

/// The most bytes of a server's answer that the sidecar looks at. Escaped they are at most twice as many.
pub const MAX_ANSWER: usize = 16 * 1024 * 1024;

/// Where the outcome of an execution is reported (POST).
#[must_use]
pub fn outcome_path(execution: EvaluationId) -> String {
    format!("/local/v1/executions/{execution}/outcome")
}

/// Where the answer to a forwarded MCP message is shown, and its outcome reported with it (POST).
#[must_use]
pub fn answer_path(execution: EvaluationId) -> String {
    format!("/local/v1/executions/{execution}/answer")
}

/// Where a held operation is withdrawn (POST).
#[must_use]
pub fn cancel_path(approval: ApprovalId) -> String {
    format!("/local/v1/approvals/{approval}/cancel")
}

/// What a client wants to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum OperationRequest {
    /// Run a command.
    Exec {
        /// What would be executed, exactly.
        command: Command,
        /// Why and where.
        #[serde(default)]
        provenance: Provenance,
        /// The caller's `traceparent`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        trace: Option<String>,
    },
    /// Forward an MCP message.
    Mcp {
        /// The message, and which way it goes.
        message: McpMessage,
        /// How long people may take, in seconds. Then the request stays open, and the same message attaches
        /// to it when it comes again.
        patience: u64,
        /// Why and where.
        #[serde(default)]
        provenance: Provenance,
        /// The `traceparent` of the relay's own environment; one in the message's `_meta` goes first.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        trace: Option<String>,
    },
    /// Let a coding agent use a tool. Its host does so itself, and reports no outcome.
    Hook {
        /// What it is about to do.
        call: HookCall,
        /// Whether its host can be told to use the tool with another input.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        editable: bool,
        /// How long people may take, in seconds. Then the request stays open, and the same call attaches
        /// to it when it comes again.
        patience: u64,
        /// Why and where.
        #[serde(default)]
        provenance: Provenance,
        /// The caller's `traceparent`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        trace: Option<String>,
    },
}

impl OperationRequest {
    /// Why and where.
    pub(super) fn provenance_mut(&mut self) -> &mut Provenance {
        match self {
            Self::Exec { provenance, .. } | Self::Mcp { provenance, .. } | Self::Hook { provenance, .. } => {
                provenance
            }
        }
    }
}

/// A message that a relay wants to forward.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct McpMessage {
    /// Who asks.
    pub relay: Relay,
    /// Which way the message goes.
    pub direction: Direction,
    /// The message as it was received, byte for byte.
    pub text: String,
    /// How often the server has told the relay that its tools have changed.
    pub changes: u64,
    /// Whether the relay has done what it can to list the server's tools for this message.
    pub listed: bool,
}

/// A relay: one server, as one client reaches it. What it says of the server counts for its own messages and
/// for nobody else's.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Relay {
    /// The server's name, as the operator gave it.
    pub server: String,
    /// What nobody else knows of the relay.
    pub id: String,
}

/// A page of a server's tools that a relay has asked for on its own account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolsPage {
    /// Whose server it is.
    pub relay: Relay,
    /// How often the server had said that its tools have changed before it was asked.
    pub changes: u64,
    /// Whether it is the first page.
    pub is_first: bool,
    /// The server's answer, byte for byte; none when it did not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
}

/// How a list of tools goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextPage {
    /// Where the next page begins; none after the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// Which answers to a message the sidecar must see before who asked does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Review {
    /// None.
    #[default]
    None,
    /// One that asks something of the client, begins a task, or could seem to.
    Concerning,
    /// Every answer.
    Every,
}

/// What becomes of an answer that the sidecar has seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Reviewed {
    /// It passes as it is.
    Pass,
    /// This message goes in its place.
    Instead {
        /// The message.
        message: String,
    },
    /// It does not pass.
    Drop,
}

/// A tool call of a coding agent. All of it binds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HookCall {
    /// The agent's host: `claude-code`, …
    pub host: String,
    /// The host's name of the tool.
    pub tool: String,
    /// The shell line, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<String>,
    /// The working directory.
    pub cwd: String,
    /// The tool's input, without the line and without what only words it.
    pub input: Object,
    /// What it comes to.
    pub parts: Vec<Part>,
}

/// A command as it would be executed. All of it binds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// Where the program was found, absolute.
    pub found: String,
    /// The program's file, without symbolic links.
    pub program: String,
    /// The digest of that file.
    pub program_digest: Digest,
    /// The words of the command, as they were written.
    pub argv: Vec<String>,
    /// The files that the words name, with the digest of their content.
    #[serde(default)]
    pub files: BTreeMap<String, Digest>,
    /// The working directory, absolute and without symbolic links.
    pub cwd: String,
    /// The variables that policy and reviewers see.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// One digest over all other variables that the command is given.
    pub env_digest: Digest,
    /// What the command reads from.
    pub stdin: Stdin,
}

/// What a command's standard input is. Its content does not bind, so its kind does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stdin {
    /// Nothing, or `/dev/null`.
    Empty,
    /// A terminal.
    Terminal,
    /// A file.
    File,
    /// A pipe, a socket, or anything else.
    Stream,
}

impl Stdin {
    /// The name in operations.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Terminal => "terminal",
            Self::File => "file",
            Self::Stream => "stream",
        }
    }
}

/// Which way an MCP message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From the agent to the server.
    ToServer,
    /// From the server to the agent.
    ToClient,
}

/// A line of the answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// Policy wants people to decide; they are being asked.
    Held(HeldEvent),
    /// People have been asked. Sent again when something changes, and every few seconds.
    Waiting(WaitingEvent),
    /// It may run now, exactly as submitted. The stream stays open until its outcome is reported.
    Permit(PermitEvent),
    /// It does not run.
    Denied(DeniedEvent),
    /// It does not run: a reviewer changed what a hook has seen. The hook reads that anew, and submits it.
    Edited(EditedEvent),
    /// It does not run, and this MCP message is the answer to it.
    Answered(AnsweredEvent),
    /// It is not decided yet: what the server's tools are must be known first. The relay lists them, and
    /// submits the message again.
    ListTools,
}

/// The answer to a message that is not forwarded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnsweredEvent {
    /// The answer.
    pub message: String,
}

/// What a tool call has become.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EditedEvent {
    /// The shell line, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<String>,
    /// The tool's input, without the line and without what only words it.
    pub input: Object,
    /// Who changed it, and why.
    pub by: Vec<EditorEvent>,
}

/// Who changed a tool call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EditorEvent {
    /// Who.
    pub person: PersonId,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Why an operation is held.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HeldEvent {
    /// The decision's id.
    pub evaluation: EvaluationId,
    /// The digest of what would be approved.
    pub digest: Digest,
    /// What is held, in a few words: `deploy Service::"payments"`.
    pub summary: String,
    /// The policies that hold it.
    pub policies: Vec<DecidingPolicy>,
    /// What must be met.
    pub requirements: Vec<RequirementName>,
}

/// How far an approval is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WaitingEvent {
    /// The approval's id.
    pub approval: ApprovalId,
    /// Where it stands.
    pub phase: Phase,
    /// When it expires.
    pub decide_by: Timestamp,
    /// Who may decide, and how far each requirement is.
    pub progress: Vec<Progress>,
    /// Where reviewers decide, if the sidecar knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
}

/// The right to run an operation, once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PermitEvent {
    /// The decision's id; the outcome is reported under it.
    pub evaluation: EvaluationId,
    /// The approval it rests on, if it was held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalId>,
    /// The `traceparent` for what is executed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// What an MCP relay has to know.
    #[serde(default)]
    pub mcp: McpTerms,
}

/// On what terms an MCP message may be forwarded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct McpTerms {
    /// The message to forward in place of the one that was submitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// How often the server had said that its tools have changed when the called tool was looked up. If it
    /// has said so once more since, the tool is not what was decided about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<u64>,
    /// Which answers the sidecar must see.
    #[serde(default)]
    pub review: Review,
}

/// Why an operation does not run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeniedEvent {
    /// The decision's id, if one was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evaluation: Option<EvaluationId>,
    /// The approval's id, if people were asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalId>,
    /// A stable name of the cause: `policy`, `refused`, `expired`, `unreachable`, …
    pub code: String,
    /// Whether the same operation may fare better later. An expiry is told apart from a refusal (I5).
    pub retry: bool,
    /// The reason, for people.
    pub message: String,
    /// The policies that decided.
    #[serde(default)]
    pub policies: Vec<DecidingPolicy>,
}

impl DeniedEvent {
    /// What a requester is told of a denial.
    pub(crate) fn of(denial: &Denial) -> Self {
        Self {
            evaluation: Some(denial.evaluation),
            approval: denial.approval,
            code: denial.cause.code().to_owned(),
            retry: denial.cause.is_transient() || denial.is_expiry(),
            message: denial.cause.to_string(),
            policies: denial.policies.clone(),
        }
    }

    /// Nobody has decided within the client's patience. The request stays open.
    pub(crate) fn pending(evaluation: EvaluationId, policies: Vec<DecidingPolicy>, status: &Status) -> Self {
        Self {
            evaluation: Some(evaluation),
            approval: Some(status.id),
            code: "pending".to_owned(),
            retry: true,
            message: "people have not decided yet".to_owned(),
            policies,
        }
    }

    /// The sidecar stops before anybody has decided.
    pub(crate) fn stopping(evaluation: EvaluationId) -> Self {
        Self {
            evaluation: Some(evaluation),
            approval: None,
            code: "stopping".to_owned(),
            retry: true,
            message: "the sidecar is being stopped, and the request was withdrawn".to_owned(),
            policies: Vec::new(),
        }
    }

    /// A reviewer made of the call what its host cannot do.
    pub(crate) fn unfit(evaluation: EvaluationId) -> Self {
        Self {
            evaluation: Some(evaluation),
            approval: None,
            code: "cancelled".to_owned(),
            retry: false,
            message: "a reviewer changed the arguments into what the host cannot be told".to_owned(),
            policies: Vec::new(),
        }
    }

    /// The tool is not what it was when the call was decided about, or the server's instructions are not.
    pub(crate) fn changed(evaluation: EvaluationId, approval: Option<ApprovalId>) -> Self {
        Self {
            evaluation: Some(evaluation),
            approval,
            code: "tool_changed".to_owned(),
            retry: true,
            message: "the server has changed what it says of itself in the meantime".to_owned(),
            policies: Vec::new(),
        }
    }

    /// Policy asks for something else each time it is asked.
    pub(crate) fn still_held(held: &Held) -> Self {
        Self {
            evaluation: Some(held.evaluation()),
            approval: None,
            code: "superseded".to_owned(),
            retry: true,
            message: "policy changed while it was held".to_owned(),
            policies: held.policies().to_vec(),
        }
    }
}

/// How an execution ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case", deny_unknown_fields)]
pub enum OutcomeReport {
    /// It ran and succeeded.
    Executed {
        /// The digest of what came of it, as it was told.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        result: Option<Digest>,
        /// What output rules did to it before the agent saw it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ruled: Option<Ruled>,
    },
    /// It ran, or was about to, and failed.
    Failed {
        /// How, in a few words.
        reason: String,
    },
}

impl OutcomeReport {
    /// What an answer says about the request that it answers.
    pub(crate) fn of_answer(success: bool, result: Option<Digest>, ruled: Option<Ruled>) -> Self {
        if success {
            Self::Executed { result, ruled }
        } else {
            Self::Failed { reason: "the answer is an error".to_owned() }
        }
    }

    /// What is recorded of it.
    pub(crate) fn split(self) -> (Outcome, Produced) {
        match self {
            Self::Executed { result, ruled } => (Outcome::Executed, Produced { digest: result, ruled }),
            Self::Failed { reason } => (Outcome::Failed { detail: reason }, Produced::default()),
        }
    }

    /// It ran and succeeded, and what came of it is not known here.
    #[must_use]
    pub const fn executed() -> Self {
        Self::Executed { result: None, ruled: None }
    }
}

/// An answer that is no event stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// What is wrong, and what to do.
    pub error: String,
}
