//! Reading and proving the ledger.

use std::pin::Pin;

use bytes::Bytes;
use countersign_model::{ApprovalId, Timestamp};
use futures::Stream;
use serde::Serialize;
use utoipa::ToSchema;

use super::{MissingRight, Page, PageRequest, require};
use crate::identity::{Actor, Right};

/// Which events are wanted; everything that is set must match.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    /// Of this kind, or of this family when it ends with a dot (`approval.`).
    pub kind: Option<String>,
    /// About this approval.
    pub approval: Option<ApprovalId>,
    /// Of this trace.
    pub trace_id: Option<String>,
    /// By this actor.
    pub actor: Option<String>,
    /// From this source (a SPIFFE ID).
    pub source: Option<String>,
    /// Not before.
    pub from: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
    /// Oldest first, as for following the log; newest first otherwise.
    pub ascending: bool,
}

/// One event with its place in the ledger.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct EventView {
    /// Its place, from 0.
    pub index: u64,
    /// The event as it was recorded.
    #[schema(value_type = Object)]
    pub event: Box<serde_json::value::RawValue>,
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

/// Reads and proves the ledger.
#[derive(Debug, Clone)]
pub struct Audit {}

impl Audit {
    /// Events that match.
    ///
    /// # Errors
    /// When the cursor is not one of ours.
    pub async fn query(
        &self,
        actor: &Actor,
        _filter: &AuditFilter,
        _page: &PageRequest,
    ) -> Result<Page<EventView>, AuditError> {
        require(actor, Right::Read)?;
        Err(unopened())
    }

    /// The latest signed head.
    ///
    /// # Errors
    /// Before the first one.
    pub async fn checkpoint(&self, actor: &Actor) -> Result<CheckpointView, AuditError> {
        require(actor, Right::Read)?;
        Err(unopened())
    }

    /// Proof that the event at `index` is in the tree of `size` (the latest checkpoint's when `None`).
    ///
    /// # Errors
    /// When there is no such event or tree.
    pub async fn inclusion(
        &self,
        actor: &Actor,
        _index: u64,
        _size: Option<u64>,
    ) -> Result<InclusionView, AuditError> {
        require(actor, Right::Read)?;
        Err(unopened())
    }

    /// Proof that the tree of size `to` (the latest checkpoint's when `None`) continues that of size `from`.
    ///
    /// # Errors
    /// When there are no such trees.
    pub async fn consistency(
        &self,
        actor: &Actor,
        _from: u64,
        _to: Option<u64>,
    ) -> Result<ConsistencyView, AuditError> {
        require(actor, Right::Read)?;
        Err(unopened())
    }

    /// The whole ledger as `countersign audit verify` reads it: JSON lines.
    ///
    /// # Errors
    /// When the actor may not; an error in the middle ends the stream with it.
    pub async fn export(&self, actor: &Actor) -> Result<ExportStream, AuditError> {
        require(actor, Right::Read)?;
        Err(unopened())
    }
}

fn unopened() -> AuditError {
    AuditError::Store("the store is not open".to_owned())
}
