//! What each channel was told about each approval, and what it is still to be told.
//!
//! There is one delivery for an approval, a channel and a room, however often the approval changes: what is
//! told is what the approval is like by then. So a channel that cannot be reached costs a row for each
//! approval, not for each change, and each channel has a queue of its own, so that it holds up nobody else.

use async_trait::async_trait;
use countersign_model::{ApprovalId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{By, StoreError};

/// Where reviewers are told: a channel by the name that it has in the configuration, and a room of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Destination {
    /// The channel.
    pub channel: String,
    /// The room: whatever the channel makes of it. Empty where a channel has just one.
    pub room: String,
}

/// Which delivery is meant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryKey {
    /// The approval that is told about.
    pub approval: ApprovalId,
    /// Where.
    pub destination: Destination,
}

/// How far a channel is with an approval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// The approval that is told about.
    pub approval: ApprovalId,
    /// Where.
    pub destination: Destination,
    /// The version of the approval that is to be told, at least.
    pub wanted: u64,
    /// The last version that was told; 0 before the first.
    pub told: u64,
    /// What the channel calls the message, so that it can be changed later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Whether people are to be reminded.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub remind: bool,
    /// How often telling has failed since it last worked.
    #[serde(default)]
    pub failures: u32,
    /// Why it failed last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// When it is to be told; `None` when there is nothing to tell, or nobody who takes it.
    pub due_at: Option<Timestamp>,
    /// Whether the fallback was told in its place.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fell_back: bool,
    /// Whether it was given up.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub given_up: bool,
}

impl Delivery {
    /// Which delivery this is.
    #[must_use]
    pub fn key(&self) -> DeliveryKey {
        DeliveryKey { approval: self.approval, destination: self.destination.clone() }
    }
}

/// What is to be told, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Want {
    /// The approval.
    pub approval: ApprovalId,
    /// Its version.
    pub version: u64,
    /// Where it is told from now on. Where it was told before, it is told again in any case.
    pub destinations: Vec<Destination>,
    /// Whether people are to be reminded.
    pub remind: bool,
    /// The destination that these stand in for, which is told as well as soon as it can be.
    pub instead_of: Option<Destination>,
    /// From when on.
    pub at: Timestamp,
}

/// How telling ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeliveryOutcome {
    /// The channel has it.
    Told {
        /// The version that it has.
        version: u64,
        /// What the channel calls the message.
        reference: Option<String>,
        /// Whether people were reminded.
        reminded: bool,
    },
    /// It did not work.
    Failed {
        /// Why not.
        error: String,
        /// When to try again.
        retry_at: Timestamp,
    },
    /// It never will (`channel.gave_up`).
    GivenUp {
        /// Why not.
        error: String,
    },
}

/// Deliveries.
#[async_trait]
pub trait DeliveryStore {
    /// Notes what is to be told, and takes the messages of [`crate::Lane::Channels`] up to and including
    /// `through` off the outbox, in one transaction.
    async fn want_deliveries(&self, wants: Vec<Want>, through: Option<u64>) -> Result<(), StoreError>;

    /// Notes how telling ended. What came to be wanted meanwhile stays wanted.
    async fn note_delivery(
        &self,
        key: DeliveryKey,
        outcome: DeliveryOutcome,
        by: By,
    ) -> Result<(), StoreError>;

    /// What a channel is to tell by `until`, longest due first, at most `limit`.
    async fn due_deliveries(
        &self,
        channel: &str,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<Delivery>, StoreError>;

    /// When the next delivery of a channel is due.
    async fn next_delivery(&self, channel: &str) -> Result<Option<Timestamp>, StoreError>;

    /// How many deliveries a channel has to make, counted to `most`.
    async fn delivery_backlog(&self, channel: &str, most: usize) -> Result<usize, StoreError>;

    /// Where an approval was and is to be told.
    async fn deliveries_of(&self, approval: ApprovalId) -> Result<Vec<Delivery>, StoreError>;

    /// Forgets the deliveries of approvals that were asked for before then. Returns how many.
    async fn sweep_deliveries(&self, before: Timestamp) -> Result<usize, StoreError>;
}
