//! Asking people and waiting for them: I5, I7, I9, retries, cancellation.

use std::sync::{Arc, Mutex};

use countersign_approval::{CancelReason, Input, Phase, VoteDecision};
use countersign_gate::{Answer, Cause, Held, Intent, Outcome, hold::Waited, record::Kind};
use countersign_model::{Digest, Provenance, Seconds, provenance::Initiator};
use countersign_testkit::{
    World,
    world::{POLICIES, REQUIREMENTS, denied, deploy, eventually, intent, permitted},
};
use serde_json::json;
use tokio::task::JoinHandle;

/// Holds an operation in the background.
fn hold(world: &World, held: Held) -> JoinHandle<Answer> {
    let gate = world.gate.clone();
    tokio::spawn(async move { gate.hold(held, |_| {}).await })
}

/// Holds a deployment in the background, until it is asked about.
async fn hold_deploy(world: &World, version: &str) -> JoinHandle<Answer> {
    let before = world.control.approvals().len();
    let task = hold(world, world.held(deploy(version)).await);
    eventually("it is asked about", || world.control.approvals().len() > before).await;
    task
}

#[tokio::test]
async fn an_approved_operation_runs_once() {
    let world = World::new();
    let task = hold_deploy(&world, "1").await;
    world.control.approve(world.control.last());
    let permit = permitted(task.await.unwrap());
    assert_eq!(permit.used().map(|used| (used.approval, used.number)), Some((world.control.last(), 1)));
    assert_eq!(permit.met(), &["sre".parse().unwrap()]);
    assert_eq!(world.journal.used(world.control.last()), 1);
    permit.consume().finish(Outcome::Executed).await;
    assert_eq!(world.journal.outcomes(), [Outcome::Executed]);
    assert_eq!(world.audit.kinds(), [Kind::Held, Kind::GrantConsumed, Kind::Permitted, Kind::Executed]);
}

#[tokio::test]
async fn progress_is_told() {
    let world = World::new();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let task = tokio::spawn({
        let (gate, held, seen) = (world.gate.clone(), world.held(deploy("1")).await, seen.clone());
        async move { gate.hold(held, |status| seen.lock().unwrap().push(status.phase)).await }
    });
    eventually("it is told", || !seen.lock().unwrap().is_empty()).await;
    world.control.approve(world.control.last());
    drop(permitted(task.await.unwrap()));
    assert_eq!(*seen.lock().unwrap(), [Phase::Pending, Phase::Approved]);
}

#[tokio::test]
async fn who_is_sent_away_leaves_the_request_open_and_finds_it_again() {
    let world = World::new();
    let held = world.held(deploy("1")).await;
    let waited = world.gate.hold_within(held, async {}, |_| {}).await;
    assert!(matches!(waited, Waited::Pending(status) if status.id == world.control.last()));
    assert_eq!(world.control.phases(), [Phase::Pending], "nobody waits, and it is open nevertheless");
    world.control.approve(world.control.last());
    assert_eq!(world.journal.used(world.control.last()), 0, "an approval runs nothing by itself");
    let again = world.held(deploy("1")).await;
    let Waited::Answered(answer) = world.gate.hold_within(again, std::future::pending(), |_| {}).await else {
        panic!("it is approved");
    };
    drop(permitted(answer));
    assert_eq!(world.control.approvals().len(), 1);
    // Who goes away after coming back is gone, as anybody is.
    let held = world.held(deploy("2")).await;
    drop(world.gate.hold_within(held, async {}, |_| {}).await);
    let task = hold(&world, world.held(deploy("2")).await);
    eventually("somebody waits again", || world.gate.waiting() == 1).await;
    task.abort();
    eventually("it is cancelled", || world.control.phases().last() == Some(&Phase::Cancelled)).await;
}

#[tokio::test]
async fn a_refusal_is_a_denial_and_stands() {
    let world = World::new();
    let task = hold_deploy(&world, "1").await;
    world.control.deny(world.control.last());
    assert!(matches!(denied(task.await.unwrap()).cause, Cause::Refused(_)));

    // Asking again and again does not reach people again.
    for _ in 0..5 {
        let answer = world.gate.hold(world.held(deploy("1")).await, |_| {}).await;
        assert!(matches!(denied(answer).cause, Cause::Refused(_)));
    }
    assert_eq!(world.control.approvals().len(), 1);

    // Another operation does, and so does the same one much later.
    let other = hold_deploy(&world, "2").await;
    other.abort();
    world.clock.advance(Seconds::new(15 * 60));
    let again = hold_deploy(&world, "1").await;
    again.abort();
    assert_eq!(world.control.approvals().len(), 3);
}

#[tokio::test]
async fn silence_is_an_expiry_and_not_a_refusal() {
    let world = World::new();
    let task = hold_deploy(&world, "1").await;
    world.clock.advance(Seconds::new(15 * 60));
    world.control.apply(world.control.last(), &Input::Tick);
    let denial = denied(task.await.unwrap());
    assert!(denial.is_expiry());
    assert_eq!(denial.approval, Some(world.control.last()));
    // It may be asked about again.
    hold_deploy(&world, "1").await.abort();
    assert_eq!(world.control.approvals().len(), 2);
}

#[tokio::test]
async fn a_hold_without_a_control_plane_is_denied_with_a_clear_reason() {
    let world = World::new();
    world.control.set_unreachable(true);
    let denial = denied(world.gate.hold(world.held(deploy("1")).await, |_| {}).await);
    assert!(denial.to_string().contains("approval is needed, but the control plane cannot be reached"));
    assert!(matches!(denial.cause, Cause::Unreachable(_)));
    assert_eq!(world.audit.kinds(), [Kind::Held, Kind::Denied]);
    assert!(world.audit.last_was_durable());
}

#[tokio::test]
async fn a_link_that_breaks_while_something_is_held_is_waited_for() {
    let world = World::new();
    let task = hold_deploy(&world, "1").await;
    world.control.set_unreachable(true);
    tokio::task::yield_now().await;
    world.control.approve(world.control.last());
    world.control.set_unreachable(false);
    drop(permitted(task.await.unwrap()));
}

#[tokio::test]
async fn when_the_link_stays_down_the_time_to_decide_ends_here() {
    let world = World::new();
    let task = hold_deploy(&world, "1").await;
    world.clock.advance(Seconds::new(15 * 60));
    world.control.set_unreachable(true);
    assert!(denied(task.await.unwrap()).is_expiry());
}

#[tokio::test]
async fn a_requester_that_goes_away_cancels() {
    let world = World::new();
    let task = hold_deploy(&world, "1").await;
    task.abort();
    eventually("it is cancelled", || world.control.phases() == [Phase::Cancelled]).await;
}

#[tokio::test]
async fn a_retry_attaches_and_only_the_last_to_leave_cancels() {
    let world = World::new();
    let first = hold_deploy(&world, "1").await;
    let second = hold(&world, world.held(deploy("1")).await);
    eventually("both wait", || world.gate.waiting() == 2).await;
    assert_eq!(world.control.approvals().len(), 1);
    first.abort();
    eventually("one waits", || world.gate.waiting() == 1).await;
    assert_eq!(world.control.phases(), [Phase::Pending]);
    world.control.approve(world.control.last());
    drop(permitted(second.await.unwrap()));
}

#[tokio::test]
async fn two_who_wait_for_one_use_do_not_both_get_it() {
    let world = World::new();
    let first = hold_deploy(&world, "1").await;
    let second = hold(&world, world.held(deploy("1")).await);
    eventually("both wait", || world.gate.waiting() == 2).await;
    world.control.approve(world.control.last());
    // One runs; the other must be approved by itself.
    eventually("one is asked about anew", || world.control.approvals().len() == 2).await;
    world.control.approve(world.control.last());
    let (one, two) = (permitted(first.await.unwrap()), permitted(second.await.unwrap()));
    assert_ne!(one.used(), two.used());
    assert!(world.control.approvals().iter().all(|approval| world.journal.used(approval.request.id) == 1));
}

/// People are told how often they were asked, and a retry of the transport is none.
#[tokio::test]
async fn asking_again_is_counted_and_not_asked_twice() {
    let world = World::new();
    let held = world.held(deploy("1")).await;
    for _ in 0..3 {
        world.gate.request(&held).await.unwrap();
    }
    assert_eq!(world.control.approvals()[0].asked(), 1);
    for _ in 0..2 {
        world.gate.request(&world.held(deploy("1")).await).await.unwrap();
    }
    assert_eq!((world.control.approvals().len(), world.control.approvals()[0].asked()), (1, 3));
}

/// I3: whoever may not vote on their own operation does not get another's answer for it either.
#[tokio::test]
async fn the_same_for_another_person_or_by_another_tool_is_another_question() {
    let world = World::new();
    let asked_for = |person: &str, pin: &[u8]| {
        let person = person.parse().unwrap();
        let initiator = Some(Initiator { person, verified: false });
        let provenance = Provenance { initiator, ..Provenance::default() };
        Intent { provenance, tool_pin: Some(Digest::of(pin)), ..deploy("1") }
    };
    let ask = async |person: &str, pin: &[u8]| {
        let held = world.held(asked_for(person, pin)).await;
        world.gate.request(&held).await.unwrap().id
    };
    let first = ask("one@example.com", b"a").await;
    assert_eq!(ask("one@example.com", b"a").await, first);
    assert_ne!(ask("two@example.com", b"a").await, first);
    assert_ne!(ask("one@example.com", b"b").await, first);
    world.control.approve(first);
    let held = world.held(asked_for("two@example.com", b"a")).await;
    let waited = world.gate.hold_within(held, async {}, |_| {}).await;
    assert!(matches!(waited, Waited::Pending(status) if status.id != first));
    assert_eq!(world.journal.used(first), 0);
}

/// A request that was cancelled because its first requester went away does not fail who still waits.
#[tokio::test]
async fn who_waits_while_another_is_taken_for_gone_asks_anew() {
    let world = World::new();
    let task = hold_deploy(&world, "1").await;
    world.control.apply(world.control.last(), &Input::Cancel { why: CancelReason::RequesterGone });
    eventually("it is asked about anew", || world.control.approvals().len() == 2).await;
    world.control.approve(world.control.last());
    drop(permitted(task.await.unwrap()));
}

#[tokio::test]
async fn who_asks_too_much_is_told_so() {
    let world = World::new();
    world.control.refuse_next_with_too_many("20 requests wait");
    let denial = denied(world.gate.hold(world.held(deploy("1")).await, |_| {}).await);
    assert_eq!(denial.cause, Cause::TooManyRequests("20 requests wait".to_owned()));
    assert!(denial.to_string().contains("people are not asked: 20 requests wait"), "{denial}");
    assert!(world.control.approvals().is_empty());
}

#[tokio::test]
async fn a_grant_of_several_uses_serves_several_holds() {
    let world = World::new();
    let publish = || intent("publish", json!({}));
    let task = hold(&world, world.held(publish()).await);
    eventually("it is asked about", || world.control.approvals().len() == 1).await;
    world.control.approve(world.control.last());
    drop(permitted(task.await.unwrap()));
    for number in 2..=3 {
        let permit = permitted(world.gate.hold(world.held(publish()).await, |_| {}).await);
        assert_eq!(permit.used().map(|used| used.number), Some(number));
    }
    let fourth = hold(&world, world.held(publish()).await);
    eventually("it is asked about anew", || world.control.approvals().len() == 2).await;
    fourth.abort();
}

#[tokio::test]
async fn a_new_bundle_that_denies_ends_the_hold() {
    let world = World::new();
    let task = hold_deploy(&world, "1").await;
    world.activate(2, "permit (principal, action == Action::\"read\", resource);", REQUIREMENTS);
    assert_eq!(denied(task.await.unwrap()).cause, Cause::Policy);
    eventually("it is cancelled", || world.control.phases() == [Phase::Cancelled]).await;
}

#[tokio::test]
async fn a_new_bundle_that_permits_ends_the_wait() {
    let world = World::new();
    let task = hold_deploy(&world, "1").await;
    world.activate(2, "permit (principal, action, resource);", REQUIREMENTS);
    let permit = permitted(task.await.unwrap());
    assert_eq!((permit.revision().0, permit.used()), (2, None));
    drop(permit);
    eventually("it is cancelled", || world.control.phases() == [Phase::Cancelled]).await;
}

#[tokio::test]
async fn a_new_bundle_that_asks_for_more_is_asked_about_anew() {
    let world = World::new();
    let task = hold_deploy(&world, "1").await;
    let first = world.control.last();
    let stricter = POLICIES
        .replace("@approval(\"sre\")", "@approval(\"two-sre\")")
        .replace("context.approvals.contains(\"sre\")", "context.approvals.contains(\"two-sre\")");
    world.activate(2, &stricter, REQUIREMENTS);
    eventually("it is asked about anew", || world.control.approvals().len() == 2).await;
    eventually("the first is cancelled", || world.control.phases()[0] == Phase::Cancelled).await;
    let second = world.control.last();
    assert_ne!(first, second);
    world.control.approve(second);
    world.control.vote(second, "reviewer-two@example.com", VoteDecision::Approve);
    let permit = permitted(task.await.unwrap());
    assert_eq!(permit.met(), &["two-sre".parse().unwrap()]);
}

#[tokio::test]
async fn a_new_bundle_that_asks_for_the_same_changes_nothing() {
    let world = World::new();
    let task = hold_deploy(&world, "1").await;
    world.activate(2, POLICIES, REQUIREMENTS);
    world.control.approve(world.control.last());
    let permit = permitted(task.await.unwrap());
    assert_eq!(permit.revision().0, 2);
    assert_eq!(world.control.approvals().len(), 1);
}

#[tokio::test]
async fn an_approval_under_a_weaker_requirement_of_the_same_name_is_not_enough() {
    let world = World::new();
    let held = world.held(deploy("1")).await;
    let first = world.gate.request(&held).await.unwrap().id;
    world.control.approve(first);
    // The same name asks for two people now.
    world.activate(2, POLICIES, &REQUIREMENTS.replacen("quorum = 1", "quorum = 2", 1));
    let task = hold(&world, held);
    eventually("it is asked about anew", || world.control.approvals().len() == 2).await;
    assert_eq!(world.journal.used(first), 0);
    let second = world.control.last();
    world.control.approve(second);
    world.control.vote(second, "reviewer-two@example.com", VoteDecision::Approve);
    assert_eq!(permitted(task.await.unwrap()).used().map(|used| used.approval), Some(second));
}

#[tokio::test]
async fn a_revoked_approval_does_not_run() {
    let world = World::new();
    let held = world.held(deploy("1")).await;
    let status = world.gate.request(&held).await.unwrap();
    world.control.approve(status.id);
    world.journal.revoke(status.id);
    let denial = denied(world.gate.hold(held, |_| {}).await);
    assert!(matches!(denial.cause, Cause::Revoked(_)));
    assert_eq!(world.audit.kinds(), [Kind::Held, Kind::GrantRefused, Kind::Denied]);
}

#[tokio::test]
async fn the_lease_may_end_while_something_is_held() {
    let world = World::new();
    let task = hold_deploy(&world, "1").await;
    world.policy.set_lease_ended(true);
    world.control.approve(world.control.last());
    assert_eq!(denied(task.await.unwrap()).cause, Cause::LeaseEnded);
    assert_eq!(world.journal.used(world.control.last()), 0);
}

#[tokio::test]
async fn an_answer_that_got_lost_is_asked_for_again_and_not_doubled() {
    let world = World::new();
    let held = world.held(deploy("1")).await;
    world.control.lose_next_answer();
    assert!(world.gate.request(&held).await.is_err());
    world.gate.request(&held).await.unwrap();
    assert_eq!(world.control.approvals().len(), 1);
}

#[tokio::test]
async fn what_is_remembered_is_bounded() {
    let world = World::with(|settings| settings.max_remembered = 2);
    for version in ["1", "2"] {
        let held = world.held(deploy(version)).await;
        world.gate.request(&held).await.unwrap();
    }
    let third = world.held(deploy("3")).await;
    assert!(world.gate.request(&third).await.is_err());
    // Once one is over, there is room.
    let first = world.control.approvals()[0].request.id;
    world.gate.cancel(first).await.unwrap();
    world.gate.request(&third).await.unwrap();
}
