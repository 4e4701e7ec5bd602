//! Grants for a task: what belongs to it, what is inside its budget, and every way out of either.

use countersign_approval::{
    Candidate, Expected, GrantClaims, GrantRefusal, GrantScope, Request, Uncovered, VoteDecision,
};
use countersign_model::{
    Amount, Digest, GrantShape, Provenance, Requirement, Revision, SpiffeId,
    amount::spend,
    canonical::to_canonical_json,
    provenance::Initiator,
    signing::{Jwks, SigningKey},
};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::fixture::{ONE, at, ballot, open, request, requirement, reviewer, run};

fn granting(scope: impl Into<Value>) -> Requirement {
    let scope: Value = scope.into();
    let grant = serde_json::from_value(json!({ "task": scope })).unwrap();
    Requirement { grant, ..requirement("sre", 1, &["group:sre"]) }
}

fn payments() -> Requirement {
    granting(json!({
        "count": 4, "within": "30m", "resources": ["account/eu/"], "same": ["currency"],
        "amount": {"argument": "/sum/value", "total": "500", "each": "200.5"}
    }))
}

fn payment(value: impl Into<Value>, account: &str) -> Value {
    let value: Value = value.into();
    json!({
        "v": 1,
        "subject": {"type": "Agent", "id": "pay-bot"},
        "action": {"name": "pay", "properties": {"sum": {"value": value}, "currency": "EUR", "note": "a"}},
        "resource": {"type": "Account", "id": account, "properties": {"tier": 1}},
        "context": {"mcp": {"server": "bank", "method": "tools/call", "tool": "pay"}},
    })
}

/// A request for an operation that requirements of a task hold.
fn asked(operation: &Value, requirements: Vec<Requirement>) -> Request {
    let mut request = request(requirements);
    request.submission.operation = to_canonical_json(operation).unwrap();
    request.submission.digest = Digest::of(request.submission.operation.as_bytes());
    request.submission.provenance.session = Some("session-1".to_owned());
    request.submission.tool_pin = Some(Digest::of(b"pay"));
    request
}

fn scope() -> GrantScope {
    GrantScope::of(&asked(&payment(json!(100), "account/eu/1"), vec![payments()])).unwrap()
}

/// Whether the scope covers an operation, asked under otherwise the same circumstances.
fn covers(operation: &Value, change: impl FnOnce(&mut Request)) -> Result<(), Uncovered> {
    let mut request = asked(operation, vec![payments()]);
    change(&mut request);
    let candidate = Candidate::of(&request.submission);
    scope().check_kin(&candidate)?;
    scope().charges(&candidate).map(drop)
}

#[test]
fn other_arguments_and_resources_below_the_prefix_are_covered() {
    let mut other = payment(json!("200.50"), "account/eu/2");
    other["action"]["properties"]["note"] = json!("another");
    assert_eq!(covers(&other, |_| {}), Ok(()));
}

#[test]
fn whoever_or_whatever_else_it_is_is_not_covered() {
    let plain = payment(json!(1), "account/eu/1");
    let changed = |pointer: &str, value: Value| {
        let mut other = plain.clone();
        *other.pointer_mut(pointer).unwrap() = value;
        covers(&other, |_| {})
    };
    for (pointer, value) in [
        ("/action/name", json!("refund")),
        ("/subject/id", json!("other-bot")),
        ("/resource/type", json!("Vault")),
        ("/resource/properties/tier", json!(2)),
        ("/context/mcp/server", json!("other")),
        ("/context/mcp/tool", json!("pay_all")),
        ("/context", json!({})),
        ("/action/properties/currency", json!("KWD")),
        ("/v", json!(2)),
    ] {
        assert_eq!(changed(pointer, value), Err(Uncovered::Other), "{pointer}");
    }
    let mut added = plain.clone();
    added["context"]["subject"] = json!({"type": "User", "id": "u"});
    assert_eq!(covers(&added, |_| {}), Err(Uncovered::Other));
    added["context"] = json!({"operations": []});
    assert_eq!(covers(&added, |_| {}), Err(Uncovered::Several));
    let asked_by = |change: fn(&mut Request)| covers(&plain, change);
    assert_eq!(asked_by(|request| request.submission.interceptor = "check".into()), Err(Uncovered::Other));
    assert_eq!(asked_by(|request| request.submission.tool_pin = None), Err(Uncovered::Other));
    assert_eq!(asked_by(|request| request.submission.provenance.session = None), Err(Uncovered::Other));
    assert_eq!(asked_by(|request| request.submission.provenance.initiator = None), Err(Uncovered::Other));
    let asserted = |request: &mut Request| {
        let person = request.owner.clone();
        request.submission.provenance.initiator = Some(Initiator { person, verified: true });
    };
    assert_eq!(covers(&plain, asserted), Err(Uncovered::Other));
}

#[test]
fn what_is_outside_of_the_budget_is_not_covered() {
    for account in
        ["account/us/1", "account/eu", "account/eu-2", "account/eu/../us/1", "account/eu/%2e%2e/us"]
    {
        assert_eq!(covers(&payment(json!(1), account), |_| {}), Err(Uncovered::Resource), "{account}");
    }
    for value in [json!(-1), json!("1e2"), json!(1e30), json!("x"), json!(null), json!([1])] {
        let refused = covers(&payment(value.clone(), "account/eu/1"), |_| {});
        assert!(matches!(refused, Err(Uncovered::Amount(..))), "{value}");
    }
    let too_much = covers(&payment(json!("200.500000001"), "account/eu/1"), |_| {});
    assert_eq!(too_much, Err(Uncovered::TooMuch("/sum/value".into())));
    let mut missing = payment(json!(1), "account/eu/1");
    missing["action"]["properties"] = json!({"currency": "EUR"});
    assert_eq!(covers(&missing, |_| {}), Err(Uncovered::Missing("/sum/value".into())));
    missing["action"]["properties"] = json!({"sum": {"value": 1}});
    assert_eq!(covers(&missing, |_| {}), Err(Uncovered::Missing("currency".into())));
}

/// With no prefixes, the resource stays the one that people have seen.
#[test]
fn a_task_without_resources_is_for_one() {
    let requirement = granting(json!({"count": 2, "within": "1h"}));
    let asked = |account| asked(&payment(json!(1), account), vec![requirement.clone()]);
    let (one, other) = (asked("account/eu/1"), asked("account/eu/2"));
    let scope = GrantScope::of(&one).unwrap();
    assert_eq!(scope.check_kin(&Candidate::of(&one.submission)), Ok(()));
    assert_eq!(scope.check_kin(&Candidate::of(&other.submission)), Err(Uncovered::Other));
}

/// What people could not see, or is outside itself, is granted once.
#[test]
fn what_the_control_plane_cannot_judge_it_grants_once() {
    let plain = payment(json!(100), "account/eu/1");
    let granted = |operation: &Value, requirements: Vec<Requirement>| {
        GrantScope::of(&asked(operation, requirements)).is_some()
    };
    assert!(granted(&plain, vec![payments()]));
    let twice = Requirement { name: "two".parse().unwrap(), ..payments() };
    assert!(granted(&plain, vec![payments(), twice]));
    for pointer in
        ["/action/properties/sum/value", "/action/properties/currency", "/context/mcp/tool", "/resource/id"]
    {
        let mut redacted = plain.clone();
        *redacted.pointer_mut(pointer).unwrap() = json!("[redacted]");
        assert!(!granted(&redacted, vec![payments()]), "{pointer}");
    }
    let mut elsewhere = asked(&plain, vec![payments()]);
    elsewhere.submission.provenance.session = Some("token=[redacted]".to_owned());
    assert_eq!(GrantScope::of(&elsewhere), None);
    assert!(!granted(&payment(json!(201), "account/eu/1"), vec![payments()]), "more than each");
    assert!(!granted(&payment(json!(1), "account/us/1"), vec![payments()]), "outside of the prefix");
    let tight =
        granting(json!({"count": 2, "within": "1h", "amount": {"argument": "/sum/value", "total": 99}}));
    assert!(!granted(&payment(json!(100), "account/eu/1"), vec![tight]), "more than the total");
    for narrower in [GrantShape::Once, GrantShape::Window(countersign_model::Seconds::new(60))] {
        let plain_one = Requirement { name: "one".parse().unwrap(), grant: narrower, ..payments() };
        assert!(!granted(&plain, vec![payments(), plain_one]));
    }
}

#[test]
fn the_terms_of_a_task_are_the_narrowest() {
    let longer = granting(json!({"count": 9, "within": "10m", "resources": ["account/"]}));
    let longer = Requirement { name: "longer".parse().unwrap(), ..longer };
    let request = asked(&payment(json!(1), "account/eu/1"), vec![longer, payments()]);
    let approval = countersign_approval::Approval::open(request).unwrap().0;
    let votes = [ONE, "reviewer-two@example.com"];
    let votes = votes.map(|name| (10, ballot(reviewer(name, &["sre"]), VoteDecision::Approve)));
    let terms = run(approval, &votes).terms.unwrap();
    assert_eq!((terms.uses, terms.not_after), (4, at(610)));
    assert_eq!(terms.scope.unwrap().budgets.len(), 2);
}

#[test]
fn a_request_that_grants_no_task_has_no_scope_in_its_terms() {
    let approval = open(vec![requirement("sre", 1, &["group:sre"])]);
    let approved = run(approval, &[(10, ballot(reviewer(ONE, &["sre"]), VoteDecision::Approve))]);
    assert!(!serde_json::to_string(&approved).unwrap().contains("scope"));
}

/// The grant as the control plane signs it, and whoever trusts it.
fn signed() -> (String, Jwks, GrantClaims) {
    let request = asked(&payment(json!(100), "account/eu/1"), vec![payments()]);
    let approval = countersign_approval::Approval::open(request).unwrap().0;
    let approved = run(approval, &[(10, ballot(reviewer(ONE, &["sre"]), VoteDecision::Approve))]);
    let key = SigningKey::from_seed(&[7; 32]).unwrap();
    let claims = GrantClaims::of(&approved, issuer()).unwrap();
    (claims.sign(&key).unwrap(), [key.verifying_key()].into_iter().collect(), claims)
}

fn issuer() -> SpiffeId {
    "spiffe://example.org/control-plane".parse().unwrap()
}

#[test]
fn the_scope_is_signed_and_whoever_does_not_know_of_it_refuses_the_grant() {
    let (token, trusted, claims) = signed();
    assert_eq!(claims.scope, Some(scope()));
    /// What a release before tasks reads of a grant.
    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "it is read for its shape")]
    struct Before {
        iss: String,
        aud: String,
        jti: String,
        digest: String,
        requirements: Value,
        revision: u64,
        iat: i64,
        exp: i64,
        execute_by: i64,
        uses: u32,
    }
    let read = trusted.verify_jws::<Before>(countersign_approval::grant::GRANT_TYPE, &token);
    assert!(read.unwrap_err().to_string().contains("scope"));
}

proptest! {
    /// Whatever an agent tries with one grant, in whatever order and however often again, what goes through is at
    /// most as many operations as were granted, for at most the total, below the prefix, in the one session.
    #[test]
    fn no_more_goes_through_than_was_granted(
        attempts in prop::collection::vec(
            (0..2_500_u32, prop::sample::select(vec!["account/eu/1", "account/eu/2", "account/us/1", "account/eu/../us"]),
             prop::bool::weighted(0.9)),
            1..40,
        )
    ) {
        let (token, trusted, claims) = signed();
        let (mut used, mut spent, mut cents) = (0, Vec::<Amount>::new(), 0);
        for (tenths, account, same_session) in attempts {
            let value = format!("{}.{}", tenths / 10, tenths % 10);
            let mut request = asked(&payment(json!(value), account), vec![payments()]);
            if !same_session {
                request.submission.provenance = Provenance::default();
            }
            let operation = Candidate::of(&request.submission);
            let issuer = issuer();
            let expected = Expected {
                issuer: &issuer, audience: &request.audience, approval: request.id, operation,
                revision: Revision(3), used, spent: &spent, now: at(20),
            };
            match GrantClaims::verify(&token, &trusted, &expected) {
                Ok(verified) => {
                    prop_assert!(same_session && account.starts_with("account/eu/") && !account.contains(".."));
                    prop_assert!(tenths <= 2_005);
                    spent = spend(&spent, &verified.charges(&operation).unwrap()).unwrap();
                    used += 1;
                    cents += tenths;
                }
                Err(GrantRefusal::Task(_) | GrantRefusal::OverBudget | GrantRefusal::UsedUp(_)) => {}
                Err(other) => prop_assert!(false, "{other}"),
            }
            prop_assert!(used <= claims.uses && cents <= 5_000);
        }
    }
}
