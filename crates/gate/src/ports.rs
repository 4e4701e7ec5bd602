//! What the gate needs from outside: policy, people, memory, time and chance.

use std::{sync::Arc, time::Duration};

use countersign_approval::{CancelReason, Status, Submission};
use countersign_model::{Amount, ApprovalId, Charge, Digest, Timestamp};
use futures::future::BoxFuture;
use tracing::Span;

use crate::{Interceptor, Outcome, Snapshot, intent::MadeEdit, record::Record};

/// Why no policy may be enforced.
#[derive(Debug, Clone)]
pub enum NoPolicy {
    /// No bundle has ever been activated.
    Missing,
    /// The lease of this bundle is over. It still says how to read and redact what is denied.
    LeaseEnded(Arc<Snapshot>),
}

/// Where the policy in force comes from.
pub trait PolicySource: Send + Sync {
    /// The policy that is in force now, under a lease that has not ended.
    ///
    /// # Errors
    /// When there is none, or its lease has ended.
    fn current(&self, now: Timestamp) -> Result<Arc<Snapshot>, NoPolicy>;

    /// Resolves once a bundle other than `than` is in force (I7).
    fn changed(&self, than: &Arc<Snapshot>) -> BoxFuture<'_, ()>;
}

/// Why the control plane did not answer as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BrokerError {
    /// It cannot be reached.
    #[error("the control plane cannot be reached: {0}")]
    Unreachable(String),
    /// It refuses.
    #[error("the control plane refused: {0}")]
    Refused(String),
    /// It puts no more of this agent's questions to people for now.
    #[error("{0}")]
    TooMany(String),
    /// It knows no such approval of this sidecar.
    #[error("no such approval")]
    Unknown,
}

/// The way to the people who approve.
pub trait ApprovalBroker: Send + Sync {
    /// Asks for an approval. Submitting the same key again gives the same approval.
    fn submit(&self, submission: Submission) -> BoxFuture<'_, Result<Status, BrokerError>>;

    /// Waits until the approval's version is beyond `known_version`, at most for `timeout`. Answers
    /// with what it knows then. A known version of 0 answers at once.
    fn wait(
        &self,
        id: ApprovalId,
        known_version: u64,
        timeout: Duration,
    ) -> BoxFuture<'_, Result<Status, BrokerError>>;

    /// What a reviewer made of the arguments of an approval that was superseded; `None` when nobody did.
    fn edit(&self, id: ApprovalId) -> BoxFuture<'_, Result<Option<MadeEdit>, BrokerError>>;

    /// Cancels a request that has not been decided yet.
    fn cancel(&self, id: ApprovalId, why: CancelReason) -> BoxFuture<'_, Result<Status, BrokerError>>;
}

/// Why an event was not recorded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuditError {
    /// The spool is full.
    #[error("the audit spool is full")]
    Full,
    /// The spool cannot be written.
    #[error("the audit spool cannot be written: {0}")]
    Unavailable(String),
}

/// Where records go. Records keep the order in which they were handed over.
pub trait AuditSink: Send + Sync {
    /// Takes a record in; it is durable soon.
    ///
    /// # Errors
    /// When it cannot be kept.
    fn enqueue(&self, record: Record) -> Result<(), AuditError>;

    /// Takes a record in and returns when it is durable (I8).
    fn commit(&self, record: Record) -> BoxFuture<'_, Result<(), AuditError>>;
}

/// One use of a grant.
#[derive(Debug, Clone)]
pub struct Consumption {
    /// The approval.
    pub approval: ApprovalId,
    /// What it is used for.
    pub digest: Digest,
    /// What was approved. It is the same unless the grant is for a task.
    pub granted: Digest,
    /// How many uses the grant has.
    pub uses: u32,
    /// What it takes of the grant's amounts.
    pub charges: Vec<Charge>,
    /// The grant, to be found again, if it has several uses.
    pub lasting: Option<Lasting>,
    /// When the grant ends.
    pub not_after: Timestamp,
    /// When it is used.
    pub at: Timestamp,
    /// What the audit log is told, as durably as the use itself.
    pub record: Record,
}

/// A grant of several uses, as it is kept from its first use on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lasting {
    /// What people were asked.
    pub question: Digest,
    /// The signed grant.
    pub grant: String,
}

/// How a use of a grant ended.
#[derive(Debug, Clone)]
pub struct Ended {
    /// The approval.
    pub approval: ApprovalId,
    /// The number of the use, from 1.
    pub use_number: u32,
    /// How it ended.
    pub outcome: Outcome,
    /// When.
    pub at: Timestamp,
    /// What the audit log is told, as durably as the end itself.
    pub record: Record,
}

/// What the journal knows of a grant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// How many of its uses are used up.
    pub used: u32,
    /// How much of its amounts is spent.
    pub spent: Vec<Amount>,
    /// Whether the control plane has revoked or invalidated it since it was issued.
    pub revoked: bool,
}

/// Why a use was not journalled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// Every use is used up, or less is left of an amount than this one takes.
    #[error("the approval has been used already")]
    Exhausted,
    /// It was revoked.
    #[error("the approval was revoked")]
    Revoked,
    /// It has ended.
    #[error("the grant has ended")]
    Ended,
    /// The journal cannot be written.
    #[error("{0}")]
    Unavailable(String),
}

/// The durable memory of which grants were used (I2), and the way in which uses and their outcomes
/// reach the control plane: the journal's owner reports every use and outcome until it is acknowledged.
pub trait GrantJournal: Send + Sync {
    /// Uses a grant up, and records that. Returns the number of the use, from 1, once both are durable.
    fn consume(&self, consumption: Consumption) -> BoxFuture<'_, Result<u32, JournalError>>;

    /// Notes what became of a use, and records that, durably. The same again changes nothing.
    fn finish(&self, ended: Ended) -> BoxFuture<'_, Result<(), JournalError>>;

    /// How much of a grant is used up, and whether it may still be used.
    fn standing(&self, approval: ApprovalId) -> Standing;

    /// The grants of several uses that were used and have not ended, however often the process was restarted.
    fn lasting(&self, now: Timestamp) -> Vec<(ApprovalId, Lasting)>;
}

/// The wall clock.
pub trait Clock: Send + Sync {
    /// What time it is.
    fn now(&self) -> Timestamp;
}

/// A source of randomness.
pub trait Entropy: Send + Sync {
    /// Ten fresh bytes, for an id.
    fn bytes(&self) -> [u8; 10];
}

/// Measurements and the trace context, both of which belong to a crate that the gate does not know.
pub trait Observer: Send + Sync {
    /// A decision was made.
    fn decided(&self, _decision: &'static str, _interceptor: Interceptor, _took: Duration) {}

    /// That many more, or fewer, operations wait for people.
    fn pending(&self, _change: i64) {}

    /// Makes the span a child of the caller's span.
    fn adopt(&self, _span: &Span, _traceparent: &str) {}

    /// The span's own `traceparent`, to be handed on.
    fn traceparent(&self, _span: &Span) -> Option<String> {
        None
    }
}

/// An observer that observes nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unobserved;

impl Observer for Unobserved {}
