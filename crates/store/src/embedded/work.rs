//! What one command can do inside the writer's transaction.
//!
//! A command checks first and writes afterwards: one that is refused has written nothing, so that the
//! others of its group can still be committed. The writer holds it to that.

use std::collections::BTreeMap;

use countersign_audit::{
    Chain, EventDraft,
    merkle::{Frontier, leaf_hash},
};
use countersign_model::{Digest, EventId, SpiffeId};
use redb::{ReadableTable, Table, WriteTransaction};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    EventEntropy,
    codec::{self, Record},
    layout::{Bytes, LEDGER, META, RUNS, join, lane_prefix, meta, run_key},
    lookup::{Entries, Lookup, collect_prefixed, storage},
    outbox::OutboxRow,
    sources::{Run, SourceRow},
};
use crate::{By, Lane, StoreError};

/// The end of the ledger, and the counters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tail {
    /// Whose store this is.
    pub(super) source: SpiffeId,
    /// What the Merkle tree needs to grow; its size is the ledger's.
    pub(super) frontier: Frontier,
    /// The number that the next source gets.
    pub(super) next_source: u32,
    /// The number that the next message in the outbox gets.
    pub(super) next_message: u64,
}

impl Record for Tail {
    const TABLE: Bytes = META;
}

impl Tail {
    pub(super) fn new(source: SpiffeId) -> Self {
        Self { source, frontier: Frontier::default(), next_source: 1, next_message: 1 }
    }
}

/// An event that was checked, on its way into the ledger.
pub(super) struct Entry {
    pub(super) seq: u64,
    pub(super) digest: Digest,
    pub(super) leaf: Digest,
    pub(super) bytes: Vec<u8>,
}

/// One write transaction, and the state in memory that goes with it.
pub(super) struct Work<'a> {
    transaction: &'a WriteTransaction,
    pub(super) tail: Tail,
    /// The sources that were touched, written at the end.
    sources: BTreeMap<SpiffeId, SourceRow>,
    entropy: &'a mut EventEntropy,
    writes: u64,
}

impl<'a> Work<'a> {
    pub(super) fn new(transaction: &'a WriteTransaction, tail: Tail, entropy: &'a mut EventEntropy) -> Self {
        Self { transaction, tail, sources: BTreeMap::new(), entropy, writes: 0 }
    }

    /// How many writes there were; the writer compares before and after.
    pub(super) fn writes(&self) -> u64 {
        self.writes
    }

    /// A table, to be looked at.
    pub(super) fn table(&self, table: Bytes) -> Result<Table<'_, &'static [u8], &'static [u8]>, StoreError> {
        self.transaction.open_table(table).map_err(storage)
    }

    pub(super) fn put<R: Record>(&mut self, key: &[u8], record: &R) -> Result<(), StoreError> {
        self.insert(R::TABLE, key, &codec::encode(record)?)
    }

    pub(super) fn insert(&mut self, table: Bytes, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.writes += 1;
        let mut table = self.transaction.open_table(table).map_err(storage)?;
        table.insert(key, value).map_err(storage)?;
        Ok(())
    }

    pub(super) fn remove(&mut self, table: Bytes, key: &[u8]) -> Result<bool, StoreError> {
        self.writes += 1;
        let mut table = self.transaction.open_table(table).map_err(storage)?;
        let removed = table.remove(key).map_err(storage)?;
        Ok(removed.is_some())
    }

    /// Removes the entries of a table whose keys lie between two keys, both included.
    pub(super) fn remove_range(&mut self, table: Bytes, first: &[u8], last: &[u8]) -> Result<(), StoreError> {
        self.writes += 1;
        let mut table = self.transaction.open_table(table).map_err(storage)?;
        table.retain_in::<&[u8], _>(first..=last, |_, _| false).map_err(storage)
    }

    /// Removes the entries of a table that a test picks. Returns how many.
    pub(super) fn remove_where<R: Record>(&mut self, gone: impl Fn(&R) -> bool) -> Result<usize, StoreError> {
        let mut keys = Vec::new();
        for (key, value) in self.prefixed(R::TABLE, &[], usize::MAX)? {
            if gone(&codec::decode(&value)?) {
                keys.push(key);
            }
        }
        for key in &keys {
            self.remove(R::TABLE, key)?;
        }
        Ok(keys.len())
    }

    /// Puts a message into the outbox.
    pub(super) fn post(&mut self, lane: Lane, message: &OutboxRow) -> Result<(), StoreError> {
        let seq = self.tail.next_message;
        self.tail.next_message += 1;
        self.put(&join(&lane_prefix(lane), &seq.to_be_bytes()), message)
    }

    /// A draft of an event of the control plane itself, about a command.
    pub(super) fn draft(by: &By, kind: &'static str) -> EventDraft {
        let mut draft = EventDraft::new(by.at, kind);
        draft.actor = Some(by.actor.clone());
        draft.trace_id.clone_from(&by.trace_id);
        if let Some(method) = &by.method {
            draft.body.insert("method".to_owned(), json!(method));
        }
        draft
    }

    /// Numbers, chains and appends an event of the control plane itself.
    pub(super) fn record(&mut self, draft: EventDraft) -> Result<(), StoreError> {
        let own = self.tail.source.clone();
        let row = self.source(&own)?;
        let mut chain = Chain::resume(own.clone(), row.next_seq.saturating_sub(1), row.head);
        let id = EventId::new(draft.at, (self.entropy)());
        let event = chain.append(draft, id);
        let (seq, digest) = (event.event().seq, event.digest());
        let entry = Entry { seq, digest, leaf: leaf_hash(event.bytes()), bytes: event.into_bytes() };
        self.append(&own, row, &[entry])
    }

    /// Where a source's chain is; a new one when it is not known yet.
    pub(super) fn source(&mut self, source: &SpiffeId) -> Result<SourceRow, StoreError> {
        if let Some(row) = self.sources.get(source) {
            return Ok(row.clone());
        }
        let stored = self.get(source.to_string().as_bytes())?;
        Ok(stored.unwrap_or_else(|| self.new_source()))
    }

    /// A source of which nothing is known.
    pub(super) fn new_source(&mut self) -> SourceRow {
        let id = self.tail.next_source;
        self.tail.next_source += 1;
        SourceRow::new(id)
    }

    /// Notes where a source's chain is.
    pub(super) fn put_source(&mut self, source: &SpiffeId, row: SourceRow) {
        self.writes += 1;
        self.sources.insert(source.clone(), row);
    }

    /// Appends events of a source, in order, and goes on with its chain behind them.
    pub(super) fn append(
        &mut self,
        source: &SpiffeId,
        mut row: SourceRow,
        entries: &[Entry],
    ) -> Result<(), StoreError> {
        self.writes += 1;
        let mut completed = Vec::new();
        let mut ledger = self.transaction.open_table(LEDGER).map_err(storage)?;
        for entry in entries {
            let index = push(&mut ledger, &mut self.tail.frontier, entry)?;
            completed.extend(row.advance(entry.seq, entry.digest, index));
        }
        drop(ledger);
        for run in completed {
            self.put(&run_key(row.id, run.first_seq), &run)?;
        }
        self.put_source(source, row);
        Ok(())
    }

    /// Appends one event that lies before the end of its source's chain: the chain stays where it is.
    pub(super) fn append_late(&mut self, row: &SourceRow, entry: &Entry) -> Result<(), StoreError> {
        self.writes += 1;
        let mut ledger = self.transaction.open_table(LEDGER).map_err(storage)?;
        let first_index = push(&mut ledger, &mut self.tail.frontier, entry)?;
        drop(ledger);
        self.put(&run_key(row.id, entry.seq), &Run { first_seq: entry.seq, first_index, len: 1 })
    }

    /// The event of a source under its number, as far as it is there.
    pub(super) fn event_of(&self, row: &SourceRow, seq: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(index) = self.index_of(row, seq)? else { return Ok(None) };
        let ledger = self.transaction.open_table(LEDGER).map_err(storage)?;
        Ok(ledger.get(index).map_err(storage)?.map(|bytes| bytes.value().to_vec()))
    }

    fn index_of(&self, row: &SourceRow, seq: u64) -> Result<Option<u64>, StoreError> {
        if let Some(index) = row.run.index_of(seq) {
            return Ok(Some(index));
        }
        run_index(&self.table(RUNS)?, row.id, seq)
    }

    /// Writes what was kept in memory, as the last thing before the commit.
    pub(super) fn seal(mut self) -> Result<Tail, StoreError> {
        for (source, row) in std::mem::take(&mut self.sources) {
            self.put(source.to_string().as_bytes(), &row)?;
        }
        let tail = self.tail.clone();
        self.put(meta::TAIL, &tail)?;
        Ok(tail)
    }
}

impl Lookup for Work<'_> {
    fn bytes(&self, table: Bytes, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let table = self.transaction.open_table(table).map_err(storage)?;
        Ok(table.get(key).map_err(storage)?.map(|value| value.value().to_vec()))
    }

    fn prefixed(&self, table: Bytes, prefix: &[u8], limit: usize) -> Result<Entries, StoreError> {
        collect_prefixed(&self.transaction.open_table(table).map_err(storage)?, prefix, limit)
    }
}

fn push(
    ledger: &mut Table<'_, u64, &'static [u8]>,
    frontier: &mut Frontier,
    entry: &Entry,
) -> Result<u64, StoreError> {
    let index = frontier.size();
    ledger.insert(index, entry.bytes.as_slice()).map_err(storage)?;
    frontier.append(entry.leaf);
    Ok(index)
}

/// Where the event of a source is, by its completed runs.
pub(super) fn run_index(
    runs: &impl ReadableTable<&'static [u8], &'static [u8]>,
    source: u32,
    seq: u64,
) -> Result<Option<u64>, StoreError> {
    let (first, last) = (run_key(source, 0), run_key(source, seq));
    let mut before = runs.range::<&[u8]>(first.as_slice()..=last.as_slice()).map_err(storage)?;
    let Some(entry) = before.next_back() else { return Ok(None) };
    let (_, value) = entry.map_err(storage)?;
    Ok(codec::decode::<Run>(value.value())?.index_of(seq))
}
