//! What clients are shown, and tools that are not what they were.

use std::time::Duration;

use countersign_testkit::world::eventually;
use serde_json::{Value, json};

use crate::stage::{Stage, call, json_answer, next_event, stream};

const PATIENCE: Duration = Duration::from_secs(60);

fn tool(name: &str, description: &str) -> Value {
    json!({"name": name, "description": description, "inputSchema": {"type": "object"}})
}

fn list(id: u32, tools: &[Value]) -> String {
    json!({"jsonrpc": "2.0", "id": id, "result": {"tools": tools, "ttlMs": 60000, "cacheScope": "public"}})
        .to_string()
}

async fn tools(stage: &Stage, tools: &[Value]) -> Value {
    stage.will_answer(json_answer(list(1, tools)));
    let asked = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    stage.post(asked.to_string()).send().await.unwrap().json().await.unwrap()
}

fn names(list: &Value) -> Vec<&str> {
    list["result"]["tools"].as_array().unwrap().iter().filter_map(|tool| tool["name"].as_str()).collect()
}

#[tokio::test]
async fn what_policy_never_lets_through_is_not_shown_and_the_list_is_not_kept() {
    let stage = Stage::start(PATIENCE).await;
    let whole = [tool("read", "Reads"), tool("delete", "Deletes"), tool("write", "Writes")];
    let shown = tools(&stage, &whole).await;
    assert_eq!(names(&shown), ["read", "write"], "what would be held is shown");
    assert_eq!((&shown["result"]["ttlMs"], &shown["result"]["cacheScope"]), (&json!(0), &json!("private")));
    assert_eq!(shown["result"]["tools"][0], whole[0]);
    // What loses nothing stays as it is, to the byte.
    let untouched = list(2, &whole[..1]);
    stage.will_answer(json_answer(untouched.clone()));
    let asked = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list"});
    assert_eq!(stage.post(asked.to_string()).send().await.unwrap().text().await.unwrap(), untouched);
    stage.will_answer(json_answer(
        r#"{"jsonrpc":"2.0","id":3,"result":{"resources":[{"uri":"a"},{"uri":"b","URI":"c"}]}}"#,
    ));
    let asked = json!({"jsonrpc": "2.0", "id": 3, "method": "resources/list"});
    let resources: Value = stage.post(asked.to_string()).send().await.unwrap().json().await.unwrap();
    assert_eq!(resources["result"]["resources"], json!([{"uri": "a"}]));
}

#[tokio::test]
async fn a_list_on_a_stream_is_filtered_too() {
    let stage = Stage::start(PATIENCE).await;
    let (server, answer) = stream();
    stage.will_answer(answer);
    let asked = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    let mut response = stage.post(asked.to_string()).send().await.unwrap();
    server.send(format!("data: {}\n\n", list(1, &[tool("delete", "Deletes")])).into()).unwrap();
    assert_eq!(names(&next_event(&mut response).await.unwrap()), Vec::<&str>::new());
}

#[tokio::test]
async fn a_changed_tool_is_held_shows_what_changed_and_is_accepted_by_approval() {
    let stage = Stage::start(PATIENCE).await;
    tools(&stage, &[tool("read", "Reads")]).await;
    let send = || stage.post(call(2, "read").to_string()).send();
    let allowed: Value = send().await.unwrap().json().await.unwrap();
    assert_eq!(allowed["result"], json!({"content": []}));
    tools(&stage, &[tool("read", "Reads, and sends it away")]).await;
    let mut held = send().await.unwrap();
    stage.asked().await;
    let operation = stage.world.control.approvals()[0].request.submission.operation.clone();
    assert!(operation.contains("sends it away") && operation.contains("changed"), "{operation}");
    stage.approve();
    assert_eq!(next_event(&mut held).await.unwrap()["result"], json!({"content": []}));
    let accepted: Value = send().await.unwrap().json().await.unwrap();
    assert_eq!(accepted["result"], json!({"content": []}));
}

#[tokio::test]
async fn a_tool_that_changes_while_its_call_is_held_is_not_called() {
    let stage = Stage::start(PATIENCE).await;
    tools(&stage, &[tool("write", "Writes")]).await;
    let before = stage.seen().len();
    let mut held = stage.post(call(2, "write").to_string()).send().await.unwrap();
    stage.asked().await;
    tools(&stage, &[tool("write", "Writes elsewhere")]).await;
    stage.approve();
    let refused = next_event(&mut held).await.unwrap();
    assert_eq!(refused["result"]["_meta"]["countersign/denial"]["code"], "tool_changed");
    assert_eq!(stage.seen().len(), before + 1, "nothing but the list has reached the server");
}

#[tokio::test]
async fn after_a_change_the_sidecar_lists_by_itself_before_it_decides() {
    let stage = Stage::start(PATIENCE).await;
    tools(&stage, &[tool("read", "Reads")]).await;
    let (server, answer) = stream();
    stage.will_answer(answer);
    let request = stage.request(reqwest::Method::GET).header("mcp-session-id", "abc");
    let mut listening = request.send().await.unwrap();
    let notice = "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/tools/list_changed\"}\n\n";
    server.send(notice.into()).unwrap();
    next_event(&mut listening).await.unwrap();
    stage.set_tools(&[tool("read", "Reads, and sends it away")]);
    let _held = stage.post(call(2, "read").to_string()).send().await.unwrap();
    stage.asked().await;
    eventually("it has listed once", || stage.listed() == 1).await;
}
