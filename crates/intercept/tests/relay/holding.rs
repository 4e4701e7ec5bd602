//! A call that people must approve, and clients that do not wait that long.

use countersign_approval::Phase;
use serde_json::{Value, json};

use crate::stage::{Session, answer, call};

fn approval(answer: &Value) -> Value {
    assert_eq!(answer["result"]["isError"], true, "{answer}");
    let denial = &answer["result"]["_meta"]["countersign/denial"];
    assert_eq!(denial["code"], "pending", "{answer}");
    denial["approval"].clone()
}

#[tokio::test]
async fn who_does_not_wait_comes_again_and_a_late_approval_runs_only_then() {
    let mut session = Session::impatient();
    session.client.send(call(1, "write")).await;
    let pending = session.client.message().await;
    let first = approval(&pending);
    let text = pending["result"]["content"][0]["text"].as_str().unwrap();
    for expected in ["Approval pending", "http://127.0.0.1:7700/approvals/", "exactly the same call again"] {
        assert!(text.contains(expected), "{text}");
    }
    let control = session.sidecar.world.control.clone();
    assert_eq!(control.phases(), [Phase::Pending], "nobody has withdrawn it");
    // The same again, still undecided, attaches to the same approval.
    session.client.send(call(2, "write")).await;
    assert_eq!(approval(&session.client.message().await), first);
    assert_eq!(control.approvals().len(), 1);
    session.approve();
    session.server_saw_nothing().await;
    session.client.send(call(3, "write")).await;
    assert_eq!(session.server.line().await, call(3, "write").as_bytes());
    session.server.send(answer(3)).await;
    assert_eq!(session.client.line().await, answer(3).as_bytes());
    // It is used up: once more asks anew.
    session.client.send(call(4, "write")).await;
    assert_ne!(approval(&session.client.message().await), first);
    session.server_saw_nothing().await;
}

fn modern(id: u32, state: Option<&Value>) -> String {
    let mut params = json!({
        "name": "write",
        "arguments": {},
        "_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28"},
    });
    if let Some(state) = state {
        params["requestState"] = state.clone();
    }
    format!("{}\n", json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}))
}

#[tokio::test]
async fn a_modern_client_brings_back_a_state_that_says_nothing_and_permits_nothing() {
    let mut session = Session::impatient();
    session.client.send(modern(1, None)).await;
    let asked = session.client.message().await;
    assert_eq!(asked["result"]["resultType"], "input_required", "{asked}");
    let state = asked["result"]["requestState"].clone();
    session.client.send(modern(2, Some(&state))).await;
    let again = session.client.message().await["result"]["requestState"].clone();
    assert!(again.is_string(), "before the approval it is worth nothing");
    session.approve();
    let forged = json!(format!("{}A", state.as_str().unwrap()));
    session.client.send(modern(3, Some(&forged))).await;
    assert_eq!(session.client.message().await["error"]["code"], -32602);
    session.server_saw_nothing().await;
    session.client.send(modern(4, Some(&again))).await;
    let seen: Value = serde_json::from_slice(&session.server.line().await).unwrap();
    let plain: Value = serde_json::from_str(&modern(4, None)).unwrap();
    assert_eq!(seen, plain, "the server never sees our state");
    session.server.send(answer(4)).await;
    assert_eq!(session.client.line().await, answer(4).as_bytes());
    // Replayed, it is a new question.
    session.client.send(modern(5, Some(&again))).await;
    assert_eq!(session.client.message().await["result"]["resultType"], "input_required");
    session.server_saw_nothing().await;
}

#[tokio::test]
async fn a_client_that_opens_addresses_is_given_the_one_to_decide_at() {
    let mut session = Session::impatient();
    let capabilities = json!({"elicitation": {"url": {}}});
    let params = json!({"protocolVersion": "2025-11-25", "capabilities": capabilities});
    let asked = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params});
    session.client.send(format!("{asked}\n")).await;
    session.server.line().await;
    let result = json!({"protocolVersion": "2025-11-25", "capabilities": {}});
    session.server.send(format!("{}\n", json!({"jsonrpc": "2.0", "id": 1, "result": result}))).await;
    session.client.line().await;
    session.client.send(call(2, "write")).await;
    let pending = session.client.message().await;
    assert_eq!(pending["error"]["code"], -32042, "{pending}");
    let url = pending["error"]["data"]["elicitations"][0]["url"].as_str().unwrap();
    assert!(url.starts_with("http://127.0.0.1:7700/approvals/"), "{url}");
}

#[tokio::test]
async fn a_language_that_is_not_understood_is_not_forwarded() {
    let mut session = Session::start();
    session.client.send(modern(1, None).replace("2026-07-28", "2031-01-01")).await;
    let refused = session.client.message().await;
    assert_eq!(refused["error"]["code"], -32022);
    assert_eq!(refused["error"]["data"]["requested"], "2031-01-01");
    session.server_saw_nothing().await;
}

#[tokio::test]
async fn who_asks_for_progress_is_told_that_it_waits() {
    let mut session = Session::start();
    let call = call(1, "write").replace("\"arguments\"", "\"_meta\":{\"progressToken\":\"p\"},\"arguments\"");
    session.client.send(&call).await;
    let mut last = f64::NEG_INFINITY;
    for _ in 0..2 {
        let told = session.client.message().await;
        assert_eq!(
            (&told["method"], &told["params"]["progressToken"]),
            (&json!("notifications/progress"), &json!("p"))
        );
        let progress = told["params"]["progress"].as_f64().unwrap();
        assert!(last < progress && progress < 0.0, "it grows, and stays below whatever the server says");
        last = progress;
    }
    session.approve();
    assert_eq!(session.server.line().await, call.as_bytes());
}
