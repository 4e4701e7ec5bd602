//! MCP on stdio through the real `countersign mcp`, beside the real sidecar: a client is shown what it may
//! call, and one that does not wait for people comes again.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Lines, Write as _},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
};

use countersign_tests::{Site, binary};
use serde_json::{Value, json};

const POLICIES: &str = r#"
permit (principal, action in [Mcp::Action::"tools/list", Mcp::Action::"tools/call"], resource);
@id("writes-need-a-reviewer") @approval("one") @reason("Writing needs a reviewer")
forbid (principal, action == Mcp::Action::"tools/call", resource == Mcp::Tool::"files/write_file")
unless { context.approvals.contains("one") };
@id("nothing-is-deleted") @reason("Nothing is deleted")
forbid (principal, action == Mcp::Action::"tools/call", resource == Mcp::Tool::"files/delete_file");
"#;

fn add_policies(files: &mut BTreeMap<String, String>) {
    files.insert("policies/mcp.cedar".to_owned(), POLICIES.to_owned());
}

/// A client of a server with the files of a folder.
struct Client {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    next: u32,
}

impl Client {
    fn start(site: &Site, folder: &Path) -> Self {
        let mut command = Command::new(binary("countersign"));
        command.env("COUNTERSIGN_SOCKET", site.socket()).args(["mcp", "--name", "files", "--patience", "1"]);
        command.arg("--").arg(binary("countersign")).args(["demo-files", "--root"]).arg(folder);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines, next: 0 }
    }

    fn request(&mut self, method: &str, params: &Value) -> Value {
        self.next += 1;
        let message = json!({"jsonrpc": "2.0", "id": self.next, "method": method, "params": params});
        writeln!(self.child.stdin.as_mut().unwrap(), "{message}").unwrap();
        let answer: Value = serde_json::from_str(&self.lines.next().unwrap().unwrap()).unwrap();
        assert_eq!(answer["id"], self.next, "{answer}");
        answer
    }

    fn call(&mut self, tool: &str, arguments: &Value) -> Value {
        self.request("tools/call", &json!({"name": tool, "arguments": arguments}))["result"].clone()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denied_tool_is_not_shown_and_a_held_one_runs_once_when_it_is_called_again() {
    let site = Site::start(add_policies).await;
    let folder = tempfile::tempdir().unwrap();
    let note = folder.path().join("note.txt");
    fs::write(&note, "as it was").unwrap();
    let mut client = Client::start(&site, folder.path());

    // The client knows the tool from elsewhere, and does not list: the relay does, before it asks.
    let refused = client.call("delete_file", &json!({"path": "note.txt"}));
    assert_eq!(
        refused["_meta"]["countersign/denial"]["policies"][0]["id"], "nothing-is-deleted",
        "{refused}"
    );
    assert!(note.exists());
    let list = client.request("tools/list", &json!({}));
    let names: Vec<&str> =
        list["result"]["tools"].as_array().unwrap().iter().filter_map(|tool| tool["name"].as_str()).collect();
    assert_eq!(names, ["list_directory", "read_text_file", "write_file"]);

    let write = json!({"path": "note.txt", "content": "countersigned"});
    let pending = client.call("write_file", &write);
    assert_eq!(pending["_meta"]["countersign/denial"]["code"], "pending", "{pending}");
    let asked = site.decide_next(&[0], "approve").await;
    assert_eq!(asked["id"], pending["_meta"]["countersign/denial"]["approval"]);
    assert!(asked["operation_text"].as_str().unwrap().contains("accepted"), "where the tool stands: {asked}");
    assert_eq!(fs::read_to_string(&note).unwrap(), "as it was", "an approval runs nothing by itself");
    let written = client.call("write_file", &write);
    assert!(written.get("isError").is_none(), "{written}");
    assert_eq!(fs::read_to_string(&note).unwrap(), "countersigned");
    site.until(asked["id"].as_str().unwrap(), "executed").await;
    let again = client.call("write_file", &write);
    assert_eq!(again["_meta"]["countersign/denial"]["code"], "pending", "it was used up: {again}");
}
