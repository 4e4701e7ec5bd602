//! Approvals. Their state machine runs inside the writer: load, transition, save, effects, events, all
//! in one transaction, so that votes cannot race and no state is without its event.

use async_trait::async_trait;
use countersign_approval::{Approval, Effect, Input, Phase, Refusal, Request, RequestError};
use countersign_model::{AgentId, ApprovalId, PersonId, Timestamp};

use crate::{By, CommandError, Page, PageError, PageRequest, StoreError};

/// An approval that was asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Submitted {
    /// The approval; when the same key was submitted before, the one that it got then, as it stands now.
    pub approval: Approval,
    /// Whether it is new.
    pub is_new: bool,
    /// What is to be told now. Messages to channels and sidecars are in the outbox already.
    pub effects: Vec<Effect>,
}

/// Why an approval was not opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubmitRefusal {
    /// The request is not one that people could be asked.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The key was used for another operation.
    #[error("the idempotency key was used for another operation before (approval {0})")]
    KeyTaken(ApprovalId),
    /// The agent is unknown or revoked.
    #[error("the agent is not enrolled")]
    NotEnrolled,
}

/// Something that happens to an approval.
#[derive(Debug, Clone)]
pub struct Change {
    /// The approval.
    pub id: ApprovalId,
    /// What happens.
    pub input: Input,
    /// The agent whose approval it must be: set for everything that comes over a link, so that no agent
    /// touches another's.
    pub agent: Option<AgentId>,
    /// The version that the caller saw (`If-Match`); any when `None`.
    pub expected_version: Option<u64>,
}

/// What a change made of an approval.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    /// The approval as it is now.
    pub approval: Approval,
    /// What is to be told now. Messages to channels and sidecars are in the outbox already.
    pub effects: Vec<Effect>,
}

/// Why an approval was not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyRefusal {
    /// There is no such approval, or not of that agent.
    #[error("there is no approval {0}")]
    Unknown(ApprovalId),
    /// It changed since the caller looked.
    #[error("the approval is at version {current} by now")]
    Changed {
        /// Its version.
        current: u64,
    },
    /// The state machine refuses.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// Which approvals are wanted; everything that is set must match.
#[derive(Debug, Clone, Default)]
pub struct ApprovalFilter {
    /// Where they stand.
    pub phase: Option<Phase>,
    /// Of this agent.
    pub agent: Option<AgentId>,
    /// Decided, or over: whatever but pending.
    pub is_decided: bool,
    /// With a vote of this person.
    pub voter: Option<PersonId>,
    /// With this text in what is asked, what the agent says or what people said, regardless of case.
    pub text: Option<String>,
    /// Submitted then or later.
    pub from: Option<Timestamp>,
    /// Submitted before.
    pub until: Option<Timestamp>,
    /// Only those that somebody approved alone, and nobody else has reviewed.
    pub needs_review: bool,
}

impl ApprovalFilter {
    /// Whether an approval is wanted.
    #[must_use]
    pub fn lets_through(&self, approval: &Approval) -> bool {
        let Approval { request, votes, .. } = approval;
        self.phase.is_none_or(|phase| phase == approval.phase())
            && self.agent.is_none_or(|agent| agent == request.agent)
            && (!self.is_decided || approval.phase().is_decided())
            && (!self.needs_review || approval.needs_review())
            && self.from.is_none_or(|from| request.submitted_at >= from)
            && self.until.is_none_or(|until| request.submitted_at < until)
            && self.voter.as_ref().is_none_or(|voter| votes.iter().any(|vote| vote.person == *voter))
            && self.text.as_ref().is_none_or(|text| mentions(approval, &text.to_lowercase()))
    }
}

fn mentions(approval: &Approval, text: &str) -> bool {
    let submission = &approval.request.submission;
    let provenance = &submission.provenance;
    let said = [&provenance.reason, &provenance.prompt, &provenance.model, &provenance.session];
    let voted = approval.votes.iter().filter_map(|vote| vote.reason.as_deref());
    let asked = [submission.operation.as_str(), approval.request.agent_name.as_str()];
    let mut texts = asked.into_iter().chain(said.into_iter().flatten().map(String::as_str)).chain(voted);
    texts.any(|one| one.to_lowercase().contains(text))
        || approval.request.id.to_string() == text
        || submission.digest.to_string().contains(text)
}

/// Approvals.
#[async_trait]
pub trait ApprovalStore {
    /// Opens an approval; the same key of the same agent again gives the same one.
    async fn submit_approval(
        &self,
        request: Request,
        by: By,
    ) -> Result<Submitted, CommandError<SubmitRefusal>>;

    /// Runs the state machine on an approval.
    async fn apply(&self, change: Change, by: By) -> Result<Applied, CommandError<ApplyRefusal>>;

    /// An approval.
    async fn approval(&self, id: ApprovalId) -> Result<Option<Approval>, StoreError>;

    /// The approval that an agent's key stands for.
    async fn approval_for_key(&self, agent: AgentId, key: &str) -> Result<Option<Approval>, StoreError>;

    /// Approvals, newest first.
    async fn approvals(&self, filter: ApprovalFilter, page: PageRequest)
    -> Result<Page<Approval>, PageError>;

    /// The approvals that want [`Input::Tick`] by `now`, earliest first, at most `limit`.
    async fn due_approvals(&self, now: Timestamp, limit: usize) -> Result<Vec<ApprovalId>, StoreError>;

    /// When the next approval wants [`Input::Tick`].
    async fn next_wake(&self) -> Result<Option<Timestamp>, StoreError>;
}
