//! Approvals. Their state machine runs inside the writer: load, transition, save, effects, events, all
//! in one transaction, so that votes cannot race and no state is without its event.

use async_trait::async_trait;
use countersign_approval::{Approval, Effect, Input, Phase, Refusal, Request, RequestError};
use countersign_model::{AgentId, ApprovalId, Timestamp};

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
