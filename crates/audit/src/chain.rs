//! The chain at a source: every event has the next number and the digest of the one before (I8).

use countersign_model::{Digest, SpiffeId};
use serde::{Deserialize, Serialize};

/// The head of one source's chain: enough to append to it, and to check what claims to follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chain {
    source: SpiffeId,
    next_seq: u64,
    head: Digest,
}

/// Why an event does not follow on a chain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// From another source.
    #[error("the event is from {got}, not from {expected}")]
    Source {
        /// The chain's.
        expected: SpiffeId,
        /// The event's.
        got: SpiffeId,
    },
    /// Events are missing.
    #[error("{source_id}: events {expected} to {} are missing", got - 1)]
    Gap {
        /// Whose.
        source_id: SpiffeId,
        /// The number of the first one that is missing.
        expected: u64,
        /// The number of the event that came instead.
        got: u64,
    },
    /// A number that the chain has passed.
    #[error("{source_id}: event {seq} is there already")]
    Repeated {
        /// Whose.
        source_id: SpiffeId,
        /// The number.
        seq: u64,
    },
    /// The event before it is not the one that its source knew.
    #[error("{source_id}: event {} was changed: event {seq} follows on {claimed}, but {actual} is there", seq - 1)]
    Changed {
        /// Whose.
        source_id: SpiffeId,
        /// The number of the event that noticed.
        seq: u64,
        /// The digest that it follows on.
        claimed: Digest,
        /// The digest of the event that is there.
        actual: Digest,
    },
}

impl Chain {
    /// The empty chain of a source.
    #[must_use]
    pub fn new(source: SpiffeId) -> Self {
        Self { source, next_seq: 1, head: Digest::ZERO }
    }

    /// The chain as it is after an event of that number and digest.
    #[must_use]
    pub fn resume(source: SpiffeId, last_seq: u64, head: Digest) -> Self {
        Self { source, next_seq: last_seq.saturating_add(1), head }
    }

    /// Whose chain it is.
    #[must_use]
    pub fn source(&self) -> &SpiffeId {
        &self.source
    }

    /// The number that the next event gets.
    #[must_use]
    pub fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// The digest of the last event; zeros when there is none.
    #[must_use]
    pub fn head(&self) -> Digest {
        self.head
    }
}
