//! An edit on its way: from whoever makes it to the sidecar, and from there to the request that it leads to.

use countersign_approval::{ArgumentChange, CancelReason, Phase, Submission};
use countersign_control_plane::services::{ApprovalError, ApprovalView, Proposal, VoteDecision};
use countersign_model::{Digest, Operation, Projection};
use countersign_protocol::{AskEdit, RefusalCode, Substitutable};
use countersign_transport::RequestError;
use serde_json::json;

use crate::world::{World, admin, reviewer, submission};

const AMOUNT: &str = "/action/properties/amount";

fn payment(key: &str, amount: u32) -> Submission {
    let plain = submission("k", "pay", "two", 1);
    let mut operation: Operation = serde_json::from_str(&plain.operation).unwrap();
    operation.action.properties.insert("amount".to_owned(), json!(amount));
    let bound = operation.bind(&Projection::default()).unwrap();
    let (digest, operation) = (bound.digest(), bound.text().to_owned());
    Submission { key: key.to_owned(), digest, operation, substitutable: true, ..plain }
}

async fn edit(
    world: &World,
    who: &str,
    id: countersign_model::ApprovalId,
    version: Option<u64>,
) -> Result<ApprovalView, ApprovalError> {
    let changes = vec![ArgumentChange { pointer: AMOUNT.to_owned(), value: json!(50) }];
    let proposal = Proposal { changes, reason: None, channel: "api".to_owned(), expected_version: version };
    world.running.services().approvals.edit(&reviewer(who), id, proposal).await
}

fn code<T>(result: &Result<T, RequestError>) -> Option<RefusalCode> {
    match result {
        Err(RequestError::Refused(refused)) => Some(refused.code),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_reaches_its_sidecar_and_leads_to_a_request_that_its_editor_cannot_approve() {
    let world = World::with_policy().await;
    let (sidecar, thief) = (world.sidecar("bot").await, world.sidecar("thief").await);
    let first = sidecar.link.request(Substitutable(payment("a", 500))).await.unwrap();
    assert!(world.running.services().approvals.get(&admin(), first.id).await.unwrap().editable);
    world.approve("reviewer-two", first.id).await;
    // On what they saw before the vote, they edit nothing.
    assert!(matches!(
        edit(&world, "editor", first.id, Some(first.version)).await,
        Err(ApprovalError::Stale { .. })
    ));
    let view = edit(&world, "editor", first.id, None).await.unwrap();
    assert_eq!((view.state.as_str(), view.edited.unwrap().by.as_str()), ("cancelled", "editor@example.com"));

    let status = sidecar.until_status(first.id, |status| status.phase == Phase::Cancelled).await;
    assert_eq!(status.cancelled, Some(CancelReason::Superseded));
    let told = sidecar.link.request(AskEdit { id: first.id }).await.unwrap();
    assert_eq!((told.by.as_str(), &told.changes[0].value), ("editor@example.com", &json!(50)));
    assert_eq!(code(&thief.link.request(AskEdit { id: first.id }).await), Some(RefusalCode::NotFound));

    // What is not the edit is not taken for it: an amount of its own, nor an agent of its own.
    let follows = Some(first.id);
    let other = Substitutable(Submission { follows, ..payment("b", 51) });
    assert_eq!(code(&sidecar.link.request(other).await), Some(RefusalCode::Invalid));
    let stolen = Substitutable(Submission { follows, ..payment("b", 50) });
    assert_eq!(code(&thief.link.request(stolen).await), Some(RefusalCode::Invalid));

    let next = Substitutable(Submission { follows, ..payment("c", 50) });
    let next = sidecar.link.request(next).await.unwrap();
    let own = world.vote(&reviewer("editor"), next.id, VoteDecision::Approve).await;
    assert!(matches!(own, Err(ApprovalError::Refused { code, .. }) if code == "self_approval"));
    let view = world.approve("reviewer-two", next.id).await;
    assert_eq!((view.votes.len(), view.state.as_str(), view.follows), (1, "pending", follows));
    assert_eq!(world.approve("reviewer-one", next.id).await.state, "approved");
    assert_eq!(view.digest, payment("", 50).digest);
    assert_ne!(view.digest, Digest::of(b""));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_sidecar_cannot_substitute_is_not_edited() {
    let world = World::with_policy().await;
    let sidecar = world.sidecar("bot").await;
    let plain = Submission { substitutable: false, ..payment("a", 500) };
    let id = sidecar.submit(plain).await.unwrap().id;
    assert!(!world.running.services().approvals.get(&admin(), id).await.unwrap().editable);
    let refused = edit(&world, "editor", id, None).await;
    assert!(matches!(refused, Err(ApprovalError::Refused { code, .. }) if code == "not_editable"));
    let nothing = sidecar.link.request(AskEdit { id }).await;
    assert_eq!(code(&nothing), Some(RefusalCode::NotFound));
}
