//! People decide: one, two, too late, not at all.

use countersign_tests::{Dev, DevOptions};
use serde_json::json;

#[tokio::test]
async fn one_reviewer_approves_and_it_runs_once() {
    let dev = Dev::start(DevOptions::default());
    let id = dev.request("deploy").await;
    let pending = dev.until(&id, "pending").await;
    assert_eq!(pending["operation"]["action"]["name"], "deploy", "{pending}");

    dev.vote(&dev.reviewer(0), &id, "approve").await.ok();
    let task = dev.until_task(&id, "approved").await;
    let permitted = dev.redeem("deploy", &task).await;
    assert_eq!(permitted["decision"], true, "{permitted}");

    let replay = dev.redeem("deploy", &task).await;
    assert_eq!(replay["decision"], false, "a once grant is used once (I2): {replay}");
}

#[tokio::test]
async fn a_quorum_of_two_is_two_people() {
    let dev = Dev::start(DevOptions::default());
    let id = dev.request("pay").await;
    dev.vote(&dev.reviewer(0), &id, "approve").await.ok();
    let again = dev.vote(&dev.reviewer(0), &id, "approve").await;
    assert_eq!(dev.task(&id).await["task"]["status"], "pending", "{}", again.text);
    dev.vote(&dev.reviewer(1), &id, "approve").await.ok();
    let task = dev.until_task(&id, "approved").await;
    assert_eq!(dev.redeem("pay", &task).await["decision"], true);
}

#[tokio::test]
async fn a_denial_ends_it() {
    let dev = Dev::start(DevOptions::default());
    let id = dev.request("pay").await;
    dev.vote(&dev.reviewer(0), &id, "approve").await.ok();
    dev.vote(&dev.reviewer(1), &id, "deny").await.ok();
    let denied = dev.until_task(&id, "denied").await;
    assert!(denied["result"]["approval"].is_null(), "{denied}");
    let late = dev.vote(&dev.reviewer(0), &id, "deny").await;
    assert_eq!(late.status, 409, "{}", late.text);
}

#[tokio::test]
async fn silence_expires_and_is_called_so() {
    let dev = Dev::start(DevOptions::default());
    let id = dev.request("restart").await;
    let expired = dev.until(&id, "expired").await;
    assert_eq!(expired["votes"], json!([]));
    let task = dev.task(&id).await;
    assert_eq!(task["task"]["status"], "expired", "{task}");
    let late = dev.vote(&dev.reviewer(0), &id, "approve").await;
    assert_eq!(late.status, 409, "{}", late.text);
    assert_eq!(dev.evaluate("restart", &json!({})).await["decision"], false);
}

#[tokio::test]
async fn the_requester_can_take_it_back() {
    let dev = Dev::start(DevOptions::default());
    let id = dev.request("deploy").await;
    dev.check().post(&format!("/access/v1/requests/{id}/cancel"), &json!({})).await.ok();
    dev.until(&id, "cancelled").await;
    let late = dev.vote(&dev.reviewer(0), &id, "approve").await;
    assert_eq!(late.status, 409, "{}", late.text);
}

#[tokio::test]
async fn an_approval_that_was_revoked_does_not_run() {
    let dev = Dev::start(DevOptions::default());
    let id = dev.request("deploy").await;
    dev.vote(&dev.reviewer(0), &id, "approve").await.ok();
    let task = dev.until_task(&id, "approved").await;
    dev.admin()
        .post(&format!("/api/v1/approvals/{id}/revoke"), &json!({ "reason": "wrong window" }))
        .await
        .ok();
    dev.until(&id, "revoked").await;
    dev.until_revoked_at_sidecar(&id).await;
    let refused = dev.redeem("deploy", &task).await;
    assert_eq!(refused["decision"], false, "{refused}");
}

#[tokio::test]
async fn a_grant_for_two_uses_has_two() {
    let dev = Dev::start(DevOptions::default());
    let id = dev.request("rotate").await;
    dev.vote(&dev.reviewer(0), &id, "approve").await.ok();
    let task = dev.until_task(&id, "approved").await;
    assert_eq!(dev.redeem("rotate", &task).await["decision"], true);
    assert_eq!(dev.redeem("rotate", &task).await["decision"], true);
    assert_eq!(dev.redeem("rotate", &task).await["decision"], false);
}

#[tokio::test]
async fn the_same_request_twice_is_one_approval() {
    let dev = Dev::start(DevOptions::default());
    let first = dev.request("deploy").await;
    let second = dev.request("deploy").await;
    assert_eq!(first, second, "a retried operation attaches to its pending approval");
}
