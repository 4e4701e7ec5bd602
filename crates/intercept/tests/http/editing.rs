//! A call whose arguments a reviewer changes: what the server gets, and what its caller is told.

use std::time::Duration;

use serde_json::{Value, json};

use crate::stage::{Stage, call, next_event};

const LONG: Duration = Duration::from_secs(600);
const TEXT: &str = "/action/properties/text";

/// A call of the tool `write`, in one revision or the other.
fn write(modern: bool) -> Value {
    let mut call = call(1, "write");
    call["params"]["arguments"] = json!({"path": "a", "text": "old"});
    call["params"]["vendor"] = json!({"kept": [1.0e0]});
    if modern {
        call["params"]["_meta"] = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28"});
    }
    call
}

/// The answer on a stream, after whatever comes before it.
async fn answered(mut response: reqwest::Response) -> Value {
    loop {
        let event = next_event(&mut response).await.unwrap();
        if event["id"] == 1 {
            return event;
        }
    }
}

#[tokio::test]
async fn the_server_gets_what_was_made_of_it_and_the_caller_is_told() {
    let stage = Stage::start(LONG).await;
    let response = stage.post(write(false).to_string()).send().await.unwrap();
    stage.asked().await;
    let first = stage.world.control.last();
    stage.world.control.edit(first, TEXT, json!("new"));
    // What was made of it is held, too, and nothing runs before people have approved that.
    countersign_testkit::world::eventually("it is asked about anew", || {
        stage.world.control.approvals().len() == 2
    })
    .await;
    assert!(stage.seen().is_empty());
    stage.approve();
    let answer = answered(response).await;
    let mut expected = write(false);
    expected["params"]["arguments"]["text"] = json!("new");
    assert_eq!(stage.seen()[0].json(), expected, "that, and nothing else, is changed");
    let told = answer["result"]["content"][0]["text"].as_str().unwrap();
    for word in ["editor@example.com changed the arguments", "not that much", "/text is now \"new\""] {
        assert!(told.contains(word), "{told}");
    }
    let edits = &answer["result"]["_meta"]["countersign/edits"];
    assert_eq!((&edits[0]["by"], &edits[0]["approval"]), (&json!("editor@example.com"), &json!(first)));
}

#[tokio::test]
async fn the_headers_say_what_the_changed_arguments_are() {
    let stage = Stage::start(LONG).await;
    let mut text = json!({"type": "string", "x-mcp-header": "Text"});
    text["description"] = json!("what to write");
    stage.set_tools(&[json!({
        "name": "write", "description": "writes", "inputSchema": {"type": "object", "properties": {"text": text}}
    })]);
    let request = stage.modern("tools/call", "write", &write(true)).header("mcp-param-text", "old");
    let response = request.send().await.unwrap();
    stage.asked().await;
    stage.world.control.edit(stage.world.control.last(), TEXT, json!("grüße"));
    countersign_testkit::world::eventually("it is asked about anew", || {
        stage.world.control.approvals().len() == 2
    })
    .await;
    stage.approve();
    answered(response).await;
    let seen = &stage.seen()[0];
    assert_eq!(seen.json()["params"]["arguments"]["text"], "grüße");
    assert_eq!(seen.headers["mcp-param-text"], "=?base64?Z3LDvMOfZQ==?=");
    assert_eq!(seen.headers["mcp-name"], "write");
}

#[tokio::test]
async fn what_policy_denies_after_an_edit_does_not_reach_the_server() {
    let stage = Stage::start(LONG).await;
    let response = stage.post(write(false).to_string()).send().await.unwrap();
    stage.asked().await;
    let control = &stage.world.control;
    control.edit(control.last(), TEXT, json!("new"));
    countersign_testkit::world::eventually("it is asked about anew", || control.approvals().len() == 2).await;
    control.deny(control.last());
    let answer = answered(response).await;
    assert_eq!(answer["result"]["isError"], true, "{answer}");
    assert!(stage.seen().is_empty());
}
