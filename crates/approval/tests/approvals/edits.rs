//! Editing instead of voting: who may, when, and what becomes of the votes.

use countersign_approval::{
    Approval, ArgumentChange, CancelReason, EditError, Effect, Input, Occurrence, Refusal, Request, State,
    Voter,
};
use countersign_model::Digest;
use serde_json::json;

use crate::fixture::{
    INITIATOR, ONE, OWNER, TWO, approve, deny, initiator, request, requirement, reviewer, run, step,
};

const OPERATION: &str = r#"{"action":{"name":"pay","properties":{"amount":500,"iban":"[redacted]"}},"v":1}"#;

fn editable() -> Request {
    let mut request = request(vec![requirement("sre", 2, &["group:sre"])]);
    request.submission.operation = OPERATION.to_owned();
    request.submission.digest = Digest::of(b"with its secret");
    request.submission.redacted = vec!["/action/properties/iban".to_owned()];
    request.submission.substitutable = true;
    request
}

fn open() -> Approval {
    Approval::open(editable()).unwrap().0
}

fn edit(voter: Voter, pointer: &str) -> Input {
    let changes = vec![ArgumentChange { pointer: pointer.to_owned(), value: json!(50) }];
    Input::Edit { voter, changes, reason: Some("less".to_owned()) }
}

fn amount(voter: Voter) -> Input {
    edit(voter, "/action/properties/amount")
}

#[test]
fn an_edit_ends_the_request_and_approves_nothing() {
    let sre = |name| reviewer(name, &["sre"]);
    let voted = run(open(), &[(1, approve(sre(TWO)))]);
    let (edited, effects) = step(&voted, &amount(sre(ONE)), 2).unwrap();
    assert_eq!(edited.state, State::Cancelled { why: CancelReason::Superseded });
    assert_eq!(effects[0], Effect::Record(Occurrence::Edited));
    assert!(edited.terms.is_none() && !effects.contains(&Effect::IssueGrant));
    assert!(edited.reason().unwrap().contains("changed its arguments: less"));
    // Whichever comes second comes too late.
    assert!(matches!(
        step(&edited, &approve(sre("reviewer-three@example.com")), 3),
        Err(Refusal::TooLate { .. })
    ));
    assert!(matches!(
        step(&edited, &amount(sre("reviewer-three@example.com")), 3),
        Err(Refusal::TooLate { .. })
    ));
    let approved = run(open(), &[(1, approve(sre(ONE))), (2, approve(sre(TWO)))]);
    assert!(matches!(
        step(&approved, &amount(sre("reviewer-three@example.com")), 3),
        Err(Refusal::TooLate { .. })
    ));
    let denied = run(open(), &[(1, deny(sre(ONE)))]);
    assert!(matches!(step(&denied, &amount(sre(TWO)), 3), Err(Refusal::TooLate { .. })));
}

/// I3: whoever cannot approve it cannot make something else of it either.
#[test]
fn only_those_who_could_approve_it_edit() {
    let mut open = open();
    open.request.submission.provenance = initiator(true);
    let refuse = |voter: Voter| step(&open, &amount(voter), 1).unwrap_err();
    assert_eq!(refuse(reviewer(INITIATOR, &["sre"])), Refusal::Initiator);
    assert_eq!(refuse(reviewer(OWNER, &["sre"])), Refusal::Owner);
    assert_eq!(refuse(Voter { machine: true, ..reviewer(ONE, &["sre"]) }), Refusal::MachineCredential);
    assert_eq!(refuse(Voter { agent: true, ..reviewer(ONE, &["sre"]) }), Refusal::AgentCredential);
    assert_eq!(refuse(Voter { reviewer: false, ..reviewer(ONE, &["sre"]) }), Refusal::NotReviewer);
    assert!(matches!(refuse(reviewer(ONE, &["other"])), Refusal::NotEligible { .. }));
    // Who may confirm does not thereby edit.
    let mut both = editable();
    both.requirements.push(crate::fixture::confirmation("own-word"));
    both.submission.requirements.push("own-word".parse().unwrap());
    let both = Approval::open(both).unwrap().0;
    assert_eq!(step(&both, &amount(reviewer(INITIATOR, &["sre"])), 1).unwrap_err(), Refusal::EditsNotYours);
}

#[test]
fn what_is_no_visible_argument_is_not_edited() {
    let sre = || reviewer(ONE, &["sre"]);
    let secret = step(&open(), &edit(sre(), "/action/properties/iban"), 1).unwrap_err();
    assert!(matches!(secret, Refusal::Edit(EditError::Redacted(_))));
    let name = step(&open(), &edit(sre(), "/action/name"), 1).unwrap_err();
    assert!(matches!(name, Refusal::Edit(EditError::NoArgument(_))));
    let mut fixed = editable();
    fixed.submission.substitutable = false;
    let fixed = Approval::open(fixed).unwrap().0;
    assert_eq!(step(&fixed, &amount(sre()), 1).unwrap_err(), Refusal::NotEditable);
}

/// I3: otherwise one reviewer could write an operation and approve it.
#[test]
fn whoever_edited_it_does_not_approve_what_came_of_it() {
    let mut next = editable();
    next.edited_by = vec![ONE.parse().unwrap()];
    let next = Approval::open(next).unwrap().0;
    assert_eq!(step(&next, &approve(reviewer(ONE, &["sre"])), 1).unwrap_err(), Refusal::Editor);
    assert!(step(&next, &approve(reviewer(TWO, &["sre"])), 1).is_ok());
}
