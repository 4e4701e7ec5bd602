//! Power is cut at every single change that the storage sees, and the disk may have kept any part of
//! what was not synced. Whatever was acknowledged must be there, nothing may be there by half, and the
//! ledger must be whole.

use countersign_approval::{Input, VoteDecision};
use countersign_audit::kind;
use countersign_testkit::Loss;

use super::{sidecar::Sidecar, *};
use crate::{
    AgentState, ApprovalStore, BundleStore, Change, Lane, NewBundle, OutboxStore, PeopleStore, SignInLink,
};

/// What was acknowledged before the power was cut.
#[derive(Debug, Default)]
struct Acknowledged {
    agents: Vec<u8>,
    enrolled: Vec<u8>,
    approvals: Vec<u8>,
    votes: Vec<u8>,
    revision: Option<Revision>,
    links: Vec<Digest>,
    shipped_through: u64,
}

/// Does a bit of everything until the power is gone.
async fn work(store: &EmbeddedStore) -> Acknowledged {
    let mut done = Acknowledged::default();
    let source = sidecar_of("agent-1");
    let mut sidecar = Sidecar::new(&source);
    for n in 1_u8..=3 {
        let added = store.add_agent(new_agent(n), join_token(n), by("admin@example.com"));
        let events = sidecar.events(5);
        let ingested = store.ingest(source.clone(), events, NOW);
        // At once, so that they share a commit.
        let (added, ingested) = tokio::join!(added, ingested);
        done.agents.extend(added.is_ok().then_some(n));
        done.shipped_through = ingested.map_or(done.shipped_through, |answer| answer.through);
        let redeemed = store.redeem_join_token(redemption(n)).await;
        done.enrolled.extend(redeemed.is_ok().then_some(n));
        let submitted = store.submit_approval(request(n, n), by("agent")).await;
        done.approvals.extend(submitted.is_ok().then_some(n));
        let decision = VoteDecision::Approve;
        let input = Input::Vote { id: vote_id(n), voter: voter(1), decision, reason: None };
        let vote = Change { id: approval_id(n), input, agent: None, expected_version: None };
        let voted = store.apply(vote, by("reviewer-1@example.com")).await;
        done.votes.extend(voted.is_ok().then_some(n));
        let bundle = NewBundle {
            revision: Revision(n.into()),
            name: "starter".into(),
            digest: Digest::of(&[n]),
            manifest: "signed".into(),
            files: [("bundle.toml".to_owned(), vec![n; 5_000])].into(),
            note: None,
            rollback_of: None,
        };
        if let Ok(revision) = store.push_bundle(bundle, by("author@example.com")).await {
            done.revision = Some(revision.revision);
        }
        let hash = Digest::of(&[b'l', n]);
        let person = voter(1).person;
        let link = SignInLink { hash, person, expires_at: later(60) };
        let linked = store.create_sign_in_link(link, by("admin@example.com")).await;
        done.links.extend(linked.is_ok().then_some(hash));
    }
    done
}

/// Opens what is left and holds it against what was acknowledged.
async fn check(disk: CrashingStorage, done: &Acknowledged, context: &str) {
    let store = open(&disk);
    let events = whole_ledger(&store, None).await;
    let recorded = |kind: &str| events.iter().filter(|event| event.event().kind == kind).count();
    let (mut agents, mut enrolled, mut approvals, mut votes) = (0, 0, 0, 0);
    for n in 1..=3 {
        let agent = store.agent(agent_id(n)).await.unwrap();
        let by_name = store.agent_by_name(&agent_name(n)).await.unwrap();
        assert_eq!(agent, by_name, "{context}: an agent by half");
        let token = store.join_token_by_hash(Digest::of(&[n])).await.unwrap();
        assert_eq!(agent.is_some(), token.is_some(), "{context}: a token by half");
        let is_enrolled = agent.as_ref().is_some_and(|agent| agent.state == AgentState::Enrolled);
        assert_eq!(is_enrolled, token.is_some_and(|token| token.redeemed_at.is_some()), "{context}");
        let approval = store.approval(approval_id(n)).await.unwrap();
        let by_key = store.approval_for_key(agent_id(n), &format!("key-{n}")).await.unwrap();
        assert_eq!(approval, by_key, "{context}: an approval by half");
        assert!(agent.is_some() || !done.agents.contains(&n), "{context}: {done:?}");
        assert!(is_enrolled || !done.enrolled.contains(&n), "{context}: {done:?}");
        assert!(approval.is_some() || !done.approvals.contains(&n), "{context}: {done:?}");
        let voted = approval.as_ref().is_some_and(|approval| !approval.votes.is_empty());
        assert!(voted || !done.votes.contains(&n), "{context}: {done:?}");
        agents += usize::from(agent.is_some());
        enrolled += usize::from(is_enrolled);
        approvals += usize::from(approval.is_some());
        votes += usize::from(voted);
    }
    // No state without its event, and no event without its state.
    assert_eq!(recorded(kind::AGENT_ADDED), agents, "{context}");
    assert_eq!(recorded(kind::AGENT_ENROLLED), enrolled, "{context}");
    assert_eq!(recorded(kind::APPROVAL_REQUESTED), approvals, "{context}");
    assert_eq!(recorded(kind::APPROVAL_VOTED), votes, "{context}");
    assert_eq!(store.outbox(Lane::Channels, 99).await.unwrap().len(), approvals + votes, "{context}");
    assert_eq!(store.due_approvals(later(900), 99).await.unwrap().len(), approvals, "{context}");
    let active = store.active_bundle().await.unwrap();
    assert_eq!(
        recorded(kind::POLICY_ACTIVATED) as u64,
        active.as_ref().map_or(0, |active| active.revision.revision.0)
    );
    assert!(active.as_ref().map(|active| active.revision.revision) >= done.revision, "{context}");
    if let Some(active) = active {
        assert_eq!(active.files["bundle.toml"], vec![active.revision.revision.0 as u8; 5_000], "{context}");
    }
    for hash in &done.links {
        assert!(store.sign_in_link(*hash).await.unwrap().is_some(), "{context}");
    }
    let shipped = store.source_head(&sidecar_of("agent-1")).await.unwrap().map_or(0, |(seq, _)| seq);
    assert!(shipped >= done.shipped_through, "{context}: shipped {shipped} {done:?}");
    assert_eq!(recorded(kind::OPERATION_PERMITTED) as u64, shipped, "{context}");
    store.record(vec![countersign_audit::EventDraft::new(NOW, kind::CONTROL_STARTED)]).await.unwrap();
}

#[tokio::test]
async fn whenever_the_power_is_cut_what_was_acknowledged_is_there() {
    let whole = CrashingStorage::default();
    let store = open(&whole);
    let created = whole.changes();
    work(&store).await;
    let changes = whole.changes();
    for cut in created..changes {
        let disk = CrashingStorage::cut_after(cut);
        let done = work(&open(&disk)).await;
        for loss in [Loss::Everything, Loss::Nothing, Loss::Some(cut)] {
            check(disk.after_crash(loss), &done, &format!("cut after {cut} of {changes}, {loss:?}")).await;
        }
    }
}

#[tokio::test]
async fn without_storage_every_answer_is_an_error_and_the_store_says_that_it_stopped() {
    let disk = CrashingStorage::default();
    let store = open(&disk);
    disk.cut_in(0);
    let draft = countersign_audit::EventDraft::new(NOW, kind::CONTROL_STARTED);
    assert!(store.record(vec![draft.clone()]).await.is_err());
    assert!(store.record(vec![draft]).await.is_err());
    assert!(matches!(store.stopped().await, crate::StoreError::Storage(_)));
}
