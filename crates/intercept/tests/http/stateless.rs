//! A server that is a command, for clients of the revision without sessions: one process for all of them,
//! and no message of one to another.

use std::time::Duration;

use countersign_gate::record::Kind;
use countersign_testkit::world::eventually;
use serde_json::{Value, json};

use crate::{
    program::Program,
    stage::{Stage, call, next_event},
};

const LONG: Duration = Duration::from_secs(600);
const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

fn request(id: u32, method: &str, name: &str) -> Value {
    let mut request = call(id, name);
    request["method"] = json!(method);
    request["params"]["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
        "progressToken": 1,
    });
    request
}

fn ask(
    stage: &Stage,
    method: &str,
    name: &str,
) -> tokio::task::JoinHandle<reqwest::Result<reqwest::Response>> {
    tokio::spawn(stage.modern(method, name, &request(1, method, name)).send())
}

#[tokio::test]
async fn callers_share_a_process_and_nothing_else() {
    let program = Program::new();
    let stage = Stage::before(program.upstream(), LONG).await;
    let asking = ask(&stage, "tools/call", "read");
    let mut process = program.process().await;
    let first = process.hears().await;
    let other = ask(&stage, "tools/call", "read");
    let second = process.hears().await;
    assert_eq!(process.listed, 1);
    assert_ne!(first["id"], second["id"]);
    // But for id and token, it is what was asked.
    let mut restored = second.clone();
    restored["id"] = json!(1);
    restored["params"]["_meta"]["progressToken"] = json!(1);
    assert_eq!(restored, request(1, "tools/call", "read"));
    let progress = |token: &Value| json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": token, "progress": 5}});
    process.says(progress(&second["params"]["_meta"]["progressToken"])).await;
    process.says(progress(&json!(1))).await;
    process.answers(&json!({"id": 1}), &json!({"forged": true})).await;
    process.answers(&first, &json!({"content": ["first"]})).await;
    process.answers(&second, &json!({"content": ["second"]})).await;
    let answer: Value = asking.await.unwrap().unwrap().json().await.unwrap();
    assert_eq!(answer, json!({"jsonrpc": "2.0", "id": 1, "result": {"content": ["first"]}}));
    let mut stream = other.await.unwrap().unwrap();
    assert_eq!(next_event(&mut stream).await.unwrap(), progress(&json!(1)));
    assert_eq!(next_event(&mut stream).await.unwrap()["result"]["content"][0], "second");
    assert_eq!(next_event(&mut stream).await, None);
    assert!(program.has_started_nothing());
}

#[tokio::test]
async fn a_caller_that_goes_cancels_its_own_request() {
    let program = Program::new();
    let stage = Stage::before(program.upstream(), LONG).await;
    let asking = ask(&stage, "tools/call", "read");
    let mut process = program.process().await;
    let gone = process.hears().await;
    let other = ask(&stage, "tools/call", "read");
    let stays = process.hears().await;
    asking.abort();
    let notice = process.hears().await;
    assert_eq!(
        (&notice["method"], &notice["params"]["requestId"]),
        (&json!("notifications/cancelled"), &gone["id"])
    );
    process.answers(&gone, &json!({"late": true})).await;
    process.answers(&stays, &json!({"content": []})).await;
    let answer: Value = other.await.unwrap().unwrap().json().await.unwrap();
    assert_eq!(answer["result"], json!({"content": []}));
}

#[tokio::test]
async fn a_subscription_is_a_stream_of_its_own() {
    let program = Program::new();
    let stage = Stage::before(program.upstream(), LONG).await;
    let listening = ask(&stage, "subscriptions/listen", "");
    let mut process = program.process().await;
    let asked = process.hears().await;
    let notice = |method: &str, id: &Value| json!({"jsonrpc": "2.0", "method": method, "params": {"_meta": {SUBSCRIPTION: id}}});
    let changed = "notifications/tools/list_changed";
    process.says(notice("notifications/subscriptions/acknowledged", &asked["id"])).await;
    process.says(notice(changed, &json!(1))).await;
    process.says(notice(changed, &asked["id"])).await;
    let mut stream = listening.await.unwrap().unwrap();
    assert_eq!(next_event(&mut stream).await.unwrap()["method"], "notifications/subscriptions/acknowledged");
    assert_eq!(next_event(&mut stream).await.unwrap(), notice(changed, &json!(1)));
    process.answers(&asked, &json!({"resultType": "complete", "_meta": {SUBSCRIPTION: asked["id"]}})).await;
    let end = next_event(&mut stream).await.unwrap();
    assert_eq!((&end["id"], &end["result"]["_meta"][SUBSCRIPTION]), (&json!(1), &json!(1)));
    assert_eq!(next_event(&mut stream).await, None);
}

#[tokio::test]
async fn errors_have_the_status_of_the_transport() {
    let program = Program::new();
    let stage = Stage::before(program.upstream(), LONG).await;
    let asking = ask(&stage, "server/discover", "");
    let mut process = program.process().await;
    let asked = process.hears().await;
    process
        .says(json!({"jsonrpc": "2.0", "id": asked["id"], "error": {"code": -32601, "message": "no"}}))
        .await;
    let response = asking.await.unwrap().unwrap();
    assert_eq!(response.status(), 404);
    let answer: Value = response.json().await.unwrap();
    assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!(1), &json!(-32601)));
}

#[tokio::test]
async fn nobody_begins_a_session_for_all() {
    let program = Program::new();
    let stage = Stage::before(program.upstream(), LONG).await;
    let response = ask(&stage, "initialize", "").await.unwrap().unwrap();
    assert_eq!(response.status(), 404);
    assert!(program.has_started_nothing());
}

#[tokio::test]
async fn a_process_that_dies_is_started_again_and_its_tools_are_listed_again() {
    let program = Program::new();
    let stage = Stage::before(program.upstream(), LONG).await;
    let asking = ask(&stage, "tools/call", "read");
    let mut process = program.process().await;
    process.hears().await;
    drop(process);
    let answer: Value = asking.await.unwrap().unwrap().json().await.unwrap();
    assert_eq!(answer["error"]["code"], -32603);
    stage.recorded(Kind::OutcomeUnknown).await;
    assert!(program.has_started_nothing(), "nothing is sent a second time");
    let asking = ask(&stage, "tools/call", "read");
    let mut process = program.process().await;
    let asked = process.hears().await;
    assert_eq!(process.listed, 1, "the new process may have other tools");
    process.answers(&asked, &json!({"content": []})).await;
    assert_eq!(asking.await.unwrap().unwrap().status(), 200);
}

#[tokio::test]
async fn what_was_approved_of_a_process_that_died_does_not_run_in_another() {
    let program = Program::new();
    let stage = Stage::before(program.upstream(), LONG).await;
    let asking = ask(&stage, "tools/call", "write");
    let mut process = program.process().await;
    let line: Value = serde_json::from_str(&process.line().await.unwrap()).unwrap();
    process.answers(&line, &json!({"tools": [{"name": "write"}]})).await;
    stage.asked().await;
    let mut response = asking.await.unwrap().unwrap();
    drop(process);
    // Its death is noticed when it is, and until then whatever is sent to it breaks off. Another process is
    // started by whoever asks next.
    let started = async {
        loop {
            let other = ask(&stage, "server/discover", "");
            tokio::select! {
                process = program.process() => return process,
                answer = other => drop(answer),
            }
        }
    };
    let mut next = started.await;
    stage.approve();
    let answer = loop {
        let event = next_event(&mut response).await.unwrap();
        if event["id"] == 1 {
            break event;
        }
    };
    assert_eq!(answer["result"]["_meta"]["countersign/denial"]["code"], "tool_changed", "{answer}");
    eventually("it is on record", || stage.world.audit.kinds().contains(&Kind::Failed)).await;
    stage.processes.end().await;
    while let Some(line) = next.line().await {
        assert!(!line.contains("tools/call"), "{line}");
    }
}
