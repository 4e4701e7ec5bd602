//! Channels as their counterparts see them: webhooks by the specification's own library, mails by a mail server
//! with TLS, and the inbox at a real terminal.

use std::{
    io::{BufRead, BufReader, Lines},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
};

use countersign_tests::{Dev, DevOptions, Site};
use serde_json::{Value, json};

use crate::{counterparts, free_port, script};

/// The receivers of events and mails.
struct Receivers {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    smtp: u16,
    url: String,
}

impl Drop for Receivers {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Receivers {
    fn start(folder: &Path) -> Self {
        let smtp = free_port();
        let mut child = Command::new(counterparts().join("venv/bin/python"))
            .arg(script("channels.py"))
            .arg(folder)
            .arg(smtp.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python starts");
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut receivers = Self { child, lines, smtp, url: String::new() };
        receivers.url = receivers.next()["url"].as_str().unwrap().to_owned();
        receivers
    }

    fn next(&mut self) -> Value {
        let line = self.lines.next().expect("another line").expect("a line");
        serde_json::from_str(&line).expect("JSON")
    }

    /// The next event of that type and the next mail, in whichever order they come.
    fn event_and_mail(&mut self, kind: &str) -> (Value, Value) {
        let (mut event, mut mail) = (None, None);
        loop {
            let next = self.next();
            match next["step"].as_str() {
                Some("event") if next["event"]["type"] == kind => event = Some(next),
                Some("mail") => mail = Some(next),
                Some("event") => {}
                _ => panic!("{next}"),
            }
            if let (Some(event), Some(mail)) = (&event, &mail) {
                return (event.clone(), mail.clone());
            }
        }
    }

    fn settings(&self, folder: &Path) -> Vec<String> {
        let file = |name: &str| folder.join(name).display().to_string();
        [
            ("channels.webhook.0.name", "hook".to_owned()),
            ("channels.webhook.0.url", self.url.clone()),
            ("channels.webhook.0.secret_files.0", file("next.secret")),
            ("channels.webhook.0.secret_files.1", file("known.secret")),
            ("channels.email.0.name", "mail".to_owned()),
            ("channels.email.0.host", "localhost".to_owned()),
            ("channels.email.0.port", self.smtp.to_string()),
            ("channels.email.0.ca_file", file("ca.pem")),
            ("channels.email.0.from", "Countersign <countersign@example.com>".to_owned()),
            ("routes.0.requirement", "*".to_owned()),
            ("routes.0.channel", "hook".to_owned()),
            ("routes.1.requirement", "*".to_owned()),
            ("routes.1.channel", "mail".to_owned()),
            ("routes.1.room", "sre@example.com".to_owned()),
        ]
        .map(|(key, value)| format!("{key}={value}"))
        .into()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_verify_and_mails_thread() {
    let folder = tempfile::tempdir().unwrap();
    let mut receivers = Receivers::start(folder.path());
    let site = Site::with_channels(receivers.settings(folder.path())).await;
    let id = site.request("deploy").await;

    let (event, mail) = receivers.event_and_mail("approval.requested");
    assert_eq!((&event["event"]["data"]["id"], &mail["tls"]), (&json!(id), &json!(true)));
    assert_eq!(mail["to"], json!(["sre@example.com"]));
    let link = event["event"]["data"]["url"].as_str().unwrap();
    assert!(mail["text"].as_str().unwrap().contains(link) && mail["html"].as_str().unwrap().contains(link));
    let first = mail["headers"]["message-id"].clone();

    site.vote(&site.reviewer(0), &id, "deny").await.ok();
    let (event, mail) = receivers.event_and_mail("approval.denied");
    assert_eq!(event["event"]["data"]["state"], "denied");
    assert_eq!((&mail["headers"]["in-reply-to"], &mail["headers"]["references"]), (&first, &first));
    assert!(mail["headers"]["subject"].as_str().unwrap().starts_with("Re: "));

    let tested = site.admin().post("/api/v1/channels/mail/test", &json!({})).await.ok();
    assert_eq!(tested["state"], "healthy");
}

/// A paste with the confirming key in it decides nothing; the key, pressed, does.
#[tokio::test(flavor = "multi_thread")]
async fn the_inbox_decides_at_a_terminal() {
    let dev = Dev::start(DevOptions::default());
    let id = dev.request("deploy").await;
    let reviewer = dev.ready()["reviewers"][0]["token"].as_str().unwrap().to_owned();
    let said = Command::new(counterparts().join("venv/bin/python"))
        .arg(script("inbox.py"))
        .arg(dev.countersign().get_program())
        .arg("approve")
        .env("COUNTERSIGN_URL", &dev.api)
        .env("COUNTERSIGN_TOKEN", reviewer)
        .env_remove("NO_COLOR")
        .output()
        .expect("python runs");
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let said: Value = serde_json::from_slice(&said.stdout).expect("JSON");
    assert_eq!(said["restored"], true);
    assert!(said["pasted"].as_str().unwrap().contains("payments"), "{said}");
    dev.until(&id, "approved").await;
}
