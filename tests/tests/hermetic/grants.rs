//! I2: a grant is for one operation, on one sidecar, under the policy that holds now.

use std::time::Instant;

use countersign_tests::{Dev, DevOptions, Site, bundle, eventually, operation};
use serde_json::{Value, json};

async fn approved(dev: &Dev, action: &str) -> Value {
    let id = dev.request(action).await;
    dev.vote(&dev.reviewer(0), &id, "approve").await.ok();
    dev.until_task(&id, "approved").await
}

#[tokio::test]
async fn a_changed_argument_is_another_operation() {
    let dev = Dev::start(DevOptions::default());
    let task = approved(&dev, "deploy").await;
    let approval = &task["result"]["approval"];
    let mut changed = operation("deploy", &json!({ "approval": approval }));
    changed["resource"]["id"] = json!("ledger");
    let refused = dev.check().post("/access/v1/evaluation", &changed).await.ok();
    assert_eq!(refused["decision"], false, "{refused}");
    let mut changed = operation("deploy", &json!({ "approval": approval }));
    changed["action"]["properties"] = json!({ "version": "2" });
    let refused = dev.check().post("/access/v1/evaluation", &changed).await.ok();
    assert_eq!(refused["decision"], false, "{refused}");
    assert_eq!(dev.redeem("deploy", &task).await["decision"], true, "the approved one still runs");
}

#[tokio::test]
async fn a_grant_is_not_transferable_between_actions() {
    let dev = Dev::start(DevOptions::default());
    let task = approved(&dev, "deploy").await;
    for action in ["pay", "restart", "rotate", "drop"] {
        let refused = dev.redeem(action, &task).await;
        assert_eq!(refused["decision"], false, "{action}: {refused}");
    }
}

#[tokio::test]
async fn one_grant_in_many_hands_is_used_once() {
    let dev = Dev::start(DevOptions::default());
    let task = approved(&dev, "deploy").await;
    let racers = (0..16).map(|_| dev.redeem("deploy", &task));
    let answers = futures::future::join_all(racers).await;
    let permitted = answers.iter().filter(|answer| answer["decision"] == true).count();
    assert_eq!(permitted, 1, "{answers:?}");
}

#[tokio::test]
async fn policy_has_the_last_word_over_an_approval() {
    let dev = Dev::start(DevOptions::default());
    let task = approved(&dev, "deploy").await;
    push(&dev, "forbid (principal, action == Action::\"deploy\", resource);").await;
    let refused = dev.redeem("deploy", &task).await;
    assert_eq!(refused["decision"], false, "{refused}");
}

#[tokio::test]
async fn policy_that_changes_while_held_is_asked_again() {
    let dev = Dev::start(DevOptions::default());
    let id = dev.request("deploy").await;
    push(
        &dev,
        "@id(\"frozen\") @reason(\"Freeze\") forbid (principal, action == Action::\"deploy\", resource);",
    )
    .await;
    let _ = dev.vote(&dev.reviewer(0), &id, "approve").await;
    let task = dev.task(&id).await;
    let answer = dev.redeem("deploy", &task).await;
    assert_eq!(answer["decision"], false, "{answer}");
}

/// From the answer to the revocation on, no use starts: the sidecar asks before each one, and is told unasked.
#[tokio::test]
async fn a_window_ends_the_moment_it_is_revoked() {
    let mut site = Site::start(|files| {
        let windowed = |text: &mut String| *text = text.replace("uses = 2, within", "window");
        files.get_mut("approvals.toml").map(windowed).unwrap();
    })
    .await;
    let id = site.request("rotate").await;
    site.vote(&site.reviewer(0), &id, "approve").await.ok();
    let task = site.until_task(&id, "approved").await;
    for _ in 0..5 {
        assert_eq!(site.redeem("rotate", &task).await["decision"], true);
    }
    let start = Instant::now();
    let reason = json!({ "reason": "the incident is over" });
    site.admin().post(&format!("/api/v1/approvals/{id}/revoke"), &reason).await.ok();
    let refused = site.redeem("rotate", &task).await;
    let at_next_use = start.elapsed();
    assert_eq!(refused["decision"], false, "{refused}");
    eventually("the sidecar is told unasked", || async {
        let log = std::fs::read_to_string(site.folder().join("sidecar.log")).unwrap();
        log.lines().any(|line| line.contains("taken back") && line.contains(&id)).then_some(())
    })
    .await;
    println!("revoked: refused after {at_next_use:?}, told unasked within {:?}", start.elapsed());
    // What it was told it knows after a crash, too, and without anybody to ask.
    site.kill_control();
    site.kill_sidecar();
    site.start_sidecar();
    assert_eq!(site.redeem("rotate", &task).await["decision"], false);
}

/// A sidecar that cannot hear of a revocation does not use what could have been revoked.
#[tokio::test]
async fn a_sidecar_that_is_cut_off_uses_no_lasting_grant() {
    let mut site = Site::start(|_| {}).await;
    let id = site.request("rotate").await;
    site.vote(&site.reviewer(0), &id, "approve").await.ok();
    let task = site.until_task(&id, "approved").await;
    assert_eq!(site.redeem("rotate", &task).await["decision"], true);
    site.kill_control();
    let refused = site.redeem("rotate", &task).await;
    assert_eq!(refused["decision"], false, "{refused}");
    assert!(refused.to_string().contains("control plane"), "the reason is clear: {refused}");
    site.start_control();
    site.until_connected().await;
    assert_eq!(site.redeem("rotate", &task).await["decision"], true, "what is left of it counts again");
}

/// Pushes the story bundle with one more policy, and waits until the sidecar enforces it.
async fn push(dev: &Dev, policy: &str) {
    let mut files = serde_json::Map::new();
    let folder = bundle("story");
    for name in ["bundle.toml", "approvals.toml", "policies/story.cedar"] {
        files.insert(name.into(), json!(std::fs::read_to_string(folder.join(name)).unwrap()));
    }
    files.insert("policies/more.cedar".into(), json!(policy));
    let pushed = dev.admin().post("/api/v1/policy/revisions", &json!({ "files": files })).await.ok();
    let revision = pushed["revision"].as_u64().expect("a revision");
    eventually("the sidecar enforces the new revision", || async {
        let agents = dev.admin().get("/api/v1/agents").await.ok();
        (agents["items"][0]["revision"].as_u64() == Some(revision)).then_some(())
    })
    .await;
}
