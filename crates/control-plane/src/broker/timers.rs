//! The clocks of approvals. When each of them is due is in the store, so they survive a restart; here
//! is only who looks at the time.

use std::{sync::Arc, time::Duration};

use countersign_approval::{Approval, Input, Phase};
use countersign_model::ApprovalId;
use countersign_store::{ApprovalFilter, Change, CommandError, PageError, StoreError};
use futures::future::join_all;
use tokio_util::sync::CancellationToken;

use super::Broker;

/// How many approvals are ticked at a time: enough to share a commit.
const BATCH: usize = 256;
/// The longest sleep. Short, because the machine's clock can be set and can sleep itself.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

impl Broker {
    /// Ticks approvals as they come due, until the stop.
    pub(crate) async fn run_timers(self: Arc<Self>, stop: CancellationToken) -> Result<(), StoreError> {
        loop {
            let due = self.store.due_approvals(self.clock.now(), BATCH).await?;
            let all_ticked = self.tick(&due).await?;
            let sleep =
                if !due.is_empty() && all_ticked { Duration::ZERO } else { self.until_next().await? };
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = self.clocks.notified() => {}
                () = tokio::time::sleep(sleep) => {}
            }
        }
    }

    /// Counts everything that is pending and renews its requester's lease, for the start: nobody could give a sign of life while
    /// the control plane was away, so its absence must not cancel anything.
    pub(crate) async fn excuse_absence(&self) -> Result<(), PageError> {
        let filter = ApprovalFilter { phase: Some(Phase::Pending), ..ApprovalFilter::default() };
        let excuse = |approval: &Approval| {
            self.crowd.add(approval);
            Some(Input::RequesterHeartbeat)
        };
        self.apply_to_all(filter, self.own_id.to_string().into(), excuse).await
    }

    /// Ticks each of them. Answers whether every tick was taken.
    async fn tick(&self, due: &[ApprovalId]) -> Result<bool, StoreError> {
        let tick = |id: &ApprovalId| {
            let change = Change { id: *id, input: Input::Tick, agent: None, expected_version: None };
            self.apply(change, self.own_id.to_string().into())
        };
        let mut all_ticked = true;
        for ticked in join_all(due.iter().map(tick)).await {
            match ticked {
                Ok(_) => {}
                Err(CommandError::Refused(refusal)) => {
                    tracing::warn!(%refusal, "an approval did not take the time");
                    all_ticked = false;
                }
                Err(CommandError::Store(error)) => return Err(error),
            }
        }
        Ok(all_ticked)
    }

    async fn until_next(&self) -> Result<Duration, StoreError> {
        let next = self.store.next_wake().await?;
        let millis = next.map(|next| next.millis_since(self.clock.now()).max(10));
        let sleep = millis.and_then(|millis| u64::try_from(millis).ok()).map(Duration::from_millis);
        Ok(sleep.unwrap_or(LONGEST_SLEEP).min(LONGEST_SLEEP))
    }
}
