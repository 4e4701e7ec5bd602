//! Telling reviewers, through the outbox: what is to be told is stored with the change that it is about,
//! so a crash delays it and never loses it. It may be told twice, and says what the approval is like by now.
//!
//! The one channel so far is the live console: its event streams. A stream that nobody reads is no
//! failure; whoever opens the console reads what is pending first.

use std::{sync::Arc, time::Duration};

use countersign_approval::{Approval, Phase};
use countersign_store::{ApprovalFilter, Lane, OutboxMessage, PageError, PageRequest, StoreError, Telling};
use tokio_util::sync::CancellationToken;

use crate::broker::{Broker, notify_span};

/// How many messages are told at a time.
const BATCH: usize = 128;
/// The first wait after a failure; it doubles with each one.
const FIRST_RETRY: Duration = Duration::from_millis(100);
/// The longest wait after a failure.
const LONGEST_RETRY: Duration = Duration::from_secs(30);
/// How many failures in a row the wait grows for.
const MOST_DOUBLINGS: u32 = 10;

/// Tells reviewers.
pub(crate) struct Channels {
    /// What there is to tell about.
    pub(crate) broker: Arc<Broker>,
}

impl Channels {
    /// Tells what is in the outbox, until the stop. A failing store is tried again with back-off: its
    /// writer ends the process by itself when it cannot go on.
    pub(crate) async fn run(self, stop: CancellationToken) -> Result<(), StoreError> {
        let mut failures = 0_u32;
        loop {
            let pause = match self.tell_batch().await {
                Ok(0) => {
                    failures = 0;
                    None
                }
                Ok(_) => {
                    failures = 0;
                    continue;
                }
                Err(StoreError::Closed) => return Err(StoreError::Closed),
                Err(error) => {
                    tracing::warn!(%error, "reviewers could not be told; trying again");
                    failures = failures.saturating_add(1);
                    Some(back_off(failures))
                }
            };
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = self.broker.outbox.notified(), if pause.is_none() => {}
                () = tokio::time::sleep(pause.unwrap_or(LONGEST_RETRY)) => {}
            }
        }
    }

    /// Tells one batch. Answers how many messages there were.
    async fn tell_batch(&self) -> Result<usize, StoreError> {
        let store = &self.broker.store;
        let messages = store.outbox(Lane::Channels, BATCH).await?;
        let Some(last) = messages.last().map(|message| message.seq) else { return Ok(0) };
        for message in &messages {
            if let Some(approval) = store.approval(message.approval).await? {
                self.tell(message, &approval);
            }
        }
        store.acknowledge_outbox(Lane::Channels, last).await?;
        self.count_pending().await?;
        Ok(messages.len())
    }

    fn tell(&self, message: &OutboxMessage, approval: &Approval) {
        match message.telling {
            Telling::Notify => notify_span(approval).in_scope(|| self.show(approval)),
            Telling::UpdateCards | Telling::RetireCards => self.show(approval),
            // Sidecars have lanes of their own.
            Telling::WithdrawGrant => {}
        }
    }

    fn show(&self, approval: &Approval) {
        self.broker.hub.approval_changed(approval);
    }

    async fn count_pending(&self) -> Result<(), StoreError> {
        let filter = ApprovalFilter { phase: Some(Phase::Pending), agent: None };
        let page = self.broker.store.approvals(filter, PageRequest::first(PageRequest::MAX)).await;
        let pending = page.map_err(|error| match error {
            PageError::Store(error) => error,
            PageError::Cursor(error) => StoreError::Damaged(error.to_string()),
        })?;
        self.broker.metrics.approvals_pending(u64::try_from(pending.items.len()).unwrap_or(u64::MAX));
        Ok(())
    }
}

fn back_off(failures: u32) -> Duration {
    FIRST_RETRY.saturating_mul(1_u32 << failures.min(MOST_DOUBLINGS)).min(LONGEST_RETRY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_grows_and_stays_bounded() {
        assert_eq!(back_off(1), Duration::from_millis(200));
        assert_eq!(back_off(u32::MAX), LONGEST_RETRY);
    }
}
