//! The audit events: from the spool to the ledger, in order, without loss or duplicates (I8).
//!
//! One batch is under way at a time. An event leaves the spool only when the ledger has acknowledged it.
//! What the ledger has of this source is told with each new connection, so that a batch whose answer got
//! lost is not sent again.

use std::time::Duration;

use countersign_protocol::{AuditBatch, Welcome};
use countersign_spool::{AcknowledgeError, Spool, SpooledEvent};
use countersign_transport::{Link, LinkState};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::app::TaskError;

/// The most events of a batch.
const MAX_EVENTS: usize = 1_024;
/// The most bytes of a batch: well within the largest frame, headers included.
const MAX_BYTES: usize = 768 * 1024;
/// How long to wait before a batch is sent again that was not taken.
const RETRY: Duration = Duration::from_secs(2);
/// How long what is left may take at the stop.
const LAST_CALL: Duration = Duration::from_secs(3);

/// Ships the spool's events.
pub(crate) struct Shipper {
    pub(crate) spool: Spool,
    pub(crate) link: Link,
}

impl Shipper {
    /// Ships until the stop, and then what is left, if that is quick.
    pub(crate) async fn run(self, stop: CancellationToken) -> Result<(), TaskError> {
        tokio::select! {
            () = stop.cancelled() => {}
            failed = self.ship() => return failed,
        }
        let rest = async {
            while self.link.state().borrow().is_up() && self.spool.depth().events > 0 {
                if !self.ship_batch().await? {
                    break;
                }
            }
            Ok(())
        };
        timeout(LAST_CALL, rest).await.unwrap_or(Ok(()))
    }

    /// Ends only with an error of the spool.
    async fn ship(&self) -> Result<(), TaskError> {
        let mut states = self.link.state();
        loop {
            let state = states.borrow_and_update().clone();
            let LinkState::Up(welcome) = state else {
                states.changed().await?;
                continue;
            };
            self.catch_up(&welcome).await?;
            tokio::select! {
                changed = states.changed() => changed?,
                failed = self.ship_while_up() => return failed,
            }
        }
    }

    /// Forgets what the ledger has already.
    async fn catch_up(&self, welcome: &Welcome) -> Result<(), TaskError> {
        if welcome.audit_through == 0 {
            return Ok(());
        }
        self.acknowledge(welcome.audit_through).await?;
        Ok(())
    }

    async fn ship_while_up(&self) -> Result<(), TaskError> {
        let mut depth = self.spool.watch_depth();
        loop {
            let waiting = depth.borrow_and_update().events;
            if waiting == 0 {
                depth.changed().await?;
            } else if !self.ship_batch().await? {
                sleep(RETRY).await;
            }
        }
    }

    /// Ships the oldest events. Answers whether the ledger took them.
    async fn ship_batch(&self) -> Result<bool, TaskError> {
        let events = self.spool.unacknowledged(MAX_EVENTS, MAX_BYTES).await?;
        if events.is_empty() {
            return Ok(true);
        }
        let events = events.into_iter().map(|SpooledEvent { bytes, .. }| bytes).collect();
        match self.link.request(AuditBatch { events }).await {
            Ok(ack) => self.acknowledge(ack.through).await,
            Err(error) => {
                tracing::warn!(%error, "the audit events were not taken; they stay in the spool");
                Ok(false)
            }
        }
    }

    async fn acknowledge(&self, through: u64) -> Result<bool, TaskError> {
        match self.spool.acknowledge(through).await {
            Ok(()) => Ok(true),
            Err(AcknowledgeError::Spool(error)) => Err(error.into()),
            Err(error @ AcknowledgeError::Beyond { .. }) => {
                // Either this spool is not the one that the ledger knows, or the ledger is mistaken. Its
                // gap detection will name it; nothing is removed here.
                tracing::error!(%error, "the ledger has events of this agent that this spool has not");
                Ok(false)
            }
        }
    }
}
