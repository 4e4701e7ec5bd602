//! Uses of a grant: bounded in number and time, each once (I2), and never silently lost.

use countersign_approval::{Approval, CancelReason, Effect, Input, Occurrence, Outcome, Phase, Refusal};

use crate::fixture::{approved, approved_for_three, claim, outcome, run, simple, step};

fn revoke() -> Input {
    Input::Revoke { by: "admin@example.com".into(), reason: Some("wrong window".into()) }
}

fn invalidate() -> Input {
    Input::Invalidate { why: "policy changed".into() }
}

#[test]
fn a_grant_is_claimed_then_ends_as_it_went() {
    for (reported, phase) in [
        (Outcome::Executed, Phase::Executed),
        (Outcome::Failed, Phase::Failed),
        (Outcome::OutcomeUnknown, Phase::OutcomeUnknown),
    ] {
        let (claimed, effects) = step(&approved(), &claim(1, 20), 21).unwrap();
        assert_eq!(claimed.phase(), Phase::Claimed);
        assert_eq!(effects, [Effect::Record(Occurrence::Claimed { use_number: 1 }), Effect::TellRequester]);
        assert_eq!(claimed.wake_at(), None, "however long it runs");
        assert_eq!(step(&claimed, &Input::Tick, 99_999).unwrap().0, claimed);
        let done = run(claimed, &[(100_000, outcome(1, reported))]);
        assert_eq!(done.phase(), phase);
        assert_eq!(done.wake_at(), None);
    }
}

/// I2: the attack is to claim again, by another number, at another time, or without an approval.
#[test]
fn nothing_is_claimed_beyond_the_grant() {
    let claimed = run(approved(), &[(20, claim(1, 20))]);
    assert_eq!(step(&claimed, &claim(1, 20), 30).unwrap(), (claimed.clone(), Vec::new()));
    assert_eq!(step(&claimed, &claim(1, 25), 30), Err(Refusal::UseTaken(1)));
    for use_number in [0, 2, u32::MAX] {
        assert_eq!(
            step(&claimed, &claim(use_number, 25), 30),
            Err(Refusal::NoSuchUse { use_number, uses: 1 })
        );
    }
    assert_eq!(step(&simple(), &claim(1, 1), 1), Err(Refusal::NotApproved(Phase::Pending)));
    assert!(matches!(step(&approved(), &claim(1, 310), 310), Err(Refusal::ClaimedOutOfTime { .. })));
    assert_eq!(step(&approved(), &outcome(1, Outcome::Executed), 30), Err(Refusal::NotClaimed(1)));
}

#[test]
fn an_outcome_is_reported_once() {
    let done = run(approved(), &[(20, claim(1, 20)), (30, outcome(1, Outcome::Executed))]);
    assert_eq!(step(&done, &outcome(1, Outcome::Executed), 40).unwrap(), (done.clone(), Vec::new()));
    assert_eq!(step(&done, &outcome(1, Outcome::Failed), 40), Err(Refusal::OutcomeKnown(1)));
}

#[test]
fn a_grant_of_several_uses_ends_when_all_are_used_or_its_time_is_up() {
    let used = run(
        approved_for_three(),
        &[
            (20, claim(1, 20)),
            (21, outcome(1, Outcome::Executed)),
            (400, claim(2, 400)),
            (401, claim(3, 401)),
            (402, outcome(3, Outcome::Executed)),
        ],
    );
    assert_eq!(used.phase(), Phase::Claimed);
    assert_eq!(run(used, &[(500, outcome(2, Outcome::Failed))]).phase(), Phase::Failed);

    let partly = run(approved_for_three(), &[(20, claim(1, 20)), (21, outcome(1, Outcome::Executed))]);
    assert_eq!(partly.wake_at(), Some(crate::fixture::at(610)));
    let (ended, effects) = step(&partly, &Input::Tick, 610).unwrap();
    assert_eq!(ended.phase(), Phase::Executed);
    assert_eq!(effects, [Effect::Record(Occurrence::Lapsed), Effect::TellRequester]);
}

#[test]
fn a_report_is_judged_by_when_the_use_was_claimed_not_by_when_the_news_came() {
    assert_eq!(run(approved(), &[(5_000, claim(1, 300))]).phase(), Phase::Claimed);
}

/// The sidecar was cut off while it used its grant. The ended approval stays ended, and the use is on record.
#[test]
fn a_use_that_is_reported_after_the_end_is_recorded_and_revives_nothing() {
    let ends = [Input::Tick, revoke(), invalidate(), Input::Cancel { why: CancelReason::RequesterGone }];
    for (end, seconds) in ends.into_iter().zip([310, 100, 100, 100]) {
        let ended = run(approved(), &[(seconds, end)]);
        let phase = ended.phase();
        let (recorded, effects) = step(&ended, &claim(1, 20), 1_000).unwrap();
        assert!(effects.contains(&Effect::Record(Occurrence::Claimed { use_number: 1 })));
        let recorded = run(recorded, &[(1_001, outcome(1, Outcome::Executed))]);
        assert_eq!(recorded.phase(), phase);
        assert!(recorded.reason().unwrap().contains("1 uses from before, 1 of them executed"));
    }
}

#[test]
fn an_approval_can_be_taken_back_until_its_last_use_is_claimed() {
    let (revoked, effects) = step(&approved(), &revoke(), 20).unwrap();
    assert_eq!(revoked.phase(), Phase::Revoked);
    assert_eq!(effects, [Effect::Record(Occurrence::Revoked), Effect::WithdrawGrant, Effect::TellRequester]);
    assert_eq!(revoked.reason().unwrap(), "revoked by admin@example.com: wrong window");
    assert_eq!(step(&revoked, &revoke(), 30).unwrap(), (revoked.clone(), Vec::new()));

    let claimed = run(approved(), &[(20, claim(1, 20))]);
    assert!(matches!(step(&claimed, &revoke(), 21), Err(Refusal::TooLate { phase: Phase::Claimed, .. })));
    let partly = run(approved_for_three(), &[(20, claim(1, 20))]);
    assert_eq!(run(partly, &[(21, revoke())]).phase(), Phase::Revoked);
    assert_eq!(step(&simple(), &revoke(), 1), Err(Refusal::NotYetApproved));
}

/// I7: policy or the tool changed after people looked at it.
#[test]
fn what_people_did_not_look_at_is_invalidated() {
    let withdrawn = |approval: &Approval| {
        let (invalid, effects) = step(approval, &invalidate(), 25).unwrap();
        assert_eq!(invalid.phase(), Phase::Invalidated);
        effects.contains(&Effect::WithdrawGrant)
    };
    assert!(!withdrawn(&simple()));
    assert!(withdrawn(&approved()));
    assert!(withdrawn(&run(approved_for_three(), &[(20, claim(1, 20))])));
    let claimed = run(approved(), &[(20, claim(1, 20))]);
    assert!(step(&claimed, &invalidate(), 25).is_err());
}

#[test]
fn a_requester_who_leaves_after_the_approval_gives_the_grant_back() {
    let gone = Input::Cancel { why: CancelReason::RequesterGone };
    let (revoked, effects) = step(&approved(), &gone, 20).unwrap();
    assert_eq!(revoked.reason().unwrap(), "revoked by requester: the requester went away");
    assert!(effects.contains(&Effect::WithdrawGrant));
    assert_eq!(step(&revoked, &gone, 21).unwrap(), (revoked.clone(), Vec::new()));
    let claimed = run(approved(), &[(20, claim(1, 20))]);
    assert!(step(&claimed, &gone, 21).is_err());
}
