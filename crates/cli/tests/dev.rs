//! `countersign dev` and `countersign demo` as real processes: control plane, sidecar, QUIC, store and all.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "this is test code, and a panic is how a test fails"
)]

use std::{
    path::Path,
    process::{Output, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

/// How long a machine under load may take for anything.
const PATIENCE: Duration = Duration::from_secs(60);

fn countersign(verb: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.args(verb).kill_on_drop(true).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // Cargo sets the first for its tests; the others would be of the machine's own set-up.
    for name in ["LD_LIBRARY_PATH", "COUNTERSIGN_URL", "COUNTERSIGN_TOKEN", "COUNTERSIGN_SOCKET"] {
        command.env_remove(name);
    }
    command
}

struct Dev {
    child: Child,
    ready: Value,
}

impl Dev {
    async fn start(data: &Path) -> Self {
        let mut command =
            countersign(&["dev", "--json", "--api", "0", "--link", "0", "--check", "0", "--data"]);
        let mut child = command.arg(data).stderr(Stdio::inherit()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap().unwrap();
        Self { child, ready: serde_json::from_str(&line).unwrap() }
    }

    fn text(&self, name: &str) -> &str {
        self.ready[name].as_str().unwrap()
    }

    fn reviewer(&self) -> &str {
        self.ready["reviewers"][0]["token"].as_str().unwrap()
    }

    /// `countersign` with this sidecar and a token for this control plane.
    fn countersign(&self, token: &str, words: &[&str]) -> Command {
        let mut command = countersign(words);
        command.env("COUNTERSIGN_SOCKET", self.text("check_socket"));
        command.env("COUNTERSIGN_URL", self.text("api")).env("COUNTERSIGN_TOKEN", token);
        command
    }

    async fn run(&self, words: &[&str]) -> Output {
        self.countersign(self.reviewer(), words).output().await.unwrap()
    }

    async fn json(&self, words: &[&str]) -> Value {
        let output = self.run(words).await;
        assert!(output.status.success(), "{}", stderr(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Asks for a push, which is held, until an approval of it is pending.
    async fn held_push(&self) -> (Child, String) {
        let child =
            self.countersign(self.reviewer(), &["exec", "--", "git", "push", "--force"]).spawn().unwrap();
        let begun = Instant::now();
        loop {
            let list = self.json(&["approvals", "list", "--state", "pending", "--json"]).await;
            if let Some(id) = list["items"][0]["id"].as_str() {
                return (child, id.to_owned());
            }
            assert!(begun.elapsed() < PATIENCE, "nobody is asked");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn stop(mut self) {
        let pid = Pid::from_raw(i32::try_from(self.child.id().unwrap()).unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await.unwrap().unwrap();
        assert!(status.success(), "{status}");
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn starting_again_with_the_same_data_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let first = Dev::start(&data).await;
    assert!(first.run(&["exec", "--", "true"]).await.status.success());
    assert_eq!(first.run(&["exec", "--", "rm", "x"]).await.status.code(), Some(77));
    let (held, id) = first.held_push().await;
    let before = first.ready.clone();
    first.stop().await;
    let output = held.wait_with_output().await.unwrap();
    assert_eq!(output.status.code(), Some(75), "{}", stderr(&output));

    let second = Dev::start(&data).await;
    for name in ["admin_token", "reviewers", "check_token", "check_socket", "data"] {
        assert_eq!(second.ready[name], before[name], "{name}");
    }
    assert!(second.run(&["exec", "--", "true"]).await.status.success());
    let approval = second.json(&["approvals", "show", &id, "--json"]).await;
    assert_eq!(approval["state"], "cancelled", "{approval}");
    let history = second.json(&["policy", "history", "--json"]).await;
    assert_eq!(history["items"].as_array().unwrap().len(), 1, "the bundle is pushed once: {history}");
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_of_a_vote_can_be_verified_offline_and_a_change_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let dev = Dev::start(&folder.path().join("data")).await;
    let (held, id) = dev.held_push().await;
    let owner =
        dev.countersign(dev.text("admin_token"), &["approvals", "approve", &id]).output().await.unwrap();
    assert!(owner.status.success(), "a push asks for the owner's own confirmation: {}", stderr(&owner));
    let denied = dev.run(&["approvals", "deny", &id, "--reason", "not today"]).await;
    assert!(denied.status.success(), "{}", stderr(&denied));
    let output = held.wait_with_output().await.unwrap();
    assert_eq!(output.status.code(), Some(77));
    assert!(stderr(&output).contains("not today"), "{}", stderr(&output));

    let (export, key) = (folder.path().join("log.jsonl"), folder.path().join("ledger.key"));
    let (export_text, key_text) = (export.to_str().unwrap(), key.to_str().unwrap());
    assert!(
        dev.run(&["audit", "export", "--out", export_text, "--key-out", key_text]).await.status.success()
    );
    dev.stop().await;
    let verify = ["audit", "verify", export_text, "--key", key_text];
    assert!(countersign(&verify).output().await.unwrap().status.success());
    let text = std::fs::read_to_string(&export).unwrap();
    assert!(text.contains("not today"));
    std::fs::write(&export, text.replace("not today", "yes, please")).unwrap();
    let changed = countersign(&verify).output().await.unwrap();
    assert_eq!(changed.status.code(), Some(1), "{}", String::from_utf8_lossy(&changed.stdout));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_runs_by_itself() {
    let demo = countersign(&["demo", "--yes"]).output();
    let output = tokio::time::timeout(PATIENCE, demo).await.unwrap().unwrap();
    let story = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{story}\n{}", stderr(&output));
    for expected in [
        "ls -l  runs",
        "rm -rf orders.txt  denied",
        "write_file letter.txt  held",
        "write_file letter.txt  approved and executed",
        "vote  reviewer-two@example.com  approve",
        "every event of the log",
    ] {
        assert!(story.contains(expected), "{expected}\n{story}");
    }
    assert!(!story.contains('\u{1b}'), "no colours where there is no terminal");
}
