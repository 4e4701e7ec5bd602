//! An agent's request, and the people around it.

use countersign_approval::{
    Approval, Delegator, Effect, Input, Outcome, Refusal, Request, Submission, VoteDecision, Voter,
    transition,
};
use countersign_model::{
    AgentId, ApprovalId, Assurance, Digest, EvaluationId, GrantShape, PersonId, Provenance, Requirement,
    RequirementKind, Revision, Seconds, Timestamp, VoteId, provenance::Initiator,
};

pub(crate) const OWNER: &str = "owner@example.com";
pub(crate) const INITIATOR: &str = "initiator@example.com";
pub(crate) const ONE: &str = "reviewer-one@example.com";
pub(crate) const TWO: &str = "reviewer-two@example.com";
pub(crate) const THREE: &str = "reviewer-three@example.com";

/// A time, in seconds after the request was submitted.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_000_000_000 + seconds * 1_000)
}

pub(crate) fn person(name: &str) -> PersonId {
    name.parse().unwrap()
}

pub(crate) fn requirement(name: &str, quorum: u32, reviewers: &[&str]) -> Requirement {
    let reviewers = reviewers.iter().map(|reviewer| reviewer.parse().unwrap()).collect();
    Requirement { quorum, ..Requirement::new(name.parse().unwrap(), reviewers) }
}

pub(crate) fn confirmation(name: &str) -> Requirement {
    Requirement { kind: RequirementKind::Confirmation, ..requirement(name, 1, &[]) }
}

pub(crate) fn initiator(verified: bool) -> Provenance {
    let initiator = Initiator { person: person(INITIATOR), verified };
    Provenance { initiator: Some(initiator), ..Provenance::default() }
}

pub(crate) fn request(requirements: Vec<Requirement>) -> Request {
    let operation = r#"{"action":{"name":"deploy"},"context":{},"resource":{"id":"web"},"v":1}"#;
    Request {
        id: ApprovalId::from_bytes([1; 16]),
        submission: Submission {
            key: "key-1".into(),
            evaluation: EvaluationId::from_bytes([2; 16]),
            digest: Digest::of(operation.as_bytes()),
            operation: operation.into(),
            redacted: Vec::new(),
            provenance: initiator(true),
            interceptor: "exec".into(),
            policies: Vec::new(),
            requirements: requirements.iter().map(|requirement| requirement.name.clone()).collect(),
            revision: Revision(3),
            tool_pin: None,
            trace: None,
            substitutable: false,
            follows: None,
        },
        agent: AgentId::from_bytes([3; 16]),
        agent_name: "deploy-bot".parse().unwrap(),
        audience: "spiffe://example.org/agent/deploy-bot".parse().unwrap(),
        owner: person(OWNER),
        requirements,
        requester_lease: Seconds::new(3_600),
        submitted_at: at(0),
        edited_by: Vec::new(),
        labels: Vec::new(),
    }
}

pub(crate) fn open(requirements: Vec<Requirement>) -> Approval {
    Approval::open(request(requirements)).unwrap().0
}

/// One reviewer of the group `sre` is asked.
pub(crate) fn simple() -> Approval {
    open(vec![requirement("sre", 1, &["group:sre"])])
}

/// A person with the reviewer role, in these groups.
pub(crate) fn reviewer(name: &str, groups: &[&str]) -> Voter {
    Voter {
        person: person(name),
        groups: groups.iter().map(ToString::to_string).collect(),
        reviewer: true,
        machine: false,
        agent: false,
        channel: "console".into(),
        method: "oidc".into(),
        assurance: Assurance::Any,
        also: Vec::new(),
        delegators: Vec::new(),
    }
}

/// The same person, for whom these stand aside for now: each with the reviewer role and these groups.
pub(crate) fn standing_in(voter: Voter, delegators: &[(&str, &[&str])]) -> Voter {
    let delegator = |(name, groups): &(&str, &[&str])| Delegator {
        person: person(name),
        also: Vec::new(),
        groups: groups.iter().map(ToString::to_string).collect(),
        reviewer: true,
        assurance: Assurance::Any,
    };
    Voter { delegators: delegators.iter().map(delegator).collect(), ..voter }
}

pub(crate) fn ballot(voter: Voter, decision: VoteDecision) -> Input {
    Input::Vote { id: VoteId::from_bytes([4; 16]), voter, decision, reason: None }
}

pub(crate) fn approve(voter: Voter) -> Input {
    ballot(voter, VoteDecision::Approve)
}

pub(crate) fn deny(voter: Voter) -> Input {
    ballot(voter, VoteDecision::Deny)
}

pub(crate) fn claim(use_number: u32, seconds: i64) -> Input {
    Input::Claim { use_number, at: at(seconds) }
}

pub(crate) fn outcome(use_number: u32, outcome: Outcome) -> Input {
    Input::Outcome { use_number, outcome, at: at(1_000) }
}

pub(crate) type Answer = Result<(Approval, Vec<Effect>), Refusal>;

pub(crate) fn step(approval: &Approval, input: &Input, seconds: i64) -> Answer {
    transition(approval, input, at(seconds))
}

/// What becomes of an approval when all of these happen, each at its second.
pub(crate) fn run(approval: Approval, inputs: &[(i64, Input)]) -> Approval {
    inputs.iter().fold(approval, |approval, (seconds, input)| {
        step(&approval, input, *seconds).unwrap_or_else(|refusal| panic!("{input:?}: {refusal}")).0
    })
}

/// Approved by a reviewer at second 10: to be started before 310.
pub(crate) fn approved() -> Approval {
    run(simple(), &[(10, approve(reviewer(ONE, &["sre"])))])
}

/// Approved at second 10 for three uses within 600 seconds, the first of them before 310.
pub(crate) fn approved_for_three() -> Approval {
    let grant = GrantShape::Uses { uses: 3, within: Seconds::new(600) };
    let requirement = Requirement { grant, ..requirement("sre", 1, &["group:sre"]) };
    run(open(vec![requirement]), &[(10, approve(reviewer(ONE, &["sre"])))])
}
