//! From the outbox to the channels' queues. Asks nobody outside, so that nothing holds it up.

use std::{collections::BTreeMap, time::Duration};

use countersign_approval::{Approval, Phase};
use countersign_model::{ApprovalId, Seconds};
use countersign_store::{
    ApprovalFilter, Destination, Lane, OutboxMessage, PageError, PageRequest, StoreError, Telling, Want,
};
use tokio_util::sync::CancellationToken;

use super::{Desk, back_off};
use crate::broker::notify_span;

/// How many messages are worked out at a time.
const BATCH: usize = 128;
/// How long to wait at most without looking.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);
/// For how long it is known what was told about an approval.
const KEPT: Seconds = Seconds::new(90 * 86_400);

/// Works out who is to be told what.
pub(crate) struct Dispatcher(pub(crate) Desk);

impl Dispatcher {
    /// Empties the outbox, until the stop. A failing store is tried again with back-off: its writer ends the
    /// process by itself when it cannot go on.
    pub(crate) async fn run(self, stop: CancellationToken) -> Result<(), StoreError> {
        let mut failures = 0_u32;
        // What a channel had not told when the control plane ended is looked for at once.
        self.0.channels.wake_all();
        loop {
            let pause = match self.dispatch_batch().await {
                Ok(0) => {
                    failures = 0;
                    None
                }
                Ok(_) => continue,
                Err(StoreError::Closed) => return Err(StoreError::Closed),
                Err(error) => {
                    tracing::warn!(%error, "who is to be told could not be worked out; trying again");
                    failures = failures.saturating_add(1);
                    Some(back_off::after(failures, LONGEST_SLEEP))
                }
            };
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = self.0.outbox.notified(), if pause.is_none() => {}
                () = tokio::time::sleep(pause.unwrap_or(LONGEST_SLEEP)) => self.sweep().await?,
            }
        }
    }

    /// Works one batch out. Answers how many messages there were.
    async fn dispatch_batch(&self) -> Result<usize, StoreError> {
        let store = &self.0.store;
        let messages = store.outbox(Lane::Channels, BATCH).await?;
        let Some(last) = messages.last().map(|message| message.seq) else { return Ok(0) };
        let mut wants: BTreeMap<ApprovalId, Want> = BTreeMap::new();
        for message in &messages {
            let Some(approval) = store.approval(message.approval).await? else { continue };
            let is_reminder = matches!(message.telling, Telling::Remind | Telling::Escalate);
            let want = wants.entry(message.approval).or_insert_with(|| self.want(message, &approval));
            want.remind |= is_reminder;
        }
        store.want_deliveries(wants.into_values().collect(), Some(last)).await?;
        self.0.channels.wake_all();
        self.count_pending().await?;
        Ok(messages.len())
    }

    fn want(&self, message: &OutboxMessage, approval: &Approval) -> Want {
        let _span = (message.telling == Telling::Notify).then(|| notify_span(approval).entered());
        Want {
            approval: approval.request.id,
            version: approval.version,
            destinations: self.destinations(approval),
            remind: false,
            instead_of: None,
            at: self.0.clock.now(),
        }
    }

    fn destinations(&self, approval: &Approval) -> Vec<Destination> {
        let channels = &self.0.channels;
        let is_over = approval.phase() != Phase::Pending;
        let every = |name: &str| channels.get(name).is_some_and(|one| one.channel.tells_every_ending());
        // Reviewers of a later stage are told when it opens, and all of the end.
        let requirements =
            if is_over { &approval.request.submission.requirements } else { &approval.asked_for() };
        let destinations = channels.routing.destinations(requirements);
        destinations.into_iter().filter(|to| !is_over || every(&to.channel)).collect()
    }

    async fn sweep(&self) -> Result<(), StoreError> {
        let before = self.0.clock.now().minus(KEPT);
        let swept = self.0.store.sweep_deliveries(before).await?;
        if swept > 0 {
            tracing::debug!(swept, "what was told about old approvals is forgotten");
        }
        Ok(())
    }

    async fn count_pending(&self) -> Result<(), StoreError> {
        let filter = ApprovalFilter { phase: Some(Phase::Pending), ..ApprovalFilter::default() };
        let page = self.0.store.approvals(filter, PageRequest::first(PageRequest::MAX)).await;
        let pending = page.map_err(|error| match error {
            PageError::Store(error) => error,
            PageError::Cursor(error) => StoreError::Damaged(error.to_string()),
        })?;
        self.0.metrics.approvals_pending(u64::try_from(pending.items.len()).unwrap_or(u64::MAX));
        Ok(())
    }
}
