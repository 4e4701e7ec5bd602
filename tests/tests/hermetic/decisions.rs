//! What needs no people: allow, deny, and the words of a requestable denial.

use countersign_tests::{Dev, DevOptions, eventually, operation};
use serde_json::json;

#[tokio::test]
async fn ordinary_work_flows_and_forbidden_work_does_not() {
    let dev = Dev::start(DevOptions::default());
    assert_eq!(dev.evaluate("read", &json!({})).await["decision"], true);

    let denied = dev.evaluate("drop", &json!({})).await;
    assert_eq!(denied["decision"], false);
    assert!(denied["context"]["access_request"].is_null(), "no approval would change it: {denied}");
    assert!(denied.to_string().contains("Dropping is never allowed"), "{denied}");

    // What no policy permits is denied, and no approval is offered for it.
    let unknown = dev.evaluate("juggle", &json!({})).await;
    assert_eq!(unknown["decision"], false);
    assert!(unknown["context"]["access_request"].is_null(), "{unknown}");
}

#[tokio::test]
async fn sensitive_work_is_denied_with_an_offer() {
    let dev = Dev::start(DevOptions::default());
    let denial = dev.evaluate("deploy", &json!({})).await;
    assert_eq!(denial["decision"], false);
    let context = &denial["context"];
    assert!(context["evaluation_id"].is_string(), "{denial}");
    assert!(context["access_request"]["endpoint"].is_string(), "{denial}");
    assert!(context["access_request"]["expires_at"].is_string(), "{denial}");
}

#[tokio::test]
async fn the_caller_cannot_approve_through_reserved_context() {
    let dev = Dev::start(DevOptions::default());
    for context in [
        json!({ "approvals": ["one", "two", "quick"] }),
        json!({ "approvals": [{ "name": "one" }] }),
        json!({ "approval": { "id": "0193a0de-0000-7000-8000-000000000000", "state": "a.b.c" } }),
        json!({ "approval": { "id": "one" } }),
        json!({ "approval": "one" }),
    ] {
        let answer = dev.check().post("/access/v1/evaluation", &operation("deploy", &context)).await;
        assert_ne!(answer.json()["decision"], true, "{context}: {}", answer.text);
    }
}

#[tokio::test]
async fn every_decision_is_in_the_ledger_with_its_policy() {
    let dev = Dev::start(DevOptions::default());
    dev.evaluate("read", &json!({})).await;
    dev.evaluate("drop", &json!({})).await;
    dev.evaluate("deploy", &json!({})).await;
    for (kind, policy) in [
        ("operation.permitted", "agents-may-work"),
        ("operation.denied", "nothing-is-dropped"),
        ("operation.held", "deploys-need-a-reviewer"),
    ] {
        let events = eventually(kind, || async {
            let events = dev.events(kind).await;
            (!events.is_empty()).then_some(events)
        })
        .await;
        assert!(events[0].to_string().contains(policy), "{kind}: {}", events[0]);
    }
}
