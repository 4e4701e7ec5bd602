//! What the server asks of the client is decided about, however it asks.

use std::time::Duration;

use serde_json::{Value, json};

use crate::stage::{Stage, call, json_answer, next_event, stream};

const PATIENCE: Duration = Duration::from_secs(60);

fn event(message: &Value) -> bytes::Bytes {
    format!("data: {message}\n\n").into()
}

#[tokio::test]
async fn a_question_that_policy_forbids_is_answered_for_the_client() {
    let stage = Stage::start(PATIENCE).await;
    let (server, answer) = stream();
    stage.will_answer(answer);
    let asked = stage.post(call(1, "read").to_string()).header("mcp-session-id", "abc").send();
    let mut response = asked.await.unwrap();
    let sampling =
        json!({"jsonrpc": "2.0", "id": 5, "method": "sampling/createMessage", "params": {"messages": []}});
    let roots = json!({"jsonrpc": "2.0", "id": 6, "method": "roots/list"});
    let unknown = json!({"jsonrpc": "2.0", "id": 7, "method": "vendor/ask"});
    for question in [&sampling, &unknown, &roots] {
        server.send(event(question)).unwrap();
    }
    assert_eq!(next_event(&mut response).await.unwrap(), roots, "it alone is let through");
    let seen = stage.has_seen(3).await;
    let mut refused: Vec<Value> = seen[1..].iter().map(|seen| seen.json()).collect();
    refused.sort_by_key(|answer| answer["id"].as_i64());
    assert_eq!((&refused[0]["id"], &refused[0]["error"]["code"]), (&json!(5), &json!(-32001)));
    assert_eq!(refused[1]["id"], 7);
    assert_eq!(seen[1].headers["mcp-session-id"], "abc");
    assert_eq!(seen[1].headers["authorization"], "Bearer server-token");
}

#[tokio::test]
async fn only_what_was_asked_can_be_answered() {
    let stage = Stage::start(PATIENCE).await;
    let (server, answer) = stream();
    stage.will_answer(answer);
    let in_session = |body: &Value| stage.post(body.to_string()).header("mcp-session-id", "abc");
    let mut response = in_session(&call(1, "read")).send().await.unwrap();
    let unasked = json!({"jsonrpc": "2.0", "id": 6, "result": {"roots": []}});
    assert_eq!(in_session(&unasked).send().await.unwrap().status(), 202);
    server.send(event(&json!({"jsonrpc": "2.0", "id": 6, "method": "roots/list"}))).unwrap();
    next_event(&mut response).await.unwrap();
    let answer = json!({"jsonrpc": "2.0", "id": 6, "result": {"roots": [{"uri": "file:///a"}]}});
    in_session(&answer).send().await.unwrap();
    in_session(&answer).send().await.unwrap();
    let seen = stage.seen();
    assert_eq!(seen.len(), 2, "neither before the question nor twice");
    assert_eq!(seen[1].json(), answer);
}

#[tokio::test]
async fn a_question_inside_an_answer_is_decided_about() {
    let stage = Stage::start(PATIENCE).await;
    let send = || stage.modern("tools/call", "read", &call(1, "read")).send();
    let asking = |questions: Value| json!({"jsonrpc": "2.0", "id": 1, "result": {"resultType": "input_required", "inputRequests": questions}});
    let roots = asking(json!({"a": {"method": "roots/list"}})).to_string();
    stage.will_answer(json_answer(roots.clone()));
    assert_eq!(send().await.unwrap().text().await.unwrap(), roots);
    let sampling =
        json!({"a": {"method": "roots/list"}, "b": {"method": "sampling/createMessage", "params": {}}});
    stage.will_answer(json_answer(asking(sampling).to_string()));
    let answer: Value = send().await.unwrap().json().await.unwrap();
    assert_eq!(answer["result"]["isError"], true);
    assert_eq!(answer["result"]["_meta"]["countersign/denial"]["policies"][0]["id"], "mcp.sampling");
    for hidden in [
        r#"{"jsonrpc":"2.0","id":1,"result":{"InputRequests":{"a":{"method":"sampling/createMessage"}}}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{"inputRequests":{},"inputRequests":{"a":{"method":"sampling/createMessage"}}}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{},"result":{"inputRequests":{"a":{"method":"sampling/createMessage"}}}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{"inputRequests":[{"method":"sampling/createMessage"}]}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{"inputRequests":{"a":{"Method":"sampling/createMessage"}}}}"#,
    ] {
        stage.will_answer(json_answer(hidden));
        let answer: Value = send().await.unwrap().json().await.unwrap();
        assert_eq!(answer["error"]["code"], -32603, "{hidden}");
    }
}

#[tokio::test]
async fn a_modern_server_makes_no_requests() {
    let stage = Stage::start(PATIENCE).await;
    let (server, answer) = stream();
    stage.will_answer(answer);
    let mut response = stage.modern("tools/call", "read", &call(1, "read")).send().await.unwrap();
    server.send(event(&json!({"jsonrpc": "2.0", "id": 6, "method": "roots/list"}))).unwrap();
    let done = json!({"jsonrpc": "2.0", "id": 1, "result": {}});
    server.send(event(&done)).unwrap();
    assert_eq!(next_event(&mut response).await.unwrap(), done);
}
