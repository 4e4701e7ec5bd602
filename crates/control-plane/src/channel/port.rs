//! The port to the places where reviewers are told: what a channel must be able to do.

use std::time::Duration;

use async_trait::async_trait;
use countersign_approval::Approval;
use tokio_util::sync::CancellationToken;

use crate::review::Review;

/// What is told about an approval: what it is like now.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    /// The approval.
    pub(crate) approval: Approval,
    /// What people are shown of it: the only words that a channel tells them.
    pub(crate) review: Review,
    /// Where it is shown in the console.
    pub(crate) link: String,
}

/// What a channel calls a message that it has, in its own words: a mail's `Message-ID`, a chat's channel and
/// timestamp. It is kept and given back as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MessageRef(pub(crate) String);

/// Why a message was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DeliveryError {
    /// It may be taken later: no connection, a time-out, an error of the other side, too many messages.
    #[error("{why}")]
    Later {
        /// What happened.
        why: String,
        /// How long the other side wants to be left alone (`Retry-After`).
        after: Option<Duration>,
    },
    /// This message will never be taken, which says nothing about others: its room does not exist.
    #[error("{0}")]
    Permanent(String),
    /// Nothing will be taken until somebody changes the configuration: the credentials are refused.
    #[error("{0}")]
    Configuration(String),
}

impl DeliveryError {
    /// It may be taken later, nobody has said when.
    pub(crate) fn later(why: impl Into<String>) -> Self {
        Self::Later { why: why.into(), after: None }
    }
}

/// A place where reviewers are told. Everything may be called twice with the same message.
#[async_trait]
pub(crate) trait Channel: Send + Sync {
    /// The kind of channel: `webhook`, `email`, ….
    fn kind(&self) -> &'static str;

    /// Tells a room about an approval for the first time.
    async fn post(&self, room: &str, message: &Message) -> Result<MessageRef, DeliveryError>;

    /// Changes a message, or follows it up, to what the approval is like now.
    async fn update(&self, room: &str, posted: &MessageRef, message: &Message) -> Result<(), DeliveryError>;

    /// Reminds a room of a message that still waits for a decision.
    async fn remind(&self, room: &str, posted: &MessageRef, message: &Message) -> Result<(), DeliveryError>;

    /// Sends a message that says that it is a test, and by whom it was asked for.
    async fn test(&self, room: &str, asked_by: &str) -> Result<(), DeliveryError>;

    /// Whether it also tells of approvals that were over before it could tell of them at all. People need
    /// no card of what they can no longer decide; programs want every ending.
    fn tells_every_ending(&self) -> bool {
        false
    }

    /// What it does besides, until the stop: keeping connections, watching over them.
    async fn run(&self, stop: CancellationToken) {
        stop.cancelled().await;
    }
}
