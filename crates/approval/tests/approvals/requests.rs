//! What can be put to people at all.

use countersign_approval::{Approval, Effect, Occurrence, Request, RequestError};
use countersign_model::{Digest, Requirement, Seconds, provenance::Initiator};

use crate::fixture::{at, confirmation, initiator, request, requirement};

fn sre() -> Requirement {
    requirement("sre", 1, &["group:sre"])
}

fn refused(change: impl FnOnce(&mut Request)) -> RequestError {
    let mut request = request(vec![sre()]);
    change(&mut request);
    Approval::open(request).unwrap_err()
}

#[test]
fn opening_a_request_asks_people_and_sets_the_clock() {
    let (approval, effects) = Approval::open(request(vec![sre()])).unwrap();
    assert_eq!(effects, [Effect::Record(Occurrence::Requested), Effect::Notify, Effect::WakeAt(at(900))]);
    assert_eq!(approval.version, 1);
    let stored = serde_json::to_string(&approval).unwrap();
    assert_eq!(serde_json::from_str::<Approval>(&stored).unwrap(), approval);
}

/// The attack on I12: have people look at one operation and sign the digest of another.
#[test]
fn what_is_shown_is_what_would_run() {
    let other = Digest::of(br#"{"action":{"name":"delete-everything"},"context":{},"v":1}"#);
    assert_eq!(refused(|request| request.submission.digest = other), RequestError::NotWhatRuns);
    // A redacted operation cannot be compared, but it has to say what was taken out.
    let mut redacted = request(vec![sre()]);
    redacted.submission.digest = other;
    redacted.submission.redacted = vec!["/action/name".into()];
    assert!(Approval::open(redacted).is_ok());
}

#[test]
fn an_operation_has_one_form() {
    for text in [r#"{"b":1,"a":2}"#, r#"{"a": 1}"#, r#"{"a":1,"a":1}"#, "[]", "", "{"] {
        let error = refused(|request| {
            request.submission.operation = text.into();
            request.submission.digest = Digest::of(text.as_bytes());
        });
        assert_eq!(error, RequestError::NotCanonical, "{text}");
    }
}

/// The attack on I5: a request that nobody needs to approve.
#[test]
fn a_request_that_asks_nobody_is_not_opened() {
    assert_eq!(Approval::open(request(Vec::new())).unwrap_err(), RequestError::NoRequirements);
    let zero = requirement("zero", 0, &["*"]);
    assert!(matches!(Approval::open(request(vec![zero])), Err(RequestError::Quorum(_, 0))));
    let many = requirement("many", 101, &["*"]);
    assert!(matches!(Approval::open(request(vec![many])), Err(RequestError::Quorum(_, 101))));
    let two = Requirement { quorum: 2, ..confirmation("confirm") };
    assert!(matches!(Approval::open(request(vec![two])), Err(RequestError::Quorum(_, 2))));
}

#[test]
fn the_frozen_requirements_are_those_that_policy_named() {
    assert_eq!(refused(|request| request.requirements.clear()), RequestError::Mismatch);
    assert_eq!(refused(|request| request.requirements.push(sre())), RequestError::Mismatch);
    assert_eq!(
        refused(|request| request.requirements = vec![requirement("other", 1, &["*"])]),
        RequestError::Mismatch
    );
}

#[test]
fn everything_has_its_bounds() {
    let bounds = |change: fn(&mut Request)| matches!(refused(change), RequestError::Bounds(_));
    assert!(bounds(|request| request.submission.key.clear()));
    assert!(bounds(|request| request.submission.key = "k".repeat(129)));
    assert!(bounds(|request| request.submission.key = "k\n".into()));
    assert!(bounds(|request| request.submission.operation = " ".repeat(600_000)));
    assert!(bounds(|request| request.submission.redacted = vec![String::new(); 5_000]));
    assert!(bounds(|request| request.submission.redacted = vec!["x".repeat(600)]));
    assert!(bounds(|request| request.submission.interceptor.clear()));
    assert!(bounds(|request| request.submission.trace = Some("x".repeat(600))));
    assert!(bounds(|request| request.requester_lease = Seconds::new(0)));
    assert!(bounds(|request| request.agent_name = "other-bot".parse().unwrap()));
    assert!(bounds(|request| {
        request.audience = "spiffe://example.org/control-plane".parse().unwrap();
    }));
    assert!(bounds(|request| {
        request.submission.requirements = vec!["sre".parse().unwrap(); 33];
    }));
}

/// The attack: name an invented initiator, so that nobody is left whose confirmation would be refused.
#[test]
fn an_initiator_who_is_not_verified_can_neither_confirm_nor_be_stood_in_for() {
    let mut unverified = request(vec![confirmation("confirm")]);
    unverified.submission.provenance = initiator(false);
    assert!(matches!(Approval::open(unverified), Err(RequestError::NobodyCanConfirm(_))));
}

#[test]
fn an_owner_who_is_the_initiator_confirms_whether_verified_or_not() {
    for verified in [true, false] {
        let mut request = request(vec![confirmation("confirm")]);
        let owner = request.owner.clone();
        request.submission.provenance.initiator = Some(Initiator { person: owner.clone(), verified });
        assert_eq!(request.confirmer(), Some(&owner));
        assert!(Approval::open(request).is_ok());
    }
}
