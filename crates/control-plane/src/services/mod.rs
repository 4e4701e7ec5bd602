//! What the control plane can do, as the API and the console call it.
//!
//! Each service checks the actor's rights itself, so that no front can forget to, and returns views:
//! plain values that serialise as the API shows them.

mod agents;
mod approval_view;
mod approval_words;
mod approvals;
mod attention;
mod audit;
mod channels;
mod edits;
mod exceptions;
mod outline;
mod overview;
mod overview_lists;
mod page;
mod passkeys;
mod policies;
mod reviews;
mod status;

pub use agents::{
    AddAgent, AddedAgent, AgentError, AgentState, AgentView, Agents, JoinTokenState, JoinTokenView,
};
pub use approval_words::{BatchedVote, CommentView, VoteResult};
pub use approvals::{
    ApprovalError, ApprovalFilter, ApprovalView, Approvals, Ballot, Change, DelegatedView, EscalationView,
    GlassReviewView, GlassView, MayVote, RequirementView, VoteDecision, VoteView,
};
pub use attention::{
    AlwaysApproved, AttentionReport, PolicyAttention, ProposedPolicy, ReportError, Reports, ReviewerAttention,
};
pub use audit::{
    Audit, AuditError, AuditFilter, CheckpointView, ConsistencyView, EventView, ExportStream, InclusionView,
};
pub use channels::{ChannelError, ChannelState, ChannelView, Channels};
pub use edits::{EditView, Proposal};
pub use outline::{Labelled, Outline, Words};
pub use overview::{Overview, SettingsGroup, SettingsService};
pub use page::{Page, PageRequest};
pub use passkeys::{Asked, PasskeyError, PasskeyView, Passkeys};
pub use policies::{
    FileProblem, Policies, PolicyError, PushPolicy, RevisionDetail, RevisionView, TestSummary, Validation,
};
pub use reviews::Reviewed;
pub use status::{Readiness, StatusService};

use std::sync::Arc;

use countersign_model::{PersonId, Seconds, TrustDomain};
use countersign_store::Store;

use crate::{
    authority::CertificateAuthority,
    broker::Broker,
    channel,
    clock::Clock,
    distribution::{Catalogue, Distribution},
    hub::Hub,
    identity::{Actor, Right, passkey::RelyingParty},
    ledger::Ledger,
    link::Registry,
};

/// Every service of a running control plane.
#[derive(Debug, Clone)]
pub struct Services {
    /// Approvals and votes.
    pub approvals: Approvals,
    /// People's passkeys, and what they confirm with them.
    pub passkeys: Passkeys,
    /// Agents and their join tokens.
    pub agents: Agents,
    /// Policy revisions.
    pub policies: Policies,
    /// The ledger.
    pub audit: Audit,
    /// Where reviewers are told.
    pub channels: Channels,
    /// What is configured.
    pub settings: SettingsService,
    /// What the record says about deciding itself.
    pub reports: Reports,
    /// Readiness.
    pub status: StatusService,
}

/// What the services are made of.
pub(crate) struct Parts {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Clock,
    pub(crate) broker: Arc<Broker>,
    pub(crate) distribution: Arc<Distribution>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) catalogue: Arc<Catalogue>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) channels: Arc<channel::Channels>,
    pub(crate) authority: Arc<CertificateAuthority>,
    pub(crate) trust_domain: TrustDomain,
    pub(crate) join_token_lifetime: Seconds,
    /// This console as passkeys know it; `None` where they cannot be used.
    pub(crate) relying_party: Option<RelyingParty>,
    pub(crate) overview: Overview,
}

impl Services {
    /// The services of a control plane.
    pub(crate) fn new(parts: Parts) -> Self {
        let parts = Arc::new(parts);
        Self {
            approvals: Approvals::new(Arc::clone(&parts)),
            passkeys: Passkeys::new(Arc::clone(&parts)),
            agents: Agents::new(Arc::clone(&parts)),
            policies: Policies::new(Arc::clone(&parts)),
            audit: Audit::new(Arc::clone(&parts)),
            channels: Channels::new(Arc::clone(&parts)),
            settings: SettingsService::new(Arc::clone(&parts)),
            reports: Reports::new(Arc::clone(&parts)),
            status: StatusService::new(parts),
        }
    }
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").field("trust_domain", &self.trust_domain).finish_non_exhaustive()
    }
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
