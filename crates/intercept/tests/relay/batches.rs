//! Batches: every element is decided by itself, and the answers come back together.

use serde_json::{Value, json};

use crate::stage::{Session, answer, call};

const NOTED: &str = "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}";

fn batch(elements: &[&str]) -> String {
    format!("[{}]\n", elements.iter().map(|element| element.trim()).collect::<Vec<_>>().join(","))
}

/// What was answered, by id.
fn ids(answers: &Value) -> Vec<Value> {
    let mut ids: Vec<_> = answers.as_array().unwrap().iter().map(|answer| answer["id"].clone()).collect();
    ids.sort_by_key(ToString::to_string);
    ids
}

#[tokio::test]
async fn of_a_batch_only_what_is_permitted_passes_and_it_waits_for_nothing() {
    let mut session = Session::start();
    let unreadable = r#"{"jsonrpc":"2.0","id":4,"method":"tools/call","method":"ping"}"#;
    let calls = [call(1, "write"), call(2, "delete"), call(3, "read")];
    session.client.send(batch(&[&calls[0], &calls[1], &calls[2], unreadable, NOTED])).await;
    session.asked().await;
    let mut seen = [session.server.line().await, session.server.line().await];
    seen.sort();
    let mut expected = [format!("{NOTED}\n").into_bytes(), call(3, "read").into_bytes()];
    expected.sort();
    assert_eq!(seen, expected, "the held, the denied and the unreadable one do not pass");
    session.server.send(answer(3)).await;
    session.client_saw_nothing().await;
    session.approve();
    assert_eq!(session.server.line().await, call(1, "write").as_bytes());
    session.server.send(answer(1)).await;
    let answers = session.client.message().await;
    assert_eq!(ids(&answers), [json!(1), json!(2), json!(3), Value::Null]);
    let refused = answers.as_array().unwrap().iter().find(|answer| answer["id"] == 2).unwrap();
    assert_eq!(refused["result"]["isError"], true, "{refused}");
}

#[tokio::test]
async fn what_is_withdrawn_is_not_waited_for() {
    let mut session = Session::start();
    session.client.send(batch(&[&call(1, "write"), &call(2, "read")])).await;
    session.asked().await;
    assert_eq!(session.server.line().await, call(2, "read").as_bytes());
    session.server.send(answer(2)).await;
    session.client_saw_nothing().await;
    let cancelled =
        json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}});
    session.client.send(format!("{cancelled}\n")).await;
    assert_eq!(ids(&session.client.message().await), [json!(2)]);
    session.server_saw_nothing().await;
}

/// Hiding a call among others, or in another form of array, gets nothing past policy.
#[tokio::test]
async fn what_is_no_batch_of_messages_is_refused() {
    let mut session = Session::start();
    let nested = format!("[{}]\n", batch(&[&call(1, "read")]).trim());
    let long = batch(&[call(1, "read").as_str(); 101]);
    for refused in ["[]\n", "[1,2]\n", "[\n", &nested, &long] {
        session.client.send(refused).await;
        let answer = session.client.message().await;
        let answers = answer.as_array().cloned().unwrap_or_else(|| vec![answer.clone()]);
        assert!(answers.iter().all(|answer| answer["error"]["code"].is_i64()), "{answer}");
    }
    session.server_saw_nothing().await;
}

#[tokio::test]
async fn a_server_may_answer_together_what_was_asked_one_by_one() {
    let mut session = Session::start();
    for id in [1, 2] {
        session.client.send(call(id, "read")).await;
        assert_eq!(session.server.line().await, call(id, "read").as_bytes());
    }
    // The third answers what was never asked.
    session.server.send(batch(&[&answer(2), &answer(3), &answer(1)])).await;
    assert_eq!(session.client.line().await, answer(2).as_bytes());
    assert_eq!(session.client.line().await, answer(1).as_bytes());
    session.client_saw_nothing().await;
}
