//! Grants for a task: one approval lets others of the same action run, inside its budget, and nothing else.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail like tests")]

use countersign_approval::Input;
use countersign_gate::{Answer, Cause, Intent, Permit, record::Kind};
use countersign_model::{ApprovalId, Seconds};
use countersign_testkit::world::{World, denied, held, intent, permitted};
use proptest::prelude::*;
use serde_json::json;

const POLICIES: &str = r#"
permit (principal, action in [Action::"pay", Action::"refund"], resource);
@approval("payments") forbid (principal, action in [Action::"pay", Action::"refund"], resource)
unless { context.approvals.contains("payments") };
@reason("Not this one") forbid (principal, action == Action::"pay", resource)
when { context.action has blocked };
"#;

const REQUIREMENTS: &str = r#"
[requirements.payments]
reviewers = ["group:sre"]
[requirements.payments.grant.task]
count = 5
within = "30m"
amount = { argument = "amount", total = "500.00", each = 200 }
[requirements.press]
reviewers = ["*"]
"#;

fn world() -> World {
    let world = World::new();
    world.activate(2, POLICIES, REQUIREMENTS);
    world
}

fn pay(amount: &str) -> Intent {
    let mut intent = intent("pay", json!({ "amount": amount }));
    intent.provenance.session = Some("session-1".to_owned());
    intent
}

/// Asks people about a payment, and has them approve it.
async fn approved(world: &World, amount: &str) -> ApprovalId {
    let id = world.gate.request(&world.held(pay(amount)).await).await.unwrap().id;
    world.control.approve(id);
    id
}

/// Holds an operation. `None` when people are asked about it.
async fn attempt(world: &World, intent: Intent) -> Option<Permit> {
    let held = held(world.gate.decide(intent).await);
    tokio::select! {
        biased;
        answer = world.gate.hold(held, |_| {}) => match answer {
            Answer::Permitted(permit) => Some(permit),
            other => panic!("{other:?}"),
        },
        () = yield_often() => None,
    }
}

async fn yield_often() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn one_approval_lets_others_of_the_action_run_until_its_amount_is_spent() {
    let world = world();
    let id = approved(&world, "200").await;
    for (number, amount) in (1..).zip(["200", "150.5", "149"]) {
        let permit = attempt(&world, pay(amount)).await.expect("it is inside the budget");
        assert_eq!(permit.used().map(|used| (used.approval, used.number)), Some((id, number)));
        permit.hand_over().await;
    }
    assert_eq!(world.control.approvals().len(), 1);
    assert!(attempt(&world, pay("0.51")).await.is_none(), "people are asked");
    assert_eq!(world.control.approvals().len(), 2);
    assert!(attempt(&world, pay("0.50")).await.is_some(), "what is left is still good");
    let consumed = world.audit.records().into_iter().filter(|record| record.kind() == Kind::GrantConsumed);
    assert!(consumed.map(|record| record.approval()).all(|approval| approval == Some(id)));
}

#[tokio::test]
async fn no_more_run_than_were_counted() {
    let world = world();
    approved(&world, "1").await;
    for amount in 1..=5 {
        assert!(attempt(&world, pay(&amount.to_string())).await.is_some());
    }
    assert!(attempt(&world, pay("6")).await.is_none());
}

#[tokio::test]
async fn what_is_not_the_same_action_in_the_same_session_asks_people() {
    let world = world();
    approved(&world, "1").await;
    drop(attempt(&world, pay("1")).await.unwrap());
    let changes: [fn(&mut Intent); 5] = [
        |intent| intent.provenance.session = Some("session-2".to_owned()),
        |intent| intent.provenance.session = None,
        |intent| intent.tool_pin = Some(countersign_model::Digest::ZERO),
        |intent| intent.interceptor = countersign_gate::Interceptor::Mcp,
        |intent| {
            let subject = json!({"type": "User", "id": "somebody"});
            intent.asserted_subject = serde_json::from_value(subject).unwrap();
        },
    ];
    for (change, amount) in changes.into_iter().zip(2..) {
        let mut other = pay(&amount.to_string());
        change(&mut other);
        assert!(attempt(&world, other).await.is_none());
    }
    let mut refund = intent("refund", json!({"amount": "1"}));
    refund.provenance.session = Some("session-1".to_owned());
    assert!(attempt(&world, refund).await.is_none(), "another action");
    for amount in ["-1", "201", "1e2", "NaN", ""] {
        assert!(attempt(&world, pay(amount)).await.is_none(), "{amount}");
    }
    assert!(attempt(&world, pay("2")).await.is_some());
}

#[tokio::test]
async fn many_at_once_share_one_budget() {
    let world = world();
    approved(&world, "200").await;
    let payments = ["200", "150", "120", "110", "90", "80", "70"].map(pay);
    let attempts = futures::future::join_all(payments.map(|payment| attempt(&world, payment))).await;
    let permits: Vec<_> = attempts.into_iter().flatten().collect();
    let amount =
        |permit: &Permit| permit.operation().action.properties["amount"].as_str().unwrap().to_owned();
    let spent: u32 = permits.iter().map(|permit| amount(permit).parse::<u32>().unwrap()).sum();
    assert!(!permits.is_empty() && spent <= 500, "{spent}");
}

#[tokio::test]
async fn a_restart_keeps_the_grant_and_what_was_spent_of_it() {
    let mut world = world();
    let id = approved(&world, "200").await;
    // The process dies with the permit in its hands: what it took is spent.
    std::mem::forget(attempt(&world, pay("200")).await.unwrap());
    world.restart();
    assert!(attempt(&world, pay("200")).await.is_some(), "the rest is still good");
    world.restart();
    assert!(attempt(&world, pay("101")).await.is_none(), "and no more than the rest");
    assert_eq!(attempt(&world, pay("100")).await.unwrap().used().unwrap().approval, id);
}

/// People are not asked again about what they have allowed for an hour, just because a sidecar was updated.
#[tokio::test]
async fn a_window_outlives_a_restart() {
    let mut world = World::new();
    let publish = || intent("publish", json!({}));
    let id = world.gate.request(&world.held(publish()).await).await.unwrap().id;
    world.control.approve(id);
    drop(attempt(&world, publish()).await.unwrap());
    world.restart();
    assert_eq!(attempt(&world, publish()).await.unwrap().used().map(|used| used.number), Some(2));
    let other = intent("publish", json!({"other": true}));
    assert!(attempt(&world, other).await.is_none());
    let mut for_somebody = publish();
    let initiator = json!({"person": "owner@example.com", "verified": true});
    for_somebody.provenance.initiator = serde_json::from_value(initiator).unwrap();
    assert!(attempt(&world, for_somebody).await.is_none(), "asked for another person (I3)");
}

#[tokio::test]
async fn policy_has_the_last_word_over_a_task() {
    let world = world();
    approved(&world, "1").await;
    drop(attempt(&world, pay("1")).await.unwrap());
    let blocked = intent("pay", json!({"amount": "1", "blocked": true}));
    assert_eq!(world.denied(blocked).await.cause, Cause::Policy);
    let stricter = format!(
        "{POLICIES}\n@approval(\"press\") forbid (principal, action == Action::\"pay\", resource)
         unless {{ context.approvals.contains(\"press\") }};"
    );
    world.activate(3, &stricter, REQUIREMENTS);
    assert!(attempt(&world, pay("2")).await.is_none(), "the press has not been asked");
    world.activate(4, POLICIES, &REQUIREMENTS.replace("500.00", "499.00"));
    assert!(attempt(&world, pay("3")).await.is_none(), "the requirement is another one now");
    world.activate(5, POLICIES, REQUIREMENTS);
    assert!(attempt(&world, pay("4")).await.is_some());
}

#[tokio::test]
async fn a_task_that_is_taken_back_lets_nothing_more_run() {
    let world = world();
    let id = approved(&world, "1").await;
    drop(attempt(&world, pay("1")).await.unwrap());
    world.control.set_unreachable(true);
    let waits = denied(world.gate.hold(held(world.gate.decide(pay("2")).await), |_| {}).await);
    assert!(matches!(waits.cause, Cause::Unreachable(_)), "nobody can say whether it still stands");
    let presented = world.control.claims(id).map(|claims| world.control.sign(&claims));
    let presented = denied(world.gate.redeem(pay("2"), id, presented.as_deref()).await);
    assert!(matches!(presented.cause, Cause::Unreachable(_)), "{presented}");
    world.control.set_unreachable(false);
    world.control.apply(id, &Input::Revoke { by: "owner@example.com".to_owned(), reason: None });
    assert!(attempt(&world, pay("3")).await.is_none());
}

#[tokio::test]
async fn a_task_ends_with_its_time() {
    let world = world();
    approved(&world, "1").await;
    drop(attempt(&world, pay("1")).await.unwrap());
    world.clock.advance(Seconds::new(30 * 60));
    assert!(attempt(&world, pay("2")).await.is_none());
}

/// Nobody gets around a refusal by having something like it approved.
#[tokio::test]
async fn what_a_reviewer_has_refused_stays_refused() {
    let world = world();
    let refused = world.gate.request(&world.held(pay("7")).await).await.unwrap().id;
    world.control.deny(refused);
    assert!(matches!(
        denied(world.gate.hold(held(world.gate.decide(pay("7")).await), |_| {}).await).cause,
        Cause::Refused(_)
    ));
    approved(&world, "1").await;
    drop(attempt(&world, pay("1")).await.unwrap());
    let again = denied(world.gate.hold(held(world.gate.decide(pay("7")).await), |_| {}).await);
    assert!(matches!(again.cause, Cause::Refused(_)), "{again}");
}

/// A caller of the check API gets the approval that covers it at once, and redeems it for its operation.
#[tokio::test]
async fn a_request_that_is_covered_is_approved_already() {
    let world = world();
    let id = approved(&world, "1").await;
    drop(permitted(world.gate.redeem(pay("1"), id, None).await));
    let status = world.gate.request(&world.held(pay("2")).await).await.unwrap();
    assert_eq!(status.id, id);
    drop(permitted(world.gate.redeem(pay("2"), id, status.grant.as_deref()).await));
    assert_eq!(denied(world.gate.redeem(pay("201"), id, None).await).cause, Cause::OutOfScope);
    drop(permitted(world.gate.redeem(pay("2"), id, None).await));
    assert_eq!(
        denied(world.gate.redeem(intent("pay", json!({"amount": "3"})), id, None).await).cause,
        Cause::OutOfScope
    );
}

#[derive(Debug, Clone)]
enum Step {
    Pay { amount: u32, run: bool },
    Redeem { amount: u32 },
    Restart,
    Link { up: bool },
    Journal { works: bool },
    Wait { seconds: u32 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..260_u32, any::<bool>()).prop_map(|(amount, run)| Step::Pay { amount, run }),
        2 => (0..260_u32).prop_map(|amount| Step::Redeem { amount }),
        1 => Just(Step::Restart),
        1 => any::<bool>().prop_map(|up| Step::Link { up }),
        1 => any::<bool>().prop_map(|works| Step::Journal { works }),
        1 => (1..600_u32).prop_map(|seconds| Step::Wait { seconds }),
    ];
    proptest::collection::vec(step, 1..24)
}

async fn walk(steps: Vec<Step>) {
    let mut world = world();
    let id = approved(&world, "100").await;
    let (mut permits, mut spent) = (0, 0);
    for step in steps {
        let (answer, amount, run) = match step {
            Step::Restart => {
                world.restart();
                continue;
            }
            Step::Link { up } => {
                world.control.set_unreachable(!up);
                continue;
            }
            Step::Journal { works } => {
                world.journal.set_broken(!works);
                continue;
            }
            Step::Wait { seconds } => {
                world.clock.advance(Seconds::new(seconds));
                continue;
            }
            Step::Redeem { amount } => {
                (world.gate.redeem(pay(&amount.to_string()), id, None).await, amount, true)
            }
            Step::Pay { amount, run } => {
                let held = held(world.gate.decide(pay(&amount.to_string())).await);
                let answer = tokio::select! {
                    biased;
                    answer = world.gate.hold(held, |_| {}) => answer,
                    () = yield_often() => continue,
                };
                (answer, amount, run)
            }
        };
        let Answer::Permitted(permit) = answer else { continue };
        permits += 1;
        spent += amount;
        if run {
            permit.hand_over().await;
        } else {
            // As if the process had died here: nothing in it is dropped.
            std::mem::forget(permit);
        }
    }
    assert!(permits <= 5 && spent <= 500, "{permits} for {spent}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn whatever_is_tried_no_more_runs_than_was_granted(steps in steps()) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(walk(steps));
    }
}
