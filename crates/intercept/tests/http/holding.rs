//! A call that people must approve, and clients that do not wait that long.

use std::time::Duration;

use countersign_approval::{CancelReason, Phase, State};
use countersign_gate::record::Kind;
use countersign_testkit::world::eventually;
use reqwest::header::{ACCEPT, HeaderMap, HeaderValue};
use serde_json::{Value, json};

use crate::stage::{Stage, call, json_answer, next_event};

const LONG: Duration = Duration::from_secs(600);
const SHORT: Duration = Duration::from_millis(300);

#[tokio::test]
async fn a_held_call_waits_on_a_stream_and_runs_once_when_it_is_approved() {
    let stage = Stage::start(LONG).await;
    let mut body = call(1, "write");
    body["params"]["_meta"] = json!({"progressToken": "p"});
    let mut response = stage.post(body.to_string()).send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let progress = next_event(&mut response).await.unwrap();
    assert_eq!(progress["params"]["progressToken"], "p");
    assert!(progress["params"]["progress"].as_f64().unwrap() < 0.0, "below whatever the server says");
    stage.asked().await;
    assert!(stage.seen().is_empty());
    stage.approve();
    loop {
        let event = next_event(&mut response).await.unwrap();
        if event["id"] == 1 {
            assert_eq!(event["result"], json!({"content": []}));
            break;
        }
    }
    assert_eq!(stage.seen().len(), 1);
    assert_eq!(stage.seen()[0].json(), body);
    stage.recorded(Kind::Executed).await;
}

#[tokio::test]
async fn a_refusal_is_told_with_its_policy() {
    let stage = Stage::start(LONG).await;
    let mut response = stage.post(call(1, "write").to_string()).send().await.unwrap();
    stage.asked().await;
    stage.world.control.deny(stage.world.control.last());
    let answer = next_event(&mut response).await.unwrap();
    assert_eq!(answer["result"]["isError"], true);
    let denial = &answer["result"]["_meta"]["countersign/denial"];
    assert_eq!((&denial["code"], &denial["policies"][0]["id"]), (&json!("refused"), &json!("mcp.write")));
    assert!(stage.seen().is_empty());
}

#[tokio::test]
async fn who_does_not_wait_comes_again_and_a_late_approval_runs_only_then() {
    let stage = Stage::start(SHORT).await;
    let mut response = stage.post(call(1, "write").to_string()).send().await.unwrap();
    let pending = next_event(&mut response).await.unwrap();
    assert_eq!(pending["result"]["isError"], true);
    let approval = pending["result"]["_meta"]["countersign/denial"]["approval"].clone();
    assert!(approval.is_string(), "{pending}");
    let text = pending["result"]["content"][0]["text"].as_str().unwrap();
    assert!(text.contains("pending") && text.contains(approval.as_str().unwrap()), "{text}");
    assert_eq!(next_event(&mut response).await, None);
    let control = &stage.world.control;
    assert_eq!(control.approvals().len(), 1);
    assert_eq!(control.phases(), [Phase::Pending], "nobody has withdrawn it");
    // The same again, still undecided, attaches to the same approval.
    let mut again = stage.post(call(2, "write").to_string()).send().await.unwrap();
    let pending = next_event(&mut again).await.unwrap();
    assert_eq!(pending["result"]["_meta"]["countersign/denial"]["approval"], approval);
    assert_eq!(control.approvals().len(), 1);
    stage.approve();
    assert!(stage.seen().is_empty(), "an approval runs nothing by itself");
    let mut third = stage.post(call(3, "write").to_string()).send().await.unwrap();
    assert_eq!(next_event(&mut third).await.unwrap()["result"], json!({"content": []}));
    assert_eq!(stage.seen().len(), 1);
    // It is used up: a fourth time asks anew.
    let mut fourth = stage.post(call(4, "write").to_string()).send().await.unwrap();
    let pending = next_event(&mut fourth).await.unwrap();
    assert_ne!(pending["result"]["_meta"]["countersign/denial"]["approval"], approval);
    assert_eq!(stage.seen().len(), 1);
}

fn modern(id: u32, tool: &str, state: Option<&Value>) -> Value {
    let mut body = call(id, tool);
    body["params"]["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    if let Some(state) = state {
        body["params"]["requestState"] = state.clone();
    }
    body
}

#[tokio::test]
async fn a_modern_client_brings_back_a_state_that_says_nothing_and_permits_nothing() {
    let stage = Stage::start(SHORT).await;
    let send = |body: Value| stage.modern("tools/call", "write", &body).send();
    let mut response = send(modern(1, "write", None)).await.unwrap();
    let asked = next_event(&mut response).await.unwrap();
    assert_eq!(asked["result"]["resultType"], "input_required");
    let state = asked["result"]["requestState"].clone();
    assert_eq!(asked["result"].as_object().unwrap().len(), 2, "no capability of the client is needed");
    // Before the approval it is worth nothing; it is answered with another one.
    let mut again = send(modern(2, "write", Some(&state))).await.unwrap();
    let second = next_event(&mut again).await.unwrap()["result"]["requestState"].clone();
    assert!(second.is_string());
    stage.approve();
    // Changed, or with another request, it is refused even now.
    let mut forged = state.as_str().unwrap().to_owned();
    forged.push('A');
    let answer: Value = send(modern(3, "write", Some(&json!(forged)))).await.unwrap().json().await.unwrap();
    assert_eq!(answer["error"]["code"], -32602);
    let mut other = modern(4, "write", Some(&state));
    other["params"]["arguments"] = json!({"path": "/etc/passwd"});
    let answer: Value = send(other).await.unwrap().json().await.unwrap();
    assert_eq!(answer["error"]["code"], -32602);
    assert!(stage.seen().is_empty());
    let mut last = send(modern(5, "write", Some(&second))).await.unwrap();
    assert_eq!(next_event(&mut last).await.unwrap()["result"], json!({"content": []}));
    assert_eq!(stage.seen().len(), 1);
    assert_eq!(stage.seen()[0].json(), modern(5, "write", None), "the server never sees our state");
    // Replayed, it is a new question.
    let mut replayed = send(modern(6, "write", Some(&second))).await.unwrap();
    assert_eq!(next_event(&mut replayed).await.unwrap()["result"]["resultType"], "input_required");
    assert_eq!(stage.seen().len(), 1);
}

#[tokio::test]
async fn a_client_that_knows_tasks_is_given_one_and_the_call_runs_when_it_looks_once() {
    let stage = Stage::start(SHORT).await;
    let mut body = modern(1, "write", None);
    body["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"] =
        json!({"extensions": {"io.modelcontextprotocol/tasks": {}, "vendor/x": {}}});
    let mut response = stage.modern("tools/call", "write", &body).send().await.unwrap();
    let begun = next_event(&mut response).await.unwrap()["result"].clone();
    assert_eq!((&begun["resultType"], &begun["status"]), (&json!("task"), &json!("working")));
    let about = async |method: &str, id: &Value| -> Value {
        let params = json!({"taskId": id, "_meta": modern(0, "x", None)["params"]["_meta"]});
        let request = json!({"jsonrpc": "2.0", "id": 9, "method": method, "params": params});
        let sent = stage.modern(method, id.as_str().unwrap(), &request).send().await.unwrap();
        sent.json().await.unwrap()
    };
    let task = &begun["taskId"];
    let unknown = about("tasks/get", &json!("countersign-AAAA")).await;
    assert_eq!(unknown["error"]["code"], -32602);
    stage.approve();
    assert!(stage.seen().is_empty(), "an approval runs nothing by itself");
    let looked = about("tasks/get", task).await["result"].clone();
    assert_eq!((&looked["resultType"], &looked["status"]), (&json!("complete"), &json!("completed")));
    assert_eq!(looked["result"], json!({"content": []}));
    assert_eq!(about("tasks/get", task).await["result"]["status"], "completed");
    let seen = stage.seen();
    assert_eq!(seen.len(), 1, "looking again runs nothing");
    let told = &seen[0].json()["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"];
    assert_eq!(*told, json!({"extensions": {"vendor/x": {}}}), "the server makes no task of it");
    stage.recorded(Kind::Executed).await;
    // One that is taken back is never made.
    body["id"] = json!(2);
    let mut response = stage.modern("tools/call", "write", &body).send().await.unwrap();
    let second = next_event(&mut response).await.unwrap()["result"]["taskId"].clone();
    about("tasks/cancel", &second).await;
    assert_eq!(about("tasks/get", &second).await["result"]["status"], "cancelled");
    let control = stage.world.control.clone();
    assert!(matches!(control.approvals()[1].state, State::Cancelled { why: CancelReason::Requester, .. }));
    assert_eq!(stage.seen().len(), 1);
}

#[tokio::test]
async fn a_client_that_goes_away_withdraws_its_call() {
    let stage = Stage::start(LONG).await;
    let response = stage.post(call(1, "write").to_string()).send().await.unwrap();
    stage.asked().await;
    drop(response);
    let control = stage.world.control.clone();
    eventually("it is cancelled", || {
        matches!(control.approvals()[0].state, State::Cancelled { why: CancelReason::RequesterGone, .. })
    })
    .await;
    assert!(stage.seen().is_empty());
}

#[tokio::test]
async fn a_cancelled_call_is_withdrawn_and_neither_reaches_the_server() {
    let stage = Stage::start(LONG).await;
    let in_session = |body: String| stage.post(body).header("mcp-session-id", "abc");
    let mut response = in_session(call(7, "write").to_string()).send().await.unwrap();
    stage.asked().await;
    let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 7}});
    eventually("the server hears of the session meanwhile", || stage.pings() == 1).await;
    assert_eq!(in_session(cancel.to_string()).send().await.unwrap().status(), 202);
    assert_eq!(next_event(&mut response).await, None, "a cancelled request is not answered");
    let control = stage.world.control.clone();
    eventually("it is cancelled", || {
        matches!(control.approvals()[0].state, State::Cancelled { why: CancelReason::Requester, .. })
    })
    .await;
    assert!(stage.seen().is_empty());
    // In another session the same notice means another request, and passes.
    stage.will_answer(json_answer(""));
    let elsewhere = stage.post(cancel.to_string()).header("mcp-session-id", "other");
    elsewhere.send().await.unwrap();
    assert_eq!(stage.seen().len(), 1);
}

#[tokio::test]
async fn a_stop_withdraws_what_is_held() {
    let stage = Stage::start(LONG).await;
    let mut response = stage.post(call(1, "write").to_string()).send().await.unwrap();
    stage.asked().await;
    stage.stop.cancel();
    let answer = next_event(&mut response).await.unwrap();
    assert_eq!(answer["result"]["_meta"]["countersign/denial"]["code"], "stopping");
}

#[tokio::test]
async fn a_client_that_opens_addresses_is_given_the_one_where_people_decide() {
    let stage = Stage::start(SHORT).await;
    let can = |elicitation: Value| {
        let params = json!({
            "protocolVersion": "2025-11-25",
            "capabilities": {"elicitation": elicitation},
            "clientInfo": {"name": "ide", "version": "1"},
        });
        json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}).to_string()
    };
    for (session, elicitation) in [("plain", json!({})), ("opens", json!({"url": {}}))] {
        let agreed =
            json!({"jsonrpc": "2.0", "id": 1, "result": {"protocolVersion": "2025-11-25"}}).to_string();
        let mut answer = json_answer(agreed);
        answer.headers_mut().insert("mcp-session-id", HeaderValue::from_static(session));
        stage.will_answer(answer);
        stage.post(can(elicitation)).send().await.unwrap();
    }
    let call = |session| stage.post(call(2, "write").to_string()).header("mcp-session-id", session);
    let plain = next_event(&mut call("plain").send().await.unwrap()).await.unwrap();
    assert_eq!(plain["result"]["isError"], true);
    let offered = next_event(&mut call("opens").send().await.unwrap()).await.unwrap();
    assert_eq!(offered["error"]["code"], -32042);
    let elicitation = &offered["error"]["data"]["elicitations"][0];
    let approval = elicitation["elicitationId"].as_str().unwrap();
    assert_eq!(elicitation["mode"], "url");
    assert_eq!(elicitation["url"], format!("https://console.example/approvals/{approval}"));
    stage.approve();
    let mut again = call("opens").send().await.unwrap();
    assert_eq!(next_event(&mut again).await.unwrap()["result"], json!({"content": []}));
}

#[tokio::test]
async fn in_a_batch_nothing_waits_for_what_is_held() {
    let stage = Stage::start(LONG).await;
    let answer = |id: u32| json_answer(json!([{"jsonrpc": "2.0", "id": id, "result": {}}]).to_string());
    for id in [2, 1, 2] {
        stage.will_answer(answer(id));
    }
    let batch = json!([call(1, "write"), call(2, "read")]).to_string();
    let mut response = stage.post(batch.clone()).send().await.unwrap();
    assert_eq!(next_event(&mut response).await.unwrap()[0]["id"], 2);
    assert_eq!(stage.seen()[0].json(), json!([call(2, "read")]));
    stage.asked().await;
    stage.approve();
    assert_eq!(next_event(&mut response).await.unwrap()[0]["id"], 1);
    assert_eq!(stage.seen()[1].json(), json!([call(1, "write")]));
    assert_eq!(next_event(&mut response).await, None);
    // A client that takes one answer to all is told at once what to make again.
    let plain = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("application/json"))]);
    let answers: Value = stage.post(batch).headers(plain).send().await.unwrap().json().await.unwrap();
    assert_eq!(answers[0]["result"]["_meta"]["countersign/denial"]["code"], "pending");
    assert_eq!(answers[1]["id"], 2);
    assert_eq!(stage.seen()[2].json(), json!([call(2, "read")]));
}
