//! I3: nobody approves their own request, whoever they are.

use countersign_tests::{Dev, DevOptions, Http};
use serde_json::{Value, json};

async fn refused(dev: &Dev, voter: &Http, id: &str, why: &str) {
    for decision in ["approve", "deny"] {
        let answer = dev.vote(voter, id, decision).await;
        assert!(matches!(answer.status, 401 | 403), "{why}: {} {}", answer.status, answer.text);
    }
    assert_eq!(dev.task(id).await["task"]["status"], "pending", "{why}");
}

#[tokio::test]
async fn the_owner_and_administrator_is_refused() {
    let dev = Dev::start(DevOptions::default());
    let id = dev.request("deploy").await;
    refused(&dev, &dev.admin(), &id, "the agent's owner, though administrator").await;
}

#[tokio::test]
async fn the_initiating_human_is_refused_even_unverified() {
    let dev = Dev::start(DevOptions::default());
    let id = dev.request_for("deploy", &dev.reviewer_name(0)).await;
    refused(&dev, &dev.reviewer(0), &id, "the initiating human").await;
    dev.vote(&dev.reviewer(1), &id, "approve").await.ok();
}

#[tokio::test]
async fn credentials_of_agents_and_machines_are_refused() {
    let dev = Dev::start(DevOptions::default());
    let id = dev.request("deploy").await;
    let agent = dev.admin().with_token(&dev.text("check_token"));
    refused(&dev, &agent, &id, "the agent's own token").await;
    refused(&dev, &dev.admin().with_token(""), &id, "nobody").await;

    let wish = |scopes: &[&str]| json!({ "name": "robot", "kind": "machine", "scopes": scopes });
    let voting = dev.reviewer(0).post("/api/v1/tokens", &wish(&["read", "vote"])).await;
    assert!(matches!(voting.status, 403 | 422), "no machine gets the right to vote: {}", voting.text);
    let created = dev.reviewer(0).post("/api/v1/tokens", &wish(&["read"])).await.ok();
    let robot = dev.admin().with_token(created["token"].as_str().expect("a token's secret, once"));
    robot.get(&format!("/api/v1/approvals/{id}")).await.ok();
    refused(&dev, &robot, &id, "a machine's token").await;
}

#[tokio::test]
async fn a_confirmation_is_the_owners_own_word_and_no_approval() {
    let dev = Dev::start(DevOptions::default());
    let id = dev.request("tidy").await;
    let stranger = dev.vote(&dev.reviewer(0), &id, "approve").await;
    assert_eq!(stranger.status, 403, "somebody else cannot confirm: {}", stranger.text);
    dev.vote(&dev.admin(), &id, "approve").await.ok();
    let approval = dev.until(&id, "approved").await;
    let kinds: Vec<&Value> =
        approval["requirements"].as_array().unwrap().iter().map(|requirement| &requirement["kind"]).collect();
    assert_eq!(kinds, ["confirmation"]);
}
