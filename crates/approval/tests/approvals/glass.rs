//! Breaking the glass: alone, where policy lets them, never for oneself, and reviewed by somebody else.

use countersign_approval::{Approval, Effect, GrantClaims, Input, Occurrence, Phase, Refusal, Voter};
use countersign_model::{Assurance, Requirement};

use crate::fixture::{
    INITIATOR, ONE, OWNER, THREE, TWO, approve, claim, confirmation, deny, open, outcome, person,
    requirement, reviewer, run, standing_in, step,
};

/// A requirement that an on-call lead may meet alone.
fn breakable(name: &str, quorum: u32, reviewers: &[&str]) -> Requirement {
    Requirement { break_glass: vec!["group:leads".parse().unwrap()], ..requirement(name, quorum, reviewers) }
}

fn burning() -> Approval {
    open(vec![breakable("sre", 2, &["group:sre"]), breakable("security", 1, &["group:security"])])
}

fn break_glass(voter: Voter) -> Input {
    Input::BreakGlass { voter, reason: "the site is down".into() }
}

fn review(voter: Voter) -> Input {
    Input::ReviewGlass { voter, comment: "right, and in time".into() }
}

fn lead(name: &str) -> Voter {
    reviewer(name, &["leads"])
}

fn broken() -> Approval {
    run(burning(), &[(1, break_glass(lead(ONE)))])
}

#[test]
fn a_lead_approves_alone_and_it_is_flagged_everywhere() {
    let (approval, effects) = step(&burning(), &break_glass(lead(ONE)), 1).unwrap();
    assert_eq!(approval.phase(), Phase::Approved);
    assert_eq!(effects[0], Effect::Record(Occurrence::GlassBroken));
    assert!(effects.contains(&Effect::Record(Occurrence::Approved)) && effects.contains(&Effect::IssueGrant));
    let met = &approval.terms.as_ref().unwrap().met;
    assert!(met.iter().all(|met| met.break_glass && met.by == [person(ONE)]));
    let issuer = "spiffe://example.org/control-plane".parse().unwrap();
    let claims = serde_json::to_value(GrantClaims::of(&approval, issuer).unwrap()).unwrap();
    assert_eq!(claims["requirements"][0]["break_glass"], true);
    assert!(approval.needs_review());
    let (again, effects) = step(&approval, &break_glass(lead(ONE)), 2).unwrap();
    assert_eq!((again, effects), (approval, Vec::new()));
}

/// I3 for every way to approve: the attack is the owner who is on call.
#[test]
fn nobody_breaks_the_glass_for_themselves() {
    for (party, refusal) in [(OWNER, Refusal::Owner), (INITIATOR, Refusal::Initiator)] {
        assert_eq!(step(&burning(), &break_glass(reviewer(party, &["*"])), 1), Err(refusal));
    }
    let machine = Voter { machine: true, ..lead(ONE) };
    assert_eq!(step(&burning(), &break_glass(machine), 1), Err(Refusal::MachineCredential));
    let agent = Voter { agent: true, ..lead(ONE) };
    assert_eq!(step(&burning(), &break_glass(agent), 1), Err(Refusal::AgentCredential));
    let guest = Voter { reviewer: false, ..lead(ONE) };
    assert_eq!(step(&burning(), &break_glass(guest), 1), Err(Refusal::NotReviewer));
}

#[test]
fn every_requirement_that_is_not_met_must_let_them() {
    let name = "security".parse().unwrap();
    let half =
        open(vec![breakable("sre", 2, &["group:sre"]), requirement("security", 1, &["group:security"])]);
    assert_eq!(step(&half, &break_glass(lead(ONE)), 1), Err(Refusal::NoGlass(name)));
    assert!(matches!(step(&burning(), &break_glass(reviewer(TWO, &["sre"])), 1), Err(Refusal::NoGlass(_))));
    // What others have met by their votes stays theirs.
    let security = approve(reviewer(TWO, &["security"]));
    let done = run(half, &[(1, security), (2, break_glass(lead(ONE)))]);
    let met = done.terms.unwrap().met;
    assert_eq!((met[0].break_glass, met[1].break_glass), (true, false));
    assert_eq!(met[1].by, [person(TWO)]);
}

/// I4: the attack is to vote for the requirement that has no glass, and to break the other's.
#[test]
fn whoever_breaks_the_glass_counts_for_nothing_else() {
    let approval =
        open(vec![breakable("sre", 1, &["group:sre"]), requirement("security", 1, &["group:security"])]);
    let both = reviewer(ONE, &["leads", "security"]);
    let voted = run(approval.clone(), &[(1, approve(both.clone()))]);
    assert!(matches!(step(&voted, &break_glass(both.clone()), 2), Err(Refusal::NoGlass(_))));
    // … nor does their stand-in by their right.
    let stand_in = standing_in(reviewer(TWO, &[]), &[(ONE, &["security"])]);
    let voted = run(approval, &[(1, approve(stand_in))]);
    assert!(matches!(step(&voted, &break_glass(both), 2), Err(Refusal::NoGlass(_))));
}

#[test]
fn nobody_confirms_or_stands_in_by_breaking_the_glass() {
    let approval = open(vec![confirmation("own-word"), breakable("sre", 1, &["group:sre"])]);
    assert!(matches!(step(&approval, &break_glass(lead(ONE)), 1), Err(Refusal::NoGlass(_))));
    let confirmed = run(approval, &[(1, approve(reviewer(INITIATOR, &[])))]);
    assert_eq!(run(confirmed, &[(2, break_glass(lead(ONE)))]).phase(), Phase::Approved);
    let stand_in = standing_in(reviewer(TWO, &[]), &[(ONE, &["leads"])]);
    assert!(matches!(step(&burning(), &break_glass(stand_in), 1), Err(Refusal::NoGlass(_))));
}

#[test]
fn it_takes_a_reason_and_as_much_assurance_as_a_vote() {
    for (reason, refusal) in
        [(" ".to_owned(), Refusal::ReasonMissing), ("é".repeat(2_001), Refusal::ReasonTooLong)]
    {
        let mute = Input::BreakGlass { voter: lead(ONE), reason };
        assert_eq!(step(&burning(), &mute, 1), Err(refusal));
    }
    let strict = Requirement { assurance: Assurance::Console, ..breakable("sre", 1, &["*"]) };
    let approval = open(vec![strict]);
    let refusal = Refusal::AssuranceTooLow(Assurance::Console);
    assert_eq!(step(&approval, &break_glass(lead(ONE)), 1), Err(refusal));
    let there = Voter { assurance: Assurance::Console, ..lead(ONE) };
    assert_eq!(run(approval, &[(1, break_glass(there))]).phase(), Phase::Approved);
}

#[test]
fn what_is_denied_or_over_stays_so() {
    let doubtful = Requirement { deny_threshold: 2, ..breakable("sre", 1, &["*"]) };
    let denier = run(open(vec![doubtful]), &[(1, deny(lead(ONE)))]);
    assert_eq!(step(&denier, &break_glass(lead(ONE)), 2), Err(Refusal::AlreadyVoted));
    let denied = run(burning(), &[(1, deny(reviewer(TWO, &["sre"])))]);
    assert!(matches!(step(&denied, &break_glass(lead(ONE)), 2), Err(Refusal::TooLate { .. })));
    assert!(matches!(step(&burning(), &break_glass(lead(ONE)), 900), Err(Refusal::TooLate { .. })));
}

#[test]
fn somebody_else_reviews_it_however_it_ended() {
    let ran = run(broken(), &[(2, claim(1, 2)), (3, outcome(1, countersign_approval::Outcome::Executed))]);
    for approval in [broken(), ran, run(broken(), &[(400, Input::Tick)])] {
        let phase = approval.phase();
        let (reviewed, effects) = step(&approval, &review(reviewer(TWO, &["sre"])), 500).unwrap();
        assert!(!reviewed.needs_review());
        assert!(effects.contains(&Effect::Record(Occurrence::GlassReviewed)));
        assert!(reviewed.version > approval.version);
        assert!(phase == reviewed.phase() || reviewed.phase() == Phase::Lapsed);
        let other = step(&reviewed, &review(reviewer(THREE, &["sre"])), 501);
        assert_eq!(other, Err(Refusal::AlreadyReviewed(person(TWO))));
    }
}

/// The attacks: to review oneself, directly or by a stand-in, or the owner's own operation.
#[test]
fn a_review_is_somebody_elses() {
    let approval = broken();
    assert_eq!(step(&approval, &review(reviewer(ONE, &["*"])), 2), Err(Refusal::OwnGlass));
    assert_eq!(step(&approval, &review(reviewer(OWNER, &["*"])), 2), Err(Refusal::Owner));
    assert_eq!(step(&approval, &review(reviewer(INITIATOR, &["*"])), 2), Err(Refusal::Initiator));
    let stand_in = standing_in(reviewer(TWO, &[]), &[(ONE, &["sre"])]);
    assert!(matches!(step(&approval, &review(stand_in), 2), Err(Refusal::NotEligible { .. })));
    assert!(matches!(step(&approval, &review(reviewer(TWO, &[])), 2), Err(Refusal::NotEligible { .. })));
    let mute = Input::ReviewGlass { voter: reviewer(TWO, &["sre"]), comment: "\n".into() };
    assert_eq!(step(&approval, &mute, 2), Err(Refusal::ReasonMissing));
    let nothing = step(&burning(), &review(reviewer(TWO, &["sre"])), 2);
    assert_eq!(nothing, Err(Refusal::NothingToReview));
}
