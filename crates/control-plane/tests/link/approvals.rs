//! From a sidecar's question to its grant, and every way in which there is none.

use countersign_approval::{
    CancelReason, Candidate, GrantClaims, Outcome, Phase, Submission, grant::Expected,
};
use countersign_control_plane::{
    identity::{ActorKind, Role},
    services::{ApprovalError, VoteDecision},
};
use countersign_model::{ApprovalId, Revision, SpiffeId, Timestamp, provenance::Initiator};
use countersign_protocol::{
    CancelApproval, Heartbeat, RefusalCode, ReportClaim, ReportOutcome, WaitApproval,
};
use countersign_transport::RequestError;

use crate::world::{World, actor, admin, other_digest, reviewer, submission};

fn code<T>(result: &Result<T, RequestError>) -> Option<RefusalCode> {
    match result {
        Err(RequestError::Refused(refused)) => Some(refused.code),
        _ => None,
    }
}

fn refusal(result: Result<impl Sized, ApprovalError>) -> String {
    match result.err() {
        Some(ApprovalError::Refused { code, .. }) => code,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vote_becomes_a_grant_for_exactly_that_operation() {
    let world = World::with_policy().await;
    let sidecar = world.sidecar("bot").await;
    let manifest = sidecar.until_revision(1).await;
    let asked = submission("k", "deploy", "one", 1);
    let status = sidecar.submit(asked.clone()).await.unwrap();
    assert_eq!((status.phase, status.grant.is_none()), (Phase::Pending, true));

    let waiting = sidecar.until_status(status.id, |status| status.phase != Phase::Pending);
    let (status, view) = tokio::join!(waiting, world.approve("reviewer-one", status.id));
    assert_eq!((view.state.as_str(), view.votes.len()), ("approved", 1));
    assert_eq!(view.trace_id.as_deref(), Some("0af7651916cd43dd8448eb211c80319c"));

    let now = Timestamp::from_millis(view.updated_at.as_millis() + 1);
    let audience: SpiffeId = "spiffe://test.example/agent/bot".parse().unwrap();
    let issuer = SpiffeId::control_plane("test.example".parse().unwrap());
    let expected = Expected {
        issuer: &issuer,
        audience: &audience,
        approval: status.id,
        operation: Candidate::of(&asked),
        revision: Revision(1),
        used: 0,
        spent: &[],
        now,
    };
    let grant = status.grant.unwrap();
    let claims = GrantClaims::verify(&grant, &manifest.jwks, &expected).unwrap();
    assert_eq!(claims.requirements[0].by, ["reviewer-one@example.com".parse().unwrap()]);
    let other = Candidate { digest: other_digest(), ..expected.operation };
    let changed = Expected { operation: other, ..expected };
    assert!(GrantClaims::verify(&grant, &manifest.jwks, &changed).is_err());

    sidecar.link.request(ReportClaim { id: status.id, use_number: 1, at: now }).await.unwrap();
    let done = ReportOutcome { id: status.id, use_number: 1, outcome: Outcome::Executed, at: now };
    sidecar.link.request(done).await.unwrap();
    sidecar.until_status(status.id, |status| status.phase == Phase::Executed).await;
    let again = sidecar.link.request(ReportClaim { id: status.id, use_number: 2, at: now }).await;
    assert_eq!(code(&again), Some(RefusalCode::Conflict));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quorum_of_two_takes_two_people() {
    let world = World::with_policy().await;
    let sidecar = world.sidecar("bot").await;
    let id = sidecar.submit(submission("k", "pay", "two", 1)).await.unwrap().id;
    world.approve("reviewer-one", id).await;
    let again = world.vote(&reviewer("reviewer-one"), id, VoteDecision::Approve).await;
    assert_ne!(again.map(|view| view.state).unwrap_or_default(), "approved");
    assert_eq!(world.approve("reviewer-two", id).await.state, "approved");
}

/// I3, for everybody who has an interest in the operation, whatever their roles.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_approves_for_themselves() {
    let world = World::with_policy().await;
    let sidecar = world.sidecar("bot").await;
    let mut asked = submission("k", "deploy", "one", 1);
    let person = "initiator@example.com".parse().unwrap();
    asked.provenance.initiator = Some(Initiator { person, verified: false });
    let id = sidecar.submit(asked).await.unwrap().id;

    assert_eq!(refusal(world.vote(&admin(), id, VoteDecision::Approve).await), "self_approval");
    let initiator = actor("Initiator@Example.com", ActorKind::Human, Role::ALL);
    assert_eq!(refusal(world.vote(&initiator, id, VoteDecision::Approve).await), "self_approval");
    let machine = actor("reviewer-one@example.com", ActorKind::Machine, Role::ALL);
    let refused = world.vote(&machine, id, VoteDecision::Approve).await;
    assert!(matches!(refused, Err(ApprovalError::Right(_))));
    let viewer = actor("viewer@example.com", ActorKind::Human, &[Role::Viewer]);
    assert_eq!(refusal(world.vote(&viewer, id, VoteDecision::Approve).await), "not_a_reviewer");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_shown_is_what_is_approved_and_by_the_stored_rules() {
    let world = World::with_policy().await;
    let sidecar = world.sidecar("bot").await;
    let asked = submission("k", "deploy", "one", 1);
    let swapped = Submission { digest: other_digest(), ..asked.clone() };
    assert_eq!(code(&sidecar.submit(swapped).await), Some(RefusalCode::Invalid));
    let unknown = Submission { requirements: vec!["none".parse().unwrap()], ..asked.clone() };
    assert_eq!(code(&sidecar.submit(unknown).await), Some(RefusalCode::Invalid));
    let nothing = Submission { requirements: vec![], ..asked.clone() };
    assert_eq!(code(&sidecar.submit(nothing).await), Some(RefusalCode::Invalid));
    let future = Submission { revision: Revision(9), ..asked };
    assert_eq!(code(&sidecar.submit(future).await), Some(RefusalCode::Invalid));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_is_the_same_approval_and_never_another_operation() {
    let world = World::with_policy().await;
    let sidecar = world.sidecar("bot").await;
    let first = sidecar.submit(submission("k", "deploy", "one", 1)).await.unwrap();
    let again = sidecar.submit(submission("k", "deploy", "one", 1)).await.unwrap();
    assert_eq!(first.id, again.id);
    let mut other = submission("other", "deploy", "one", 1);
    other.key = "k".to_owned();
    assert_eq!(code(&sidecar.submit(other).await), Some(RefusalCode::Conflict));
}

/// One agent cannot see, claim, finish, keep alive or cancel what another one asked for.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_touches_only_its_own_approvals() {
    let world = World::with_policy().await;
    let (owner, thief) = (world.sidecar("bot").await, world.sidecar("thief").await);
    let id = owner.submit(submission("k", "deploy", "one", 1)).await.unwrap().id;
    world.approve("reviewer-one", id).await;
    let at = Timestamp::from_millis(0);
    let not_found = Some(RefusalCode::NotFound);
    assert_eq!(code(&thief.link.request(WaitApproval { id, known_version: 0 }).await), not_found);
    assert_eq!(code(&thief.link.request(ReportClaim { id, use_number: 1, at }).await), not_found);
    let outcome = ReportOutcome { id, use_number: 1, outcome: Outcome::Executed, at };
    assert_eq!(code(&thief.link.request(outcome).await), not_found);
    let cancel = CancelApproval { id, why: CancelReason::Requester };
    assert_eq!(code(&thief.link.request(cancel).await), not_found);
    let status = owner.until_status(id, |_| true).await;
    assert_eq!(status.phase, Phase::Approved);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denial_and_a_cancellation_end_it() {
    let world = World::with_policy().await;
    let sidecar = world.sidecar("bot").await;
    let denied = sidecar.submit(submission("a", "deploy", "one", 1)).await.unwrap().id;
    world.vote(&reviewer("reviewer-one"), denied, VoteDecision::Deny).await.unwrap();
    let status = sidecar.until_status(denied, |status| status.phase == Phase::Denied).await;
    assert!(status.reason.unwrap().contains("reviewer-one@example.com"));

    let cancelled = sidecar.submit(submission("b", "deploy", "one", 1)).await.unwrap().id;
    let cancel = CancelApproval { id: cancelled, why: CancelReason::Requester };
    assert_eq!(sidecar.link.request(cancel).await.unwrap().phase, Phase::Cancelled);
    let late = world.vote(&reviewer("reviewer-one"), cancelled, VoteDecision::Approve).await;
    assert_eq!(refusal(late), "already_decided");

    let by_admin = sidecar.submit(submission("c", "deploy", "one", 1)).await.unwrap().id;
    let approvals = &world.running.services().approvals;
    assert!(matches!(
        approvals.cancel(&reviewer("reviewer-one"), by_admin).await,
        Err(ApprovalError::Right(_))
    ));
    assert_eq!(approvals.cancel(&admin(), by_admin).await.unwrap().state, "cancelled");
}

#[tokio::test(flavor = "multi_thread")]
async fn revoking_an_approval_reaches_its_sidecar_at_once_or_at_its_next_connection() {
    let world = World::with_policy().await;
    let sidecar = world.sidecar("bot").await;
    let id = sidecar.submit(submission("k", "deploy", "one", 1)).await.unwrap().id;
    world.approve("reviewer-one", id).await;
    let approvals = &world.running.services().approvals;
    let stranger = approvals.revoke(&reviewer("reviewer-two"), id, None).await;
    assert!(matches!(stranger, Err(ApprovalError::Right(_))));
    approvals.revoke(&reviewer("reviewer-one"), id, Some("a mistake".to_owned())).await.unwrap();
    let told = sidecar.until_told(|told| !told.withdrawn.is_empty()).await;
    assert_eq!(told.withdrawn[0].id, id);
    assert!(told.withdrawn[0].reason.contains("a mistake"));
    let status = sidecar.until_status(id, |status| status.phase == Phase::Revoked).await;
    assert!(status.grant.is_none());

    let later = sidecar.submit(submission("l", "deploy", "one", 1)).await.unwrap().id;
    world.approve("reviewer-one", later).await;
    let (identity, trust) = (sidecar.identity.clone(), sidecar.trust.clone());
    let keys = sidecar.bundle_keys.clone();
    drop(sidecar);
    approvals.revoke(&admin(), later, None).await.unwrap();
    let back = crate::world::Sidecar::connect(&world.control(), identity, trust, keys);
    let told = back.until_told(|told| !told.withdrawn.is_empty()).await;
    assert_eq!(told.withdrawn[0].id, later);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_deciding_is_an_expiry_and_not_a_refusal() {
    let world = World::with_policy().await;
    let sidecar = world.sidecar("bot").await;
    let id = sidecar.submit(submission("k", "deploy", "one", 1)).await.unwrap().id;
    let heartbeat = || Heartbeat { revision: None, spool_depth: 0, pending: vec![id] };
    for _ in 0..20 {
        world.ahead.advance(30);
        sidecar.link.request(heartbeat()).await.unwrap();
    }
    sidecar.until_status(id, |status| status.phase == Phase::Expired).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_requester_that_stays_away_is_given_up() {
    let world = World::with_policy().await;
    let sidecar = world.sidecar("bot").await;
    let kept = sidecar.submit(submission("a", "deploy", "one", 1)).await.unwrap().id;
    let left = sidecar.submit(submission("b", "deploy", "one", 1)).await.unwrap().id;
    world.ahead.advance(40);
    let pending = vec![kept, ApprovalId::from_bytes([9; 16])];
    sidecar.link.request(Heartbeat { revision: None, spool_depth: 0, pending }).await.unwrap();
    world.ahead.advance(30);
    let status = sidecar.until_status(left, |status| status.phase == Phase::Cancelled).await;
    assert_eq!(status.cancelled, Some(CancelReason::RequesterGone));
    assert_eq!(sidecar.until_status(kept, |_| true).await.phase, Phase::Pending);
}
