//! What is still to be told, in order. A message stays until it is acknowledged, so a crash or an
//! unreachable channel delays it and never loses it; it may be told twice.

use async_trait::async_trait;
use countersign_model::{AgentId, ApprovalId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::StoreError;

/// Who is to be told. Each lane is drained on its own: a sidecar that is away holds up nobody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lane {
    /// The reviewers: what is told to which channel is worked out from here ([`crate::DeliveryStore`]).
    Channels,
    /// An agent's sidecar.
    Sidecar(AgentId),
}

/// What is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Telling {
    /// Reviewers: you are asked.
    Notify,
    /// Reviewers: nobody decided for some time, so more of you are asked.
    Escalate,
    /// Reviewers: a vote was counted.
    UpdateCards,
    /// Reviewers: it is decided, or gone.
    RetireCards,
    /// Reviewers: you are still asked.
    Remind,
    /// The sidecar: the grant is void.
    WithdrawGrant,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxMessage {
    /// Its place in its lane.
    pub seq: u64,
    /// What is to be told.
    pub telling: Telling,
    /// The approval that it is about. What it is like now is read when the message is told.
    pub approval: ApprovalId,
    /// When it was put there.
    pub at: Timestamp,
}

/// The outbox.
#[async_trait]
pub trait OutboxStore {
    /// The oldest messages of a lane, at most `limit`.
    async fn outbox(&self, lane: Lane, limit: usize) -> Result<Vec<OutboxMessage>, StoreError>;

    /// Removes the messages of a lane up to and including `through`.
    async fn acknowledge_outbox(&self, lane: Lane, through: u64) -> Result<(), StoreError>;
}
