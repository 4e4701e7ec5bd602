//! What survives the control plane: requests, votes, grants, clocks, identities, the ledger.

use countersign_approval::{CancelReason, Phase};
use countersign_audit::{Chain, EventDraft, kind};
use countersign_control_plane::services::{AuditFilter, PageRequest};
use countersign_model::{EventId, Timestamp};
use countersign_protocol::AuditBatch;
use futures::StreamExt;

use crate::world::{World, admin, submission, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_pending_request_and_a_vote_survive_a_restart() {
    let world = World::with_policy().await;
    let sidecar = world.sidecar("bot").await;
    let id = sidecar.submit(submission("k", "pay", "two", 1)).await.unwrap().id;
    world.approve("reviewer-one", id).await;
    let world = world.restart().await;
    sidecar.until_up().await;
    until("the sidecar is back", || async {
        world.running.services().status.readiness().await.agents_connected == 1
    })
    .await;
    assert_eq!(world.approve("reviewer-two", id).await.state, "approved");
    let status = sidecar.until_status(id, |status| status.phase == Phase::Approved).await;
    assert!(status.grant.is_some());
    assert_eq!(world.running.services().status.readiness().await.revision, Some(1));
}

/// Nobody could give a sign of life while the control plane was away. That cancels nothing; staying
/// away afterwards does, although no process lived through the whole lease.
#[tokio::test(flavor = "multi_thread")]
async fn clocks_go_on_after_a_restart() {
    let world = World::with_policy().await;
    let sidecar = world.sidecar("bot").await;
    let id = sidecar.submit(submission("k", "deploy", "one", 1)).await.unwrap().id;
    drop(sidecar);
    world.ahead.advance(300);
    let world = world.restart().await;
    let get = || async { world.running.services().approvals.get(&admin(), id).await.unwrap() };
    assert_eq!(get().await.state, "pending");
    world.ahead.advance(61);
    until("it is given up", || async { get().await.state == "cancelled" }).await;
    assert_eq!(get().await.reason.as_deref(), Some(CancelReason::RequesterGone.as_str()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_to_decide_runs_out_while_nobody_is_there() {
    let world = World::with_policy().await;
    let sidecar = world.sidecar("bot").await;
    let id = sidecar.submit(submission("k", "deploy", "one", 1)).await.unwrap().id;
    drop(sidecar);
    world.ahead.advance(601);
    let world = world.restart().await;
    until("it has expired", || async {
        world.running.services().approvals.get(&admin(), id).await.unwrap().state == "expired"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn audit_events_are_acknowledged_once_they_are_in_the_ledger() {
    let world = World::start().await;
    let sidecar = world.sidecar("bot").await;
    let mut chain = Chain::new(sidecar.identity.spiffe_id().clone());
    let mut event = |number: u8| {
        let draft = EventDraft::new(Timestamp::from_millis(1), kind::OPERATION_PERMITTED);
        chain.append(draft, EventId::from_bytes([number; 16])).into_bytes()
    };
    let events: Vec<_> = (1..=5).map(&mut event).collect();
    let ack = sidecar.link.request(AuditBatch { events: events.clone() }).await.unwrap();
    assert_eq!(ack.through, 5);
    // What was acknowledged may come again, as after an acknowledgement that was lost.
    let again = AuditBatch { events: vec![events[4].clone(), event(6)] };
    assert_eq!(sidecar.link.request(again).await.unwrap().through, 6);

    let world = world.restart().await;
    let state = sidecar.until_state(
        |state| matches!(state, countersign_transport::LinkState::Up(welcome) if welcome.audit_through == 6),
    );
    state.await;
    let audit = &world.running.services().audit;
    let filter = AuditFilter { kind: Some(kind::OPERATION_PERMITTED.to_owned()), ..AuditFilter::default() };
    until("the index has caught up", || async {
        audit.query(&admin(), filter.clone(), &PageRequest::default()).await.unwrap().items.len() == 6
    })
    .await;
}

/// A sidecar that tells another one's story, or changes its own, is refused or found out.
#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_cannot_speak_for_another_one() {
    let world = World::start().await;
    let (one, other) = (world.sidecar("one").await, world.sidecar("other").await);
    let mut chain = Chain::new(other.identity.spiffe_id().clone());
    let draft = EventDraft::new(Timestamp::from_millis(1), kind::OPERATION_PERMITTED);
    let event = chain.append(draft, EventId::from_bytes([1; 16])).into_bytes();
    assert!(one.link.request(AuditBatch { events: vec![event] }).await.is_err());
    assert!(one.link.request(AuditBatch { events: vec![b"{}".to_vec()] }).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_verifies_with_nothing_but_the_public_key() {
    let world = World::with_policy().await;
    let sidecar = world.sidecar("bot").await;
    let id = sidecar.submit(submission("k", "deploy", "one", 1)).await.unwrap().id;
    world.approve("reviewer-one", id).await;
    let audit = &world.running.services().audit;
    let mut export = audit.export(&admin()).await.unwrap();
    let mut text = Vec::new();
    while let Some(chunk) = export.next().await {
        text.extend_from_slice(&chunk.unwrap());
    }
    let checkpoint = audit.checkpoint(&admin()).await.unwrap();
    let key = checkpoint.public_key.parse().unwrap();
    let report = countersign_audit::verify::verify(&text, &key, &[]);
    assert!(report.is_authentic() && report.is_intact() && report.complete, "{report:?}");
    assert!(report.events > 5);
    let proof = audit.inclusion(&admin(), 0, Some(checkpoint.size)).await.unwrap();
    assert_eq!(proof.checkpoint.as_deref(), Some(checkpoint.checkpoint.as_str()));
    let grown = audit.consistency(&admin(), 1, Some(checkpoint.size)).await.unwrap();
    assert_eq!((grown.from, grown.to), (1, checkpoint.size));
}
