//! The official SDKs as they come, with their own time-outs, calling a tool that people must approve: it
//! runs exactly once, however long they take.
//!
//! How long that is, in seconds, is told in `COUNTERSIGN_DELAYS` (`3,75,300`, say), and how long a client is
//! believed to wait in `COUNTERSIGN_PATIENCE`. A routine run shortens both, so that a client is sent away
//! just as often.

use std::{
    collections::BTreeMap,
    env,
    io::{BufRead, BufReader, Lines},
    process::{Child, ChildStdout, Command, Stdio},
    time::Duration,
};

use countersign_tests::Site;
use serde_json::Value;

use crate::{counterparts, reference::Reference, script};

const TOOL: &str = "test_simple_text";

const POLICIES: &str = r#"
permit (principal, action, resource) when { context has mcp };
@id("calls-need-a-reviewer") @approval("one") @reason("A reviewer decides about every call")
forbid (principal, action == Mcp::Action::"tools/call", resource)
unless { context.approvals.contains("one") };
"#;

/// A client that runs, and the steps that it tells of.
struct Agent {
    child: Child,
    steps: Lines<BufReader<ChildStdout>>,
}

impl Agent {
    fn start(mut client: Command) -> Self {
        let mut child = client.current_dir(counterparts()).stdout(Stdio::piped()).spawn().expect("it starts");
        let steps = BufReader::new(child.stdout.take().expect("its output")).lines();
        Self { child, steps }
    }

    fn step(&mut self, expected: &str) -> Value {
        loop {
            let line = self.steps.next().expect("another step").expect("a line");
            let step: Value = serde_json::from_str(&line).expect("JSON");
            match step["step"].as_str() {
                Some("pending") if expected != "pending" => {}
                Some(name) if name == expected => return step,
                _ => panic!("{expected}, not {step}"),
            }
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn hold_calls(files: &mut BTreeMap<String, String>) {
    files.insert("policies/mcp.cedar".to_owned(), POLICIES.to_owned());
}

fn delays() -> Vec<Duration> {
    let delays = env::var("COUNTERSIGN_DELAYS").unwrap_or_else(|_| "1,5".to_owned());
    delays.split(',').map(|delay| Duration::from_secs(delay.parse().expect("seconds"))).collect()
}

async fn runs_exactly_once(client: impl Fn() -> Command) {
    let patience = env::var("COUNTERSIGN_PATIENCE").unwrap_or_else(|_| "2s".to_owned());
    for delay in delays() {
        let reference = Reference::start().await;
        let settings = vec![
            "mcp.listen=127.0.0.1:0".to_owned(),
            "mcp.servers.0.name=reference".to_owned(),
            format!("mcp.servers.0.url=http://{}/mcp", reference.address),
            format!("mcp.servers.0.patience={patience}"),
        ];
        let site = Site::with_settings(hold_calls, settings).await;
        let mut command = client();
        command.args([&format!("{}/mcp/reference", site.mcp), &site.mcp_token, TOOL]);
        let mut agent = tokio::task::spawn_blocking(move || Agent::start(command)).await.unwrap();
        agent.step("connected");
        let asked = site.next_pending().await;
        tokio::time::sleep(delay).await;
        assert_eq!(reference.calls(), 0, "nothing runs before the approval");
        let voted = site.decide_next(&[0], "approve").await;
        assert_eq!(voted["id"], asked["id"], "however often the client asks, people are asked once");
        let done = tokio::task::spawn_blocking(move || agent.step("done")).await.unwrap();
        assert_eq!(done["error"], false, "{done}");
        assert_eq!(reference.calls(), 1);
        site.until(asked["id"].as_str().unwrap(), "executed").await;
        eprintln!("approved after {delay:?}: {} call(s) of the client, one execution", done["tries"]);
    }
}

fn node(kind: &'static str) -> impl Fn() -> Command {
    move || {
        let mut command = Command::new(counterparts().join("node_modules/.bin/node"));
        command.arg(script("waiting.mjs")).env("COUNTERSIGN_SDK", kind);
        command
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_typescript_sdk() {
    runs_exactly_once(node("v1")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_typescript_sdk() {
    runs_exactly_once(node("v2")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_typescript_sdk_without_sessions() {
    runs_exactly_once(node("v2-stateless")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_sdk() {
    runs_exactly_once(|| {
        let mut command = Command::new(counterparts().join("venv/bin/python"));
        command.arg(script("waiting.py"));
        command
    })
    .await;
}
