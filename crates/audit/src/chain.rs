//! The chain at a source: every event has the next number and the digest of the one before (I8).

use countersign_model::{Digest, EventId, SpiffeId};
use serde::{Deserialize, Serialize};

use crate::event::{CanonicalEvent, Event, EventDraft};

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

    /// Appends what happened, and returns the event in its one form.
    ///
    /// Total on purpose: an agent must not be able to keep something out of the log by making it too
    /// large or too strange to record. See [`EventDraft::seal`].
    pub fn append(&mut self, draft: EventDraft, id: EventId) -> CanonicalEvent {
        let sealed = draft.seal(id, self.source.clone(), self.next_seq, self.head);
        self.advance(&sealed);
        sealed
    }

    /// Checks that an event follows on this chain.
    ///
    /// # Errors
    /// What is missing, repeated or changed (I8).
    pub fn check(&self, event: &CanonicalEvent) -> Result<(), ChainError> {
        let Event { source, seq, previous, .. } = event.event();
        let source_id = || self.source.clone();
        if *source != self.source {
            return Err(ChainError::Source { expected: source_id(), got: source.clone() });
        }
        if *seq < self.next_seq {
            return Err(ChainError::Repeated { source_id: source_id(), seq: *seq });
        }
        if *seq > self.next_seq {
            return Err(ChainError::Gap { source_id: source_id(), expected: self.next_seq, got: *seq });
        }
        if *previous != self.head {
            let (claimed, actual) = (*previous, self.head);
            return Err(ChainError::Changed { source_id: source_id(), seq: *seq, claimed, actual });
        }
        Ok(())
    }

    /// Takes in an event that follows on this chain.
    ///
    /// # Errors
    /// As [`Self::check`]; the chain is then as it was.
    pub fn accept(&mut self, event: &CanonicalEvent) -> Result<(), ChainError> {
        self.check(event)?;
        self.advance(event);
        Ok(())
    }

    /// Goes on behind an event that does not follow, after its gap or change was recorded.
    pub fn resync(&mut self, event: &CanonicalEvent) {
        self.advance(event);
    }

    fn advance(&mut self, event: &CanonicalEvent) {
        self.next_seq = event.event().seq.saturating_add(1);
        self.head = event.digest();
    }
}

#[cfg(test)]
mod tests {
    use countersign_model::Timestamp;

    use super::*;
    use crate::kind;

    fn source(name: &str) -> SpiffeId {
        format!("spiffe://example.org/agent/{name}").parse().unwrap()
    }

    fn events(count: u8) -> Vec<CanonicalEvent> {
        let mut chain = Chain::new(source("a"));
        let draft = || EventDraft::new(Timestamp::from_millis(0), kind::OPERATION_HELD);
        (0..count).map(|n| chain.append(draft(), EventId::from_bytes([n; 16]))).collect()
    }

    #[test]
    fn a_chain_accepts_what_it_made() {
        let mut chain = Chain::new(source("a"));
        for event in events(4) {
            chain.accept(&event).unwrap();
        }
        assert_eq!(chain.next_seq(), 5);
        let resumed = Chain::resume(source("a"), 4, chain.head());
        assert_eq!(resumed, chain);
    }

    #[test]
    fn what_is_missing_repeated_changed_or_foreign_is_named() {
        let events = events(5);
        let mut chain = Chain::new(source("a"));
        chain.accept(&events[0]).unwrap();
        let gap = chain.accept(&events[3]).unwrap_err();
        assert_eq!(gap.to_string(), "spiffe://example.org/agent/a: events 2 to 3 are missing");
        assert!(matches!(chain.accept(&events[0]), Err(ChainError::Repeated { seq: 1, .. })));
        let mut forked = Chain::resume(source("a"), 1, Digest::of(b"another history"));
        let other = forked.append(
            EventDraft::new(Timestamp::from_millis(0), kind::OPERATION_DENIED),
            EventId::from_bytes([9; 16]),
        );
        assert!(matches!(chain.accept(&other), Err(ChainError::Changed { seq: 2, .. })));
        let foreign = Chain::new(source("b"));
        assert!(matches!(foreign.check(&events[0]), Err(ChainError::Source { .. })));
        chain.accept(&events[1]).unwrap();
    }
}
