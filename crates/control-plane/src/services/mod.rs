//! What the control plane can do, as the API and the console call it.
//!
//! Each service checks the actor's rights itself, so that no front can forget to, and returns views:
//! plain values that serialise as the API shows them.

mod agents;
mod approvals;
mod audit;
mod page;
mod policies;
mod status;

pub use agents::{
    AddAgent, AddedAgent, AgentError, AgentState, AgentView, Agents, JoinTokenState, JoinTokenView,
};
pub use approvals::{
    ApprovalError, ApprovalFilter, ApprovalView, Approvals, Ballot, Change, MayVote, RequirementView,
    VoteDecision, VoteView,
};
pub use audit::{
    Audit, AuditError, AuditFilter, CheckpointView, ConsistencyView, EventView, ExportStream, InclusionView,
};
pub use page::{Page, PageRequest};
pub use policies::{
    FileProblem, Policies, PolicyError, PushPolicy, RevisionDetail, RevisionView, TestSummary, Validation,
};
pub use status::{Readiness, StatusService};

use countersign_model::PersonId;

use crate::identity::{Actor, Right};

/// Every service of a running control plane.
#[derive(Debug, Clone)]
pub struct Services {
    /// Approvals and votes.
    pub approvals: Approvals,
    /// Agents and their join tokens.
    pub agents: Agents,
    /// Policy revisions.
    pub policies: Policies,
    /// The ledger.
    pub audit: Audit,
    /// Readiness.
    pub status: StatusService,
}

/// The actor may not do this.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{person} may not do this: it takes the right to {needed}")]
pub struct MissingRight {
    /// Who asked.
    pub person: PersonId,
    /// What they would need.
    pub needed: Right,
}

/// Refuses an actor who lacks the right.
fn require(actor: &Actor, needed: Right) -> Result<(), MissingRight> {
    if actor.may(needed) {
        return Ok(());
    }
    Err(MissingRight { person: actor.person.clone(), needed })
}
