//! The official MCP SDK clients through `countersign mcp` to the reference filesystem server.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use countersign_tests::{Dev, DevOptions};
use serde_json::Value;

use crate::{counterparts, script};

/// A client that runs, and the lines it tells its steps in.
struct Agent {
    child: Child,
    steps: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Agent {
    fn start(dev: &Dev, mut client: Command, folder: &Path) -> Self {
        let server =
            counterparts().join("node_modules/@modelcontextprotocol/server-filesystem/dist/index.js");
        let through = dev.countersign();
        client.arg(folder).arg(through.get_program()).args(["mcp", "--name", "files", "--", "node"]);
        client.arg(server).arg(folder).current_dir(counterparts());
        client.env("COUNTERSIGN_SOCKET", dev.text("check_socket"));
        let mut child = client.stdout(Stdio::piped()).spawn().expect("the client starts");
        let steps = BufReader::new(child.stdout.take().expect("its output")).lines();
        Self { child, steps }
    }

    /// The next step; blocks the calling thread until the client takes it.
    fn step(&mut self, expected: &str) -> Value {
        let line = self.steps.next().expect("another step").expect("a line");
        let step: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(step["step"], expected, "{step}");
        step
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn reads_flow_and_writes_wait(client: Command) {
    let dev = Dev::start(DevOptions { starter: true, ..DevOptions::default() });
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().canonicalize().unwrap();
    std::fs::write(folder.join("note.txt"), "as it was").unwrap();

    let mut agent = Agent::start(&dev, client, &folder);
    let tools = agent.step("tools");
    assert!(tools["names"].as_array().unwrap().contains(&"write_file".into()), "{tools}");
    let read = agent.step("read");
    assert_eq!((&read["error"], read["text"].as_str()), (&false.into(), Some("as it was")), "{read}");

    let asked = dev.decide_next(&[0], "approve").await;
    assert!(asked["operation_text"].as_str().unwrap().contains("countersigned"), "{asked}");
    let write = agent.step("write");
    assert_eq!(write["error"], false, "{write}");
    assert_eq!(std::fs::read_to_string(folder.join("note.txt")).unwrap(), "countersigned");
    dev.until(asked["id"].as_str().unwrap(), "executed").await;

    dev.decide_next(&[0], "deny").await;
    let moved = agent.step("move");
    assert_eq!(moved["error"], true, "{moved}");
    assert!(moved["text"].as_str().unwrap().to_lowercase().contains("denied"), "an honest refusal: {moved}");
    assert!(folder.join("note.txt").exists(), "the denied call never reached the server");
    agent.step("done");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_sdk() {
    let mut client = Command::new(counterparts().join("venv/bin/python"));
    client.arg(script("mcp_client.py"));
    reads_flow_and_writes_wait(client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_typescript_sdk() {
    let mut client = Command::new("node");
    client.arg(script("mcp_client.mjs"));
    reads_flow_and_writes_wait(client).await;
}
