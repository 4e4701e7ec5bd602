//! What the record says about deciding itself, and what it proposes.

use serde_json::Value;

use crate::stage::{ONE, Stage, TWO, VIEWER, deploy};

async fn report(stage: &Stage) -> Value {
    let viewer = stage.token(VIEWER).await;
    stage.get("/api/v1/reports/attention", &viewer).await.is(200).json()
}

async fn decide(stage: &Stage, who: &str, operation: Value, requirement: &str, decision: &str) {
    let id = stage.submit(operation, requirement).await;
    let token = stage.token(who).await;
    stage.vote(&id, &token, decision).await.is(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_always_approved_is_proposed_as_text_and_nothing_more() {
    let stage = Stage::new().await;
    for number in 0..6 {
        let mut operation = deploy("payments");
        operation["action"]["properties"]["version"] = format!("1.{number}").into();
        decide(&stage, if number == 0 { TWO } else { ONE }, operation, "one", "approve").await;
    }
    let found = report(&stage).await;
    let policy = &found["policies"][0];
    assert_eq!(
        (&policy["policy"], &policy["approved"], &policy["denied"]),
        (&"deploys".into(), &6.into(), &0.into())
    );
    assert!(
        (policy["approval_rate"].as_f64().unwrap() - 1.0).abs() < 1e-9
            && policy["median_seconds"].is_number()
    );
    let reviewer = &found["reviewers"][0];
    assert_eq!((&reviewer["person"], &reviewer["votes"]), (&ONE.into(), &5.into()));
    let always = &found["always_approved"][0];
    assert_eq!((&always["requirement"], &always["approved"]), (&"one".into(), &6.into()), "{found}");
    let text = always["proposal"][0]["text"].as_str().unwrap_or_else(|| panic!("{always}"));
    for expected in [
        "@id(\"deploys\")",
        "context.approvals.contains(\"one\")",
        "principal == Agent::\"deploy-bot\"",
        "resource == Service::\"payments\"",
        "\"1.0\", ",
    ] {
        assert!(text.contains(expected), "{expected}\n{text}");
    }
    // Text, and nothing more: the next one is asked about all the same.
    let revisions = stage.get("/api/v1/policy/revisions", &stage.token(VIEWER).await).await.json();
    assert_eq!(revisions["items"].as_array().unwrap().len(), 1);
}

/// No proposal would have let through what somebody refused, under whichever requirement they were asked.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_proposed_that_somebody_refused() {
    let stage = Stage::new().await;
    for _ in 0..6 {
        decide(&stage, ONE, deploy("payments"), "one", "approve").await;
    }
    assert!(report(&stage).await["always_approved"][0]["no_proposal"].is_null());
    decide(&stage, TWO, deploy("payments"), "two", "deny").await;
    let always = &report(&stage).await["always_approved"][0];
    assert!(always["proposal"].as_array().unwrap().is_empty(), "{always}");
    assert!(always["no_proposal"].as_str().unwrap().contains("refused"), "{always}");
    // A requirement that was denied once is none that is always approved.
    decide(&stage, TWO, deploy("ledger"), "one", "deny").await;
    assert_eq!(report(&stage).await["always_approved"], Value::Array(Vec::new()));
    // Whoever may not read gets none.
    stage.get("/api/v1/reports/attention", "").await.is(401);
    let viewer = stage.token(VIEWER).await;
    stage.get("/api/v1/reports/attention?since=yesterday", &viewer).await.is(400);
}
