//! Signing in at identity providers in a real browser: Okta, Google, and somebody's own.

use std::{
    fs,
    io::{BufRead, BufReader, Lines},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{ChildStdout, Command, Stdio},
};

use countersign_tests::{Process, binary};
use serde_json::{Value, json};

use crate::{counterparts, free_port, script};

fn node() -> Command {
    let mut node = Command::new(counterparts().join("node_modules/.bin/node"));
    node.current_dir(counterparts());
    node
}

/// A provider's settings; roles go by the group `sre`, but for Google, which tells none.
fn provider(folder: &Path, id: &str, more: &str) -> String {
    let secret = folder.join(format!("{id}.secret"));
    fs::write(&secret, format!("{id}-secret\n")).unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let secret = if id == "sso" { String::new() } else { format!("client_secret_file = {secret:?}\n") };
    format!(
        "[[identity.providers]]\nid = \"{id}\"\nclient_id = \"countersign\"\nallowed_domains = [\"example.com\"]\n\
         {secret}{more}\n"
    )
}

/// `sessions` says how long they last.
fn start_control(folder: &Path, port: u16, idp: &Value, sessions: &str) -> Process {
    fs::create_dir_all(folder).unwrap();
    let issuer = |id: &str| idp[id].as_str().unwrap();
    let groups = "roles = { reviewer = [\"group:sre\"] }";
    let okta = format!("kind = \"okta\"\nissuer = {:?}\n{groups}", issuer("okta"));
    let google = format!(
        "kind = \"google\"\nissuer = {:?}\nhosted_domain = \"example.com\"\nroles = {{ reviewer = [\"*\"] }}",
        issuer("google")
    );
    let sso = format!("issuer = {:?}\nscopes = [\"openid\", \"email\", \"groups\"]\n{groups}", issuer("sso"));
    let text = format!(
        "data = {:?}\ntrust_domain = \"example.org\"\n[api]\nlisten = \"127.0.0.1:{port}\"\n[link]\n\
         listen = \"127.0.0.1:0\"\n[identity]\nlocal = false\nsession_lifetime = {sessions:?}\n\
         session_idle = {sessions:?}\n{}{}{}",
        folder.join("data"),
        provider(folder, "okta", &okta),
        provider(folder, "google", &google),
        provider(folder, "sso", &sso),
    );
    let file = folder.join("control.toml");
    fs::write(&file, text).unwrap();
    let (control, _) =
        Process::start(Command::new(binary("countersign-control")).arg("--json").arg("--config").arg(&file));
    control
}

struct Steps(Lines<BufReader<ChildStdout>>);

impl Steps {
    /// The next step, which must be that one.
    fn next(&mut self, expected: &str) -> Value {
        let line = self.0.next().expect("another step").expect("a line");
        let step: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(step["step"], expected, "{step}");
        step
    }

    /// The next step, which must tell of a problem in those words.
    fn problem(&mut self, expected: &str, words: &str) -> Value {
        let step = self.next(expected);
        assert!(step["problem"].as_str().is_some_and(|problem| problem.contains(words)), "{step}");
        step
    }
}

#[test]
fn people_sign_in_at_okta_google_and_their_own_provider_and_nobody_else_does() {
    let folder = tempfile::tempdir().unwrap();
    let [port, short_port] = [free_port(), free_port()];
    let [console, short] = [port, short_port].map(|port| format!("http://127.0.0.1:{port}"));
    let (_idp, ready) = Process::start(node().arg(script("idp.mjs")).args([&console, &short]));
    let idp: Value = serde_json::from_str(&ready).expect("issuers");
    let _control = start_control(&folder.path().join("long"), port, &idp, "1h");
    let _short = start_control(&folder.path().join("short"), short_port, &idp, "60s");
    let pictures = counterparts().join("pictures");
    fs::create_dir_all(&pictures).unwrap();
    let mut browser = node()
        .arg(script("sign_in.mjs"))
        .args([Path::new(&console), &pictures])
        .env("SSO", idp["sso"].as_str().unwrap())
        .env("SHORT", &short)
        .stdout(Stdio::piped())
        .spawn()
        .expect("node starts");
    let mut steps = Steps(BufReader::new(browser.stdout.take().unwrap()).lines());

    assert_eq!(steps.next("kept")["status"], 200);
    let page = steps.next("page");
    assert_eq!(page["violations"], json!([]), "WCAG violations");
    assert!(!page["text"].as_str().unwrap().contains("token"), "{page}");
    let okta = steps.next("okta");
    assert_eq!(
        (&okta["person"], &okta["url"]),
        (&json!("reviewer-one@example.com"), &json!(format!("{console}/")))
    );
    assert_eq!(steps.next("google")["person"], "reviewer-two@example.com");
    assert_eq!(steps.next("sso")["person"], "reviewer-three@example.com");
    for words in ["organisation", "organisation", "has a role here", "has a role here"] {
        let refused = steps.problem("refused", words);
        assert_eq!(refused["inside"], format!("{console}/sign-in"), "{refused}");
    }
    let replay = steps.next("replay");
    assert!(replay["problem"].as_str().unwrap().contains("not started in this browser"), "{replay}");
    steps.problem("replay-with-cookie", "did not confirm the sign-in");
    steps.problem("another-browser", "not started in this browser");
    steps.problem("mix-up", "not started in this browser");
    steps.problem("nonce", "could not be verified");
    assert_eq!(steps.next("signed-out")["url"], format!("{console}/sign-in"));
    assert_eq!(steps.next("ended-there")["url"], format!("{console}/sign-in?next=/approvals/x"));
    let expired = steps.next("expired");
    assert_eq!((&expired["status"], &expired["location"]), (&json!(303), &json!("/sign-in")));
    assert!(browser.wait().unwrap().success());
}
