//! One frame of every kind, with every optional part present somewhere.

use std::collections::BTreeMap;

use countersign_approval::{ArgumentChange, CancelReason, Outcome, Phase, Progress, Status, Submission};
use countersign_model::{
    AgentId, ApprovalId, DecidingPolicy, Digest, EvaluationId, JoinTokenId, PolicyEffect, Provenance,
    RequirementKind, Revision, Seconds, Timestamp, provenance::Initiator, signing::SigningKey, strict_json,
};
use countersign_protocol::{
    Ack, AskEdit, AuditAck, AuditBatch, BundleAck, BundleOutcome, CancelApproval, Enrol, Enrolled, Frame,
    Heartbeat, HeartbeatAck, Hello, ProposedEdit, PushBundle, RefusalCode, Refused, Renew, ReportClaim,
    ReportOutcome, RevokeApproval, Substitutable, Svid, WaitApproval, Welcome,
};

pub(crate) fn at() -> Timestamp {
    "2026-03-01T12:00:00.250Z".parse().unwrap()
}

fn approval(number: u8) -> ApprovalId {
    ApprovalId::new(at(), [number; 10])
}

pub(crate) fn submission() -> Submission {
    Submission {
        key: "a-key".to_owned(),
        evaluation: EvaluationId::new(at(), [1; 10]),
        digest: Digest::of(b"operation"),
        operation: r#"{"action":{"name":"deploy"}}"#.to_owned(),
        redacted: vec!["/context/password".to_owned()],
        provenance: Provenance {
            initiator: Some(Initiator { person: "owner@example.com".parse().unwrap(), verified: true }),
            model: Some("a-model".to_owned()),
            session: None,
            reason: Some("the ticket says so – «zażółć» 🚀".to_owned()),
            prompt: None,
        },
        interceptor: "exec".to_owned(),
        policies: vec![DecidingPolicy {
            id: "policies/deploy.cedar#1".to_owned(),
            effect: PolicyEffect::Forbid,
            reason: Some("Production deploys need two SREs".to_owned()),
            approval: Some("two-sre".parse().unwrap()),
        }],
        requirements: vec!["two-sre".parse().unwrap()],
        revision: Revision(300),
        tool_pin: Some(Digest::of(b"tool")),
        trace: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
        substitutable: false,
        follows: None,
    }
}

pub(crate) fn status() -> Status {
    Status {
        id: approval(1),
        version: 70_000,
        phase: Phase::Cancelled,
        cancelled: Some(CancelReason::RequesterGone),
        grant: Some("header.payload.signature".to_owned()),
        reason: None,
        decide_by: at(),
        execute_by: Some(at().plus(Seconds::new(300))),
        progress: vec![Progress {
            requirement: "two-sre".parse().unwrap(),
            kind: RequirementKind::Approval,
            have: 1,
            need: 2,
            reviewers: vec!["group:sre".to_owned()],
        }],
    }
}

fn greetings() -> Vec<Frame> {
    vec![
        Hello {
            protocol: 1,
            software: "countersign-sidecar 0.1.0".to_owned(),
            revision: Some(Revision(7)),
            bundle: Some(Digest::of(b"bundle")),
            last_seq: 41,
            spool_depth: 3,
            pending: vec![approval(1), approval(2)],
        }
        .into(),
        Welcome {
            protocol: 1,
            software: "countersign-control 0.1.0".to_owned(),
            now: at(),
            heartbeat_every: Seconds::new(15),
            revision: None,
            audit_through: 38,
            audit_head: Digest::of(b"event 38"),
            lease_renewed_at: at(),
        }
        .into(),
        Refused { code: RefusalCode::AuditGap, message: "go on after 38".to_owned() }.into(),
        Ack.into(),
        Heartbeat { revision: Some(Revision(7)), spool_depth: 0, pending: vec![approval(1)] }.into(),
        HeartbeatAck { lease_renewed_at: Timestamp::from_millis(-1) }.into(),
    ]
}

fn approvals() -> Vec<Frame> {
    vec![
        submission().into(),
        WaitApproval { id: approval(1), known_version: 250 }.into(),
        CancelApproval { id: approval(1), why: CancelReason::Requester }.into(),
        status().into(),
        ReportClaim { id: approval(1), use_number: 1, at: at() }.into(),
        ReportOutcome { id: approval(1), use_number: 2, outcome: Outcome::OutcomeUnknown, at: at() }.into(),
        RevokeApproval { id: approval(1), reason: "taken back".to_owned() }.into(),
        Substitutable(Submission { substitutable: true, follows: Some(approval(2)), ..submission() }).into(),
        AskEdit { id: approval(1) }.into(),
        ProposedEdit {
            by: "reviewer-one@example.com".parse().unwrap(),
            changes: vec![ArgumentChange {
                pointer: "/action/properties/amount".to_owned(),
                value: strict_json::parse(br#"{"minor":5000}"#).unwrap(),
            }],
            reason: Some("half of it".to_owned()),
        }
        .into(),
    ]
}

fn the_rest() -> Vec<Frame> {
    vec![
        AuditBatch { events: vec![b"{}".to_vec(), vec![0xff; 300]] }.into(),
        AuditAck { through: u64::MAX }.into(),
        Renew { csr: vec![1, 2, 3] }.into(),
        Svid { chain: vec![vec![1], vec![2]], trust: vec![vec![3]] }.into(),
        PushBundle {
            manifest: "header.payload.signature".to_owned(),
            files: BTreeMap::from([
                ("bundle.toml".to_owned(), b"name = \"starter\"".to_vec()),
                ("policies/empty.cedar".to_owned(), Vec::new()),
            ]),
        }
        .into(),
        BundleAck { revision: Some(Revision(6)), outcome: BundleOutcome::Refused("no".to_owned()) }.into(),
        Enrol {
            token: JoinTokenId::new(at(), [3; 10]),
            secret: [0xa5; 32],
            csr: vec![4; 200],
            agent: Some("deploy-bot".parse().unwrap()),
            software: "countersign-sidecar 0.1.0".to_owned(),
        }
        .into(),
        Enrolled {
            agent: AgentId::new(at(), [4; 10]),
            name: "deploy-bot".parse().unwrap(),
            trust_domain: "example.org".parse().unwrap(),
            chain: vec![vec![5; 10]],
            trust: vec![vec![6; 10]],
            bundle_keys: [SigningKey::from_seed(&[1; 32]).unwrap().verifying_key()].into_iter().collect(),
        }
        .into(),
    ]
}

/// One frame of every kind.
pub(crate) fn all() -> Vec<Frame> {
    [greetings(), approvals(), the_rest()].concat()
}
