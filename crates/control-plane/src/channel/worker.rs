//! One channel's deliveries. Each channel has its worker, so that a slow one holds up nobody else.

use std::{sync::Arc, time::Duration};

use countersign_approval::{Approval, Phase};
use countersign_audit::{EventDraft, kind};
use countersign_model::{Seconds, Timestamp};
use countersign_store::{Delivery, DeliveryOutcome, StoreError, Want};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::{
    Configured, Desk, back_off,
    health::plus,
    port::{DeliveryError, Message, MessageRef},
};
use crate::broker::deliver_span;

/// How many deliveries are looked at a time.
const BATCH: usize = 64;
/// How many are made at once.
const AT_ONCE: usize = 8;
/// How long one may take.
const TIME_LIMIT: Duration = Duration::from_secs(30);
/// The longest wait before one that failed is tried again.
const LONGEST_RETRY: Duration = Duration::from_secs(900);
/// After an approval is decided, its channels are tried for so long.
const GIVE_UP_AFTER: Seconds = Seconds::new(86_400);
/// The longest sleep while something is due. Short, because the machine's clock can be set and can sleep itself.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);
/// The longest sleep while the channel is left alone.
const LONGEST_PAUSED_SLEEP: Duration = Duration::from_secs(5);
/// The longest sleep while nothing is.
const LONGEST_REST: Duration = Duration::from_secs(30);
/// How far the backlog is counted.
const MOST_BACKLOG: usize = 10_000;

/// Makes one channel's deliveries.
pub(crate) struct Worker {
    /// The channel.
    pub(crate) own: Arc<Configured>,
    /// What it works with.
    pub(crate) desk: Desk,
}

impl Worker {
    /// Makes deliveries until the stop.
    pub(crate) async fn run(self, stop: CancellationToken) -> Result<(), StoreError> {
        let mut was_up = true;
        let mut failures = 0_u32;
        loop {
            // A delivery that the stop cuts off is made again, as after a crash.
            let round = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                round = self.round(&mut was_up) => round,
            };
            let pause = match round {
                Ok(pause) => {
                    failures = 0;
                    pause
                }
                Err(StoreError::Closed) => return Err(StoreError::Closed),
                Err(error) => {
                    tracing::warn!(channel = self.own.name, %error, "deliveries cannot be read; trying again");
                    failures = failures.saturating_add(1);
                    back_off::after(failures, LONGEST_REST)
                }
            };
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = self.own.wake.notified() => {}
                () = self.own.health.turned() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Makes what is due. Answers when to look again.
    async fn round(&self, was_up: &mut bool) -> Result<Duration, StoreError> {
        loop {
            let is_up = self.own.health.is_up();
            if is_up != *was_up {
                self.note_turn(is_up).await?;
                *was_up = is_up;
            }
            if !is_up {
                self.fall_back_all().await?;
            }
            let now = self.now();
            if let Some(until) = self.own.health.standing().paused_until.filter(|until| *until > now) {
                return Ok(span_until(until, now).min(LONGEST_PAUSED_SLEEP));
            }
            // One is enough to find out whether it works again.
            let limit = if is_up { BATCH } else { 1 };
            let due = self.desk.store.due_deliveries(&self.own.name, now, limit).await?;
            self.measure().await?;
            if due.is_empty() {
                return self.until_next(now).await;
            }
            let made = stream::iter(due).map(|delivery| self.deliver(delivery));
            made.buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        }
    }

    async fn until_next(&self, now: Timestamp) -> Result<Duration, StoreError> {
        let next = self.desk.store.next_delivery(&self.own.name).await?;
        Ok(next.map_or(LONGEST_REST, |next| span_until(next, now).min(LONGEST_SLEEP)))
    }

    async fn deliver(&self, delivery: Delivery) -> Result<(), StoreError> {
        let store = &self.desk.store;
        let Some(approval) = store.approval(delivery.approval).await? else {
            let outcome = DeliveryOutcome::GivenUp { error: "the approval is not there".to_owned() };
            return self.note(&delivery, outcome).await;
        };
        if is_moot(&delivery, &approval) && !self.own.channel.tells_every_ending() {
            return self.note(&delivery, told(&approval, None, true)).await;
        }
        let span = deliver_span(&approval, &self.own.name);
        let message = self.desk.message(approval).await?;
        let telling = tokio::time::timeout(TIME_LIMIT, self.tell(&delivery, &message)).instrument(span);
        let answer = telling.await.unwrap_or_else(|_| Err(DeliveryError::later("it took too long")));
        self.desk.metrics.channel_delivery(&self.own.name, answer.is_ok());
        let outcome = match answer {
            Ok(reference) => {
                self.own.health.succeeded();
                told(&message.approval, reference, delivery.remind)
            }
            Err(error) => self.failed(&delivery, &message.approval, &error).await?,
        };
        self.note(&delivery, outcome).await
    }

    /// Posts or changes the message, and reminds if that is wanted. Answers its reference if it is new.
    async fn tell(&self, delivery: &Delivery, message: &Message) -> Result<Option<String>, DeliveryError> {
        let (channel, room) = (&self.own.channel, delivery.destination.room.as_str());
        let Some(posted) = delivery.reference.clone().map(MessageRef) else {
            return Ok(Some(channel.post(room, message).await?.0));
        };
        if message.approval.version > delivery.told {
            channel.update(room, &posted, message).await?;
        }
        if delivery.remind && message.approval.phase() == Phase::Pending {
            channel.remind(room, &posted, message).await?;
        }
        Ok(None)
    }

    async fn failed(
        &self,
        delivery: &Delivery,
        approval: &Approval,
        error: &DeliveryError,
    ) -> Result<DeliveryOutcome, StoreError> {
        let (now, why) = (self.now(), error.to_string());
        tracing::warn!(channel = self.own.name, approval = %delivery.approval, %error, "a message was not taken");
        self.own.health.failed(error);
        if matches!(error, DeliveryError::Permanent(_)) {
            self.fall_back(delivery, approval).await?;
            return Ok(DeliveryOutcome::GivenUp { error: why });
        }
        let is_over = approval.phase() != Phase::Pending && approval.updated_at.plus(GIVE_UP_AFTER) <= now;
        if is_over {
            return Ok(DeliveryOutcome::GivenUp { error: why });
        }
        let wait = back_off::after(delivery.failures.saturating_add(1), LONGEST_RETRY);
        Ok(DeliveryOutcome::Failed { error: why, retry_at: plus(now, wait) })
    }

    /// Has the fallbacks tell whatever could not be told here.
    async fn fall_back_all(&self) -> Result<(), StoreError> {
        let store = &self.desk.store;
        let far = Timestamp::from_millis(i64::MAX);
        for delivery in store.due_deliveries(&self.own.name, far, MOST_BACKLOG).await? {
            if delivery.fell_back || delivery.reference.is_some() {
                continue;
            }
            if let Some(approval) = store.approval(delivery.approval).await? {
                self.fall_back(&delivery, &approval).await?;
            }
        }
        Ok(())
    }

    async fn fall_back(&self, delivery: &Delivery, approval: &Approval) -> Result<(), StoreError> {
        if delivery.fell_back || approval.phase() != Phase::Pending {
            return Ok(());
        }
        let requirements = &approval.request.submission.requirements;
        let fallbacks = self.desk.channels.routing.fallbacks(requirements, &delivery.destination);
        let want = Want {
            approval: delivery.approval,
            version: approval.version,
            destinations: fallbacks.iter().cloned().collect(),
            remind: false,
            instead_of: Some(delivery.destination.clone()),
            at: self.now(),
        };
        self.desk.store.want_deliveries(vec![want], None).await?;
        fallbacks.iter().for_each(|fallback| self.desk.channels.wake(&fallback.channel));
        Ok(())
    }

    async fn note(&self, delivery: &Delivery, outcome: DeliveryOutcome) -> Result<(), StoreError> {
        self.desk.store.note_delivery(delivery.key(), outcome, self.desk.by()).await
    }

    /// Records that the channel began or ceased to work.
    async fn note_turn(&self, is_up: bool) -> Result<(), StoreError> {
        let what = if is_up { kind::CHANNEL_RECOVERED } else { kind::CHANNEL_DEGRADED };
        let mut event = EventDraft::new(self.now(), what);
        event.actor = Some(self.desk.by().actor);
        event.body.insert("channel".to_owned(), json!(self.own.name));
        if !is_up {
            event.body.insert("error".to_owned(), json!(self.own.health.standing().last_error));
        }
        self.desk.store.record(vec![event]).await?;
        self.desk.hub.channel_changed(&self.own.name);
        Ok(())
    }

    async fn measure(&self) -> Result<(), StoreError> {
        let backlog = self.desk.store.delivery_backlog(&self.own.name, MOST_BACKLOG).await?;
        let backlog = u64::try_from(backlog).unwrap_or(u64::MAX);
        self.desk.metrics.channel_state(&self.own.name, self.own.health.is_up(), backlog);
        Ok(())
    }

    fn now(&self) -> Timestamp {
        self.desk.clock.now()
    }
}

/// Whether people who were never told need not be told any more. Where sending has failed before, a card may
/// have arrived all the same, and whoever sees it must see its end.
fn is_moot(delivery: &Delivery, approval: &Approval) -> bool {
    let was_tried = delivery.reference.is_some() || delivery.failures > 0;
    approval.phase() != Phase::Pending && !was_tried
}

fn told(approval: &Approval, reference: Option<String>, reminded: bool) -> DeliveryOutcome {
    DeliveryOutcome::Told { version: approval.version, reference, reminded }
}

fn span_until(until: Timestamp, now: Timestamp) -> Duration {
    Duration::from_millis(u64::try_from(until.millis_since(now)).unwrap_or(0).max(10))
}
