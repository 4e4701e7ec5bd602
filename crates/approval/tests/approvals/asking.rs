//! How people are asked: stages, several denials, reasons, escalation and reminders.

use countersign_approval::{
    Approval, Effect, Input, Occurrence, Phase, Refusal, State, VoteDecision, Voter, transition,
};
use countersign_model::{Escalation, ReasonRule, Requirement, Seconds, VoteId};

use crate::fixture::{
    INITIATOR, ONE, OWNER, THREE, TWO, approve, at, deny, open, person, requirement, reviewer, run, step,
};

fn stage(stage: u32, requirement: Requirement) -> Requirement {
    Requirement { stage, ..requirement }
}

/// The team first, then security.
fn staged() -> Approval {
    open(vec![
        stage(1, requirement("team", 1, &["group:team"])),
        stage(2, requirement("security", 1, &["group:security"])),
    ])
}

/// Two reviewers of the team, the managers too after ten minutes, a reminder every five.
fn patient() -> Requirement {
    Requirement {
        escalate: Some(Escalation { after: Seconds::new(600), to: vec!["group:managers".parse().unwrap()] }),
        remind_every: Some(Seconds::new(300)),
        ..requirement("team", 2, &["group:team"])
    }
}

fn with_reason(voter: Voter, decision: VoteDecision, reason: &str) -> Input {
    Input::Vote { id: VoteId::from_bytes([9; 16]), voter, decision, reason: Some(reason.into()) }
}

#[test]
fn a_stage_is_asked_when_all_before_are_met() {
    let (half, effects) = step(&staged(), &approve(reviewer(ONE, &["team"])), 5).unwrap();
    assert_eq!((half.phase(), half.open_stage()), (Phase::Pending, 2));
    assert!(effects.contains(&Effect::Notify) && effects.contains(&Effect::UpdateCards), "{effects:?}");
    assert!(effects.contains(&Effect::Record(Occurrence::StageOpened { stage: 2 })));
    let done = run(half, &[(6, approve(reviewer(TWO, &["security"])))]);
    assert_eq!(done.phase(), Phase::Approved);
}

/// The attack: collect the second stage's word before the first one has looked.
#[test]
fn nobody_votes_before_their_stage() {
    for input in [approve, deny] {
        let early = step(&staged(), &input(reviewer(TWO, &["security"])), 1).unwrap_err();
        assert_eq!(early, Refusal::NotYetAsked { stage: 2, open: 1 });
        assert_eq!(
            early.to_string(),
            "it is not your turn yet: you are asked in stage 2, and stage 1 is not met"
        );
    }
}

/// I4: whoever stands for the first stage does not stand for the second as well.
#[test]
fn one_person_does_not_pass_two_stages() {
    let both = reviewer(ONE, &["team", "security"]);
    let half = run(staged(), &[(1, approve(both.clone()))]);
    assert_eq!(half.votes[0].eligible_for.len(), 1, "eligible for what was open when they voted");
    let again = with_reason(both, VoteDecision::Approve, "and for security");
    assert_eq!(step(&half, &again, 2), Err(Refusal::AlreadyVoted));
}

/// Stages are those of the request: one that only has a second is not stuck.
#[test]
fn the_lowest_stage_of_a_request_is_its_first() {
    let approval = open(vec![stage(3, requirement("security", 1, &["group:security"]))]);
    assert_eq!(approval.open_stage(), 3);
    assert_eq!(run(approval, &[(1, approve(reviewer(ONE, &["security"])))]).phase(), Phase::Approved);
}

#[test]
fn a_stage_closes_again_when_its_people_change_their_mind() {
    let doubtful = Requirement { deny_threshold: 2, ..requirement("team", 1, &["group:team"]) };
    let approval = open(vec![doubtful, stage(2, requirement("security", 1, &["group:security"]))]);
    let one = reviewer(ONE, &["team"]);
    let reopened = run(approval, &[(1, approve(one.clone())), (2, deny(one))]);
    assert_eq!((reopened.phase(), reopened.open_stage()), (Phase::Pending, 1));
    let early = step(&reopened, &approve(reviewer(TWO, &["security"])), 3).unwrap_err();
    assert!(matches!(early, Refusal::NotYetAsked { .. }));
    let again = run(reopened, &[(4, approve(reviewer(THREE, &["team"])))]);
    assert_eq!(again.open_stage(), 2);
}

#[test]
fn it_takes_as_many_denials_as_the_requirement_says() {
    let doubtful = Requirement { deny_threshold: 2, ..requirement("two", 2, &["*"]) };
    let approval = open(vec![doubtful]);
    let (one_denial, effects) = step(&approval, &deny(reviewer(ONE, &[])), 1).unwrap();
    assert_eq!((one_denial.phase(), one_denial.version), (Phase::Pending, 2));
    assert!(effects.contains(&Effect::UpdateCards) && !effects.contains(&Effect::RetireCards));
    // The same person twice is one, however they put it.
    let again = with_reason(reviewer(ONE, &[]), VoteDecision::Deny, "no, really");
    assert_eq!(step(&one_denial, &again, 2), Err(Refusal::AlreadyVoted));
    let denied = run(one_denial, &[(3, deny(reviewer(TWO, &[])))]);
    assert!(matches!(denied.state, State::Denied { by, .. } if by == person(TWO)));
}

/// The attack: deny, so that the others lean back, and approve then.
#[test]
fn whoever_denied_does_not_approve_afterwards() {
    let doubtful = Requirement { deny_threshold: 2, ..requirement("one", 1, &["*"]) };
    let half = run(open(vec![doubtful]), &[(1, deny(reviewer(ONE, &[])))]);
    assert_eq!(step(&half, &approve(reviewer(ONE, &[])), 2), Err(Refusal::AlreadyVoted));
    assert_eq!(half.progress()[0].have, 0);
    let elsewhere = Voter { channel: "slack".into(), ..reviewer("Reviewer-One@example.com", &[]) };
    assert_eq!(step(&half, &approve(elsewhere), 2), Err(Refusal::AlreadyVoted));
    assert_eq!(run(half, &[(3, approve(reviewer(TWO, &[])))]).phase(), Phase::Approved);
}

/// The lowest threshold of what somebody is eligible for counts, and theirs alone.
#[test]
fn each_requirement_counts_its_own_denials() {
    let strict = requirement("strict", 1, &["group:strict"]);
    let lax = Requirement { deny_threshold: 2, ..requirement("lax", 1, &["group:lax"]) };
    let approval = open(vec![strict, lax]);
    assert_eq!(run(approval.clone(), &[(1, deny(reviewer(ONE, &["lax"])))]).phase(), Phase::Pending);
    assert_eq!(run(approval, &[(1, deny(reviewer(ONE, &["lax", "strict"])))]).phase(), Phase::Denied);
}

#[test]
fn a_vote_that_must_say_why_says_why() {
    let explained = Requirement { reason: ReasonRule::Required, ..requirement("one", 1, &["*"]) };
    let approval = open(vec![explained]);
    for decision in [VoteDecision::Approve, VoteDecision::Deny] {
        let mute = Input::Vote {
            id: VoteId::from_bytes([9; 16]),
            voter: reviewer(ONE, &[]),
            decision,
            reason: None,
        };
        assert_eq!(step(&approval, &mute, 1), Err(Refusal::ReasonMissing));
        let blank = with_reason(reviewer(ONE, &[]), decision, " \n ");
        assert_eq!(step(&approval, &blank, 1), Err(Refusal::ReasonMissing));
        let owner = with_reason(reviewer(OWNER, &[]), decision, "mine");
        assert_eq!(step(&approval, &owner, 1), Err(Refusal::Owner));
        assert!(step(&approval, &with_reason(reviewer(ONE, &[]), decision, "checked"), 1).is_ok());
    }
}

#[test]
fn silence_has_more_people_asked_and_approves_nothing() {
    let approval = open(vec![patient()]);
    let manager = reviewer(TWO, &["managers"]);
    assert_eq!(approval.wake_at(), Some(at(300)));
    assert!(matches!(
        step(&approval, &approve(manager.clone()), 599),
        Err(Refusal::NotEligible { reviewers }) if reviewers == "group:team"
    ));
    let (escalated, effects) = step(&approval, &Input::Tick, 600).unwrap();
    assert_eq!(
        effects,
        [
            Effect::Record(Occurrence::Escalated { requirement: 0 }),
            Effect::Escalate,
            Effect::TellRequester,
            Effect::Remind,
            Effect::WakeAt(at(900)),
        ]
    );
    assert_eq!((escalated.phase(), escalated.version), (Phase::Pending, 2));
    assert_eq!(escalated.progress()[0].reviewers, ["group:team", "group:managers"]);
    assert_eq!(escalated.escalated_at(&patient().name), Some(at(600)));
    let votes = [(601, approve(manager.clone())), (602, approve(reviewer(ONE, &["team"])))];
    assert_eq!(run(escalated.clone(), &votes).phase(), Phase::Approved);
    // They were asked late, and count as one like anybody else.
    assert_eq!(run(escalated, &[(601, approve(manager.clone()))]).phase(), Phase::Pending);
    // A vote that comes before the tick finds the same.
    assert_eq!(step(&approval, &approve(manager), 600).unwrap().0.votes.len(), 1);
}

/// I3: an escalation makes nobody a reviewer of their own affair.
#[test]
fn an_escalation_does_not_reach_the_initiator_or_the_owner() {
    let escalated = run(open(vec![patient()]), &[(600, Input::Tick)]);
    for (name, refusal) in [(INITIATOR, Refusal::Initiator), (OWNER, Refusal::Owner)] {
        assert_eq!(step(&escalated, &approve(reviewer(name, &["managers"])), 601), Err(refusal));
    }
}

#[test]
fn reviewers_are_reminded_a_bounded_number_of_times() {
    let often = Requirement {
        remind_every: Some(Seconds::new(10)),
        decide_within: Seconds::new(1_000),
        ..requirement("one", 1, &["*"])
    };
    let mut approval = open(vec![often]);
    let mut reminders = 0;
    while approval.phase() == Phase::Pending {
        let wake = approval.wake_at().unwrap();
        let (after, effects) = transition(&approval, &Input::Tick, wake).unwrap();
        let reminds = effects.contains(&Effect::Remind);
        assert_eq!(reminds, after.phase() == Phase::Pending);
        if reminds {
            assert_eq!(after.version, approval.version, "a reminder must not make a vote out of date");
        }
        reminders += u32::from(reminds);
        approval = after;
    }
    assert_eq!((reminders, approval.phase()), (Requirement::MAX_REMINDERS, Phase::Expired));
}

#[test]
fn what_came_due_in_an_absence_is_told_once() {
    let approval = open(vec![patient()]);
    let (later, effects) = step(&approval, &Input::Tick, 650).unwrap();
    assert_eq!(effects.iter().filter(|effect| **effect == Effect::Remind).count(), 1);
    assert_eq!(later.wake_at(), Some(at(900)));
}

/// The clocks of a stage start when it opens, and nobody is reminded of what is met.
#[test]
fn clocks_of_a_stage_start_with_it() {
    let late = stage(2, Requirement { quorum: 1, ..patient() });
    let first = stage(1, requirement("first", 1, &["*"]));
    let approval = open(vec![first, late]);
    assert_eq!(approval.wake_at(), Some(at(900)), "nothing before the end of the time to decide");
    let half = run(approval, &[(100, approve(reviewer(ONE, &[])))]);
    assert_eq!(half.wake_at(), Some(at(400)));
    let escalated = run(half, &[(700, Input::Tick)]);
    assert_eq!(escalated.escalated_at(&patient().name), Some(at(700)));
}

#[test]
fn what_is_met_is_not_prompted_for() {
    let met = Requirement { quorum: 1, ..patient() };
    let approval = open(vec![met, requirement("other", 1, &["group:other"])]);
    let half = run(approval, &[(1, approve(reviewer(ONE, &["team"])))]);
    assert_eq!(half.wake_at(), Some(at(900)));
}

/// An approval that was stored before there was any of this reads as it was.
#[test]
fn approvals_that_nothing_happened_to_are_stored_as_before() {
    let stored = serde_json::to_value(open(vec![requirement("one", 1, &["*"])])).unwrap();
    assert!(stored.get("prompted").is_none());
}
