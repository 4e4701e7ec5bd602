//! A sidecar's side of the ledger: events with a chain of their own.

use countersign_audit::{CanonicalEvent, Chain, EventDraft, kind};
use countersign_model::{EventId, SpiffeId};

use super::NOW;

/// Makes events as a sidecar does.
pub(super) struct Sidecar(pub(super) Chain);

impl Sidecar {
    pub(super) fn new(source: &SpiffeId) -> Self {
        Self(Chain::new(source.clone()))
    }

    pub(super) fn event(&mut self, what: &str) -> CanonicalEvent {
        let mut draft = EventDraft::new(NOW, kind::OPERATION_PERMITTED);
        draft.body.insert("what".into(), what.into());
        self.0.append(draft, EventId::from_bytes([1; 16]))
    }

    pub(super) fn events(&mut self, count: usize) -> Vec<Vec<u8>> {
        (0..count).map(|_| self.event("nothing special").into_bytes()).collect()
    }
}
