//! The program itself, killed while somebody waits.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use countersign_approval::Phase;
use countersign_pki::JoinToken;
use countersign_transport::{Limits, enrol};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    receiver::{Answer, Receiver, secret_file},
    world::{Sidecar, bundle, submission},
};

struct Control {
    child: Child,
    api: String,
    link: String,
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Control {
    /// Starts a control plane on a folder, with whatever settings are in its file `more.toml`.
    fn start(folder: &Path, link: &str) -> Self {
        let (config, people) = (folder.join("control.toml"), folder.join("people.toml"));
        let settings = format!(
            "data = {:?}\ntrust_domain = \"test.example\"\npeople = {people:?}\n\
             [api]\nlisten = \"127.0.0.1:0\"\n[link]\nlisten = {link:?}\n{}",
            folder.join("data"),
            fs::read_to_string(folder.join("more.toml")).unwrap_or_default(),
        );
        fs::write(&config, settings).unwrap();
        let known = "[\"owner@example.com\"]\nroles = [\"admin\"]\n\
                     [\"reviewer-one@example.com\"]\nroles = [\"reviewer\"]\n";
        fs::write(&people, known).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_countersign-control"))
            .arg("--config")
            .arg(&config)
            .arg("--json")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = lines.next().expect("a line that says where everything is").unwrap();
        let ready: Value = serde_json::from_str(&ready).unwrap();
        let text = |name: &str| ready[name].as_str().unwrap().to_owned();
        Self { child, api: text("api"), link: text("link") }
    }

    /// SIGKILL, and another process on the same data and link port.
    fn killed_and_started_again(self, folder: &Path) -> Self {
        let link = self.link.clone();
        drop(self);
        Self::start(folder, &link)
    }

    async fn call(&self, token: &str, method: Method, path: &str, body: Value) -> Value {
        let url = format!("{}{path}", self.api);
        let request = reqwest::Client::new().request(method, url).bearer_auth(token).json(&body);
        let response = request.send().await.unwrap();
        let (status, text) = (response.status(), response.text().await.unwrap());
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap()
    }
}

fn token(folder: &Path, person: &str) -> String {
    fs::read_to_string(folder.join("data/first-tokens").join(format!("{person}.token"))).unwrap()
}

/// An enrolled sidecar under the test bundle.
async fn sidecar(control: &Control, folder: &Path) -> Sidecar {
    let admin = token(folder, "owner@example.com");
    let agent = json!({"name": "bot", "owner": "owner@example.com"});
    let added = control.call(&admin, Method::POST, "/api/v1/agents", agent).await;
    let join: JoinToken = added["token"].as_str().unwrap().parse().unwrap();
    let enrolled = enrol(&control.link, &join, None, "test".into(), Limits::default()).await.unwrap();
    let text = |(path, bytes): (String, Vec<u8>)| (path, String::from_utf8(bytes).unwrap());
    let files: BTreeMap<_, _> = bundle(&[]).into_iter().map(text).collect();
    control.call(&admin, Method::POST, "/api/v1/policy/revisions", json!({"files": files})).await;
    let keys = enrolled.enrolled.bundle_keys.clone();
    let sidecar = Sidecar::connect(&control.link, enrolled.identity, enrolled.trust, keys);
    sidecar.until_revision(1).await;
    sidecar
}

/// Killed between a vote and the message that tells of it: in the end the message is there, under the
/// identifier that it had.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_to_be_told_is_told_after_being_killed() {
    let (folder, receiver) = (tempfile::tempdir().unwrap(), Receiver::start().await);
    let more = format!(
        "[[channels.webhook]]\nname = \"hook\"\nurl = {:?}\nsecret_files = [{:?}]\n\
         [[routes]]\nrequirement = \"*\"\nchannel = \"hook\"\n",
        receiver.url,
        secret_file(folder.path()),
    );
    fs::write(folder.path().join("more.toml"), more).unwrap();
    let control = Control::start(folder.path(), "127.0.0.1:0");
    let sidecar = sidecar(&control, folder.path()).await;
    let id = sidecar.submit(submission("k", "deploy", "one", 1)).await.unwrap().id;
    receiver.until_kind("approval.requested").await;
    // From here on it takes what it is told and does not say so.
    receiver.answer(None);
    let reviewer = token(folder.path(), "reviewer-one@example.com");
    let vote = json!({"decision": "deny", "reason": "not today"});
    control.call(&reviewer, Method::POST, &format!("/api/v1/approvals/{id}/votes"), vote).await;
    let unsaid = receiver.until_kind("approval.denied").await;
    let _control = control.killed_and_started_again(folder.path());
    receiver.answer(Some(Answer::status(204)));
    let count = || receiver.received().iter().filter(|one| one.id == unsaid.id).count();
    while count() < 2 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(receiver.kinds().iter().filter(|kind| *kind == "approval.requested").count(), 1);
}

/// Killed without warning while an approval is pending with one vote, and again once it is approved.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_being_killed() {
    let folder = tempfile::tempdir().unwrap();
    let control = Control::start(folder.path(), "127.0.0.1:0");
    let (admin, reviewer) =
        (token(folder.path(), "owner@example.com"), token(folder.path(), "reviewer-one@example.com"));
    let agent = json!({"name": "bot", "owner": "owner@example.com"});
    let added = control.call(&admin, Method::POST, "/api/v1/agents", agent).await;
    let join: JoinToken = added["token"].as_str().unwrap().parse().unwrap();
    let enrolled = enrol(&control.link, &join, None, "test".into(), Limits::default()).await.unwrap();
    let text = |(path, bytes): (String, Vec<u8>)| (path, String::from_utf8(bytes).unwrap());
    let files: BTreeMap<_, _> = bundle(&[]).into_iter().map(text).collect();
    control.call(&admin, Method::POST, "/api/v1/policy/revisions", json!({"files": files})).await;

    let keys = enrolled.enrolled.bundle_keys.clone();
    let sidecar = Sidecar::connect(&control.link, enrolled.identity, enrolled.trust, keys);
    sidecar.until_revision(1).await;
    let id = sidecar.submit(submission("k", "deploy", "one", 1)).await.unwrap().id;

    let control = control.killed_and_started_again(folder.path());
    let vote = json!({"decision": "approve", "reason": "looks right"});
    let voted = control.call(&reviewer, Method::POST, &format!("/api/v1/approvals/{id}/votes"), vote).await;
    assert_eq!(voted["state"], "approved");

    // The grant is the same before and after: it follows from what is stored.
    sidecar.until_up().await;
    let before = sidecar.until_status(id, |status| status.phase == Phase::Approved).await.grant.unwrap();
    let control = control.killed_and_started_again(folder.path());
    sidecar.until_up().await;
    let after = sidecar.until_status(id, |status| status.phase == Phase::Approved).await.grant.unwrap();
    assert_eq!(before, after);
    // The join token was used, and stays used.
    let again = enrol(&control.link, &join, None, "test".into(), Limits::default()).await;
    assert!(again.is_err());
}
