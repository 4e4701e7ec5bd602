//! One human by several names: at two identity providers, or by an older address (I3, I4).

use countersign_approval::{Approval, Input, Phase, Refusal, VoteDecision, Voter, transition};
use countersign_model::{PersonId, Requirement};
use proptest::prelude::*;

use crate::{
    fixture::{
        INITIATOR, ONE, OWNER, TWO, approve, at, confirmation, deny, initiator, open, person, request,
        requirement, reviewer, run, standing_in, step,
    },
    properties::any_story,
};

const OTHER: &str = "reviewer-one@example.org";

fn called(voter: Voter, also: &[&str]) -> Voter {
    Voter { also: also.iter().map(|name| person(name)).collect(), ..voter }
}

fn asking(quorum: u32) -> Approval {
    open(vec![requirement("one", quorum, &["*"])])
}

#[test]
fn nobody_decides_about_their_own_affair_by_another_name() {
    let mine = called(reviewer(OTHER, &[]), &[OWNER]);
    assert_eq!(step(&asking(1), &approve(mine), 1), Err(Refusal::Owner));
    let mut asked = request(vec![requirement("one", 1, &["*"])]);
    asked.submission.provenance = initiator(true);
    asked.edited_by = vec![person(TWO)];
    let approval = Approval::open(asked).unwrap().0;
    let began = called(reviewer(OTHER, &[]), &[ONE, INITIATOR]);
    assert_eq!(step(&approval, &approve(began), 1), Err(Refusal::Initiator));
    let edited = called(reviewer(OTHER, &[]), &[TWO]);
    assert_eq!(step(&approval, &approve(edited), 1), Err(Refusal::Editor));
}

#[test]
fn a_human_has_one_vote_by_all_of_their_names() {
    let half = run(asking(2), &[(1, approve(reviewer(ONE, &[])))]);
    for vote in [approve, deny] {
        let again = called(reviewer(OTHER, &[]), &[ONE]);
        assert_eq!(step(&half, &vote(again), 2), Err(Refusal::AlreadyVoted));
    }
    assert_eq!(run(half, &[(2, approve(reviewer(TWO, &[])))]).phase(), Phase::Approved);
}

#[test]
fn whom_a_stand_in_stands_in_for_is_one_human_too() {
    let elsewhere = open(vec![requirement("one", 2, &["group:a"])]);
    let standing = |also: &str| {
        let mut voter = standing_in(reviewer(TWO, &[]), &[(OTHER, &["a"])]);
        voter.delegators[0].also = vec![person(also)];
        voter
    };
    // The owner hands on a right that they do not have.
    let refused = step(&elsewhere, &approve(standing(OWNER)), 1);
    assert!(matches!(refused, Err(Refusal::NotEligible { .. })), "{refused:?}");
    // Somebody votes, and hands on the same right by another name.
    let half = run(elsewhere, &[(1, approve(reviewer(ONE, &["a"])))]);
    let refused = step(&half, &approve(standing(ONE)), 2);
    assert!(matches!(refused, Err(Refusal::NotEligible { .. })), "{refused:?}");
    assert_eq!(step(&half, &approve(standing("else@example.org")), 2).unwrap().0.phase(), Phase::Approved);
}

#[test]
fn an_initiator_confirms_by_whatever_name_they_sign_in() {
    let approval = open(vec![confirmation("confirm")]);
    let refused = step(&approval, &approve(reviewer(OTHER, &[])), 1);
    assert!(matches!(refused, Err(Refusal::NotEligible { .. })), "{refused:?}");
    let began = called(reviewer(OTHER, &[]), &[INITIATOR]);
    assert_eq!(step(&approval, &approve(began), 1).unwrap().0.phase(), Phase::Approved);
}

#[test]
fn nobody_reviews_their_own_broken_glass_by_another_name() {
    let anyone = "*".parse().unwrap();
    let approval = open(vec![Requirement { break_glass: vec![anyone], ..requirement("one", 2, &["*"]) }]);
    let half = run(approval, &[(1, approve(reviewer(ONE, &[])))]);
    let broken = |voter: Voter| Input::BreakGlass { voter, reason: "it burns".into() };
    let again = called(reviewer(OTHER, &[]), &[ONE]);
    assert_eq!(step(&half, &broken(again.clone()), 2), Err(Refusal::AlreadyVoted));
    let (open, _) = step(&half, &broken(reviewer(ONE, &[])), 2).unwrap();
    let review = |voter: Voter| Input::ReviewGlass { voter, comment: "it did".into() };
    assert_eq!(step(&open, &review(again), 3), Err(Refusal::OwnGlass));
    assert!(step(&open, &review(reviewer(TWO, &[])), 3).is_ok());
}

const SAME: [[&str; 2]; 2] =
    [[OWNER, "reviewer-3@example.com"], ["reviewer-1@example.com", "reviewer-2@example.com"]];

fn other_names(name: &PersonId) -> Vec<PersonId> {
    let humans = SAME.iter().filter(|names| names.iter().any(|one| person(one) == *name));
    humans.flatten().map(|one| person(one)).filter(|one| one != name).collect()
}

/// A voter as the same human, by every name.
fn knowing(mut voter: Voter) -> Voter {
    voter.also = other_names(&voter.person);
    for one in &mut voter.delegators {
        one.also = other_names(&one.person);
    }
    voter
}

fn with_names(input: Input) -> Input {
    match input {
        Input::Vote { id, voter, decision, reason } => {
            Input::Vote { id, voter: knowing(voter), decision, reason }
        }
        Input::BreakGlass { voter, reason } => Input::BreakGlass { voter: knowing(voter), reason },
        Input::ReviewGlass { voter, comment } => Input::ReviewGlass { voter: knowing(voter), comment },
        other => other,
    }
}

/// Whose word it is, the owner's other name included.
fn human(name: &PersonId) -> PersonId {
    other_names(name).into_iter().chain([name.clone()]).min().unwrap_or_else(|| name.clone())
}

proptest! {
    #[test]
    fn no_human_counts_twice_or_for_themselves(story in any_story(), quorum in 1_u32..4) {
        let glass = "group:a".parse().unwrap();
        let asked = Requirement { break_glass: vec![glass], ..requirement("one", quorum, &["*"]) };
        let mut approval = open(vec![asked]);
        let mut now = 0;
        for (pause, input) in story {
            now += pause;
            if let Ok((next, _)) = transition(&approval, &with_names(input), at(now)) {
                approval = next;
            }
            let owner = human(&person(OWNER));
            let approvals = approval.votes.iter().filter(|vote| vote.decision == VoteDecision::Approve);
            for vote in approvals {
                prop_assert!(human(&vote.person) != owner, "I3");
                prop_assert!(vote.delegated.iter().all(|right| human(&right.from) != owner), "I3");
            }
            let Some(terms) = &approval.terms else { continue };
            for met in &terms.met {
                let mut people: Vec<_> = met.by.iter().map(human).collect();
                people.sort();
                people.dedup();
                prop_assert_eq!(people.len(), met.by.len(), "I4");
            }
        }
    }
}
