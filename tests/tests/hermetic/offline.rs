//! I9: what a sidecar does without its control plane, and how both find together again.

use std::collections::BTreeSet;

use countersign_tests::{Site, eventually};
use serde_json::{Value, json};

#[tokio::test]
async fn offline_ordinary_work_flows_and_sensitive_work_fails_closed() {
    let mut site = Site::start(|_| {}).await;
    site.until_connected().await;
    site.kill_control();
    assert_eq!(site.evaluate("read", &json!({})).await["decision"], true);

    let denial = site.evaluate("deploy", &json!({})).await;
    assert_eq!(denial["decision"], false);
    let answer = site.try_request("deploy", &denial).await;
    assert!(answer.status >= 500, "{} {}", answer.status, answer.text);
    assert!(answer.text.contains("control plane"), "the reason is clear: {}", answer.text);

    // A cold start without the control plane enforces the last signed bundle.
    site.kill_sidecar();
    site.start_sidecar();
    assert_eq!(site.evaluate("read", &json!({})).await["decision"], true);
    assert_eq!(site.evaluate("drop", &json!({})).await["decision"], false);

    site.start_control();
    site.until_connected().await;
    let id = site.request("deploy").await;
    site.vote(&site.reviewer(0), &id, "approve").await.ok();
    let task = site.until_task(&id, "approved").await;
    assert_eq!(site.redeem("deploy", &task).await["decision"], true);
}

#[tokio::test]
async fn when_the_lease_ends_nothing_runs() {
    let mut site = Site::start(|files| {
        files.insert("bundle.toml".into(), "name = \"short\"\nlease = \"2s\"\n".into());
    })
    .await;
    assert_eq!(site.evaluate("read", &json!({})).await["decision"], true);
    site.kill_control();
    let denied = eventually("the lease has ended", || async {
        let answer = site.evaluate("read", &json!({})).await;
        (answer["decision"] == false).then_some(answer)
    })
    .await;
    assert!(denied.to_string().contains("lease"), "the reason is clear: {denied}");
    // Nor does a restart give it a new one.
    site.kill_sidecar();
    site.start_sidecar();
    assert_eq!(site.evaluate("read", &json!({})).await["decision"], false);
    site.start_control();
    eventually("contact renews the lease", || async {
        (site.evaluate("read", &json!({})).await["decision"] == true).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_was_spooled_offline_arrives_once_and_in_order() {
    let mut site = Site::start(|_| {}).await;
    site.until_connected().await;
    site.kill_control();
    for _ in 0..50 {
        site.evaluate("read", &json!({})).await;
    }
    site.evaluate("drop", &json!({})).await;
    site.kill_sidecar();
    site.start_sidecar();
    site.evaluate("drop", &json!({})).await;
    site.start_control();

    let denied = eventually("both denials have arrived", || async {
        let denied = site.events("operation.denied").await;
        (denied.len() >= 2).then_some(denied)
    })
    .await;
    assert_eq!(denied.len(), 2, "nothing arrives twice");
    assert_eq!(site.events("ledger.gap").await, Vec::<Value>::new());
    let export = site.admin().get("/api/v1/audit/export").await;
    let sequence: Vec<u64> = export
        .text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|line| {
            let event = if line["event"].is_object() { &line["event"] } else { &line };
            let ours = event["source"].as_str()?.ends_with("/agent/site-agent");
            ours.then(|| event["seq"].as_u64()).flatten()
        })
        .collect();
    let expected: Vec<u64> = (1..=sequence.len() as u64).collect();
    assert!(sequence.len() > 50, "{}", export.text.chars().take(2_000).collect::<String>());
    assert_eq!(sequence, expected, "every event once, in order");
    assert_eq!(sequence.iter().collect::<BTreeSet<_>>().len(), sequence.len());
}
