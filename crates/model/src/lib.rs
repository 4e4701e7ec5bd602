//! The words of Countersign.
//!
//! Everything else is said with the types of this crate: an [`Operation`] that an agent wants to
//! carry out, its [`Digest`] over the RFC 8785 canonical form, where it came from
//! ([`Provenance`]), what was decided ([`Decision`]), which [`Requirement`]s hold it, and the typed
//! ids, times and keys around them.
//!
//! The crate is pure: it opens nothing, reads no clock and draws no randomness. Callers pass in the
//! time and the entropy.

pub mod amount;
pub mod canonical;
mod canonical_scan;
pub mod decision;
pub mod digest;
pub mod id;
pub mod identity;
pub mod names;
pub mod operation;
pub mod projection;
pub mod provenance;
pub mod redaction;
pub mod requirement;
pub mod signing;
pub mod strict_json;
pub mod task_scope;
pub mod time;

pub use amount::{Amount, Charge};
pub use decision::{DecidingPolicy, Decision, PolicyEffect};
pub use digest::Digest;
pub use id::{AgentId, ApprovalId, DelegationId, EvaluationId, EventId, JoinTokenId, TokenId, VoteId};
pub use identity::{AgentName, PersonId, SpiffeId, TrustDomain};
pub use operation::{Action, Object, Operation, Resource, Subject};
pub use projection::Projection;
pub use provenance::Provenance;
pub use requirement::{
    Assurance, Escalation, GrantShape, ReasonRule, Requirement, RequirementKind, RequirementName,
    ReviewerSelector,
};
pub use task_scope::TaskScope;
pub use time::{Seconds, Timestamp};

/// The number of a policy bundle. Revisions are given out by the control plane, start at 1 and only grow.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct Revision(pub u64);

impl std::fmt::Display for Revision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}
