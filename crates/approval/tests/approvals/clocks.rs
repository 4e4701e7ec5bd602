//! Time: it ends what waits, and never approves (I5).

use countersign_approval::{CancelReason, Effect, Input, Occurrence, Phase, Refusal};
use countersign_model::{GrantShape, Requirement, Seconds};

use crate::fixture::{
    ONE, TWO, approve, approved, at, open, request, requirement, reviewer, run, simple, step,
};

#[test]
fn a_request_expires_and_that_is_not_a_refusal() {
    let half = run(open(vec![requirement("two", 2, &["*"])]), &[(1, approve(reviewer(ONE, &[])))]);
    let (same, effects) = step(&half, &Input::Tick, 899).unwrap();
    assert_eq!((same, effects), (half.clone(), vec![Effect::WakeAt(at(900))]));
    let (expired, effects) = step(&half, &Input::Tick, 900).unwrap();
    assert_eq!(expired.phase(), Phase::Expired);
    assert_eq!(effects, [Effect::Record(Occurrence::Expired), Effect::TellRequester, Effect::RetireCards]);
    assert!(expired.reason().unwrap().contains("not a refusal"));
}

#[test]
fn a_vote_that_comes_too_late_is_told_so_before_any_tick() {
    let refusal = step(&simple(), &approve(reviewer(ONE, &["sre"])), 900).unwrap_err();
    assert!(matches!(refusal, Refusal::TooLate { phase: Phase::Expired, .. }));
}

#[test]
fn the_narrowest_of_all_requirements_counts() {
    let quick = Requirement {
        decide_within: Seconds::new(100),
        execute_within: Seconds::new(400),
        grant: GrantShape::Uses { uses: 5, within: Seconds::new(200) },
        ..requirement("quick", 1, &["*"])
    };
    let slow = Requirement {
        execute_within: Seconds::new(300),
        grant: GrantShape::Uses { uses: 2, within: Seconds::new(900) },
        ..requirement("slow", 1, &["*"])
    };
    let approval = open(vec![quick, slow]);
    assert_eq!(approval.request.decide_by(), at(100));
    let votes = [(1, approve(reviewer(ONE, &[]))), (2, approve(reviewer(TWO, &[])))];
    let terms = run(approval, &votes).terms.unwrap();
    assert_eq!((terms.uses, terms.execute_by, terms.not_after), (2, at(202), at(202)));
}

#[test]
fn an_approval_that_is_not_used_lapses() {
    let (lapsed, effects) = step(&approved(), &Input::Tick, 310).unwrap();
    assert_eq!(lapsed.phase(), Phase::Lapsed);
    assert_eq!(effects, [Effect::Record(Occurrence::Lapsed), Effect::TellRequester]);
    assert_eq!(lapsed.status(Some("grant".into())).grant, None);
}

#[test]
fn a_request_does_not_outlive_its_requester() {
    let mut request = request(vec![requirement("sre", 1, &["*"])]);
    request.requester_lease = Seconds::new(60);
    let (approval, effects) = countersign_approval::Approval::open(request).unwrap();
    assert!(effects.contains(&Effect::WakeAt(at(60))));
    let alive = run(approval.clone(), &[(50, Input::RequesterHeartbeat)]);
    assert_eq!(alive.wake_at(), Some(at(110)));
    assert_eq!(alive.version, approval.version, "a heartbeat is nothing that anybody would see");
    assert_eq!(step(&alive, &Input::Tick, 109).unwrap().0.phase(), Phase::Pending);
    let gone = run(alive, &[(110, Input::Tick)]);
    assert_eq!(gone.status(None).cancelled, Some(CancelReason::RequesterGone));
}

/// A control plane that was down for longer than the lease hears from the requester before it judges.
#[test]
fn a_heartbeat_after_the_lease_comes_in_time_if_no_tick_came_before() {
    let mut request = request(vec![requirement("sre", 1, &["*"])]);
    request.requester_lease = Seconds::new(60);
    let approval = countersign_approval::Approval::open(request).unwrap().0;
    let alive = run(approval, &[(500, Input::RequesterHeartbeat), (501, Input::Tick)]);
    assert_eq!(alive.phase(), Phase::Pending);
    assert_eq!(step(&alive, &Input::RequesterHeartbeat, 900).unwrap().0.phase(), Phase::Expired);
}

#[test]
fn heartbeats_that_change_little_change_nothing() {
    let mut request = request(vec![requirement("sre", 1, &["*"])]);
    request.requester_lease = Seconds::new(60);
    let approval = countersign_approval::Approval::open(request).unwrap().0;
    let (same, effects) = step(&approval, &Input::RequesterHeartbeat, 14).unwrap();
    assert_eq!((same, effects), (approval.clone(), Vec::new()));
    assert_eq!(run(approval, &[(15, Input::RequesterHeartbeat)]).requester_until, at(75));
}

#[test]
fn time_that_runs_backwards_does_nothing() {
    let approval = approved();
    assert_eq!(step(&approval, &Input::Tick, -10_000).unwrap().0, approval);
}
