//! What the server asks of the client, and what it begins, inside an answer.

use countersign_gate::record::Kind;
use countersign_testkit::world::eventually;
use serde_json::{Value, json};

use crate::stage::{Session, call};

/// The server answers a call so. Returns what the client gets, as it came.
async fn answered(session: &mut Session, line: &str) -> Vec<u8> {
    session.client.send(call(1, "read")).await;
    session.server.line().await;
    session.server.send(format!("{line}\n")).await;
    session.client.line().await
}

fn json(line: &[u8]) -> Value {
    serde_json::from_slice(line).unwrap()
}

#[tokio::test]
async fn a_question_inside_an_answer_is_decided_about() {
    let mut session = Session::start();
    let asking = |questions: Value| json!({"jsonrpc": "2.0", "id": 1, "result": {"resultType": "input_required", "inputRequests": questions}});
    let roots = asking(json!({"a": {"method": "roots/list"}})).to_string();
    assert_eq!(answered(&mut session, &roots).await, format!("{roots}\n").as_bytes());
    let sampling =
        json!({"a": {"method": "roots/list"}, "b": {"method": "sampling/createMessage", "params": {}}});
    let refused = json(&answered(&mut session, &asking(sampling).to_string()).await);
    assert_eq!(refused["result"]["isError"], true);
    assert_eq!(refused["result"]["_meta"]["countersign/denial"]["policies"][0]["id"], "mcp.sampling");
    assert!(refused["result"].get("inputRequests").is_none());
    for hidden in [
        r#"{"jsonrpc":"2.0","id":1,"result":{"InputRequests":{"a":{"method":"sampling/createMessage"}}}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{"inputRequests":{},"inputRequests":{"a":{"method":"sampling/createMessage"}}}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{},"Result":{"inputRequests":{"a":{"method":"sampling/createMessage"}}}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{"inputRequests":[{"method":"sampling/createMessage"}]}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{"inputRequests":{"a":{"Method":"sampling/createMessage"}}}}"#,
    ] {
        assert_eq!(json(&answered(&mut session, hidden).await)["error"]["code"], -32603, "{hidden}");
    }
}

#[tokio::test]
async fn what_only_some_clients_could_read_as_a_question_is_not_passed_on() {
    for lenient in [
        r#"{"jsonrpc":"2.0","id":1,"result":{},"result":{"inputRequests":{"a":{"method":"sampling/createMessage"}}}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{"x":NaN,"inputRequests":{"a":{"method":"sampling/createMessage"}}}}"#,
    ] {
        let mut session = Session::start();
        session.client.send(call(1, "read")).await;
        session.server.line().await;
        session.server.send(format!("{lenient}\n")).await;
        session.client_saw_nothing().await;
    }
}

#[tokio::test]
async fn an_answer_that_is_looked_at_is_an_outcome_like_any_other() {
    let mut session = Session::start();
    let asking = r#"{"jsonrpc":"2.0","id":1,"result":{"inputRequests":{"a":{"method":"roots/list"}}}}"#;
    answered(&mut session, asking).await;
    let audit = session.sidecar.world.audit.clone();
    eventually("it is recorded", || audit.kinds().contains(&Kind::Executed)).await;
}

#[tokio::test]
async fn a_task_is_its_own_relays_alone() {
    let mut session = Session::start();
    let begun = r#"{"jsonrpc":"2.0","id":1,"result":{"task":{"taskId":"t1","status":"working"}}}"#;
    assert_eq!(answered(&mut session, begun).await, format!("{begun}\n").as_bytes());
    let get = |task: &str| {
        format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"tasks/get\",\"params\":{{\"taskId\":\"{task}\"}}}}\n"
        )
    };
    session.client.send(get("t1")).await;
    assert_eq!(session.server.line().await, get("t1").as_bytes());
    session.server.send("{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{}}\n").await;
    session.client.line().await;
    session.client.send(get("t2")).await;
    assert_eq!(session.client.message().await["error"]["code"], -32001);
    let mut other = session.another();
    other.client.send(get("t1")).await;
    assert_eq!(other.client.message().await["error"]["code"], -32001);
    other.server_saw_nothing().await;
}
