//! Deliveries: one row for an approval and a destination, and one in their channel's queue while it is due.

use async_trait::async_trait;
use countersign_audit::kind;
use countersign_model::{ApprovalId, Digest, Timestamp};
use serde_json::json;

use super::{
    EmbeddedStore,
    codec::{self, Record},
    layout::{self, Bytes, DELIVERIES, DELIVERIES_DUE, OUTBOX, join, lane_prefix, time_key},
    lookup::Lookup,
    work::Work,
};
use crate::{By, Delivery, DeliveryKey, DeliveryOutcome, DeliveryStore, Destination, Lane, StoreError, Want};

/// The most rows that a sweep removes at a time.
const SWEEP: usize = 1_000;
/// The longest error that is kept, in characters.
const MAX_ERROR: usize = 500;

impl Record for Delivery {
    const TABLE: Bytes = DELIVERIES;
}

/// Destinations never meet: the parts are told apart by the first one's length.
fn destination_key(destination: &Destination) -> Digest {
    let length = (destination.channel.len() as u64).to_be_bytes();
    Digest::of_parts(&[&length, destination.channel.as_bytes(), destination.room.as_bytes()])
}

fn row_key(approval: ApprovalId, destination: &Destination) -> Vec<u8> {
    join(&approval.to_bytes(), destination_key(destination).as_bytes())
}

fn queue_prefix(channel: &str) -> Vec<u8> {
    Digest::of(channel.as_bytes()).as_bytes().to_vec()
}

/// Its value is the row's key.
fn queue_key(delivery: &Delivery, due_at: Timestamp) -> Vec<u8> {
    let row = row_key(delivery.approval, &delivery.destination);
    [queue_prefix(&delivery.destination.channel), time_key(due_at).to_vec(), row].concat()
}

/// Saves a delivery and moves it in its channel's queue.
fn save(work: &mut Work<'_>, delivery: &Delivery, old_due: Option<Timestamp>) -> Result<(), StoreError> {
    let row = row_key(delivery.approval, &delivery.destination);
    if delivery.due_at != old_due {
        if let Some(old) = old_due {
            work.remove(DELIVERIES_DUE, &queue_key(delivery, old))?;
        }
        if let Some(new) = delivery.due_at {
            work.insert(DELIVERIES_DUE, &queue_key(delivery, new), &row)?;
        }
    }
    work.put(&row, delivery)
}

fn want(work: &mut Work<'_>, want: &Want) -> Result<(), StoreError> {
    let known = deliveries_of(work, want.approval)?;
    for mut delivery in known.iter().cloned() {
        let old_due = delivery.due_at;
        let is_news = want.version > delivery.wanted || (want.remind && !delivery.remind);
        let replaced = want.instead_of.as_ref() == Some(&delivery.destination);
        if delivery.given_up || !(is_news || replaced) {
            continue;
        }
        delivery.wanted = delivery.wanted.max(want.version);
        delivery.remind |= want.remind;
        delivery.fell_back |= replaced;
        if is_news {
            // One that waits to be tried again goes on waiting: what is told is what is the case then.
            delivery.due_at = old_due.or(Some(want.at));
        }
        save(work, &delivery, old_due)?;
    }
    for destination in &want.destinations {
        if !known.iter().any(|delivery| delivery.destination == *destination) {
            save(work, &new_delivery(want, destination.clone()), None)?;
        }
    }
    Ok(())
}

fn new_delivery(want: &Want, destination: Destination) -> Delivery {
    Delivery {
        approval: want.approval,
        destination,
        wanted: want.version,
        told: 0,
        reference: None,
        remind: false,
        failures: 0,
        error: None,
        due_at: Some(want.at),
        fell_back: false,
        given_up: false,
    }
}

fn note(work: &mut Work<'_>, key: &DeliveryKey, outcome: DeliveryOutcome, by: &By) -> Result<(), StoreError> {
    let row: Option<Delivery> = work.get(&row_key(key.approval, &key.destination))?;
    let Some(mut delivery) = row else { return Ok(()) };
    let old_due = delivery.due_at;
    match outcome {
        DeliveryOutcome::Told { version, reference, reminded } => {
            delivery.told = delivery.told.max(version);
            delivery.reference = reference.or(delivery.reference);
            delivery.remind &= !reminded;
            (delivery.failures, delivery.error) = (0, None);
            let is_behind = delivery.told < delivery.wanted || delivery.remind;
            delivery.due_at = is_behind.then_some(by.at);
        }
        DeliveryOutcome::Failed { error, retry_at } => {
            delivery.failures = delivery.failures.saturating_add(1);
            delivery.error = Some(bounded(&error));
            delivery.due_at = Some(retry_at);
        }
        DeliveryOutcome::GivenUp { error } => {
            delivery.error = Some(bounded(&error));
            (delivery.due_at, delivery.given_up) = (None, true);
            record_given_up(work, &delivery, by)?;
        }
    }
    save(work, &delivery, old_due)
}

fn record_given_up(work: &mut Work<'_>, delivery: &Delivery, by: &By) -> Result<(), StoreError> {
    let mut event = Work::draft(by, kind::CHANNEL_GAVE_UP);
    event.approval = Some(delivery.approval);
    event.body.insert("channel".into(), json!(delivery.destination.channel));
    event.body.insert("room".into(), json!(delivery.destination.room));
    event.body.insert("told".into(), json!(delivery.told));
    event.body.insert("error".into(), json!(delivery.error));
    work.record(event)
}

fn bounded(error: &str) -> String {
    error.chars().take(MAX_ERROR).collect()
}

fn deliveries_of(lookup: &impl Lookup, approval: ApprovalId) -> Result<Vec<Delivery>, StoreError> {
    let rows = lookup.prefixed(DELIVERIES, &approval.to_bytes(), usize::MAX)?;
    rows.iter().map(|(_, value)| codec::decode(value)).collect()
}

fn due(
    lookup: &impl Lookup,
    channel: &str,
    until: Timestamp,
    limit: usize,
) -> Result<Vec<Delivery>, StoreError> {
    let prefix = queue_prefix(channel);
    let queue = lookup.prefixed(DELIVERIES_DUE, &prefix, limit)?;
    let is_due = |key: &[u8]| due_time(key, &prefix).is_some_and(|at| at <= until);
    let rows = queue.iter().take_while(|(key, _)| is_due(key)).map(|(_, row)| lookup.get(row));
    rows.filter_map(Result::transpose).collect()
}

fn due_time(key: &[u8], prefix: &[u8]) -> Option<Timestamp> {
    layout::time_of(key.strip_prefix(prefix)?)
}

fn sweep(work: &mut Work<'_>, before: Timestamp) -> Result<usize, StoreError> {
    let mut swept = 0;
    for (key, value) in work.prefixed(DELIVERIES, &[], SWEEP)? {
        let delivery: Delivery = codec::decode(&value)?;
        // Rows are in the order in which their approvals were asked for.
        if delivery.approval >= ApprovalId::new(before, [0; 10]) {
            break;
        }
        if let Some(due_at) = delivery.due_at {
            work.remove(DELIVERIES_DUE, &queue_key(&delivery, due_at))?;
        }
        work.remove(DELIVERIES, &key)?;
        swept += 1;
    }
    Ok(swept)
}

#[async_trait]
impl DeliveryStore for EmbeddedStore {
    async fn want_deliveries(&self, wants: Vec<Want>, through: Option<u64>) -> Result<(), StoreError> {
        self.writer
            .run(move |work| {
                wants.iter().try_for_each(|one| want(work, one))?;
                let Some(through) = through else { return Ok(()) };
                let prefix = lane_prefix(Lane::Channels);
                let (first, last) = (join(&prefix, &[0; 8]), join(&prefix, &through.to_be_bytes()));
                work.remove_range(OUTBOX, &first, &last)
            })
            .await
    }

    async fn note_delivery(
        &self,
        key: DeliveryKey,
        outcome: DeliveryOutcome,
        by: By,
    ) -> Result<(), StoreError> {
        self.writer.run(move |work| note(work, &key, outcome, &by)).await
    }

    async fn due_deliveries(
        &self,
        channel: &str,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<Delivery>, StoreError> {
        let channel = channel.to_owned();
        self.read(move |view| due(view, &channel, until, limit)).await
    }

    async fn next_delivery(&self, channel: &str) -> Result<Option<Timestamp>, StoreError> {
        let prefix = queue_prefix(channel);
        self.read(move |view| {
            let queue = view.prefixed(DELIVERIES_DUE, &prefix, 1)?;
            Ok(queue.first().and_then(|(key, _)| due_time(key, &prefix)))
        })
        .await
    }

    async fn delivery_backlog(&self, channel: &str, most: usize) -> Result<usize, StoreError> {
        let prefix = queue_prefix(channel);
        self.read(move |view| Ok(view.prefixed(DELIVERIES_DUE, &prefix, most)?.len())).await
    }

    async fn deliveries_of(&self, approval: ApprovalId) -> Result<Vec<Delivery>, StoreError> {
        self.read(move |view| deliveries_of(view, approval)).await
    }

    async fn sweep_deliveries(&self, before: Timestamp) -> Result<usize, StoreError> {
        self.writer.run(move |work| sweep(work, before)).await
    }
}
