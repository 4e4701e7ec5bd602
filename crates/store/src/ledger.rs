//! The ledger: every event of every source, in one append-only order, under one Merkle tree.
//!
//! Appending is durable; searching is behind it. The search index and the tree's tiles are built by an
//! indexer with its own cursor ([`LedgerStore::index_progress`]) and can be thrown away and rebuilt.

use async_trait::async_trait;
use countersign_audit::{EventDraft, EventError};
use countersign_model::{ApprovalId, Digest, SpiffeId, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::{CommandError, Page, PageError, PageRequest, StoreError};

/// An event in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerEvent {
    /// Its place, from 0.
    pub index: u64,
    /// Its canonical bytes.
    pub bytes: Vec<u8>,
}

/// The head of the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LedgerHead {
    /// How many events there are.
    pub size: u64,
    /// The root of the Merkle tree over them (RFC 6962 §2.1).
    pub root: Digest,
}

/// What became of a batch of events from a sidecar. Everything in it is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ingested {
    /// The sidecar may forget its events up to and including this one.
    pub through: u64,
    /// How many events were new.
    pub accepted: usize,
    /// How many were there already, byte for byte.
    pub duplicates: usize,
    /// What was wrong with the sequence, each named in a `ledger.gap` event (I8).
    pub anomalies: Vec<Anomaly>,
}

/// Something wrong with a source's sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "problem")]
pub enum Anomaly {
    /// Events are missing: `from` to `to`.
    Missing {
        /// The first one that is missing.
        from: u64,
        /// The last one.
        to: u64,
    },
    /// Another event than the one that is there came under its number. The first one stays.
    Changed {
        /// The number.
        seq: u64,
        /// The digest of the one that is there.
        kept: Digest,
        /// The digest of the one that came.
        refused: Digest,
    },
    /// An event follows on another one than the one that is there. It was taken in.
    Unlinked {
        /// The number.
        seq: u64,
        /// The digest that it follows on.
        claimed: Digest,
        /// The digest of the one that is there.
        actual: Digest,
    },
    /// An event came that had been reported missing. It was taken in.
    Late {
        /// The number.
        seq: u64,
    },
    /// The source began again at 1, after it was enrolled anew.
    Restarted {
        /// The number that was expected.
        expected: u64,
    },
}

/// Why a batch was refused as a whole. A sidecar of ours never sends such a batch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IngestRefusal {
    /// It is too long, or empty.
    #[error("a batch has 1 to {max} events, this one has {0}", max = IngestRefusal::MAX_EVENTS)]
    Size(usize),
    /// One of its events is none.
    #[error("event {position} of the batch: {error}")]
    Malformed {
        /// Its place in the batch, from 0.
        position: usize,
        /// What is wrong.
        error: EventError,
    },
    /// One of its events is another source's.
    #[error("event {position} of the batch is from {claimed}")]
    OtherSource {
        /// Its place in the batch, from 0.
        position: usize,
        /// Whose it says it is.
        claimed: SpiffeId,
    },
    /// Its events are not in order.
    #[error("event {position} of the batch does not have a higher number than the one before")]
    OutOfOrder {
        /// Its place in the batch, from 0.
        position: usize,
    },
}

impl IngestRefusal {
    /// The most events in one batch.
    pub const MAX_EVENTS: usize = 10_000;
}

/// Which events are wanted; everything that is set must match.
#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    /// Of this kind, or of this family when it ends with a dot (`approval.`).
    pub kind: Option<String>,
    /// About this approval.
    pub approval: Option<ApprovalId>,
    /// Of this trace.
    pub trace_id: Option<String>,
    /// By this actor.
    pub actor: Option<String>,
    /// From this source.
    pub source: Option<String>,
    /// Not before.
    pub from: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
    /// Oldest first; newest first otherwise.
    pub ascending: bool,
}

/// How far the search index and the tiles are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexProgress {
    /// How many events are indexed.
    pub indexed: u64,
    /// How many there are.
    pub size: u64,
}

/// A signed head of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointRecord {
    /// How many events it covers.
    pub size: u64,
    /// The C2SP signed note.
    pub note: String,
    /// When it was signed.
    pub at: Timestamp,
}

/// There is no such event or tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the ledger has {size} events; there is no {wanted}")]
pub struct OutOfRange {
    /// How many events there are.
    pub size: u64,
    /// What was asked for.
    pub wanted: u64,
}

/// The ledger.
#[async_trait]
pub trait LedgerStore {
    /// Appends events of the control plane itself. Returns the ledger's size then.
    async fn record(&self, drafts: Vec<EventDraft>) -> Result<u64, StoreError>;

    /// Takes in events from a sidecar, whose identity the link has verified.
    async fn ingest(
        &self,
        source: SpiffeId,
        events: Vec<Vec<u8>>,
        at: Timestamp,
    ) -> Result<Ingested, CommandError<IngestRefusal>>;

    /// The head: what a checkpoint is signed over.
    async fn head(&self) -> Result<LedgerHead, StoreError>;

    /// The ledger's size, and every change of it.
    fn watch_size(&self) -> watch::Receiver<u64>;

    /// Events in order from an index on, at most `limit`.
    async fn events_from(&self, index: u64, limit: usize) -> Result<Vec<LedgerEvent>, StoreError>;

    /// The number and digest of a source's last event in the ledger: where its sidecar goes on after a
    /// reconnect. `None` when there is none.
    async fn source_head(&self, source: &SpiffeId) -> Result<Option<(u64, Digest)>, StoreError>;

    /// The event of a source under its number.
    async fn event_of(&self, source: &SpiffeId, seq: u64) -> Result<Option<LedgerEvent>, StoreError>;

    /// Events that match, as far as the index is.
    async fn query_events(
        &self,
        filter: EventFilter,
        page: PageRequest,
    ) -> Result<Page<LedgerEvent>, PageError>;

    /// How far the index is.
    async fn index_progress(&self) -> Result<IndexProgress, StoreError>;

    /// Returns once the index covers the first `size` events.
    async fn wait_indexed(&self, size: u64) -> Result<(), StoreError>;

    /// The root of the tree over the first `size` events.
    async fn root_at(&self, size: u64) -> Result<Digest, CommandError<OutOfRange>>;

    /// The path from the event at `index` to the root of the tree of `size` (RFC 6962 §2.1.1). Waits
    /// for the index to cover it.
    async fn inclusion_proof(&self, index: u64, size: u64) -> Result<Vec<Digest>, CommandError<OutOfRange>>;

    /// The proof that the tree of size `to` continues that of size `from` (RFC 6962 §2.1.2). Waits for
    /// the index to cover it.
    async fn consistency_proof(&self, from: u64, to: u64) -> Result<Vec<Digest>, CommandError<OutOfRange>>;

    /// A tile of the tree's hashes (C2SP tlog-tiles, height 8), as far as it is filled; empty when it is
    /// not there.
    async fn tile(&self, level: u8, index: u64) -> Result<Vec<u8>, StoreError>;

    /// Keeps a signed checkpoint. Not an event: it would be about itself.
    async fn save_checkpoint(&self, checkpoint: CheckpointRecord) -> Result<(), StoreError>;

    /// The latest checkpoint.
    async fn latest_checkpoint(&self) -> Result<Option<CheckpointRecord>, StoreError>;

    /// The checkpoint of exactly that size, or the next larger one.
    async fn checkpoint_covering(&self, size: u64) -> Result<Option<CheckpointRecord>, StoreError>;
}
