//! What an interceptor saw, in the one form that the gate decides about.

use std::{fmt, sync::Arc};

use countersign_approval::ArgumentChange;
use countersign_model::{
    AgentName, ApprovalId, Digest, Object, Operation, PersonId, Projection, Provenance, Subject,
    operation::{BoundOperation, RESERVED_CONTEXT},
    redaction::Redaction,
};
use countersign_policy::{
    Bundle,
    mapping::{CommandLine, Mapped, ToolCall},
};
use serde_json::{Value, json};
use tracing::Span;

/// The longest canonical form of an operation. What is longer is refused, so that whatever is decided
/// about can also be recorded, shipped and shown whole (I12).
pub const MAX_OPERATION: usize = 256 * 1024;

/// The protocol front that saw the operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Interceptor {
    /// The AuthZEN check API: the caller enforces.
    Check,
    /// `countersign exec`.
    Exec,
    /// `countersign mcp`.
    Mcp,
    /// `countersign hook`: a coding agent's host enforces.
    Hook,
}

impl Interceptor {
    /// The name in records, spans and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Exec => "exec",
            Self::Mcp => "mcp",
            Self::Hook => "hook",
        }
    }
}

impl fmt::Display for Interceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where an interceptor's facts hold the digests of files that an operation depends on, by their names.
const BOUND_FILES: &str = "/execution/files";

/// What is to be done.
///
/// Commands and tool calls are mapped to an operation by the gate, under the same bundle that decides
/// about them: a bundle that changes in between can neither split the two nor leave a held operation
/// with a mapping that is no longer in force (I7).
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    /// An operation that the caller has normalised already.
    Operation {
        /// The operation.
        operation: Box<Operation>,
        /// Which of its fields do not bind.
        projection: Projection,
    },
    /// A command, to be mapped by the bundle.
    Command {
        /// The command.
        command: CommandLine,
        /// What the interceptor found out about it. It joins the context of the mapped operation, over
        /// the mapping's own members of those names, so that it binds whatever a mapping says.
        facts: Object,
    },
    /// An MCP tool call, to be mapped by the bundle.
    Tool {
        /// The server's name, as the operator gave it.
        server: String,
        /// The tool's name.
        tool: String,
        /// Its arguments.
        arguments: Object,
        /// The `x-authzen-mapping` in the tool's input schema, as the server declares it. Whether it
        /// counts for anything is up to the bundle.
        declared: Option<Value>,
        /// What the interceptor found out about it, as for a command.
        facts: Object,
    },
    /// An MCP request other than a tool call, to be mapped by the bundle.
    Method {
        /// The server's name, as the operator gave it.
        server: String,
        /// The method.
        method: String,
        /// Its parameters.
        params: Object,
        /// What the interceptor found out about it, as for a command.
        facts: Object,
    },
    /// Several acts that are done together or not at all, such as the commands of one shell line. Policy
    /// must permit each of them. People approve the whole, and it is the whole that binds: its context
    /// gets every one of them, as they were put to policy, as [`OPERATIONS`].
    Several {
        /// The whole.
        whole: Box<Operation>,
        /// What it comes to.
        parts: Vec<Act>,
    },
}

/// The member of a whole's context that holds what it comes to.
pub const OPERATIONS: &str = "operations";

/// One operation that somebody wants to carry out.
#[derive(Debug, Clone, PartialEq)]
pub struct Intent {
    /// Who saw it.
    pub interceptor: Interceptor,
    /// What is to be done.
    pub act: Act,
    /// Why and where, as far as known.
    pub provenance: Provenance,
    /// The subject that the caller asserted; policy sees it as unverified `context.subject`.
    pub asserted_subject: Option<Subject>,
    /// The W3C `traceparent` of the caller's span.
    pub trace: Option<String>,
    /// The digest of the tool's definition, when the protocol has one.
    pub tool_pin: Option<Digest>,
    /// Whether it can be carried out with other arguments, or has to be.
    pub arguments: Arguments,
}

/// The arguments that an intent is carried out with.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Arguments {
    /// Those that it came with, and no others.
    #[default]
    AsGiven,
    /// Others, if a reviewer changes them. Whoever sets this must carry out what [`crate::Permit::edited`] says.
    Replaceable,
    /// What a reviewer made of them.
    Replaced(Arc<Replaced>),
    /// Others, if a reviewer changes them, and then only as another intent: whoever sets this is told by
    /// [`crate::Cause::Edited`], reads what is to be done anew, and says here which edits have led to it.
    Resubmittable(Vec<MadeEdit>),
}

impl Arguments {
    /// The edits that have led to them, in order.
    #[must_use]
    pub fn edits(&self) -> &[MadeEdit] {
        match self {
            Self::AsGiven | Self::Replaceable => &[],
            Self::Replaced(replaced) => &replaced.edits,
            Self::Resubmittable(edits) => edits,
        }
    }
}

/// What became of an operation that has to be submitted anew.
#[derive(Debug, Clone, PartialEq)]
pub struct Edited {
    /// All the edits that have led to it, in order.
    pub edits: Vec<MadeEdit>,
    /// The operation's form with the changes made, secrets included. It stays on this machine.
    pub form: Value,
}

impl Eq for Edited {}

/// What reviewers made of the arguments of an operation.
#[derive(Debug, Clone, PartialEq)]
pub struct Replaced {
    /// All the arguments, as they are now.
    pub arguments: Object,
    /// Who changed what, in order.
    pub edits: Vec<MadeEdit>,
}

/// One reviewer's changes.
#[derive(Debug, Clone, PartialEq)]
pub struct MadeEdit {
    /// The approval that they were asked for.
    pub approval: ApprovalId,
    /// Who.
    pub by: PersonId,
    /// What they changed.
    pub changes: Vec<ArgumentChange>,
    /// Why.
    pub reason: Option<String>,
}

/// An intent that has been read under a bundle: its operation, and the form of it that is authorised.
#[derive(Debug)]
pub(crate) struct Matter {
    pub(crate) interceptor: Interceptor,
    pub(crate) operation: Operation,
    /// What the operation comes to, if that is more than itself.
    parts: Vec<Operation>,
    pub(crate) provenance: Provenance,
    pub(crate) asserted_subject: Option<Subject>,
    pub(crate) tool_pin: Option<Digest>,
    pub(crate) arguments: Arguments,
    pub(crate) span: Span,
    /// The `traceparent` of [`Self::span`], or the caller's own when nothing is traced here.
    pub(crate) trace: Option<String>,
    bound: BoundOperation,
}

impl Matter {
    /// Reads an intent under a bundle.
    pub(crate) fn read(
        intent: &Intent,
        agent: &AgentName,
        bundle: &Bundle,
        span: &Span,
        trace: Option<String>,
    ) -> Result<Self, String> {
        let (mut operation, projection, mut parts) = intent.act.map(agent, bundle)?;
        for operation in std::iter::once(&mut operation).chain(&mut parts) {
            operation.context.retain(|name, _| !RESERVED_CONTEXT.contains(&name.as_str()));
            if let Some(subject) = &intent.asserted_subject {
                // Policy sees whom the caller says it acts for, so people approve that, too, and it binds (I2).
                operation.context.insert("subject".to_owned(), json!(subject));
            }
        }
        let bound = operation.bind(&projection).map_err(|error| error.to_string())?;
        if bound.text().len() > MAX_OPERATION {
            return Err(format!("an operation may have at most {MAX_OPERATION} bytes"));
        }
        Ok(Self {
            interceptor: intent.interceptor,
            operation,
            parts,
            provenance: intent.provenance.clone().bounded(),
            asserted_subject: intent.asserted_subject.clone(),
            tool_pin: intent.tool_pin,
            arguments: intent.arguments.clone(),
            span: span.clone(),
            trace,
            bound,
        })
    }

    pub(crate) fn digest(&self) -> Digest {
        self.bound.digest()
    }

    /// The authorised form, whole. It stays on this machine.
    pub(crate) fn text(&self) -> &str {
        self.bound.text()
    }

    /// What policy is asked about: each of these must be permitted.
    pub(crate) fn asked(&self) -> &[Operation] {
        if self.parts.is_empty() { std::slice::from_ref(&self.operation) } else { &self.parts }
    }

    pub(crate) fn trace(&self) -> Option<&str> {
        self.trace.as_deref()
    }

    /// The authorised form without its secrets, and where they were (I10, I12).
    pub(crate) fn redacted(&self, redaction: &Redaction) -> (Value, Vec<String>) {
        // The text is canonical JSON that this crate has just written, so it always reads.
        let mut value = serde_json::from_str(self.bound.text()).unwrap_or(Value::Null);
        let found = redaction.apply(&mut value);
        (value, found)
    }

    /// Writes what this is about into the body of a record, without its secrets (I10).
    pub(crate) fn describe(&self, redaction: &Redaction, body: &mut Object) {
        let (operation, redacted) = self.redacted(redaction);
        body.insert("interceptor".to_owned(), json!(self.interceptor.as_str()));
        body.insert("operation".to_owned(), operation);
        if !redacted.is_empty() {
            body.insert("redacted".to_owned(), json!(redacted));
        }
        let provenance = redacted_provenance(self.provenance.clone(), redaction);
        if provenance != Provenance::default() {
            body.insert("provenance".to_owned(), json!(provenance));
        }
        let edits = self.arguments.edits();
        if !edits.is_empty() {
            let edit = |edit: &MadeEdit| {
                let pointers: Vec<_> = edit.changes.iter().map(|change| change.pointer.as_str()).collect();
                json!({"approval": edit.approval, "by": edit.by, "changed": pointers})
            };
            body.insert("edits".to_owned(), edits.iter().map(edit).collect());
        }
        if let Some(pin) = self.tool_pin {
            body.insert("tool_pin".to_owned(), json!(pin));
        }
    }
}

/// A provenance without its secrets (I10).
pub(crate) fn redacted_provenance(provenance: Provenance, redaction: &Redaction) -> Provenance {
    let redact = |text: Option<String>| {
        text.map(|text| {
            let mut value = Value::String(text);
            redaction.apply(&mut value);
            match value {
                Value::String(text) => text,
                _ => String::new(),
            }
        })
    };
    Provenance {
        initiator: provenance.initiator,
        model: redact(provenance.model),
        session: redact(provenance.session),
        reason: redact(provenance.reason),
        prompt: redact(provenance.prompt),
    }
}

impl Act {
    /// What it is about, in a few words, for the record of what could not be read.
    pub(crate) fn summary(&self) -> String {
        let text = match self {
            Self::Operation { operation, .. } | Self::Several { whole: operation, .. } => {
                operation.action.name.clone()
            }
            Self::Command { command, .. } => command.argv.first().cloned().unwrap_or_default(),
            Self::Tool { server, tool, .. } => format!("{server}/{tool}"),
            Self::Method { server, method, .. } => format!("{server}/{method}"),
        };
        text.chars().take(200).collect()
    }

    fn map(
        &self,
        agent: &AgentName,
        bundle: &Bundle,
    ) -> Result<(Operation, Projection, Vec<Operation>), String> {
        let (mapped, facts) = match self {
            Self::Operation { operation, projection } => {
                return Ok((Operation::clone(operation), projection.clone(), Vec::new()));
            }
            Self::Several { whole, parts } => return map_several(whole, parts, agent, bundle),
            Self::Command { command, facts } => (bundle.mappings().command(command), facts),
            Self::Tool { server, tool, arguments, declared, facts } => {
                let call = ToolCall { server, tool, arguments, declared: declared.as_ref() };
                (bundle.mappings().tool(&call), facts)
            }
            Self::Method { server, method, params, facts } => {
                (bundle.mappings().method(server, method, params), facts)
            }
        };
        let mut mapped = mapped.map_err(|error| error.to_string())?;
        let operation = |mut mapped: Mapped| {
            let unbound = unbound_files(&mapped.files, facts);
            mapped.context.extend(facts.clone());
            if !unbound.is_empty() {
                // Policy and reviewers should know that the content of these may still change.
                mapped.context.insert("unbound_files".to_owned(), json!(unbound));
            }
            mapped.into_operation(agent_subject(agent))
        };
        let parts: Vec<_> =
            std::mem::take(&mut mapped.parts).into_iter().map(|part| operation(part).0).collect();
        let (mut whole, projection) = operation(mapped);
        if !parts.is_empty() {
            whole.context.insert(OPERATIONS.to_owned(), shown(&parts));
        }
        Ok((whole, projection, parts))
    }
}

/// The whole binds in full, with all that it comes to: a mapping of a part may leave nothing out of it.
fn map_several(
    whole: &Operation,
    parts: &[Act],
    agent: &AgentName,
    bundle: &Bundle,
) -> Result<(Operation, Projection, Vec<Operation>), String> {
    let mut operations = Vec::with_capacity(parts.len());
    for part in parts {
        let (operation, _, inner) = part.map(agent, bundle)?;
        if inner.is_empty() { operations.push(operation) } else { operations.extend(inner) }
    }
    if operations.is_empty() {
        return Err("nothing is to be done".to_owned());
    }
    let mut whole = whole.clone();
    whole.context.insert(OPERATIONS.to_owned(), shown(&operations));
    Ok((whole, Projection::default(), operations))
}

/// Operations as they stand in the context of the whole.
fn shown(operations: &[Operation]) -> Value {
    let shown = operations.iter().map(|operation| {
        let Operation { subject: _, action, resource, context } = operation;
        json!({ "action": action, "resource": resource, "context": context })
    });
    shown.collect()
}

/// The files that a mapping knows the operation to depend on, and whose content nobody has bound.
fn unbound_files(files: &[String], facts: &Object) -> Vec<String> {
    if files.is_empty() {
        return Vec::new();
    }
    let facts = Value::Object(facts.clone());
    let bound = facts.pointer(BOUND_FILES).and_then(Value::as_object);
    files.iter().filter(|file| !bound.is_some_and(|bound| bound.contains_key(*file))).cloned().collect()
}

/// The verified agent as a subject: `Agent::"name"`.
#[must_use]
pub fn agent_subject(agent: &AgentName) -> Subject {
    Subject { kind: "Agent".to_owned(), id: agent.to_string(), properties: Object::new() }
}
