//! MCP over HTTP through the real sidecar: what is permitted flows, what is held waits for a person, and a
//! sidecar that dies runs nothing afterwards.

use std::{
    collections::BTreeMap,
    fs,
    sync::{Arc, Mutex},
};

use axum::{Json, Router, extract::State, routing::post};
use countersign_tests::{Dev, DevOptions, Site, binary, eventually};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::{Value, json};
use tokio::net::TcpListener;

const POLICIES: &str = r#"
permit (principal, action in [Mcp::Action::"initialize", Mcp::Action::"tools/call"], resource);
@id("writes-need-a-reviewer") @approval("one") @reason("Writing needs a reviewer")
forbid (principal, action == Mcp::Action::"tools/call", resource == Mcp::Tool::"files/write")
unless { context.approvals.contains("one") };
@id("deletions-need-a-reviewer") @approval("one") @reason("Deleting needs a reviewer")
forbid (principal, action == Mcp::Action::"tools/call", resource == Mcp::Tool::"files/delete_file")
unless { context.approvals.contains("one") };
"#;

type Calls = Arc<Mutex<Vec<String>>>;

/// An MCP server that remembers what it was asked to do.
async fn server() -> (String, Calls) {
    let calls = Calls::default();
    let perform = async |State(calls): State<Calls>, Json(message): Json<Value>| {
        let result = match message["method"].as_str() {
            Some("tools/call") => {
                let tool = message["params"]["name"].as_str().unwrap_or_default();
                calls.lock().unwrap().push(tool.to_owned());
                json!({"content": []})
            }
            _ => json!({"tools": [{"name": "read"}, {"name": "write"}]}),
        };
        Json(json!({"jsonrpc": "2.0", "id": message["id"], "result": result}))
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    let routes = Router::new().route("/mcp", post(perform)).with_state(Arc::clone(&calls));
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    (url, calls)
}

fn add_policies(files: &mut BTreeMap<String, String>) {
    files.insert("policies/mcp.cedar".to_owned(), POLICIES.to_owned());
}

async fn site() -> (Site, Calls) {
    let (url, calls) = server().await;
    let settings = ["mcp.listen=127.0.0.1:0", "mcp.servers.0.name=files", "mcp.servers.0.patience=5m"];
    let mut settings: Vec<String> = settings.map(str::to_owned).into();
    settings.push(format!("mcp.servers.0.url={url}"));
    (Site::with_settings(add_policies, settings).await, calls)
}

fn call(site: &Site, tool: &str) -> reqwest::RequestBuilder {
    let params = json!({"name": tool, "arguments": {}});
    request(site, &json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_call_runs_once_a_person_has_approved_it() {
    let (site, calls) = site().await;
    let read: Value = call(&site, "read").send().await.unwrap().json().await.unwrap();
    assert_eq!(read["result"], json!({"content": []}));
    let response = call(&site, "write").send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let asked = site.decide_next(&[0], "approve").await;
    assert!(asked["operation_text"].as_str().unwrap().contains("files/write"), "{asked}");
    let events = response.text().await.unwrap();
    assert!(events.contains(r#""result":{"content":[]}"#), "{events}");
    assert_eq!(*calls.lock().unwrap(), ["read", "write"]);
    site.until(asked["id"].as_str().unwrap(), "executed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_that_dies_runs_nothing_afterwards() {
    let (mut site, calls) = site().await;
    let response = call(&site, "write").send().await.unwrap();
    let pending = site.next_pending().await;
    site.kill_sidecar();
    assert!(response.text().await.is_err(), "the stream breaks off");
    site.start_sidecar();
    site.until_connected().await;
    let id = pending["id"].as_str().unwrap().to_owned();
    site.until(&id, "cancelled").await;
    assert!(calls.lock().unwrap().is_empty());
}

/// A sidecar before a command that serves the files of a folder, once a line of shell has done something there.
async fn before_a_command(first: &str) -> (Site, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().to_str().unwrap();
    let script = format!("cd \"$0\"; {first} exec \"$1\" demo-files --root .");
    let words = ["/bin/sh", "-c", &script, root, binary("countersign").to_str().unwrap()].map(str::to_owned);
    let mut settings =
        ["mcp.listen=127.0.0.1:0", "mcp.servers.0.name=files", "mcp.servers.0.env.0=CARGO_PKG_NAME"]
            .map(str::to_owned)
            .to_vec();
    settings.push("mcp.servers.0.patience=5m".to_owned());
    let words = words.iter().enumerate();
    settings.extend(words.map(|(number, word)| format!("mcp.servers.0.command.{number}={word}")));
    (Site::with_settings(add_policies, settings).await, folder)
}

fn request(site: &Site, message: &Value) -> reqwest::RequestBuilder {
    let request = reqwest::Client::new().post(format!("{}/mcp/files", site.mcp)).bearer_auth(&site.mcp_token);
    request.header("accept", "application/json, text/event-stream").json(message)
}

/// Begins a session, and returns its id.
async fn begin(site: &Site) -> String {
    let params = json!({"protocolVersion": "2025-06-18", "capabilities": {}});
    let begin = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params});
    let begun = request(site, &begin).send().await.unwrap();
    begun.headers()["mcp-session-id"].to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_that_stops_takes_its_commands_with_it() {
    // What the command has started knows nothing of its input being closed.
    let (site, folder) = before_a_command("sleep 1000 & echo $! > child;").await;
    begin(&site).await;
    let child = fs::read_to_string(folder.path().join("child")).unwrap();
    let child = Pid::from_raw(child.trim().parse().unwrap()).unwrap();
    // One that has ended and that nobody has waited for yet is still there, as a zombie.
    let runs = || {
        let state = fs::read_to_string(format!("/proc/{}/stat", child.as_raw_nonzero()));
        test_kill_process(child).is_ok() && !state.is_ok_and(|state| state.contains(") Z "))
    };
    assert!(runs());
    let sidecar = Pid::from_raw(site.sidecar_id().try_into().unwrap()).unwrap();
    kill_process(sidecar, Signal::TERM).unwrap();
    eventually("it has gone", || async { (!runs()).then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_a_server_like_any_other() {
    let (site, folder) = before_a_command("env > environment;").await;
    let file = folder.path().join("a.txt");
    fs::write(&file, "precious").unwrap();
    let session = begin(&site).await;
    let post =
        |session: &str, message: &Value| request(&site, message).header("mcp-session-id", session).send();
    let delete = |id: u32| {
        let params = json!({"name": "delete_file", "arguments": {"path": "a.txt"}});
        json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params})
    };
    let held = post(&session, &delete(1)).await.unwrap();
    assert_eq!(held.headers()["content-type"], "text/event-stream");
    let asked = site.next_pending().await;
    assert!(file.exists(), "nothing runs before it is approved");
    site.decide_next(&[0], "approve").await;
    let events = held.text().await.unwrap();
    assert!(events.contains("deleted a.txt"), "{events}");
    assert!(!file.exists());
    site.until(asked["id"].as_str().unwrap(), "executed").await;
    // The approval is used up: the same again waits for people again.
    fs::write(&file, "precious again").unwrap();
    let again = post(&session, &delete(2)).await.unwrap();
    assert_ne!(site.next_pending().await["id"], asked["id"]);
    drop(again);
    assert!(file.exists());
    let stranger = post("a-guess", &delete(3)).await.unwrap();
    assert_eq!(stranger.status(), 404);
    let environment = fs::read_to_string(folder.path().join("environment")).unwrap();
    assert!(environment.contains("CARGO_PKG_NAME=") && environment.contains("PATH="), "{environment}");
    assert!(!environment.contains("CARGO_MANIFEST_DIR="), "{environment}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_can_be_named_on_the_command_line_of_dev() {
    let (url, calls) = server().await;
    let args = vec!["--mcp-port".to_owned(), "0".to_owned(), "--mcp".to_owned(), format!("files={url}")];
    let dev = Dev::start(DevOptions { starter: true, args, ..DevOptions::default() });
    let call = async |tool: &str, path: &str| -> Value {
        let params = json!({"name": tool, "arguments": {"path": path}});
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
        let request = reqwest::Client::new().post(format!("{}/mcp/files", dev.text("mcp")));
        let request = request.bearer_auth(dev.text("mcp_token")).header("accept", "application/json");
        request.json(&message).send().await.unwrap().json().await.unwrap()
    };
    assert_eq!(call("read_text_file", "a").await["result"], json!({"content": []}));
    // What cannot be judged is denied: it has no path.
    let refused = call("write_file", "").await;
    assert_eq!(refused["result"]["isError"], true, "{refused}");
    assert_eq!(*calls.lock().unwrap(), ["read_text_file"]);
}
