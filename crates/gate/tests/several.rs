//! Several acts that are done together or not at all: each must be permitted, and the whole is approved.

use countersign_approval::Phase;
use countersign_gate::{Act, Answer, Cause, Intent, record::Kind};
use countersign_model::Object;
use countersign_testkit::{
    World,
    world::{deploy, eventually, intent, permitted, read},
};
use serde_json::json;

/// Acts as one, named by a line.
fn together(line: &str, acts: Vec<Intent>) -> Intent {
    let Act::Operation { operation: mut whole, .. } = intent("line", json!({})).act else { unreachable!() };
    whole.resource.id = line.to_owned();
    let parts = acts.into_iter().map(|intent| intent.act).collect();
    Intent { act: Act::Several { whole, parts }, ..intent("line", json!({})) }
}

#[tokio::test]
async fn what_is_permitted_in_every_part_is_permitted() {
    let world = World::new();
    let permit = world.permit(together("a && b", vec![read(), read()])).await;
    assert_eq!(permit.operation().context["operations"].as_array().unwrap().len(), 2);
    assert_eq!(permit.operation().resource.id, "a && b");
}

#[tokio::test]
async fn one_part_that_is_denied_denies_the_whole() {
    let world = World::new();
    for parts in [
        vec![read(), intent("wipe", json!({}))],
        vec![deploy("1"), intent("wipe", json!({})), read()],
        vec![read(), intent("never-heard-of", json!({}))],
    ] {
        let denial = world.denied(together("x", parts)).await;
        assert_eq!(denial.cause, Cause::Policy);
    }
    // Nobody was asked about what can never be.
    assert!(world.control.approvals().is_empty());
    assert_eq!(world.audit.kinds(), [Kind::Denied; 3]);
}

#[tokio::test]
async fn nothing_at_all_is_denied() {
    let world = World::new();
    let denial = world.denied(together("", Vec::new())).await;
    assert!(matches!(denial.cause, Cause::Malformed(_)), "{denial:?}");
}

#[tokio::test]
async fn the_requirements_of_all_parts_are_asked_for_at_once() {
    let world = World::new();
    let held =
        world.held(together("x", vec![deploy("1"), read(), intent("publish", json!({})), deploy("2")])).await;
    let names: Vec<&str> = held.requirements().iter().map(|name| name.as_str()).collect();
    assert_eq!(names, ["press", "sre"]);
    let ids: Vec<&str> = held.policies().iter().map(|policy| policy.id.as_str()).collect();
    assert_eq!(ids, ["prod-deploy", "publish"]);
}

#[tokio::test]
async fn an_approval_of_the_whole_is_none_of_its_parts_nor_of_another_whole() {
    let world = World::new();
    let whole = || together("deploy 1; read", vec![deploy("1"), read()]);
    let held = world.held(whole()).await;
    let asked = world.gate.request(&held).await.unwrap();
    world.control.approve(asked.id);
    for other in [
        deploy("1"),
        together("deploy 1; read", vec![deploy("1")]),
        together("deploy 1; read", vec![read(), deploy("1")]),
        together("deploy 1; read", vec![deploy("2"), read()]),
        together("deploy 1;  read", vec![deploy("1"), read()]),
        together("deploy 1; read", vec![deploy("1"), read(), read()]),
    ] {
        let answer = world.gate.redeem(other, asked.id, None).await;
        assert!(matches!(answer, Answer::Denied(_)), "{answer:?}");
    }
    let permit = permitted(world.gate.redeem(whole(), asked.id, None).await);
    assert_eq!(permit.used().map(|used| used.number), Some(1));
    drop(permit);
    let again = world.gate.redeem(whole(), asked.id, None).await;
    assert!(matches!(again, Answer::Denied(_)), "{again:?}");
}

#[tokio::test]
async fn a_caller_cannot_bring_operations_of_its_own() {
    let world = World::new();
    let mut intent = together("x", vec![intent("wipe", json!({}))]);
    let Act::Several { whole, .. } = &mut intent.act else { panic!() };
    whole.context = Object::from_iter([("operations".to_owned(), json!([]))]);
    world.denied(intent).await;
}

#[tokio::test]
async fn who_is_sent_away_finds_the_same_request_again() {
    let world = World::new();
    let whole = || together("x", vec![deploy("1"), read()]);
    let held = world.held(whole()).await;
    let waited = world.gate.hold_within(held, async {}, |_| {}).await;
    let countersign_gate::Waited::Pending(status) = waited else { panic!("{waited:?}") };
    assert_eq!(status.phase, Phase::Pending);
    world.control.approve(status.id);
    let held = world.held(whole()).await;
    let answer = world.gate.hold(held, |_| {}).await;
    assert_eq!(permitted(answer).used().map(|used| used.approval), Some(status.id));
    eventually("it is used", || world.journal.used(status.id) == 1).await;
}
