//! Votes: nobody for themselves (I3), distinct people (I4), one denial denies.

use countersign_approval::{
    CancelReason, Effect, Input, Occurrence, Phase, Refusal, State, Vote, VoteDecision, Voter,
    voting::wanting,
};
use countersign_model::{Assurance, PersonId, Requirement, VoteId};

use crate::fixture::{
    INITIATOR, ONE, OWNER, THREE, TWO, approve, approved, confirmation, deny, initiator, open, person,
    request, requirement, reviewer, run, simple, step,
};

/// I3, with every role and group there is: none of them is looked at first.
#[test]
fn nobody_approves_their_own_affair() {
    for verified in [true, false] {
        let mut request = request(vec![requirement("any", 1, &["*"])]);
        request.submission.provenance = initiator(verified);
        let approval = countersign_approval::Approval::open(request).unwrap().0;
        let everything = |name| reviewer(name, &[Voter::EVERY_GROUP]);
        for input in [approve, deny] {
            assert_eq!(step(&approval, &input(everything(INITIATOR)), 1), Err(Refusal::Initiator));
            assert_eq!(step(&approval, &input(everything(OWNER)), 1), Err(Refusal::Owner));
            assert_eq!(step(&approval, &input(everything("OWNER@Example.COM")), 1), Err(Refusal::Owner));
            let machine = Voter { machine: true, ..everything(ONE) };
            assert_eq!(step(&approval, &input(machine), 1), Err(Refusal::MachineCredential));
            let agent = Voter { agent: true, ..everything(ONE) };
            assert_eq!(step(&approval, &input(agent), 1), Err(Refusal::AgentCredential));
        }
    }
}

/// I3: naming the owner as a reviewer in policy does not help.
#[test]
fn no_policy_makes_the_owner_a_reviewer_of_their_own_agent() {
    let approval = open(vec![requirement("owner", 1, &["user:owner@example.com"])]);
    assert_eq!(step(&approval, &approve(reviewer(OWNER, &[])), 1), Err(Refusal::Owner));
}

#[test]
fn a_machine_does_not_hide_behind_an_earlier_vote_of_its_owner() {
    let approval = run(open(vec![requirement("two", 2, &["*"])]), &[(1, approve(reviewer(ONE, &[])))]);
    let machine = Voter { machine: true, ..reviewer(ONE, &[]) };
    assert_eq!(step(&approval, &approve(machine), 2), Err(Refusal::MachineCredential));
}

#[test]
fn only_those_whom_policy_names_may_vote() {
    let approval = open(vec![requirement("some", 1, &["group:sre", "user:reviewer-two@example.com"])]);
    let refusal = step(&approval, &approve(reviewer(ONE, &["dev"])), 1).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "you are not among the people who can decide about this: group:sre, user:reviewer-two@example.com"
    );
    let guest = Voter { reviewer: false, ..reviewer(TWO, &["sre"]) };
    assert_eq!(step(&approval, &approve(guest), 1), Err(Refusal::NotReviewer));
    for voter in [reviewer(ONE, &["sre"]), reviewer(TWO, &[]), reviewer(THREE, &["*"])] {
        assert_eq!(run(approval.clone(), &[(1, approve(voter))]).phase(), Phase::Approved);
    }
}

#[test]
fn an_approval_tells_the_world() {
    let (approval, effects) = step(&simple(), &approve(reviewer(ONE, &["sre"])), 10).unwrap();
    assert_eq!(approval.state, State::Approved);
    assert_eq!(approval.version, 2);
    assert_eq!(
        effects,
        [
            Effect::Record(Occurrence::Voted),
            Effect::Record(Occurrence::Approved),
            Effect::IssueGrant,
            Effect::TellRequester,
            Effect::RetireCards,
            Effect::WakeAt(crate::fixture::at(310)),
        ]
    );
    let status = approval.status(Some("grant".into()));
    assert_eq!((status.phase, status.grant.as_deref()), (Phase::Approved, Some("grant")));
}

#[test]
fn one_denial_denies_and_says_why() {
    let approval = run(open(vec![requirement("two", 2, &["*"])]), &[(1, approve(reviewer(ONE, &[])))]);
    let reason = Some("not on a Friday".to_owned());
    let voter = reviewer(TWO, &[]);
    let denial = Input::Vote { id: VoteId::from_bytes([5; 16]), voter, decision: VoteDecision::Deny, reason };
    let denied = run(approval, &[(2, denial)]);
    assert_eq!(denied.phase(), Phase::Denied);
    let status = denied.status(Some("never".into()));
    assert_eq!(status.reason.unwrap(), "denied by reviewer-two@example.com: not on a Friday");
    assert_eq!(status.grant, None);
    let refusal = step(&denied, &approve(reviewer(THREE, &[])), 3).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "this request is already denied: denied by reviewer-two@example.com: not on a Friday"
    );
}

/// I4, over requirements: one person in both groups is still one person.
#[test]
fn a_person_counts_for_one_requirement_only() {
    let approval =
        open(vec![requirement("sre", 1, &["group:sre"]), requirement("security", 1, &["group:security"])]);
    let both = reviewer(ONE, &["sre", "security"]);
    let (half, effects) = step(&approval, &approve(both), 1).unwrap();
    assert_eq!(half.phase(), Phase::Pending);
    assert!(effects.contains(&Effect::UpdateCards));
    assert_eq!(half.progress().iter().map(|progress| progress.have).sum::<u32>(), 1);
    // Whichever of the two the second person can stand for, the first stands for the other.
    for group in ["sre", "security"] {
        let whole = run(half.clone(), &[(2, approve(reviewer(TWO, &[group])))]);
        assert_eq!(whole.phase(), Phase::Approved);
        let met = whole.terms.unwrap().met;
        let two = met.iter().find(|met| met.name.as_str() == group).unwrap();
        assert_eq!(two.by, [person(TWO)]);
    }
}

/// I4, over channels and spellings.
#[test]
fn the_same_person_twice_is_not_two_people() {
    let approval = open(vec![requirement("two", 2, &["*"])]);
    let once = run(approval, &[(1, approve(reviewer(ONE, &[])))]);
    let elsewhere = Voter { channel: "slack".into(), ..reviewer("Reviewer-ONE@example.com", &[]) };
    let (twice, effects) = step(&once, &approve(elsewhere), 2).unwrap();
    assert_eq!((twice, effects), (once.clone(), Vec::new()));
    let reworded = Input::Vote {
        id: VoteId::from_bytes([6; 16]),
        voter: reviewer(ONE, &[]),
        decision: VoteDecision::Approve,
        reason: Some("really".into()),
    };
    assert_eq!(step(&once, &reworded, 2), Err(Refusal::AlreadyVoted));
}

#[test]
fn an_approval_can_still_be_turned_into_a_denial_while_others_are_asked() {
    let half = run(open(vec![requirement("two", 2, &["*"])]), &[(1, approve(reviewer(ONE, &[])))]);
    let denied = run(half, &[(2, deny(reviewer(ONE, &[])))]);
    assert!(matches!(denied.state, State::Denied { by, .. } if by == person(ONE)));
    let late = step(&approved(), &deny(reviewer(ONE, &["sre"])), 20).unwrap_err();
    assert!(matches!(late, Refusal::TooLate { phase: Phase::Approved, .. }));
}

#[test]
fn a_repeated_vote_is_no_error_even_when_all_is_decided() {
    let approval = approved();
    let (same, effects) = step(&approval, &approve(reviewer(ONE, &["sre"])), 20).unwrap();
    assert_eq!((same, effects), (approval, Vec::new()));
}

#[test]
fn a_reason_has_a_length() {
    let long = Some("é".repeat(2_001));
    let voter = reviewer(ONE, &["sre"]);
    let vote =
        Input::Vote { id: VoteId::from_bytes([6; 16]), voter, decision: VoteDecision::Approve, reason: long };
    assert_eq!(step(&simple(), &vote, 1), Err(Refusal::ReasonTooLong));
}

#[test]
fn a_confirmation_is_the_initiators_own_and_never_an_approval() {
    let approval = open(vec![confirmation("confirm"), requirement("sre", 1, &["*"])]);
    // A developer confirms without being a reviewer.
    let developer = Voter { reviewer: false, ..reviewer(INITIATOR, &[]) };
    let confirmed = run(approval.clone(), &[(1, approve(developer.clone()))]);
    assert_eq!(confirmed.phase(), Phase::Pending);
    assert_eq!(confirmed.votes[0].eligible_for.len(), 1);
    let done = run(confirmed, &[(2, approve(reviewer(ONE, &[])))]);
    assert_eq!(done.phase(), Phase::Approved);
    // Somebody else's approval does not confirm, the owner's neither; and the initiator can say no.
    let approved_only =
        run(approval.clone(), &[(1, approve(reviewer(ONE, &[]))), (2, approve(reviewer(TWO, &[])))]);
    assert_eq!(approved_only.phase(), Phase::Pending);
    assert_eq!(step(&approval, &approve(reviewer(OWNER, &[])), 1), Err(Refusal::Owner));
    assert_eq!(run(approval, &[(1, deny(developer))]).phase(), Phase::Denied);
}

#[test]
fn the_owner_confirms_for_an_agent_that_acts_for_nobody_else() {
    let mut request = request(vec![confirmation("confirm")]);
    request.submission.provenance.initiator = None;
    assert_eq!(request.confirmer().map(PersonId::as_str), Some(OWNER));
    let approval = countersign_approval::Approval::open(request).unwrap().0;
    let owner = Voter { reviewer: false, ..reviewer(OWNER, &[]) };
    assert_eq!(run(approval.clone(), &[(1, approve(owner))]).phase(), Phase::Approved);
    let refusal = step(&approval, &approve(reviewer(ONE, &["*"])), 1).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "you are not among the people who can decide about this: user:owner@example.com"
    );
    let machine = Voter { machine: true, ..reviewer(OWNER, &[]) };
    assert_eq!(step(&approval, &approve(machine), 1), Err(Refusal::MachineCredential));
}

#[test]
fn a_cancelled_request_says_why_and_cannot_be_voted_on() {
    for why in [CancelReason::Requester, CancelReason::RequesterGone, CancelReason::Superseded] {
        let (cancelled, effects) = step(&simple(), &Input::Cancel { why }, 5).unwrap();
        assert_eq!(cancelled.status(None).cancelled, Some(why));
        assert_eq!(
            effects,
            [Effect::Record(Occurrence::Cancelled), Effect::TellRequester, Effect::RetireCards]
        );
        assert!(step(&cancelled, &approve(reviewer(ONE, &["sre"])), 6).is_err());
        assert_eq!(step(&cancelled, &Input::Cancel { why }, 7).unwrap(), (cancelled.clone(), Vec::new()));
    }
}

fn with(assurance: Assurance, voter: Voter) -> Voter {
    Voter { assurance, ..voter }
}

fn demanding(assurance: Assurance, requirement: Requirement) -> Requirement {
    Requirement { assurance, ..requirement }
}

/// A stolen token or a chat account that somebody else got hold of does not approve what takes more; and
/// whoever notices something wrong can say no from wherever they are.
#[test]
fn an_approval_counts_only_when_it_is_as_sure_as_was_asked() {
    use Assurance::{Any, Console, Passkey};
    for (asked, offered, refused) in [
        (Console, Any, Some("in the console only")),
        (Passkey, Any, Some("confirm with your passkey")),
        (Passkey, Console, Some("confirm with your passkey")),
        (Any, Passkey, None),
        (Console, Console, None),
        (Console, Passkey, None),
        (Passkey, Passkey, None),
    ] {
        let approval = open(vec![demanding(asked, requirement("sre", 1, &["group:sre"]))]);
        let voter = with(offered, reviewer(ONE, &["sre"]));
        match refused {
            Some(words) => {
                let refusal = step(&approval, &approve(voter.clone()), 1).unwrap_err();
                assert_eq!(refusal, Refusal::AssuranceTooLow(asked));
                assert!(refusal.to_string().contains(words), "{refusal}");
            }
            None => {
                assert_eq!(run(approval.clone(), &[(1, approve(voter.clone()))]).phase(), Phase::Approved);
            }
        }
        assert_eq!(run(approval, &[(1, deny(voter))]).phase(), Phase::Denied);
    }
}

/// No assurance makes somebody a reviewer, and who may not vote is not told how they could.
#[test]
fn a_passkey_makes_nobody_eligible() {
    let approval = open(vec![demanding(Assurance::Passkey, requirement("sre", 1, &["group:sre"]))]);
    for (name, refusal) in [(OWNER, Refusal::Owner), (INITIATOR, Refusal::Initiator)] {
        for assurance in [Assurance::Any, Assurance::Passkey] {
            let voter = with(assurance, reviewer(name, &["sre"]));
            assert_eq!(step(&approval, &approve(voter), 1), Err(refusal.clone()));
        }
    }
}

#[test]
fn a_confirmation_can_ask_for_a_passkey_too() {
    let approval = open(vec![demanding(Assurance::Passkey, confirmation("confirm"))]);
    let developer = Voter { reviewer: false, ..reviewer(INITIATOR, &[]) };
    let refusal = step(&approval, &approve(developer.clone()), 1).unwrap_err();
    assert_eq!(refusal, Refusal::AssuranceTooLow(Assurance::Passkey));
    let sure = with(Assurance::Passkey, developer);
    assert_eq!(run(approval, &[(1, approve(sure))]).phase(), Phase::Approved);
}

/// Somebody who may stand for two requirements stands only for those that they were sure enough for, and
/// can come back with more.
#[test]
fn a_vote_counts_for_what_it_is_sure_enough_for() {
    let strict = demanding(Assurance::Passkey, requirement("strict", 1, &["user:reviewer-one@example.com"]));
    let approval = open(vec![requirement("lax", 1, &["*"]), strict]);
    let one = reviewer(ONE, &[]);
    let half = run(approval, &[(1, approve(one.clone()))]);
    assert_eq!(half.votes[0].eligible_for.len(), 1);
    assert_eq!(wanting(&half, &one), Some(Assurance::Passkey));
    // Another person's word does not stand in for the one that is asked for with a passkey.
    let both = run(half, &[(2, approve(with(Assurance::Console, reviewer(TWO, &[]))))]);
    assert_eq!(both.phase(), Phase::Pending);
    let console = with(Assurance::Console, one.clone());
    assert_eq!(step(&both, &approve(console), 3), Err(Refusal::AlreadyVoted));
    let sure = with(Assurance::Passkey, one);
    assert_eq!(wanting(&both, &sure), None);
    let done = run(both, &[(4, approve(sure))]);
    assert_eq!(done.phase(), Phase::Approved);
    let met = done.terms.unwrap().met;
    assert_eq!((met[0].by.as_slice(), met[1].by.as_slice()), (&[person(TWO)][..], &[person(ONE)][..]));
}

/// A vote of an earlier release says nothing of its assurance, and counts as the weakest.
#[test]
fn a_stored_vote_without_assurance_is_the_weakest() {
    let voted = run(open(vec![requirement("two", 2, &["*"])]), &[(1, approve(reviewer(ONE, &[])))]);
    let stored = serde_json::to_value(&voted.votes[0]).unwrap();
    assert!(stored.get("assurance").is_none());
    assert_eq!(serde_json::from_value::<Vote>(stored).unwrap().assurance, Assurance::Any);
}
