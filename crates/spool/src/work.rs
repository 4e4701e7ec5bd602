//! What one command can do inside the writer's transaction.
//!
//! A command checks first and writes afterwards: one that is refused has written nothing, so that the
//! others of its group can still be committed. The writer holds it to that.

use countersign_audit::{Chain, EventDraft};
use countersign_model::EventId;
use redb::{Key, ReadableTable, TableDefinition, Value, WriteTransaction};
use serde::{Deserialize, Serialize};

use crate::{
    EventEntropy,
    codec::{self, Record},
    layout::{EVENTS, META, meta},
    spool::Depth,
};

/// Why the spool does nothing any more, or nothing yet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpoolError {
    /// Reading or writing failed. The writer has stopped; what was acknowledged is safe.
    #[error("the spool's storage failed: {0}")]
    Storage(String),
    /// It was closed.
    #[error("the spool is closed")]
    Closed,
}

impl SpoolError {
    pub(crate) fn storage(error: impl std::fmt::Display) -> Self {
        Self::Storage(error.to_string())
    }
}

/// The end of the queue: the chain's head, and how much waits for the control plane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tail {
    pub(crate) chain: Chain,
    pub(crate) events: u64,
    pub(crate) bytes: u64,
}

impl Record for Tail {
    const VERSION: u8 = 1;
}

impl Tail {
    pub(crate) fn depth(&self) -> Depth {
        Depth { events: self.events, bytes: self.bytes, last_seq: self.chain.next_seq().saturating_sub(1) }
    }
}

/// One write transaction, and the state in memory that goes with it.
pub(crate) struct Work<'a> {
    pub(crate) transaction: &'a WriteTransaction,
    pub(crate) tail: Tail,
    pub(crate) max_bytes: u64,
    entropy: &'a mut EventEntropy,
    writes: u64,
}

impl<'a> Work<'a> {
    pub(crate) fn new(
        transaction: &'a WriteTransaction,
        tail: Tail,
        max_bytes: u64,
        entropy: &'a mut EventEntropy,
    ) -> Self {
        Self { transaction, tail, max_bytes, entropy, writes: 0 }
    }

    /// How many writes there were; the writer compares before and after.
    pub(crate) fn writes(&self) -> u64 {
        self.writes
    }

    pub(crate) fn is_full(&self) -> bool {
        self.tail.bytes >= self.max_bytes
    }

    /// Numbers, chains and stores an event. Returns its sequence number.
    pub(crate) fn append(&mut self, draft: EventDraft) -> Result<u64, SpoolError> {
        self.writes += 1;
        let id = EventId::new(draft.at, (self.entropy)());
        let event = self.tail.chain.append(draft, id);
        let seq = event.event().seq;
        let mut table = self.transaction.open_table(EVENTS).map_err(SpoolError::storage)?;
        table.insert(seq, event.bytes()).map_err(SpoolError::storage)?;
        self.tail.events += 1;
        self.tail.bytes += event.bytes().len() as u64;
        Ok(seq)
    }

    /// Removes the events up to and including `through`.
    pub(crate) fn remove_events(&mut self, through: u64) -> Result<(), SpoolError> {
        self.writes += 1;
        let mut table = self.transaction.open_table(EVENTS).map_err(SpoolError::storage)?;
        let gone = table.extract_from_if(..=through, |_, _| true).map_err(SpoolError::storage)?;
        for entry in gone {
            let (_, bytes) = entry.map_err(SpoolError::storage)?;
            self.tail.events = self.tail.events.saturating_sub(1);
            self.tail.bytes = self.tail.bytes.saturating_sub(bytes.value().len() as u64);
        }
        Ok(())
    }

    pub(crate) fn get<'k, K: Key + 'static, R: Record>(
        &self,
        table: TableDefinition<'_, K, &'static [u8]>,
        key: K::SelfType<'k>,
    ) -> Result<Option<R>, SpoolError> {
        let table = self.transaction.open_table(table).map_err(SpoolError::storage)?;
        let found = table.get(key).map_err(SpoolError::storage)?;
        found.map(|value| codec::decode(value.value())).transpose().map_err(SpoolError::storage)
    }

    pub(crate) fn put<'k, K: Key + 'static, R: Record>(
        &mut self,
        table: TableDefinition<'_, K, &'static [u8]>,
        key: K::SelfType<'k>,
        record: &R,
    ) -> Result<(), SpoolError> {
        let bytes = codec::encode(record).map_err(SpoolError::storage)?;
        self.insert(table, key, bytes.as_slice())
    }

    pub(crate) fn insert<'k, 'v, K: Key + 'static, V: Value + 'static>(
        &mut self,
        table: TableDefinition<'_, K, V>,
        key: K::SelfType<'k>,
        value: V::SelfType<'v>,
    ) -> Result<(), SpoolError> {
        self.writes += 1;
        let mut table = self.transaction.open_table(table).map_err(SpoolError::storage)?;
        table.insert(key, value).map_err(SpoolError::storage)?;
        Ok(())
    }

    pub(crate) fn contains<'k, K: Key + 'static, V: Value + 'static>(
        &self,
        table: TableDefinition<'_, K, V>,
        key: K::SelfType<'k>,
    ) -> Result<bool, SpoolError> {
        let table = self.transaction.open_table(table).map_err(SpoolError::storage)?;
        Ok(table.get(key).map_err(SpoolError::storage)?.is_some())
    }

    pub(crate) fn remove<'k, K: Key + 'static, V: Value + 'static>(
        &mut self,
        table: TableDefinition<'_, K, V>,
        key: K::SelfType<'k>,
    ) -> Result<(), SpoolError> {
        self.writes += 1;
        let mut table = self.transaction.open_table(table).map_err(SpoolError::storage)?;
        table.remove(key).map_err(SpoolError::storage)?;
        Ok(())
    }

    /// Writes the tail, as the last thing before the commit.
    pub(crate) fn seal(mut self) -> Result<Tail, SpoolError> {
        let tail = self.tail.clone();
        self.put(META, meta::TAIL, &tail)?;
        Ok(tail)
    }
}
