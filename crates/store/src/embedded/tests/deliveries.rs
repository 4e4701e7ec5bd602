//! Deliveries: nothing is lost, nothing piles up, and one channel's queue is no other's.

use countersign_audit::kind;
use countersign_testkit::Loss;

use super::*;
use crate::{Delivery, DeliveryKey, DeliveryOutcome, DeliveryStore, Destination, Lane, OutboxStore, Want};

fn to(channel: &str, room: &str) -> Destination {
    Destination { channel: channel.to_owned(), room: room.to_owned() }
}

fn want(id: u8, version: u64, destinations: &[Destination]) -> Want {
    Want {
        approval: approval_id(id),
        version,
        destinations: destinations.to_vec(),
        remind: false,
        instead_of: None,
        at: NOW,
    }
}

fn key(id: u8, destination: Destination) -> DeliveryKey {
    DeliveryKey { approval: approval_id(id), destination }
}

fn told(version: u64, reference: &str) -> DeliveryOutcome {
    DeliveryOutcome::Told { version, reference: Some(reference.to_owned()), reminded: false }
}

fn failed(seconds: u32) -> DeliveryOutcome {
    DeliveryOutcome::Failed { error: "busy".to_owned(), retry_at: later(seconds) }
}

async fn due(store: &EmbeddedStore, channel: &str, seconds: u32) -> Vec<Delivery> {
    store.due_deliveries(channel, later(seconds), 100).await.unwrap()
}

#[tokio::test]
async fn however_often_an_approval_changes_there_is_one_thing_to_tell() {
    let store = new_store();
    let room = to("chat", "C1");
    for version in 1..=50 {
        store.want_deliveries(vec![want(7, version, std::slice::from_ref(&room))], None).await.unwrap();
    }
    assert_eq!(store.delivery_backlog("chat", 100).await.unwrap(), 1);
    let waiting = due(&store, "chat", 0).await;
    assert_eq!((waiting[0].wanted, waiting[0].told, waiting.len()), (50, 0, 1));
    store.note_delivery(key(7, room), told(50, "C1/17"), by("control plane")).await.unwrap();
    assert!(due(&store, "chat", 1_000).await.is_empty());
    assert_eq!(store.next_delivery("chat").await.unwrap(), None);
}

/// A change that comes while the one before is being told is told after it, under the same reference.
#[tokio::test]
async fn what_is_wanted_meanwhile_stays_wanted() {
    let store = new_store();
    let room = to("chat", "C1");
    store.want_deliveries(vec![want(7, 1, std::slice::from_ref(&room))], None).await.unwrap();
    store.want_deliveries(vec![want(7, 2, &[])], None).await.unwrap();
    store.note_delivery(key(7, room.clone()), told(1, "C1/17"), by("control plane")).await.unwrap();
    let again = due(&store, "chat", 0).await;
    assert_eq!((again[0].wanted, again[0].told), (2, 1));
    assert_eq!(again[0].reference.as_deref(), Some("C1/17"));
    let silent = DeliveryOutcome::Told { version: 2, reference: None, reminded: false };
    store.note_delivery(key(7, room), silent, by("control plane")).await.unwrap();
    let kept = &store.deliveries_of(approval_id(7)).await.unwrap()[0];
    assert_eq!((kept.reference.as_deref(), kept.due_at), (Some("C1/17"), None));
}

#[tokio::test]
async fn each_channel_has_its_own_queue_and_waits_for_its_own_time() {
    let store = new_store();
    let both = [to("chat", "C1"), to("mail", "sre@example.com")];
    store.want_deliveries(vec![want(1, 1, &both), want(2, 1, &both)], None).await.unwrap();
    store.note_delivery(key(1, both[0].clone()), failed(60), by("control plane")).await.unwrap();
    assert_eq!(due(&store, "mail", 0).await.len(), 2);
    assert_eq!(due(&store, "chat", 0).await.len(), 1, "the other one waits");
    // A change does not shorten the wait of one that failed.
    store.want_deliveries(vec![want(1, 5, &[])], None).await.unwrap();
    assert_eq!(due(&store, "chat", 59).await.len(), 1);
    let late = due(&store, "chat", 60).await;
    assert_eq!((late.len(), late[1].failures, late[1].error.as_deref()), (2, 1, Some("busy")));
}

#[tokio::test]
async fn what_is_given_up_is_recorded_and_stays_so() {
    let store = new_store();
    let room = to("chat", "C1");
    store.want_deliveries(vec![want(7, 1, std::slice::from_ref(&room))], None).await.unwrap();
    let outcome = DeliveryOutcome::GivenUp { error: "no such room".repeat(200) };
    store.note_delivery(key(7, room.clone()), outcome, by("control plane")).await.unwrap();
    store.want_deliveries(vec![want(7, 2, &[room])], None).await.unwrap();
    assert!(due(&store, "chat", 9_999).await.is_empty());
    let events = whole_ledger(&store, None).await;
    assert_eq!(kinds(&events).last(), Some(&kind::CHANNEL_GAVE_UP));
    let body = &events.last().unwrap().event().body;
    assert_eq!((body["channel"].as_str(), body["error"].as_str().unwrap().len()), (Some("chat"), 500));
}

#[tokio::test]
async fn a_stand_in_is_told_once() {
    let store = new_store();
    let (room, other) = (to("chat", "C1"), to("mail", "sre@example.com"));
    store.want_deliveries(vec![want(7, 1, std::slice::from_ref(&room))], None).await.unwrap();
    let instead = Want { instead_of: Some(room), ..want(7, 1, &[other]) };
    store.want_deliveries(vec![instead.clone()], None).await.unwrap();
    store.want_deliveries(vec![instead], None).await.unwrap();
    assert!(due(&store, "chat", 0).await[0].fell_back);
    assert_eq!(store.delivery_backlog("mail", 10).await.unwrap(), 1);
}

/// What is to be told leaves the outbox only together with what it has become.
#[tokio::test]
async fn a_crash_loses_no_delivery_and_no_reference() {
    let disk = CrashingStorage::default();
    let store = open(&disk);
    enrolled(&store, 1).await;
    crate::ApprovalStore::submit_approval(&store, request(1, 7), by("agent")).await.unwrap();
    let last = store.outbox(Lane::Channels, 10).await.unwrap().last().unwrap().seq;
    let room = to("chat", "C1");
    store.want_deliveries(vec![want(7, 1, std::slice::from_ref(&room))], Some(last)).await.unwrap();
    store.note_delivery(key(7, room), told(1, "C1/17"), by("control plane")).await.unwrap();
    drop(store);
    let store = open(&disk.after_crash(Loss::Everything));
    assert!(store.outbox(Lane::Channels, 10).await.unwrap().is_empty());
    let kept = store.deliveries_of(approval_id(7)).await.unwrap();
    assert_eq!((kept[0].reference.as_deref(), kept[0].told), (Some("C1/17"), 1));
}

#[tokio::test]
async fn old_deliveries_are_swept_and_leave_nothing_in_the_queue() {
    let store = new_store();
    let room = to("chat", "C1");
    let id = |seconds| countersign_model::ApprovalId::new(later(seconds), [9; 10]);
    for seconds in [0, 100] {
        let want = Want { approval: id(seconds), ..want(0, 1, std::slice::from_ref(&room)) };
        store.want_deliveries(vec![want], None).await.unwrap();
    }
    assert_eq!(store.sweep_deliveries(later(50)).await.unwrap(), 1);
    let left = due(&store, "chat", 9_999).await;
    assert_eq!((left.len(), left[0].approval), (1, id(100)));
}
