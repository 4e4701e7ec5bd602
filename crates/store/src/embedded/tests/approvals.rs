//! Approvals: races, repeats, and the ways around the people who vote.

use countersign_approval::{CancelReason, Input, Outcome, Phase, Refusal, VoteDecision};
use countersign_audit::kind;

use super::*;
use crate::{
    ApplyRefusal, ApprovalFilter, ApprovalStore, Change, CommandError, Lane, OutboxStore, PageRequest,
    SubmitRefusal, Telling,
};

async fn submitted(store: &EmbeddedStore, id: u8) {
    assert!(store.submit_approval(request(1, id), by("agent")).await.unwrap().is_new);
}

fn change(id: u8, input: Input) -> Change {
    Change { id: approval_id(id), input, agent: None, expected_version: None }
}

fn vote(id: u8, voter: Voter, vote: u8, decision: VoteDecision) -> Change {
    change(id, Input::Vote { id: vote_id(vote), voter, decision, reason: None })
}

async fn approve(store: &EmbeddedStore, id: u8, n: u8) -> Phase {
    let change = vote(id, voter(n), n, VoteDecision::Approve);
    store.apply(change, by(voter(n).person.as_str())).await.unwrap().approval.phase()
}

#[tokio::test]
async fn the_whole_way_of_an_approval_is_in_the_ledger() {
    let store = new_store();
    enrolled(&store, 1).await;
    submitted(&store, 7).await;
    assert_eq!(approve(&store, 7, 1).await, Phase::Pending);
    assert_eq!(approve(&store, 7, 2).await, Phase::Approved);
    let claim = change(7, Input::Claim { use_number: 1, at: NOW });
    store.apply(claim, by("agent")).await.unwrap();
    let outcome = change(7, Input::Outcome { use_number: 1, outcome: Outcome::Executed, at: NOW });
    let ended = store.apply(outcome, by("agent")).await.unwrap();
    assert_eq!(ended.approval.phase(), Phase::Executed);
    let events = whole_ledger(&store, None).await;
    let expected = [
        kind::APPROVAL_REQUESTED,
        kind::APPROVAL_VOTED,
        kind::APPROVAL_VOTED,
        kind::APPROVAL_APPROVED,
        kind::GRANT_ISSUED,
        kind::APPROVAL_CLAIMED,
        kind::APPROVAL_FINISHED,
    ];
    assert_eq!(kinds(&events)[2..], expected);
    for event in &events[2..] {
        assert_eq!(event.event().approval, Some(approval_id(7)));
        assert_eq!(event.event().digest, Some(request(1, 7).submission.digest));
        assert_eq!(event.event().trace_id.as_deref(), Some("0123456789abcdef0123456789abcdef"));
    }
    assert_eq!(events[3].event().body["vote"]["person"], "reviewer-1@example.com");
    assert_eq!(store.next_wake().await.unwrap(), None, "nothing to wake for any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn votes_that_race_are_counted_one_after_another() {
    let store = new_store();
    enrolled(&store, 1).await;
    submitted(&store, 7).await;
    // One person votes many times at once, and that is one vote (I4).
    let racers: Vec<_> = (0..20)
        .map(|n| {
            let store = store.clone();
            let change = vote(7, voter(1), n, VoteDecision::Approve);
            tokio::spawn(async move { store.apply(change, by("reviewer-1@example.com")).await })
        })
        .collect();
    for racer in racers {
        if let Ok(applied) = racer.await.unwrap() {
            assert_eq!(applied.approval.phase(), Phase::Pending);
        }
    }
    let approval = store.approval(approval_id(7)).await.unwrap().unwrap();
    assert_eq!(approval.votes.len(), 1);
    assert_eq!(approve(&store, 7, 2).await, Phase::Approved);
    let events = whole_ledger(&store, None).await;
    let granted = kinds(&events).into_iter().filter(|kind| *kind == kind::GRANT_ISSUED).count();
    assert_eq!(granted, 1);
}

#[tokio::test]
async fn the_owner_cannot_vote_nor_be_left_out_of_the_request() {
    let store = new_store();
    enrolled(&store, 1).await;
    let disowned = Request { owner: "somebody@example.com".parse().unwrap(), ..request(1, 6) };
    let refused = store.submit_approval(disowned, by("agent")).await.unwrap_err();
    assert!(matches!(refused, CommandError::Refused(SubmitRefusal::Request(_))));
    submitted(&store, 7).await;
    let owner = Voter { person: "owner@example.com".parse().unwrap(), ..voter(1) };
    let before = store.approval(approval_id(7)).await.unwrap();
    let size = store.head().await.unwrap().size;
    let refused = store.apply(vote(7, owner, 1, VoteDecision::Approve), by("owner@example.com")).await;
    assert_eq!(refused, Err(CommandError::Refused(ApplyRefusal::Refused(Refusal::Owner))));
    assert_eq!(store.approval(approval_id(7)).await.unwrap(), before, "a refused command changes nothing");
    assert_eq!(store.head().await.unwrap().size, size);
}

#[tokio::test]
async fn a_key_is_one_request_and_never_another_operation() {
    let store = new_store();
    enrolled(&store, 1).await;
    enrolled(&store, 2).await;
    submitted(&store, 7).await;
    let mut again = request(1, 7);
    again.id = approval_id(8);
    let again = store.submit_approval(again, by("agent")).await.unwrap();
    assert_eq!((again.is_new, again.approval.request.id), (false, approval_id(7)));
    let mut other = request(1, 9);
    other.submission.key = "key-7".into();
    let taken = store.submit_approval(other, by("agent")).await;
    assert_eq!(taken, Err(CommandError::Refused(SubmitRefusal::KeyTaken(approval_id(7)))));
    // Another agent's keys are its own.
    let mut same_key = request(2, 9);
    same_key.submission.key = "key-7".into();
    assert!(store.submit_approval(same_key, by("agent")).await.unwrap().is_new);
    let found = store.approval_for_key(agent_id(1), "key-7").await.unwrap().unwrap();
    assert_eq!(found.request.id, approval_id(7));
    assert_eq!(store.approval_for_key(agent_id(1), "key-9").await.unwrap(), None);
}

#[tokio::test]
async fn an_agent_that_is_not_enrolled_asks_for_nothing() {
    let store = new_store();
    let unknown = store.submit_approval(request(1, 7), by("agent")).await;
    assert_eq!(unknown, Err(CommandError::Refused(SubmitRefusal::NotEnrolled)));
    enrolled(&store, 1).await;
    store.revoke_agent(agent_id(1), None, by("admin@example.com")).await.unwrap();
    let revoked = store.submit_approval(request(1, 7), by("agent")).await;
    assert_eq!(revoked, Err(CommandError::Refused(SubmitRefusal::NotEnrolled)));
    assert_eq!(store.approval(approval_id(7)).await.unwrap(), None);
}

#[tokio::test]
async fn an_agent_does_not_reach_anothers_approval_and_a_stale_page_changes_nothing() {
    let store = new_store();
    enrolled(&store, 1).await;
    submitted(&store, 7).await;
    let cancel = Input::Cancel { why: CancelReason::Requester };
    let stranger = Change { agent: Some(agent_id(2)), ..change(7, cancel.clone()) };
    let refused = store.apply(stranger, by("agent")).await;
    assert_eq!(refused, Err(CommandError::Refused(ApplyRefusal::Unknown(approval_id(7)))));
    let stale = Change { expected_version: Some(9), ..change(7, cancel.clone()) };
    let refused = store.apply(stale, by("agent")).await;
    assert_eq!(refused, Err(CommandError::Refused(ApplyRefusal::Changed { current: 1 })));
    let own = Change { agent: Some(agent_id(1)), expected_version: Some(1), ..change(7, cancel) };
    assert_eq!(store.apply(own, by("agent")).await.unwrap().approval.phase(), Phase::Cancelled);
}

#[tokio::test]
async fn timers_outlive_a_restart_and_end_in_expiry_never_in_approval() {
    let disk = CrashingStorage::default();
    let store = open(&disk);
    enrolled(&store, 1).await;
    submitted(&store, 7).await;
    submitted(&store, 8).await;
    let wake = store.next_wake().await.unwrap().unwrap();
    assert_eq!(wake, later(60), "the requester's lease comes first");
    store.close().await;
    let store = open(&disk);
    assert_eq!(store.due_approvals(NOW, 9).await.unwrap(), []);
    assert_eq!(store.due_approvals(wake, 9).await.unwrap(), [approval_id(7), approval_id(8)]);
    assert_eq!(store.due_approvals(wake, 1).await.unwrap(), [approval_id(7)]);
    let end = later(900);
    let ticked = store.apply(change(7, Input::Tick), By::new("control-plane", end)).await.unwrap();
    assert_eq!(ticked.approval.phase(), Phase::Expired);
    assert_eq!(store.due_approvals(end, 9).await.unwrap(), [approval_id(8)]);
}

#[tokio::test]
async fn messages_wait_in_their_lanes_until_they_are_acknowledged() {
    let store = new_store();
    enrolled(&store, 1).await;
    submitted(&store, 7).await;
    approve(&store, 7, 1).await;
    approve(&store, 7, 2).await;
    let revoke = Input::Revoke { by: "reviewer-1@example.com".into(), reason: None };
    store.apply(change(7, revoke), by("reviewer-1@example.com")).await.unwrap();
    let channels = store.outbox(Lane::Channels, 9).await.unwrap();
    let tellings: Vec<_> = channels.iter().map(|message| message.telling).collect();
    assert_eq!(tellings.first(), Some(&Telling::Notify));
    // It is decided; and that the decision was taken back is seen, too.
    assert!(tellings.ends_with(&[Telling::RetireCards, Telling::UpdateCards]), "{tellings:?}");
    let sidecar = store.outbox(Lane::Sidecar(agent_id(1)), 9).await.unwrap();
    assert_eq!(sidecar.len(), 1);
    assert_eq!((sidecar[0].telling, sidecar[0].approval), (Telling::WithdrawGrant, approval_id(7)));
    assert_eq!(store.outbox(Lane::Sidecar(agent_id(2)), 9).await.unwrap(), []);
    store.acknowledge_outbox(Lane::Channels, channels[0].seq).await.unwrap();
    assert_eq!(store.outbox(Lane::Channels, 9).await.unwrap(), channels[1..]);
    assert_eq!(store.outbox(Lane::Sidecar(agent_id(1)), 9).await.unwrap(), sidecar);
}

#[tokio::test]
async fn every_page_size_gives_the_same_list() {
    let store = new_store();
    enrolled(&store, 1).await;
    enrolled(&store, 2).await;
    for id in 1..=9 {
        let agent = 1 + id % 2;
        store.submit_approval(request(agent, id), by("agent")).await.unwrap();
        if id % 3 == 0 {
            let cancel = Input::Cancel { why: CancelReason::Requester };
            store.apply(change(id, cancel), by("agent")).await.unwrap();
        }
    }
    let pending = ApprovalFilter { phase: Some(Phase::Pending), ..Default::default() };
    let of_agent = ApprovalFilter { agent: Some(agent_id(1)), ..Default::default() };
    let cases = [
        (ApprovalFilter::default(), vec![9, 8, 7, 6, 5, 4, 3, 2, 1]),
        (pending, vec![8, 7, 5, 4, 2, 1]),
        (of_agent, vec![8, 6, 4, 2]),
    ];
    for (filter, expected) in cases {
        for limit in 1..=10 {
            let mut page = PageRequest::first(limit);
            let mut found = Vec::new();
            loop {
                let answer = store.approvals(filter.clone(), page.clone()).await.unwrap();
                assert!(answer.items.len() <= limit);
                found.extend(answer.items.iter().map(|approval| approval.request.id));
                let Some(next) = answer.next else { break };
                page.after = Some(next.to_string().parse().unwrap());
            }
            assert_eq!(found, expected.iter().map(|id| approval_id(*id)).collect::<Vec<_>>());
        }
    }
}
