//! Reading and proving the ledger.

use std::{pin::Pin, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use countersign_audit::{checkpoint::Checkpoint, export};
use countersign_model::{Digest, Timestamp};
pub use countersign_store::EventFilter as AuditFilter;
use countersign_store::{CommandError, CursorError, LedgerEvent, OutOfRange, PageError, Store, StoreError};
use futures::{Stream, StreamExt, stream};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{MissingRight, Page, PageRequest, Parts, require};
use crate::{
    identity::{Actor, Right},
    ledger::SignError,
};

/// How many events one chunk of an export has.
const EXPORT_CHUNK: usize = 500;

/// One event with its place in the ledger.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct EventView {
    /// Its place, from 0.
    pub index: u64,
    /// The event as it was recorded.
    #[schema(value_type = Object)]
    pub event: Box<RawValue>,
}

/// A signed head of the ledger.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct CheckpointView {
    /// The C2SP signed note.
    pub checkpoint: String,
    /// How many events it covers.
    pub size: u64,
    /// The Merkle root, base64.
    pub root: String,
    /// The verifier key (C2SP `vkey`) that checks it.
    pub public_key: String,
    /// When it was signed.
    #[schema(value_type = String)]
    pub at: Timestamp,
}

/// Proof that an event is in the ledger.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct InclusionView {
    /// The event's place.
    pub index: u64,
    /// The size of the tree that the proof is against.
    pub size: u64,
    /// The hashes, base64, leaf to root (RFC 6962 §2.1.1).
    pub hashes: Vec<String>,
    /// A checkpoint of that size, when there is one.
    pub checkpoint: Option<String>,
}

/// Proof that one head of the ledger continues another.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ConsistencyView {
    /// The smaller tree.
    pub from: u64,
    /// The larger one.
    pub to: u64,
    /// The hashes, base64 (RFC 6962 §2.1.2).
    pub hashes: Vec<String>,
}

/// Why the ledger did not answer.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The actor may not.
    #[error(transparent)]
    Right(#[from] MissingRight),
    /// There is no such event, or no tree of that size.
    #[error("the ledger has {size} events; there is no {wanted}")]
    OutOfRange {
        /// How many events there are.
        size: u64,
        /// What was asked for.
        wanted: u64,
    },
    /// Nothing was signed yet.
    #[error("there is no checkpoint yet")]
    NoCheckpoint,
    /// The cursor is none that a page gave out.
    #[error("the cursor is none that a page gave out")]
    Cursor,
    /// The store cannot answer. The text is for the log, not for the caller.
    #[error("the store cannot answer: {0}")]
    Store(String),
}

/// The chunks of an export.
pub type ExportStream = Pin<Box<dyn Stream<Item = Result<Bytes, AuditError>> + Send>>;

impl From<StoreError> for AuditError {
    fn from(error: StoreError) -> Self {
        Self::Store(error.to_string())
    }
}

impl From<CursorError> for AuditError {
    fn from(_: CursorError) -> Self {
        Self::Cursor
    }
}

impl From<PageError> for AuditError {
    fn from(error: PageError) -> Self {
        match error {
            PageError::Cursor(error) => error.into(),
            PageError::Store(error) => error.into(),
        }
    }
}

impl From<CommandError<OutOfRange>> for AuditError {
    fn from(error: CommandError<OutOfRange>) -> Self {
        match error {
            CommandError::Refused(OutOfRange { size, wanted }) => Self::OutOfRange { size, wanted },
            CommandError::Store(error) => error.into(),
        }
    }
}

impl From<SignError> for AuditError {
    fn from(error: SignError) -> Self {
        Self::Store(error.to_string())
    }
}

/// Reads and proves the ledger.
#[derive(Debug, Clone)]
pub struct Audit {
    parts: Arc<Parts>,
}

impl Audit {
    pub(super) fn new(parts: Arc<Parts>) -> Self {
        Self { parts }
    }

    /// Events that match, as far as the search index is.
    ///
    /// # Errors
    /// When the cursor is not one of ours.
    pub async fn query(
        &self,
        actor: &Actor,
        filter: AuditFilter,
        page: &PageRequest,
    ) -> Result<Page<EventView>, AuditError> {
        require(actor, Right::Read)?;
        let found = self.parts.store.query_events(filter, page.to_store()?).await?;
        let next = found.next.map(|next| next.to_string());
        let items = found.items.into_iter().map(view).collect::<Result<_, _>>()?;
        Ok(Page { items, next })
    }

    /// The latest signed head.
    ///
    /// # Errors
    /// Before the first one.
    pub async fn checkpoint(&self, actor: &Actor) -> Result<CheckpointView, AuditError> {
        require(actor, Right::Read)?;
        let latest = self.parts.store.latest_checkpoint().await?.ok_or(AuditError::NoCheckpoint)?;
        let log = &self.parts.ledger.log;
        let checkpoint = Checkpoint::verify(&latest.note, log)
            .map_err(|error| AuditError::Store(format!("the stored checkpoint: {error}")))?;
        Ok(CheckpointView {
            checkpoint: latest.note,
            size: latest.size,
            root: STANDARD.encode(checkpoint.head.root.as_bytes()),
            public_key: log.to_string(),
            at: latest.at,
        })
    }

    /// Proof that the event at `index` is in the tree of `size` (the latest checkpoint's when `None`).
    ///
    /// # Errors
    /// When there is no such event or tree.
    pub async fn inclusion(
        &self,
        actor: &Actor,
        index: u64,
        size: Option<u64>,
    ) -> Result<InclusionView, AuditError> {
        require(actor, Right::Read)?;
        let size = self.tree(size).await?;
        let proof = self.parts.store.inclusion_proof(index, size).await?;
        let signed = self.parts.store.checkpoint_covering(size).await?;
        let checkpoint = signed.filter(|signed| signed.size == size).map(|signed| signed.note);
        Ok(InclusionView { index, size, hashes: hashes(&proof), checkpoint })
    }

    /// Proof that the tree of size `to` (the latest checkpoint's when `None`) continues that of size `from`.
    ///
    /// # Errors
    /// When there are no such trees.
    pub async fn consistency(
        &self,
        actor: &Actor,
        from: u64,
        to: Option<u64>,
    ) -> Result<ConsistencyView, AuditError> {
        require(actor, Right::Read)?;
        let to = self.tree(to).await?;
        let proof = self.parts.store.consistency_proof(from, to).await?;
        Ok(ConsistencyView { from, to, hashes: hashes(&proof) })
    }

    /// The whole ledger under a checkpoint of its head as it is now, as `countersign audit verify` reads
    /// it: JSON lines.
    ///
    /// # Errors
    /// When the actor may not; an error in the middle ends the stream with it, so that an export that was
    /// cut short is not taken for a whole one.
    pub async fn export(&self, actor: &Actor) -> Result<ExportStream, AuditError> {
        require(actor, Right::Read)?;
        let head = self.parts.ledger.sign_head().await?;
        let header = export::header_line(&head.note, &self.parts.ledger.log, true);
        let first = stream::once(async move { Ok(Bytes::from(header)) });
        let store = Arc::clone(&self.parts.store);
        let events = stream::try_unfold(0, move |from| {
            let store = Arc::clone(&store);
            async move { export_chunk(store.as_ref(), from, head.size).await }
        });
        let last = stream::once(async move { Ok(Bytes::from(export::end_line(head.size))) });
        Ok(Box::pin(first.chain(events).chain(last)))
    }

    async fn tree(&self, size: Option<u64>) -> Result<u64, AuditError> {
        match size {
            Some(size) => Ok(size),
            None => {
                let latest = self.parts.store.latest_checkpoint().await?;
                Ok(latest.ok_or(AuditError::NoCheckpoint)?.size)
            }
        }
    }
}

/// The lines of the next events, and where the ones after them start.
async fn export_chunk(store: &dyn Store, from: u64, size: u64) -> Result<Option<(Bytes, u64)>, AuditError> {
    let left = usize::try_from(size.saturating_sub(from)).unwrap_or(usize::MAX);
    if left == 0 {
        return Ok(None);
    }
    let events = store.events_from(from, left.min(EXPORT_CHUNK)).await?;
    let Some(last) = events.last().map(|event| event.index) else {
        return Err(AuditError::Store(format!("the ledger ends at {from}, before its signed head")));
    };
    let lines: String =
        events.iter().map(|event| export::event_line(event.index, &event.bytes, None)).collect();
    Ok(Some((Bytes::from(lines), last + 1)))
}

fn view(event: LedgerEvent) -> Result<EventView, AuditError> {
    let damaged = |error: String| AuditError::Store(format!("event {}: {error}", event.index));
    let text = String::from_utf8(event.bytes).map_err(|error| damaged(error.to_string()))?;
    let raw = RawValue::from_string(text).map_err(|error| damaged(error.to_string()))?;
    Ok(EventView { index: event.index, event: raw })
}

fn hashes(proof: &[Digest]) -> Vec<String> {
    proof.iter().map(|hash| STANDARD.encode(hash.as_bytes())).collect()
}
