//! Tests of the spool as a whole: what it promises, what an agent could try, and what a crash leaves.

mod bundle;
mod crash;
mod golden;
mod journal;
mod queue;

use std::time::Duration;

use countersign_audit::{CanonicalEvent, Chain, EventDraft, kind};
use countersign_model::{ApprovalId, Digest, SpiffeId, Timestamp};
use countersign_testkit::{CrashingStorage, FakeEntropy};

use crate::{Consumption, EventEntropy, OpenError, Settings, Spool};

const NOW: Timestamp = Timestamp::from_millis(1_772_366_400_000);
const LATER: Timestamp = Timestamp::from_millis(NOW.as_millis() + 3_600_000);

fn source() -> SpiffeId {
    "spiffe://example.org/agent/a".parse().unwrap()
}

fn entropy() -> EventEntropy {
    let entropy = FakeEntropy::default();
    Box::new(move || entropy.bytes())
}

fn settings() -> Settings {
    Settings { flush_interval: Duration::from_millis(1), queue: 64, max_bytes: 1024 * 1024 }
}

fn open(disk: &CrashingStorage) -> Spool {
    Spool::open_on(disk.clone(), &source(), settings(), entropy()).unwrap()
}

fn draft() -> EventDraft {
    EventDraft::new(NOW, kind::OPERATION_PERMITTED)
}

fn approval(n: u8) -> ApprovalId {
    ApprovalId::from_bytes([n; 16])
}

fn consumption(n: u8, uses: u32) -> Consumption {
    Consumption {
        approval: approval(n),
        digest: Digest::of(&[n]),
        granted: Digest::of(&[n]),
        uses,
        charges: Vec::new(),
        lasting: None,
        not_after: LATER,
        at: NOW,
        event: EventDraft::new(NOW, kind::GRANT_CONSUMED),
    }
}

/// Every event that waits, checked to be a chain without gaps that starts behind `acknowledged`.
async fn chained_events(spool: &Spool, chain: &mut Chain) -> Vec<CanonicalEvent> {
    let events = spool.unacknowledged(usize::MAX, usize::MAX).await.unwrap();
    let events: Vec<_> =
        events.into_iter().map(|event| CanonicalEvent::parse(event.bytes).unwrap()).collect();
    for event in &events {
        chain.accept(event).unwrap();
    }
    events
}
