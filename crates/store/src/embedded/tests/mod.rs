//! Tests of the embedded store: what it promises, what an agent or a person could try, and what a crash
//! leaves.

mod agents;
mod approvals;
mod bundles;
mod crash;
mod deliveries;
mod golden;
mod index;
mod ingest;
mod passkeys;
mod people;
mod sidecar;

use countersign_approval::{Request, Submission, Voter};
use countersign_audit::{
    CanonicalEvent, Chain,
    merkle::{Frontier, leaf_hash},
};
use countersign_model::{
    AgentId, AgentName, ApprovalId, Digest, EvaluationId, JoinTokenId, Provenance, Requirement,
    ReviewerSelector, Revision, Seconds, SpiffeId, Timestamp, VoteId,
};
use countersign_testkit::{CrashingStorage, FakeEntropy};
use std::collections::HashMap;

use super::{EmbeddedStore, EventEntropy, OpenError, Settings};
use crate::{Agent, AgentStore, By, LedgerStore, NewAgent, NewJoinToken, Redemption, Svid};

const NOW: Timestamp = Timestamp::from_millis(1_772_366_400_000);

fn control_plane() -> SpiffeId {
    "spiffe://example.org/control-plane".parse().unwrap()
}

fn sidecar_of(name: &str) -> SpiffeId {
    SpiffeId::agent("example.org".parse().unwrap(), name.parse().unwrap())
}

fn entropy() -> EventEntropy {
    let entropy = FakeEntropy::default();
    Box::new(move || entropy.bytes())
}

fn open(disk: &CrashingStorage) -> EmbeddedStore {
    try_open(disk).unwrap()
}

/// The store on a disk, with an index that is built anew.
fn try_open(disk: &CrashingStorage) -> Result<EmbeddedStore, OpenError> {
    let index = CrashingStorage::default();
    EmbeddedStore::open_on(disk.clone(), index, &control_plane(), Settings::default(), entropy())
}

fn new_store() -> EmbeddedStore {
    open(&CrashingStorage::default())
}

fn by(actor: &str) -> By {
    By::new(actor, NOW)
}

fn later(seconds: u32) -> Timestamp {
    NOW.plus(Seconds::new(seconds))
}

fn agent_id(n: u8) -> AgentId {
    AgentId::from_bytes([n; 16])
}

fn approval_id(n: u8) -> ApprovalId {
    ApprovalId::from_bytes([n; 16])
}

fn agent_name(n: u8) -> AgentName {
    format!("agent-{n}").parse().unwrap()
}

fn new_agent(n: u8) -> NewAgent {
    NewAgent { id: agent_id(n), name: agent_name(n), owner: "owner@example.com".parse().unwrap() }
}

fn join_token(n: u8) -> NewJoinToken {
    NewJoinToken { id: JoinTokenId::from_bytes([n; 16]), hash: Digest::of(&[n]), expires_at: later(60) }
}

fn svid() -> Svid {
    Svid { fingerprint: Digest::of(b"certificate"), serial: "0a".into(), not_after: later(3_600) }
}

fn redemption(n: u8) -> Redemption {
    Redemption { hash: Digest::of(&[n]), svid: svid(), at: NOW }
}

/// An agent that is enrolled.
async fn enrolled(store: &EmbeddedStore, n: u8) -> Agent {
    store.add_agent(new_agent(n), join_token(n), by("admin@example.com")).await.unwrap();
    store.redeem_join_token(redemption(n)).await.unwrap()
}

fn requirement() -> Requirement {
    Requirement {
        quorum: 2,
        ..Requirement::new("two-people".parse().unwrap(), vec![ReviewerSelector::Anyone])
    }
}

/// A request of agent `n`, with the id and key of `id`.
fn request(n: u8, id: u8) -> Request {
    let operation = format!("{{\"action\":{{\"name\":\"deploy-{id}\"}}}}");
    let submission = Submission {
        key: format!("key-{id}"),
        evaluation: EvaluationId::from_bytes([id; 16]),
        digest: Digest::of(operation.as_bytes()),
        operation,
        redacted: Vec::new(),
        provenance: Provenance::default(),
        interceptor: "exec".into(),
        policies: Vec::new(),
        requirements: vec![requirement().name],
        revision: Revision(1),
        tool_pin: None,
        trace: Some("00-0123456789abcdef0123456789abcdef-0123456789abcdef-01".into()),
        substitutable: false,
        follows: None,
    };
    Request {
        id: approval_id(id),
        submission,
        agent: agent_id(n),
        agent_name: agent_name(n),
        audience: sidecar_of(&format!("agent-{n}")),
        owner: "owner@example.com".parse().unwrap(),
        requirements: vec![requirement()],
        requester_lease: Seconds::new(60),
        submitted_at: NOW,
        edited_by: Vec::new(),
        labels: Vec::new(),
    }
}

fn voter(n: u8) -> Voter {
    Voter {
        person: format!("reviewer-{n}@example.com").parse().unwrap(),
        groups: Vec::new(),
        reviewer: true,
        machine: false,
        agent: false,
        channel: "console".into(),
        method: "token".into(),
        assurance: Default::default(),
        also: Vec::new(),
        delegators: Vec::new(),
    }
}

fn vote_id(n: u8) -> VoteId {
    VoteId::from_bytes([n; 16])
}

/// Every event in the ledger, after checking that all is as it must be: each source's events are a
/// chain (but for what `loose` names), and the head is the root over them.
async fn whole_ledger(store: &EmbeddedStore, loose: Option<&SpiffeId>) -> Vec<CanonicalEvent> {
    let entries = store.events_from(0, usize::MAX).await.unwrap();
    let mut frontier = Frontier::default();
    let mut chains: HashMap<SpiffeId, Chain> = HashMap::new();
    let mut events = Vec::new();
    for (position, entry) in entries.into_iter().enumerate() {
        assert_eq!(entry.index, position as u64);
        frontier.append(leaf_hash(&entry.bytes));
        let event = CanonicalEvent::parse(entry.bytes).unwrap();
        let source = event.event().source.clone();
        if loose != Some(&source) {
            chains.entry(source.clone()).or_insert_with(|| Chain::new(source)).accept(&event).unwrap();
        }
        events.push(event);
    }
    let head = store.head().await.unwrap();
    assert_eq!((head.size, head.root), (frontier.size(), frontier.root()));
    events
}

fn kinds(events: &[CanonicalEvent]) -> Vec<&str> {
    events.iter().map(|event| event.event().kind.as_str()).collect()
}
