//! Operations whose arguments a reviewer changes, and every way to get something through by that (I1, I2, I3).
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use countersign_approval::{ArgumentChange, Phase, VoteDecision};
use countersign_gate::{Answer, Arguments, Cause, Intent, hold::Waited};
use countersign_testkit::{
    World,
    world::{REQUIREMENTS, bundle_with, denied, eventually, intent, permitted},
};
use serde_json::json;
use tokio::task::JoinHandle;

const AMOUNT: &str = "/action/properties/amount";
const SETTINGS: &str = "name = \"test\"\nlease = \"1h\"\n[redaction]\nnames = [\"iban\"]\n";
const POLICIES: &str = r#"
permit (principal, action == Action::"pay", resource);
@id("much") @approval("sre") @reason("More than 50 needs an SRE")
forbid (principal, action == Action::"pay", resource)
when { context.action.amount > 50 } unless { context.approvals.contains("sre") };
@id("too-much") @reason("Nobody pays more than 1000")
forbid (principal, action == Action::"pay", resource) when { context.action.amount > 1000 };
"#;

fn world() -> World {
    let world = World::new();
    world.activate_bundle(2, bundle_with(SETTINGS, POLICIES, REQUIREMENTS));
    world
}

/// A payment by an interceptor that can run it with other arguments.
fn pay(amount: i64) -> Intent {
    let arguments = json!({"amount": amount, "to": {"iban": "DE00", "name": "x"}});
    Intent { arguments: Arguments::Replaceable, ..intent("pay", arguments) }
}

async fn hold(world: &World, intent: Intent) -> JoinHandle<Answer> {
    let (gate, held) = (world.gate.clone(), world.held(intent).await);
    let before = world.control.approvals().len();
    let task = tokio::spawn(async move { gate.hold(held, |_| {}).await });
    eventually("it is asked about", || world.control.approvals().len() > before).await;
    task
}

#[tokio::test]
async fn what_policy_permits_after_an_edit_runs_edited_with_its_secrets() {
    let world = world();
    let task = hold(&world, pay(500)).await;
    let first = world.control.last();
    world.control.edit(first, AMOUNT, json!(40));
    let permit = permitted(task.await.unwrap());
    let edited = permit.edited().unwrap();
    assert_eq!(json!(edited.arguments), json!({"amount": 40, "to": {"iban": "DE00", "name": "x"}}));
    assert_eq!(json!(permit.operation().action.properties), json!(edited.arguments));
    assert_eq!((edited.edits[0].by.as_str(), edited.edits[0].approval), ("editor@example.com", first));
    assert_eq!(permit.used(), None, "policy permits it by itself");
    assert_eq!(world.control.approvals().len(), 1);
}

#[tokio::test]
async fn what_policy_denies_after_an_edit_is_denied() {
    let world = world();
    let task = hold(&world, pay(500)).await;
    world.control.edit(world.control.last(), AMOUNT, json!(5_000));
    let denial = denied(task.await.unwrap());
    assert_eq!(denial.cause, Cause::Policy);
    assert!(denial.policies.iter().any(|policy| policy.id == "too-much"), "{denial}");
    assert_eq!(world.journal.used(world.control.last()), 0);
}

/// No vote on what was asked first counts for what was made of it, and its editor has none.
#[tokio::test]
async fn what_policy_holds_after_an_edit_is_a_new_request() {
    let world = world();
    let two = REQUIREMENTS.replacen("quorum = 1", "quorum = 2", 1);
    world.activate_bundle(3, bundle_with(SETTINGS, POLICIES, &two));
    let task = hold(&world, pay(500)).await;
    let first = world.control.last();
    world.control.vote(first, "reviewer-one@example.com", VoteDecision::Approve);
    world.control.edit(first, AMOUNT, json!(200));
    eventually("it is asked about anew", || world.control.approvals().len() == 2).await;
    let asked = world.control.approvals();
    let (before, after) = (&asked[0].request.submission, &asked[1].request.submission);
    assert_eq!((after.follows, asked[1].votes.len()), (Some(first), 0));
    assert_ne!(before.digest, after.digest);
    assert!(after.operation.contains("\"amount\":200") && !after.operation.contains("DE00"));
    let second = world.control.last();
    world.control.approve(second);
    assert_eq!(world.control.phases()[1], Phase::Pending, "one of two");
    world.control.vote(second, "reviewer-two@example.com", VoteDecision::Approve);
    let permit = permitted(task.await.unwrap());
    assert_eq!(permit.used().map(|used| used.approval), Some(second));
    assert_eq!(permit.operation().action.properties["amount"], 200);
}

/// The grant is for the changed operation, and for nothing else.
#[tokio::test]
async fn an_edited_grant_does_not_run_the_original() {
    let world = world();
    let task = hold(&world, pay(500)).await;
    world.control.edit(world.control.last(), AMOUNT, json!(200));
    eventually("it is asked about anew", || world.control.approvals().len() == 2).await;
    let second = world.control.last();
    world.control.approve(second);
    let grant = world.control.grant(second);
    let refused = world.gate.redeem(pay(500), second, grant.as_deref()).await;
    assert_eq!(denied(refused).cause, Cause::OutOfScope);
    drop(permitted(task.await.unwrap()));
    // And once it has run, the original is a new question, not the edit once more.
    hold(&world, pay(500)).await.abort();
    assert!(world.control.approvals()[2].request.submission.operation.contains("\"amount\":500"));
}

/// Whatever the control plane takes for an edit, secrets are this machine's to keep.
#[tokio::test]
async fn what_is_redacted_here_is_not_changed() {
    let world = world();
    let task = hold(&world, pay(500)).await;
    let first = world.control.last();
    let secret = "/action/properties/to/iban";
    let changes = vec![ArgumentChange { pointer: secret.to_owned(), value: json!("mine") }];
    assert!(world.control.refuses_edit(first, changes.clone()));
    world.control.force_edit(first, changes);
    let denial = denied(task.await.unwrap());
    assert!(denial.to_string().contains("redacted"), "{denial}");
}

#[tokio::test]
async fn an_interceptor_that_cannot_substitute_is_not_offered_to() {
    let world = world();
    let task = hold(&world, Intent { arguments: Arguments::AsGiven, ..pay(500) }).await;
    let changes = vec![ArgumentChange { pointer: AMOUNT.to_owned(), value: json!(1) }];
    assert!(world.control.refuses_edit(world.control.last(), changes));
    world.control.approve(world.control.last());
    assert_eq!(permitted(task.await.unwrap()).edited(), None);
}

/// A client whose patience has ended knows only what it asked for.
#[tokio::test]
async fn who_comes_back_gets_what_was_made_of_it_once() {
    let world = world();
    let ask = async || {
        let held = world.held(pay(500)).await;
        world.gate.hold_within(held, async {}, |_| {}).await
    };
    assert!(matches!(ask().await, Waited::Pending(_)));
    world.control.edit(world.control.last(), AMOUNT, json!(200));
    assert!(matches!(ask().await, Waited::Pending(status) if status.id == world.control.last()));
    assert_eq!(world.control.approvals().len(), 2);
    assert!(matches!(ask().await, Waited::Pending(_)));
    assert_eq!(world.control.approvals().len(), 2, "coming back once more asks nobody anew");
    world.control.approve(world.control.last());
    let Waited::Answered(answer) = ask().await else { panic!("it is approved") };
    assert_eq!(permitted(answer).operation().action.properties["amount"], 200);
    assert!(matches!(ask().await, Waited::Pending(_)));
    assert_eq!(world.control.approvals().len(), 3, "that was that");
}

/// What an interceptor has to read anew comes back as what it has become, and is then asked about as such.
#[tokio::test]
async fn what_is_read_anew_is_submitted_anew() {
    let world = world();
    let call = |line: &str, arguments: Arguments| {
        let mut intent = Intent { arguments, ..intent("pay", json!({"amount": 60})) };
        let countersign_gate::Act::Operation { operation, .. } = &mut intent.act else { unreachable!() };
        operation
            .context
            .insert("hook".to_owned(), json!({"host": "claude-code", "line": line, "input": {}}));
        intent
    };
    let task = hold(&world, call("pay 60", Arguments::Resubmittable(Vec::new()))).await;
    let first = world.control.last();
    let cwd = vec![ArgumentChange { pointer: "/context/hook/host".to_owned(), value: json!("x") }];
    assert!(world.control.refuses_edit(first, cwd));
    world.control.edit(first, "/context/hook/line", json!("pay 55"));
    let denial = denied(task.await.unwrap());
    let Cause::Edited(edited) = denial.cause else { panic!("{denial}") };
    assert_eq!(edited.form["context"]["hook"]["line"], "pay 55");
    assert_eq!(world.control.approvals().len(), 1, "nothing is asked by itself");

    let task = hold(&world, call("pay 55", Arguments::Resubmittable(edited.edits))).await;
    let second = world.control.approvals().pop().unwrap();
    assert_eq!(second.request.submission.follows, Some(first));
    assert_eq!(second.request.edited_by[0].as_str(), "editor@example.com");
    world.control.approve(second.request.id);
    assert_eq!(permitted(task.await.unwrap()).edited(), None);
}
