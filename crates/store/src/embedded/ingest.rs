//! Taking in a sidecar's events (I8).
//!
//! A batch is checked in two steps. [`Batch::check`] looks at each event on its own (form, source,
//! order) and takes its hashes, away from the writer and for many sources at once. The writer then only
//! compares the ends of chains, and appends.
//!
//! Nothing that a source says is lost because something else about it is wrong: what is missing, was
//! changed or does not link is named in a `ledger.gap` event, and what can be kept is kept.

use std::ops::RangeInclusive;

use countersign_audit::{EventHeader, kind, merkle::leaf_hash};
use countersign_model::{Digest, SpiffeId, Timestamp};
use serde_json::json;

use super::{
    sources::SourceRow,
    work::{Entry, Work},
};
use crate::{Anomaly, By, IngestRefusal, Ingested, StoreError};

/// The most anomalies that one event names; it says how many there were.
const MAX_NAMED: usize = 100;

/// Events of one source that are in order and well formed.
pub(super) struct Batch {
    source: SpiffeId,
    events: Vec<Incoming>,
}

struct Incoming {
    previous: Digest,
    entry: Entry,
}

impl Batch {
    /// Checks each event of a batch on its own.
    pub(super) fn check(source: SpiffeId, events: Vec<Vec<u8>>) -> Result<Self, IngestRefusal> {
        if !SIZES.contains(&events.len()) {
            return Err(IngestRefusal::Size(events.len()));
        }
        let mut checked = Vec::with_capacity(events.len());
        let mut last = 0;
        for (position, bytes) in events.into_iter().enumerate() {
            let header =
                EventHeader::parse(&bytes).map_err(|error| IngestRefusal::Malformed { position, error })?;
            if header.source != source {
                return Err(IngestRefusal::OtherSource { position, claimed: header.source });
            }
            if header.seq <= last {
                return Err(IngestRefusal::OutOfOrder { position });
            }
            last = header.seq;
            let (seq, previous) = (header.seq, header.previous);
            let (digest, leaf) = (Digest::of(&bytes), leaf_hash(&bytes));
            checked.push(Incoming { previous, entry: Entry { seq, digest, leaf, bytes } });
        }
        Ok(Self { source, events: checked })
    }
}

const SIZES: RangeInclusive<usize> = 1..=IngestRefusal::MAX_EVENTS;

/// What the writer makes of a batch, step by step.
struct Intake {
    row: SourceRow,
    follows: Vec<Entry>,
    accepted: usize,
    duplicates: usize,
    anomalies: Vec<Anomaly>,
}

/// Takes a batch in. Runs in the writer.
pub(super) fn ingest(work: &mut Work<'_>, batch: Batch, at: Timestamp) -> Result<Ingested, StoreError> {
    let row = work.source(&batch.source)?;
    let mut intake = Intake { row, follows: Vec::new(), accepted: 0, duplicates: 0, anomalies: Vec::new() };
    let mut expected = Expected { seq: intake.row.next_seq, head: intake.row.head };
    for incoming in batch.events {
        intake.take(work, &batch.source, incoming, &mut expected)?;
    }
    intake.append(work, &batch.source)?;
    let through = work.source(&batch.source)?.next_seq.saturating_sub(1);
    if !intake.anomalies.is_empty() {
        name_anomalies(work, &batch.source, &intake.anomalies, at)?;
    }
    let Intake { accepted, duplicates, anomalies, .. } = intake;
    Ok(Ingested { through, accepted, duplicates, anomalies })
}

/// What must come next for nothing to be wrong.
struct Expected {
    seq: u64,
    head: Digest,
}

impl Intake {
    fn take(
        &mut self,
        work: &mut Work<'_>,
        source: &SpiffeId,
        incoming: Incoming,
        expected: &mut Expected,
    ) -> Result<(), StoreError> {
        let Incoming { previous, entry } = incoming;
        if entry.seq < expected.seq {
            if !self.restarts(work, &entry)? {
                return self.take_old(work, source, &entry);
            }
            self.anomalies.push(Anomaly::Restarted { expected: expected.seq });
            self.row = work.new_source();
            *expected = Expected { seq: 1, head: Digest::ZERO };
        }
        if entry.seq > expected.seq {
            self.anomalies.push(Anomaly::Missing { from: expected.seq, to: entry.seq - 1 });
        } else if previous != expected.head {
            let (claimed, actual) = (previous, expected.head);
            self.anomalies.push(Anomaly::Unlinked { seq: entry.seq, claimed, actual });
        }
        *expected = Expected { seq: entry.seq.saturating_add(1), head: entry.digest };
        self.accepted += 1;
        self.follows.push(entry);
        Ok(())
    }

    /// Whether a source that was enrolled anew begins its chain again: with a first event that is not
    /// the one that is there. It may do so once for each enrolment.
    fn restarts(&self, work: &Work<'_>, entry: &Entry) -> Result<bool, StoreError> {
        if !self.row.may_restart || entry.seq != 1 || !self.follows.is_empty() {
            return Ok(false);
        }
        Ok(work.event_of(&self.row, 1)?.is_none_or(|kept| kept != entry.bytes))
    }

    /// An event from before the end of the chain: the same as the one that is there, another one, or
    /// one that was missing.
    fn take_old(&mut self, work: &mut Work<'_>, source: &SpiffeId, entry: &Entry) -> Result<(), StoreError> {
        // Whatever waits to be appended comes first, so that looking back finds it.
        self.append(work, source)?;
        match work.event_of(&self.row, entry.seq)? {
            Some(kept) if kept == entry.bytes => self.duplicates += 1,
            Some(kept) => {
                let kept = Digest::of(&kept);
                self.anomalies.push(Anomaly::Changed { seq: entry.seq, kept, refused: entry.digest });
            }
            None => {
                work.append_late(&self.row, entry)?;
                self.anomalies.push(Anomaly::Late { seq: entry.seq });
                self.accepted += 1;
            }
        }
        Ok(())
    }

    fn append(&mut self, work: &mut Work<'_>, source: &SpiffeId) -> Result<(), StoreError> {
        if self.follows.is_empty() {
            return Ok(());
        }
        work.append(source, self.row.clone(), &std::mem::take(&mut self.follows))?;
        self.row = work.source(source)?;
        Ok(())
    }
}

fn name_anomalies(
    work: &mut Work<'_>,
    source: &SpiffeId,
    anomalies: &[Anomaly],
    at: Timestamp,
) -> Result<(), StoreError> {
    let by = By::new(work.tail.source.to_string(), at);
    let mut event = Work::draft(&by, kind::LEDGER_GAP);
    let named: Vec<_> = anomalies.iter().take(MAX_NAMED).collect();
    event.body.insert("source".into(), json!(source));
    event.body.insert("problems".into(), json!(named));
    event.body.insert("count".into(), json!(anomalies.len()));
    work.record(event)
}
