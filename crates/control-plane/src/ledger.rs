//! The ledger's signed head and how far its index is. Events themselves go to the store, each with what it
//! is about.

use std::{sync::Arc, time::Duration};

use countersign_audit::checkpoint::{Checkpoint, CheckpointError, LogKey};
use countersign_audit::proof::TreeHead;
use countersign_model::{Seconds, TrustDomain};
use countersign_store::{CheckpointRecord, Store, StoreError};
use countersign_telemetry::Metrics;
use tokio_util::sync::CancellationToken;

use crate::{clock::Clock, keys::Keys};

/// How often what is measured is reported.
const MEASURE: Duration = Duration::from_secs(5);

/// Signs the ledger's head.
pub(crate) struct Ledger {
    /// The store.
    pub(crate) store: Arc<dyn Store>,
    /// The time.
    pub(crate) clock: Clock,
    /// What checkpoints are signed with.
    pub(crate) keys: Arc<Keys>,
    /// The log and its key, as verifiers know it.
    pub(crate) log: LogKey,
    /// How often the head is signed, when it has grown.
    pub(crate) every: Seconds,
    /// What is measured.
    pub(crate) metrics: Metrics,
}

/// Why the head was not signed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SignError {
    /// It cannot be written as a checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The store does not work.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The name of a trust domain's log and its key.
pub(crate) fn log_key(trust_domain: &TrustDomain, keys: &Keys) -> Result<LogKey, CheckpointError> {
    LogKey::new(&format!("{trust_domain}/ledger"), keys.checkpoints.verifying_key())
}

impl Ledger {
    /// Signs the head as it is now, unless the latest checkpoint covers it.
    pub(crate) async fn sign_head(&self) -> Result<CheckpointRecord, SignError> {
        let head = self.store.head().await?;
        let latest = self.store.latest_checkpoint().await?;
        if let Some(latest) = latest.filter(|latest| latest.size >= head.size) {
            return Ok(latest);
        }
        let head = TreeHead { size: head.size, root: head.root };
        let checkpoint = Checkpoint { origin: self.log.origin().to_owned(), head };
        let note = checkpoint.sign(&self.keys.checkpoints)?;
        let record = CheckpointRecord { size: checkpoint.head.size, note, at: self.clock.now() };
        self.store.save_checkpoint(record.clone()).await?;
        Ok(record)
    }

    /// Signs the head every now and then when it has grown, until the stop, and once more then.
    pub(crate) async fn run_checkpoints(self: Arc<Self>, stop: CancellationToken) -> Result<(), SignError> {
        let mut size = self.store.watch_size();
        size.mark_changed();
        while !stop.is_cancelled() {
            tokio::select! {
                () = stop.cancelled() => {}
                changed = size.changed() => if changed.is_err() { return Err(StoreError::Closed.into()) },
            }
            self.sign_head().await?;
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(self.every.to_std()) => {}
            }
        }
        self.sign_head().await.map(|_| ())
    }

    /// Reports how far the index is behind, until the stop.
    pub(crate) async fn run_metrics(self: Arc<Self>, stop: CancellationToken) -> Result<(), StoreError> {
        loop {
            let progress = self.store.index_progress().await?;
            self.metrics.ledger_lag(progress.size.saturating_sub(progress.indexed));
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(MEASURE) => {}
            }
        }
    }
}
