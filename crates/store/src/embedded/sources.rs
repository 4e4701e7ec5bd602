//! Where each source's chain is, and where in the ledger its events lie.
//!
//! A row per source and a row per run of events that lie side by side: a batch costs one row, not one
//! per event, and still every event of a source can be found by its number.

use countersign_model::Digest;
use serde::{Deserialize, Serialize};

use super::{
    codec::Record,
    layout::{Bytes, RUNS, SOURCES},
};

/// Where a source's chain is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SourceRow {
    /// The number under which its runs are kept. A source that began again gets another one.
    pub(super) id: u32,
    pub(super) next_seq: u64,
    pub(super) head: Digest,
    /// The run that is being appended to; empty at first.
    pub(super) run: Run,
    /// Set when the source was enrolled anew: it may begin again at 1, once.
    #[serde(default)]
    pub(super) may_restart: bool,
}

impl Record for SourceRow {
    const TABLE: Bytes = SOURCES;
}

/// Events of one source that lie side by side in the ledger.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Run {
    pub(super) first_seq: u64,
    pub(super) first_index: u64,
    pub(super) len: u64,
}

impl Record for Run {
    const TABLE: Bytes = RUNS;
}

impl Run {
    /// Where the event of that number is, if the run has it.
    pub(super) fn index_of(&self, seq: u64) -> Option<u64> {
        let offset = seq.checked_sub(self.first_seq)?;
        (offset < self.len).then_some(self.first_index + offset)
    }

    fn continues_at(&self, seq: u64, index: u64) -> bool {
        self.len > 0 && seq == self.first_seq + self.len && index == self.first_index + self.len
    }
}

impl SourceRow {
    pub(super) fn new(id: u32) -> Self {
        Self { id, next_seq: 1, head: Digest::ZERO, run: Run::default(), may_restart: false }
    }

    /// Goes on behind an event. Returns the run that this completes, if it does.
    pub(super) fn advance(&mut self, seq: u64, digest: Digest, index: u64) -> Option<Run> {
        self.next_seq = seq.saturating_add(1);
        self.head = digest;
        if self.run.continues_at(seq, index) {
            self.run.len += 1;
            return None;
        }
        let completed = std::mem::replace(&mut self.run, Run { first_seq: seq, first_index: index, len: 1 });
        (completed.len > 0).then_some(completed)
    }
}
