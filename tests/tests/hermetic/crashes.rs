//! SIGKILL at the worst moments: never twice, never silently lost.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Instant, SystemTime, UNIX_EPOCH},
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

fn commands_need_one(files: &mut BTreeMap<String, String>) {
    let policy = "@id(\"may-run\") permit (principal, action == Exec::Action::\"run\", resource);\n\
                  @id(\"runs-need-one\") @approval(\"one\") forbid (principal, action == Exec::Action::\"run\", resource)\n\
                  unless { context.approvals.contains(\"one\") };";
    files.insert("policies/exec.cedar".into(), policy.into());
}

/// Asks to run a command that leaves a line in a file, and sends a vote for it. Returns its process and
/// the approval.
async fn vote_for_a_line_in(site: &Site, file: &Path) -> (Child, String) {
    let mut command = Command::new(binary("countersign"));
    command.args(["exec", "--", "sh", "-c", &format!("echo ran >> {}", file.display())]);
    command.env("COUNTERSIGN_SOCKET", site.socket()).stdin(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn().unwrap();
    let id = site.next_pending().await["id"].as_str().unwrap().to_owned();
    let (reviewer, path) = (site.reviewer(0), format!("/api/v1/approvals/{id}/votes"));
    tokio::spawn(async move { reviewer.post(&path, &json!({ "decision": "approve" })).await.ok() });
    (child, id)
}

/// The sidecar dies at moments that are spread over the whole way from the vote to the outcome: before
/// the grant reaches it, while it verifies, re-evaluates, journals, mints, answers, records. Whenever it is,
/// nothing runs twice, and what ran is never taken for something that did not.
#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_killed_anywhere_around_the_use_of_a_grant_loses_and_repeats_nothing() {
    const MOMENTS: u32 = 16;
    let mut site = Site::start(commands_need_one).await;
    let file = |moment: u32| site.folder().join(format!("ran-{moment}"));
    let files: Vec<PathBuf> = (0..=MOMENTS).map(file).collect();
    let (mut child, id) = vote_for_a_line_in(&site, &files[0]).await;
    let start = Instant::now();
    site.until(&id, "executed").await;
    let whole = start.elapsed();
    assert!(child.wait().unwrap().success());
    for moment in 1..=MOMENTS {
        let file = &files[moment as usize];
        let (mut child, id) = vote_for_a_line_in(&site, file).await;
        tokio::time::sleep(whole * moment / MOMENTS).await;
        site.kill_sidecar();
        child.wait().unwrap();
        site.start_sidecar();
        site.until_connected().await;
        let ran = fs::read_to_string(file).unwrap_or_default().lines().count();
        assert!(ran <= 1, "moment {moment}: it ran {ran} times");
        let expected: &[&str] = if ran == 1 {
            &["executed", "outcome_unknown"]
        } else {
            // Revoked: the sidecar came back without the command that had asked.
            &["approved", "revoked", "failed", "outcome_unknown"]
        };
        eventually(&format!("moment {moment}, ran {ran}: one of {expected:?}"), || async {
            let approval = site.admin().get(&format!("/api/v1/approvals/{id}")).await.ok();
            expected.contains(&approval["state"].as_str().unwrap_or_default()).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_crash_while_an_operation_runs_is_an_unknown_outcome() {
    let mut site = Site::start(commands_need_one).await;
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
