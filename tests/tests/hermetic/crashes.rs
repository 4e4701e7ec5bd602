//! SIGKILL at the worst moments: never twice, never silently lost.

use std::{
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

use countersign_model::Timestamp;
use countersign_tests::{Process, Site, binary, eventually};
use serde_json::json;

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
    Timestamp::from_millis(since.as_millis().try_into().expect("a clock that fits"))
}

#[tokio::test]
async fn a_control_plane_killed_while_people_decide_goes_on() {
    let mut site = Site::start(|_| {}).await;
    let id = site.request("pay").await;
    site.vote(&site.reviewer(0), &id, "approve").await.ok();
    site.kill_control();
    site.start_control();
    site.until_connected().await;
    let kept = site.until(&id, "pending").await;
    assert_eq!(kept["votes"].as_array().map(Vec::len), Some(1), "the vote was durable: {kept}");
    site.vote(&site.reviewer(1), &id, "approve").await.ok();
    let task = site.until_task(&id, "approved").await;
    assert_eq!(site.redeem("pay", &task).await["decision"], true);
}

#[tokio::test]
async fn a_deadline_that_passes_while_the_control_plane_is_down_is_an_expiry() {
    let mut site = Site::start(|_| {}).await;
    let id = site.request("restart").await;
    let asked = site.until(&id, "pending").await;
    let decide_by: Timestamp = asked["decide_by"].as_str().unwrap().parse().unwrap();
    site.kill_control();
    eventually("the deadline has passed", || async { (now() > decide_by).then_some(()) }).await;
    site.start_control();
    let ended = site.until(&id, "expired").await;
    assert_eq!(ended["votes"], json!([]));
}

#[tokio::test]
async fn a_grant_that_was_used_stays_used_after_a_crash() {
    let mut site = Site::start(|_| {}).await;
    let id = site.request("deploy").await;
    site.vote(&site.reviewer(0), &id, "approve").await.ok();
    let task = site.until_task(&id, "approved").await;
    assert_eq!(site.redeem("deploy", &task).await["decision"], true);
    site.kill_sidecar();
    site.start_sidecar();
    let replay = site.redeem("deploy", &task).await;
    assert_eq!(replay["decision"], false, "the journal was durable before the answer (I2): {replay}");
}

#[tokio::test]
async fn a_grant_that_was_not_used_survives_a_crash_and_is_used_once() {
    let mut site = Site::start(|_| {}).await;
    let id = site.request("deploy").await;
    site.vote(&site.reviewer(0), &id, "approve").await.ok();
    let task = site.until_task(&id, "approved").await;
    site.kill_sidecar();
    site.start_sidecar();
    site.until_connected().await;
    assert_eq!(site.redeem("deploy", &task).await["decision"], true);
    assert_eq!(site.redeem("deploy", &task).await["decision"], false);
}

#[tokio::test]
async fn a_crash_while_an_operation_runs_is_an_unknown_outcome() {
    let mut site = Site::start(|files| {
        let sleep = "@id(\"may-sleep\") permit (principal, action == Exec::Action::\"run\", resource);\n\
                     @id(\"sleep-needs-one\") @approval(\"one\") forbid (principal, action == Exec::Action::\"run\", resource)\n\
                     unless { context.approvals.contains(\"one\") };";
        files.insert("policies/exec.cedar".into(), sleep.into());
    })
    .await;
    let mut command = Command::new(binary("countersign"));
    // The shell says that it runs, then waits to be killed.
    command.args(["exec", "--", "sh", "-c", "echo running; sleep 600"]);
    command.env("COUNTERSIGN_SOCKET", site.socket());
    let running = tokio::task::spawn_blocking(move || Process::start(&mut command));
    let id = site.next_pending().await["id"].as_str().unwrap().to_owned();
    site.vote(&site.reviewer(0), &id, "approve").await.ok();
    let (process, line) = running.await.unwrap();
    assert_eq!(line, "running");
    site.kill_sidecar();
    process.kill();
    site.start_sidecar();
    site.until(&id, "outcome_unknown").await;
    eventually("the unknown outcome is in the ledger", || async {
        (!site.events("operation.outcome_unknown").await.is_empty()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_requester_that_dies_takes_its_request_along() {
    let mut site = Site::start(|_| {}).await;
    let id = site.request("deploy").await;
    site.kill_sidecar();
    let gone = site.until(&id, "cancelled").await;
    assert!(gone["reason"].as_str().unwrap_or_default().contains("went away"), "{gone}");
    let late = site.vote(&site.reviewer(0), &id, "approve").await;
    assert_eq!(late.status, 409, "{}", late.text);
}
