//! Every version of every record that was ever written stays readable. A file is added for each new
//! version and never changed.

use std::path::Path;

use countersign_approval::Phase;
use countersign_audit::merkle::Frontier;
use countersign_model::{Assurance, DelegationId, PersonId, TokenId};

use super::*;
use crate::{
    AccountKind, AccountLink, AgentState, ApiToken, CheckpointRecord, Comment, CredentialKind, Delegation,
    Delivery, Destination, ExternalAccount, JoinToken, LinkedAccount, Liveness, LocalPerson, Passkey,
    PolicyRevision, Profile, Revocation, Session, SignIn, SignInLink, StoredResponse, Telling,
    embedded::{
        approvals::ApprovalRow,
        codec::{self, Record},
        outbox::OutboxRow,
        sources::{Run, SourceRow},
        vouching::Heard,
        work::Tail,
        writes::WriteRow,
    },
};

/// Reads a record as it was stored once.
fn read<R: Record>(name: &str) -> R {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(name);
    let stored = std::fs::read(path).unwrap();
    let (version, json) = stored.split_first().unwrap();
    codec::decode(&[&[version - b'0'], json].concat()).unwrap()
}

/// Compares a record as it was stored once with what it means.
fn holds<R: Record + PartialEq + std::fmt::Debug>(name: &str, meaning: &R) {
    assert_eq!(read::<R>(name), *meaning, "golden/{name}");
    let written = codec::encode(meaning).unwrap();
    assert_eq!(codec::decode::<R>(&written).unwrap(), *meaning);
}

#[test]
fn what_the_ledger_needs_is_readable() {
    let mut frontier = Frontier::default();
    for n in 0..3_u8 {
        frontier.append(Digest::of(&[n]));
    }
    holds("tail.1", &Tail { frontier, next_source: 4, next_message: 9, ..Tail::new(control_plane()) });
    let run = Run { first_seq: 5, first_index: 70, len: 3 };
    holds("run.1", &run);
    let head = Digest::of(b"head");
    holds("source.1", &SourceRow { id: 2, next_seq: 8, head, run, may_restart: true });
    holds("checkpoint.1", &CheckpointRecord { size: 3, note: "a signed note\n".into(), at: NOW });
}

#[test]
fn agents_and_policy_are_readable() {
    let liveness = Liveness { seen_at: NOW, revision: Some(Revision(3)), spool_depth: 7, pending: 1 };
    let agent = Agent {
        id: agent_id(1),
        name: agent_name(1),
        owner: "owner@example.com".parse().unwrap(),
        state: AgentState::Revoked,
        svid: Some(svid()),
        liveness: Some(liveness),
        added_at: NOW,
        revoked: Some(Revocation { at: NOW, reason: Some("stolen".into()) }),
    };
    holds("agent.1", &agent);
    let join_token = JoinToken {
        id: join_token(1).id,
        agent: agent.id,
        agent_name: agent.name,
        hash: Digest::of(b"secret"),
        created_at: NOW,
        expires_at: later(60),
        redeemed_at: Some(NOW),
        withdrawn_at: Some(NOW),
    };
    holds("join-token.1", &join_token);
    let revision = PolicyRevision {
        revision: Revision(3),
        name: "starter".into(),
        digest: Digest::of(b"files"),
        manifest: "signed".into(),
        by: "author@example.com".into(),
        at: NOW,
        note: Some("why".into()),
        rollback_of: Some(Revision(1)),
    };
    holds("revision.1", &revision);
}

#[test]
fn approvals_are_readable() {
    // What an approval means is its own room's business; here it is read, and its parts are there.
    let row: ApprovalRow = read("approval.1");
    let approval = row.approval;
    assert_eq!(approval.request, request(1, 7));
    assert_eq!((approval.phase(), approval.votes.len(), approval.uses.len()), (Phase::Claimed, 2, 1));
    assert_eq!((approval.terms.unwrap().uses, row.wake), (1, Some(later(60))));
    let delivery = Delivery {
        approval: approval_id(7),
        destination: Destination { channel: "chat".into(), room: "C1".into() },
        wanted: 3,
        told: 2,
        reference: Some("C1/17".into()),
        remind: true,
        failures: 4,
        error: Some("busy".into()),
        due_at: Some(NOW),
        fell_back: true,
        given_up: true,
    };
    holds("delivery.1", &delivery);
    holds("message.1", &OutboxRow { telling: Telling::WithdrawGrant, approval: approval_id(7), at: NOW });
}

#[test]
fn what_people_say_and_who_stands_in_is_readable() {
    let person = |n: u8| format!("reviewer-{n}@example.com").parse().unwrap();
    let comment = Comment {
        approval: approval_id(7),
        person: person(1),
        text: "is this the right region?".into(),
        at: NOW,
        channel: "console".into(),
        method: "session:token".into(),
    };
    holds("comment.1", &comment);
    let delegation = Delegation {
        id: DelegationId::from_bytes([1; 16]),
        delegator: person(1),
        stand_in: person(2),
        from: NOW,
        until: later(60),
        reason: "on holiday".into(),
        assurance: Assurance::Console,
        created_at: NOW,
        revoked_at: Some(later(60)),
    };
    holds("delegation.1", &delegation);
}

#[test]
fn people_and_what_proves_who_they_are_are_readable() {
    let person: countersign_model::PersonId = "reviewer-1@example.com".parse().unwrap();
    let token = ApiToken {
        id: TokenId::from_bytes([1; 16]),
        hash: Digest::of(b"secret"),
        name: "laptop".into(),
        owner: person.clone(),
        kind: CredentialKind::Machine,
        scopes: Some(vec!["read".into()]),
        created_at: NOW,
        expires_at: Some(later(60)),
        last_used_at: Some(NOW),
        revoked_at: Some(NOW),
    };
    holds("token.1", &token);
    let (roles, groups) = (vec!["reviewer".to_owned()], vec!["sre".to_owned()]);
    let local = LocalPerson { person: person.clone(), roles, groups: groups.clone(), enabled: true };
    holds("person.1", &local);
    let session = Session {
        hash: Digest::of(b"secret"),
        person: person.clone(),
        method: "token".into(),
        groups,
        account: None,
        sid: None,
        id_token: None,
        token: Some(token.id),
        created_at: NOW,
        expires_at: later(60),
    };
    holds("session.1", &session);
    holds("sign-in-link.1", &SignInLink { hash: Digest::of(b"secret"), person, expires_at: later(60) });
    let response =
        StoredResponse { status: 201, headers: vec![("etag".into(), "1".into())], body: "{}".into() };
    holds(
        "write.1",
        &WriteRow { request: Digest::of(b"request"), until: later(60), response: Some(response) },
    );
}

#[test]
fn accounts_and_profiles_are_readable() {
    let person: countersign_model::PersonId = "reviewer-1@example.com".parse().unwrap();
    let account = ExternalAccount { kind: AccountKind::Slack, realm: "T012".into(), subject: "U345".into() };
    let linked = LinkedAccount {
        account: account.clone(),
        person: person.clone(),
        label: "One".into(),
        email: Some(person.clone()),
        linked_at: NOW,
    };
    holds("account.1", &linked);
    let link = AccountLink {
        hash: Digest::of(b"secret"),
        account: account.clone(),
        label: "One".into(),
        only_for: Some(person.clone()),
        expires_at: later(60),
    };
    holds("account-link.1", &link);
    let sign_in = SignIn {
        at: NOW,
        account: Some(ExternalAccount { kind: AccountKind::Oidc, ..account }),
        sid: Some("s1".into()),
        groups: vec!["sre".into()],
        ended_at: Some(later(5)),
    };
    holds("sign-in-end.1", &Heard { until: later(60) });
    let plain = Profile::new(person.clone());
    holds("profile.1", &Profile { disabled_at: Some(later(9)), sign_in: Some(sign_in), ..plain.clone() });
    let other: PersonId = "reviewer-1@example.org".parse().unwrap();
    holds("profile-named.1", &Profile { names: [other.clone()].into(), ..plain });
    holds("profile-other.1", &Profile { same_as: Some(person), ..Profile::new(other) });
}

#[test]
fn passkeys_are_readable() {
    let passkey = Passkey {
        id: Digest::of(b"credential"),
        person: "reviewer-1@example.com".parse().unwrap(),
        name: "security key".into(),
        credential: "Y3JlZGVudGlhbA".into(),
        algorithm: -257,
        public_key: "MIIB".into(),
        counter: 42,
        created_at: NOW,
        last_used_at: Some(later(60)),
    };
    holds("passkey.1", &passkey);
}

#[test]
fn a_version_of_the_future_is_refused() {
    let run = Run { first_seq: 5, first_index: 70, len: 3 };
    let mut bytes = codec::encode(&run).unwrap();
    bytes[0] += 1;
    assert!(codec::decode::<Run>(&bytes).is_err());
    assert!(codec::decode::<Run>(&[]).is_err());
}
