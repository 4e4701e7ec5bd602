//! Stand-ins: they vote as themselves, with another person's right, which counts once.

use countersign_approval::{Phase, Refusal, VoteDecision, Voter};
use countersign_model::{Assurance, Requirement};

use crate::fixture::{
    INITIATOR, ONE, OWNER, THREE, TWO, approve, confirmation, deny, open, person, requirement, reviewer, run,
    standing_in, step,
};

/// Reviewer two, who is in no group, for these people of the group `sre`.
fn two_for(delegators: &[&str]) -> Voter {
    let sre: &[&str] = &["sre"];
    let delegators: Vec<_> = delegators.iter().map(|name| (*name, sre)).collect();
    standing_in(reviewer(TWO, &[]), &delegators)
}

#[test]
fn a_stand_in_votes_as_themselves_and_says_for_whom() {
    let approval = open(vec![requirement("sre", 1, &["group:sre"])]);
    assert!(matches!(step(&approval, &approve(reviewer(TWO, &[])), 1), Err(Refusal::NotEligible { .. })));
    let approved = run(approval, &[(1, approve(two_for(&[ONE])))]);
    assert_eq!(approved.phase(), Phase::Approved);
    assert_eq!(approved.votes[0].person, person(TWO));
    assert_eq!(*approved.votes[0].right_of(&"sre".parse().unwrap()), person(ONE));
    assert_eq!(approved.terms.unwrap().met[0].by, [person(TWO)]);
}

/// A right of one's own is used before another's.
#[test]
fn whoever_may_vote_anyway_uses_their_own_right() {
    let approval = open(vec![requirement("sre", 2, &["group:sre"])]);
    let voter = standing_in(reviewer(TWO, &["sre"]), &[(ONE, &["sre"])]);
    let half = run(approval, &[(1, approve(voter))]);
    assert!(half.votes[0].delegated.is_empty());
    assert_eq!(run(half, &[(2, approve(reviewer(ONE, &["sre"])))]).phase(), Phase::Approved);
}

/// The attack on I3: the owner or the initiator, who may not vote, names somebody who votes with their right.
#[test]
fn a_party_has_no_right_to_hand_on() {
    let approval = open(vec![requirement("sre", 1, &["group:sre", "user:owner@example.com"])]);
    for party in [OWNER, INITIATOR, "OWNER@example.com"] {
        for input in [approve, deny] {
            let refusal = step(&approval, &input(two_for(&[party])), 1).unwrap_err();
            assert!(matches!(refusal, Refusal::NotEligible { .. }), "{party}: {refusal}");
        }
    }
}

/// The attack on I3 the other way round: a reviewer names the owner.
#[test]
fn a_party_does_not_stand_in_for_a_reviewer() {
    let approval = open(vec![requirement("sre", 1, &["group:sre"])]);
    for (party, refusal) in [(OWNER, Refusal::Owner), (INITIATOR, Refusal::Initiator)] {
        let voter = standing_in(reviewer(party, &["*"]), &[(ONE, &["sre"])]);
        assert_eq!(step(&approval, &approve(voter), 1), Err(refusal));
    }
}

/// The attack on I4: one member of the group and their stand-in as a quorum of two.
#[test]
fn a_person_and_their_stand_in_are_not_two() {
    let approval = open(vec![requirement("sre", 2, &["group:sre"])]);
    let (one, two) = (approve(reviewer(ONE, &["sre"])), approve(two_for(&[ONE])));
    for story in [[(1, one.clone()), (2, two.clone())], [(1, two), (2, one)]] {
        let both = run(approval.clone(), &story);
        assert_eq!((both.phase(), both.progress()[0].have), (Phase::Pending, 1));
        let third = run(both, &[(3, approve(reviewer(THREE, &["sre"])))]);
        assert_eq!(third.phase(), Phase::Approved);
    }
}

/// … nor for two requirements, one by each of them.
#[test]
fn one_right_does_not_meet_two_requirements() {
    let approval =
        open(vec![requirement("sre", 1, &["group:sre"]), requirement("security", 1, &["group:security"])]);
    let both_groups: &[&str] = &["sre", "security"];
    let stand_in = standing_in(reviewer(TWO, &[]), &[(ONE, both_groups)]);
    let half = run(approval, &[(1, approve(stand_in)), (2, approve(reviewer(ONE, both_groups)))]);
    assert_eq!(half.phase(), Phase::Pending);
    assert_eq!(half.progress().iter().map(|progress| progress.have).sum::<u32>(), 1);
}

/// … nor two stand-ins of the same person. Of two people they can be.
#[test]
fn two_stand_ins_of_one_person_are_one() {
    let approval = open(vec![requirement("sre", 2, &["group:sre"])]);
    let three = |for_whom: &[(&str, &[&str])]| approve(standing_in(reviewer(THREE, &[]), for_whom));
    let half = run(approval.clone(), &[(1, approve(two_for(&[ONE]))), (2, three(&[(ONE, &["sre"])]))]);
    assert_eq!((half.phase(), half.progress()[0].have), (Phase::Pending, 1));
    // Whoever stands in for several uses the right that is free.
    let other = "reviewer-four@example.com";
    let for_both: &[(&str, &[&str])] = &[(ONE, &["sre"]), (other, &["sre"])];
    let done = run(approval, &[(1, approve(two_for(&[ONE]))), (2, three(for_both))]);
    assert_eq!(done.phase(), Phase::Approved);
}

/// Not transitive: whose own right is borrowed has nothing to lend. The groups of a delegator are their own.
#[test]
fn a_delegator_who_is_no_reviewer_confers_nothing() {
    let approval = open(vec![requirement("sre", 1, &["group:sre"])]);
    let mut voter = two_for(&[ONE]);
    voter.delegators[0].reviewer = false;
    assert!(step(&approval, &approve(voter), 1).is_err());
    let guest = Voter { reviewer: false, ..two_for(&[ONE]) };
    assert_eq!(step(&approval, &approve(guest), 1), Err(Refusal::NotReviewer));
    let machine = Voter { machine: true, ..two_for(&[ONE]) };
    assert_eq!(step(&approval, &approve(machine), 1), Err(Refusal::MachineCredential));
}

#[test]
fn nobody_confirms_in_another_persons_place() {
    let approval = open(vec![confirmation("own-word")]);
    let voter = standing_in(reviewer(ONE, &["*"]), &[(INITIATOR, &["*"])]);
    assert!(step(&approval, &approve(voter), 1).is_err());
}

#[test]
fn a_denial_by_both_is_one_denial() {
    let doubtful = Requirement { deny_threshold: 2, ..requirement("sre", 2, &["group:sre"]) };
    let approval = open(vec![doubtful]);
    let half = run(approval, &[(1, deny(two_for(&[ONE]))), (2, deny(reviewer(ONE, &["sre"])))]);
    assert_eq!((half.phase(), half.denials(&"sre".parse().unwrap())), (Phase::Pending, 1));
    assert_eq!(half.votes[0].decision, VoteDecision::Deny);
    assert_eq!(run(half, &[(3, deny(reviewer(THREE, &["sre"])))]).phase(), Phase::Denied);
}

/// The attack: name an accomplice with somebody's stolen token, and have them use their own passkey.
#[test]
fn a_stand_in_that_was_named_lightly_decides_nothing_weighty() {
    let strict = Requirement { assurance: Assurance::Console, ..requirement("sre", 1, &["group:sre"]) };
    let approval = open(vec![strict]);
    let mut voter = Voter { assurance: Assurance::Passkey, ..two_for(&[ONE]) };
    assert!(matches!(step(&approval, &approve(voter.clone()), 1), Err(Refusal::NotEligible { .. })));
    voter.delegators[0].assurance = Assurance::Console;
    assert_eq!(run(approval, &[(1, approve(voter))]).phase(), Phase::Approved);
}
