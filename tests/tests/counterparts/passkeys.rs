//! Passkeys in a real browser: what takes one is approved with one, and with nothing else.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use countersign_tests::Site;
use serde_json::{Value, json};

use crate::{counterparts, script};

#[tokio::test(flavor = "multi_thread")]
async fn a_reviewer_approves_with_a_passkey() {
    let site = Site::start(|files| {
        let approvals = files.get_mut("approvals.toml").unwrap();
        *approvals = approvals.replacen("quorum = 1\n", "quorum = 1\nassurance = \"passkey\"\n", 1);
    })
    .await;
    let id = site.request("deploy").await;
    let refused = site.vote(&site.reviewer(0), &id, "approve").await;
    assert_eq!((refused.status, refused.json()["code"].as_str()), (403, Some("assurance_too_low")));

    let pictures = counterparts().join("pictures");
    fs::create_dir_all(&pictures).unwrap();
    // Browsers take no address for a relying party.
    let url = site.api.replace("127.0.0.1", "localhost");
    let mut browser = Command::new("node")
        .arg(script("passkeys.mjs"))
        .args([url.as_str(), id.as_str()])
        .arg(pictures)
        .current_dir(counterparts())
        .env("CONSOLE_TOKEN", &site.reviewers[0].1)
        .stdout(Stdio::piped())
        .spawn()
        .expect("node starts");
    let mut steps = BufReader::new(browser.stdout.take().unwrap()).lines();
    let mut step = |expected: &str| {
        let line = steps.next().expect("another step").expect("a line");
        let step: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(step["step"], expected, "{step}");
        step
    };
    assert_eq!(step("told")["plain"], 0, "there is no other way to approve");
    assert_eq!(step("added")["violations"], json!([]), "WCAG violations");
    step("unverified");
    assert_eq!(site.admin().get(&format!("/api/v1/approvals/{id}")).await.ok()["state"], "pending");
    assert_eq!(step("approved")["complaints"], json!([]), "nothing inline, and no errors");
    let approval = site.until(&id, "approved").await;
    let vote = &approval["votes"][0];
    assert_eq!((&vote["assurance"], &vote["channel"]), (&json!("passkey"), &json!("console")));
    assert_eq!(vote["reason"], "Reviewed the change,\nand the tests.");
    assert!(browser.wait().unwrap().success());
}
