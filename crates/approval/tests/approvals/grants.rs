//! Grants: one operation, one sidecar, a bounded time and number of uses (I2), for anyone to check.

use std::collections::BTreeSet;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_approval::{
    Candidate, Expected, GrantClaims, GrantRefusal, MetRequirement,
    grant::{GRANT_TYPE, definition_digest},
};
use countersign_model::{
    ApprovalId, Assurance, Digest, Escalation, GrantShape, ReasonRule, Requirement, RequirementKind,
    Revision, Seconds, SpiffeId, Timestamp,
    signing::{Jwks, SigningError, SigningKey},
};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde_json::{Value, json};

use crate::fixture::{ONE, TWO, approved, approved_for_three, at, requirement, simple};

const SEED: [u8; 32] = [7; 32];

fn key() -> SigningKey {
    SigningKey::from_seed(&SEED).unwrap()
}

fn jwks() -> Jwks {
    [key().verifying_key()].into_iter().collect()
}

fn control_plane() -> SpiffeId {
    "spiffe://example.org/control-plane".parse().unwrap()
}

fn claims() -> GrantClaims {
    GrantClaims::of(&approved(), control_plane()).unwrap()
}

/// Verifies with the expectations of the sidecar that asked, at second 20, changed as given.
fn verify(token: &str, change: impl FnOnce(&mut Expected<'_>)) -> Result<GrantClaims, GrantRefusal> {
    let request = approved().request;
    let (issuer, audience) = (control_plane(), request.audience.clone());
    let mut expected = Expected {
        issuer: &issuer,
        audience: &audience,
        approval: request.id,
        operation: Candidate::of(&request.submission),
        revision: Revision(3),
        used: 0,
        spent: &[],
        now: at(20),
    };
    change(&mut expected);
    GrantClaims::verify(token, &jwks(), &expected)
}

fn refusal(change: impl FnOnce(&mut Expected<'_>)) -> GrantRefusal {
    verify(&claims().sign(&key()).unwrap(), change).unwrap_err()
}

#[test]
fn a_grant_says_what_was_approved_and_by_whom() {
    let granted = verify(&claims().sign(&key()).unwrap(), |_| {}).unwrap();
    assert_eq!(granted, claims());
    assert_eq!(granted.requirements[0].by[0].as_str(), ONE);
    assert_eq!((granted.uses, granted.exp - granted.iat), (1, 300));
    assert_eq!(claims().sign(&key()), claims().sign(&key()));
    assert_eq!(GrantClaims::of(&simple(), control_plane()), None);
}

#[test]
fn a_grant_for_anything_else_is_refused_and_says_for_what() {
    let elsewhere: SpiffeId = "spiffe://example.org/agent/other-bot".parse().unwrap();
    let stranger: SpiffeId = "spiffe://example.com/control-plane".parse().unwrap();
    let token = claims().sign(&key()).unwrap();
    let request = approved().request;
    let expected = |issuer, audience| Expected {
        issuer,
        audience,
        approval: request.id,
        operation: Candidate::of(&request.submission),
        revision: Revision(3),
        used: 0,
        spent: &[],
        now: at(20),
    };
    let (issuer, audience) = (control_plane(), request.audience.clone());
    assert!(matches!(
        GrantClaims::verify(&token, &jwks(), &expected(&issuer, &elsewhere)),
        Err(GrantRefusal::Audience(_))
    ));
    assert!(matches!(
        GrantClaims::verify(&token, &jwks(), &expected(&stranger, &audience)),
        Err(GrantRefusal::Issuer(_))
    ));
    assert!(matches!(
        refusal(|expected| expected.operation.digest = Digest::of(b"rm -rf /")),
        GrantRefusal::Digest { .. }
    ));
    assert!(matches!(
        refusal(|expected| expected.approval = ApprovalId::from_bytes([9; 16])),
        GrantRefusal::Approval(_)
    ));
    assert!(matches!(refusal(|expected| expected.revision = Revision(2)), GrantRefusal::Revision { .. }));
    assert!(verify(&token, |expected| expected.revision = Revision(4)).is_ok());
}

#[test]
fn a_grant_is_bounded_in_time_and_uses() {
    assert!(matches!(refusal(|expected| expected.now = at(310)), GrantRefusal::Expired(_)));
    assert!(matches!(refusal(|expected| expected.now = at(-51)), GrantRefusal::NotYet(_)));
    assert!(matches!(refusal(|expected| expected.used = 1), GrantRefusal::UsedUp(1)));

    let three = GrantClaims::of(&approved_for_three(), control_plane()).unwrap().sign(&key()).unwrap();
    let with = |used, seconds| verify(&three, |expected| (expected.used, expected.now) = (used, at(seconds)));
    assert!(with(0, 309).is_ok());
    assert!(matches!(with(0, 310), Err(GrantRefusal::Lapsed(_))));
    assert!(with(1, 310).is_ok());
    assert!(with(2, 609).is_ok());
    assert!(matches!(with(2, 610), Err(GrantRefusal::Expired(_))));
    assert!(matches!(with(3, 20), Err(GrantRefusal::UsedUp(3))));
}

/// Attacks with a token that is signed by the right key, but says something that no approval says.
#[test]
fn a_grant_that_contradicts_itself_is_refused() {
    let malformed = |change: fn(&mut GrantClaims)| {
        let mut claims = claims();
        change(&mut claims);
        matches!(verify(&claims.sign(&key()).unwrap(), |_| {}), Err(GrantRefusal::Malformed(_)))
    };
    assert!(malformed(|claims| claims.uses = 0));
    assert!(malformed(|claims| claims.execute_by = claims.exp + 1));
    assert!(malformed(|claims| claims.iat = claims.exp + 1));
    assert!(malformed(|claims| claims.requirements.clear()));
    assert!(malformed(|claims| claims.requirements[0].by.clear()));
    assert!(malformed(|claims| {
        let again = claims.requirements[0].clone();
        claims.requirements.push(again);
    }));
    assert!(matches!(verify(&"x".repeat(100_000), |_| {}), Err(GrantRefusal::Malformed(_))));
}

#[test]
fn a_token_that_is_no_grant_is_refused() {
    let bundle = key().sign_jws("countersign-bundle+jwt", &claims()).unwrap();
    assert_eq!(verify(&bundle, |_| {}), Err(GrantRefusal::Signature(SigningError::Form(GRANT_TYPE))));
    let stranger = SigningKey::from_seed(&[8; 32]).unwrap();
    let forged = claims().sign(&stranger).unwrap();
    assert!(matches!(verify(&forged, |_| {}), Err(GrantRefusal::Signature(SigningError::UnknownKey(_)))));
    let token = claims().sign(&key()).unwrap();
    let other = claims();
    let payload = GrantClaims { uses: 1_000, ..other }.sign(&stranger).unwrap();
    let parts: Vec<_> = token.split('.').collect();
    let swapped = format!("{}.{}.{}", parts[0], payload.split('.').nth(1).unwrap(), parts[2]);
    assert_eq!(verify(&swapped, |_| {}), Err(GrantRefusal::Signature(SigningError::Signature)));
}

/// I7: a grant under `sre` with one reviewer does not meet an `sre` that asks for two by now.
#[test]
fn a_requirement_that_was_made_stricter_since_is_not_met() {
    let asked = approved().request.requirements[0].clone();
    let name = asked.name.clone();
    let met = |current: &Requirement| claims().met_under(|_| Some(current)).contains(&name);
    assert!(met(&asked));
    assert!(claims().met_under(|_| None).is_empty());
    let changes: [fn(&mut Requirement); 15] = [
        |requirement| requirement.quorum = 2,
        |requirement| requirement.kind = RequirementKind::Confirmation,
        |requirement| requirement.reviewers = vec!["group:security".parse().unwrap()],
        |requirement| requirement.decide_within = Seconds::new(1),
        |requirement| requirement.execute_within = Seconds::new(1),
        |requirement| requirement.grant = GrantShape::Uses { uses: 1, within: Seconds::new(1) },
        |requirement| requirement.grant = GrantShape::Window(Seconds::new(1)),
        |requirement| requirement.grant = task(json!({"count": 2, "within": "1h"})),
        |requirement| requirement.assurance = Assurance::Console,
        |requirement| requirement.stage = 2,
        |requirement| requirement.deny_threshold = 2,
        |requirement| requirement.escalate = escalation("group:managers"),
        |requirement| requirement.remind_every = Some(Seconds::new(60)),
        |requirement| requirement.reason = ReasonRule::Required,
        |requirement| requirement.break_glass = vec!["group:leads".parse().unwrap()],
    ];
    for change in changes {
        let mut changed = asked.clone();
        change(&mut changed);
        assert!(!met(&changed), "{changed:?}");
    }
    let (here, there) = (requirement("a", 1, &["group:x", "*"]), requirement("a", 1, &["*", "group:x"]));
    assert_eq!(definition_digest(&here), definition_digest(&there));
}

fn task(scope: impl Into<Value>) -> GrantShape {
    let scope: Value = scope.into();
    serde_json::from_value(json!({ "task": scope })).unwrap()
}

/// Every member of a task is part of the definition: one with a wider budget does not stand for a narrower one.
#[test]
fn no_two_tasks_have_the_same_definition() {
    let amount = |total: &str| json!({"argument": "a", "total": total});
    let tasks = [
        json!({"count": 2, "within": "1h"}),
        json!({"count": 3, "within": "1h"}),
        json!({"count": 2, "within": "2h"}),
        json!({"count": 2, "within": "1h", "same": ["a"]}),
        json!({"count": 2, "within": "1h", "resources": ["a"]}),
        json!({"count": 2, "within": "1h", "resources": ["a/"]}),
        json!({"count": 2, "within": "1h", "amount": amount("1")}),
        json!({"count": 2, "within": "1h", "amount": amount("1.1")}),
        json!({"count": 2, "within": "1h", "amount": {"argument": "a", "total": "1", "each": "0.5"}}),
    ];
    let plain = requirement("a", 1, &["*"]);
    let digest =
        |scope: &Value| definition_digest(&Requirement { grant: task(scope.clone()), ..plain.clone() });
    let digests: BTreeSet<_> = tasks.iter().map(|scope| digest(scope).to_string()).collect();
    assert_eq!(digests.len(), tasks.len());
}

fn escalation(to: &str) -> Option<Escalation> {
    Some(Escalation { after: Seconds::new(60), to: vec![to.parse().unwrap()] })
}

/// Approvals that wait, and grants that are out, must survive a release that knows more members.
#[test]
fn a_definition_without_later_members_has_the_digest_that_it_always_had() {
    let first = "requirement v1\na\napproval\n2\n900\n300\n0\n0\n*\ngroup:x\n";
    let same = requirement("a", 2, &["group:x", "*"]);
    assert_eq!(definition_digest(&same), Digest::of(first.as_bytes()));
}

/// No two definitions read alike: a group moved from one list to another makes another definition.
#[test]
fn lists_of_people_are_told_apart_in_a_definition() {
    let reviewers = requirement("a", 1, &["group:x", "group:y"]);
    let escalated = Requirement { escalate: escalation("group:y"), ..requirement("a", 1, &["group:x"]) };
    let glass = vec!["group:y".parse().unwrap()];
    let glass = Requirement { break_glass: glass, ..requirement("a", 1, &["group:x"]) };
    let digests = [reviewers, escalated, glass].map(|one| definition_digest(&one).to_string());
    assert_eq!(digests.iter().collect::<std::collections::BTreeSet<_>>().len(), 3);
}

/// An independent implementation reads what we sign …
#[test]
fn another_implementation_verifies_our_grants() {
    let token = claims().sign(&key()).unwrap();
    let x = URL_SAFE_NO_PAD.encode(key().verifying_key().as_bytes());
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_audience(&["spiffe://example.org/agent/deploy-bot"]);
    validation.set_issuer(&["spiffe://example.org/control-plane"]);
    validation.validate_exp = false;
    let public = DecodingKey::from_ed_components(&x).unwrap();
    let read = jsonwebtoken::decode::<GrantClaims>(&token, &public, &validation).unwrap();
    assert_eq!(read.claims, claims());
    assert_eq!(read.header.typ.as_deref(), Some(GRANT_TYPE));
    assert_eq!(read.header.kid, Some(key().verifying_key().key_id()));
    let tampered = token.replacen('.', ".A", 1);
    assert!(jsonwebtoken::decode::<GrantClaims>(&tampered, &public, &validation).is_err());
}

/// … and we read what it signs.
#[test]
fn we_verify_the_grants_of_another_implementation() {
    // PKCS #8 of an Ed25519 seed (RFC 8410 §7).
    let mut document = vec![0x30, 0x2e, 0x02, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    document.extend(SEED);
    let mut header = Header::new(Algorithm::EdDSA);
    header.typ = Some(GRANT_TYPE.into());
    header.kid = Some(key().verifying_key().key_id());
    let token = jsonwebtoken::encode(&header, &claims(), &EncodingKey::from_ed_der(&document)).unwrap();
    assert_eq!(verify(&token, |_| {}), Ok(claims()));
    assert!(at(20) < Timestamp::from_millis(claims().exp * 1_000));
}

/// A grant that says somebody broke the glass meets a requirement that lets them, and no other; nothing in it
/// counts anybody twice (I4).
#[test]
fn a_broken_glass_is_one_persons_and_needs_policys_leave() {
    let alone = |name: &str| {
        let one = Requirement { break_glass: vec!["*".parse().unwrap()], ..requirement(name, 2, &["*"]) };
        MetRequirement::by_breaking_glass(&one, ONE.parse().unwrap())
    };
    let voted = MetRequirement::new(&requirement("other", 1, &["*"]), vec![ONE.parse().unwrap()]);
    let sign = |requirements| GrantClaims { requirements, ..claims() }.sign(&key()).unwrap();
    assert!(verify(&sign(vec![alone("a"), alone("b")]), |_| {}).is_ok());
    let two = MetRequirement { by: vec![TWO.parse().unwrap()], ..alone("b") };
    for malformed in [vec![alone("a"), two], vec![alone("a"), voted]] {
        assert!(matches!(verify(&sign(malformed), |_| {}), Err(GrantRefusal::Malformed(_))));
    }
    let forged = MetRequirement { break_glass: true, ..claims().requirements[0].clone() };
    let asked = approved().request.requirements[0].clone();
    let claims = GrantClaims { requirements: vec![forged], ..claims() };
    assert!(claims.met_under(|_| Some(&asked)).is_empty(), "policy opts in, requirement by requirement");
}
