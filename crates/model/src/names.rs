//! Names of spans, attributes and metrics, in one place.
//!
//! Where OpenTelemetry's semantic conventions have a name (`gen_ai.*`, `mcp.*`, `rpc.*`), it is
//! used; approvals have none, so theirs are `countersign.*`.

/// Span names. One trace tells an operation's whole story.
pub mod span {
    /// The whole of an operation, from the interceptor's first byte to its outcome.
    pub const OPERATION: &str = "countersign.operation";
    /// One evaluation of policy.
    pub const EVALUATE: &str = "countersign.evaluate";
    /// The time an operation waits for its approval.
    pub const HOLD: &str = "countersign.hold";
    /// The control plane takes in an approval request.
    pub const REQUEST: &str = "countersign.approval.request";
    /// Reviewers are told.
    pub const NOTIFY: &str = "countersign.approval.notify";
    /// One channel tells them.
    pub const DELIVER: &str = "countersign.channel.deliver";
    /// One person votes.
    pub const VOTE: &str = "countersign.approval.vote";
    /// The control plane signs a grant.
    pub const GRANT: &str = "countersign.approval.grant";
    /// Policy is asked again, with the approval as an input.
    pub const REEVALUATE: &str = "countersign.reevaluate";
    /// The operation itself.
    pub const EXECUTE: &str = "countersign.execute";
}

/// Attribute names.
pub mod attribute {
    /// The approval's id.
    pub const APPROVAL_ID: &str = "countersign.approval.id";
    /// What became of the approval.
    pub const APPROVAL_STATE: &str = "countersign.approval.state";
    /// The operation's digest.
    pub const OPERATION_DIGEST: &str = "countersign.operation.digest";
    /// The action's name.
    pub const ACTION: &str = "countersign.action";
    /// The resource as `type::"id"`.
    pub const RESOURCE: &str = "countersign.resource";
    /// The interceptor that saw the operation: `check`, `exec`, `mcp`.
    pub const INTERCEPTOR: &str = "countersign.interceptor";
    /// `permit`, `deny` or `hold`.
    pub const DECISION: &str = "countersign.decision";
    /// The ids of the policies that decided.
    pub const POLICIES: &str = "countersign.policies";
    /// The requirements that must be met.
    pub const REQUIREMENTS: &str = "countersign.requirements";
    /// The bundle's revision.
    pub const REVISION: &str = "countersign.bundle.revision";
    /// Who voted.
    pub const VOTER: &str = "countersign.vote.voter";
    /// `approve` or `deny`.
    pub const VOTE: &str = "countersign.vote.decision";
    /// The channel that tells reviewers, by its configured name.
    pub const CHANNEL: &str = "countersign.channel";
    /// How the operation ended: `executed`, `failed`, `outcome_unknown`, `refused`.
    pub const OUTCOME: &str = "countersign.outcome";
    /// The agent's name.
    pub const AGENT: &str = "gen_ai.agent.name";
    /// The agent's id.
    pub const AGENT_ID: &str = "gen_ai.agent.id";
    /// The model.
    pub const MODEL: &str = "gen_ai.request.model";
    /// The conversation.
    pub const CONVERSATION: &str = "gen_ai.conversation.id";
    /// The tool that is called.
    pub const TOOL: &str = "gen_ai.tool.name";
    /// The MCP method.
    pub const MCP_METHOD: &str = "mcp.method.name";
    /// The JSON-RPC request id.
    pub const RPC_REQUEST_ID: &str = "jsonrpc.request.id";
}

/// Metric names, each with its unit in the documentation.
pub mod metric {
    /// Decisions by `countersign.decision` and `countersign.interceptor` (count).
    pub const DECISIONS: &str = "countersign.decisions";
    /// How long a decision takes (seconds).
    pub const DECISION_DURATION: &str = "countersign.decision.duration";
    /// Approvals that wait for people (count).
    pub const APPROVALS_PENDING: &str = "countersign.approvals.pending";
    /// From an approval's submission to its decision (seconds).
    pub const TIME_TO_DECIDE: &str = "countersign.approval.time_to_decide";
    /// Messages of a channel by `countersign.channel` and whether it took them (count).
    pub const CHANNEL_DELIVERIES: &str = "countersign.channel.deliveries";
    /// What a channel is still to tell (count).
    pub const CHANNEL_BACKLOG: &str = "countersign.channel.backlog";
    /// 1 while a channel works, else 0.
    pub const CHANNEL_UP: &str = "countersign.channel.up";
    /// Events in the spool that are not acknowledged yet (count).
    pub const SPOOL_DEPTH: &str = "countersign.spool.depth";
    /// 1 while the link is up, else 0.
    pub const LINK_UP: &str = "countersign.link.up";
    /// Ledger entries that the index has not caught up with (count).
    pub const LEDGER_LAG: &str = "countersign.ledger.lag";
}
