//! A call on stdio whose arguments a reviewer changes.

use countersign_testkit::world::eventually;
use serde_json::{Value, json};

use crate::stage::{Session, answer};

#[tokio::test]
async fn the_server_gets_what_was_made_of_it_and_the_caller_is_told() {
    let mut session = Session::start();
    let line = r#"{"jsonrpc":"2.0", "id":1,"method":"tools/call","params":{"name":"write","arguments":{"text" :"old"},"vendor": 1.0e0}}"#;
    session.client.send(format!("{line}\n")).await;
    session.asked().await;
    let control = session.sidecar.world.control.clone();
    control.edit(control.last(), "/action/properties/text", json!("new"));
    eventually("it is asked about anew", || control.approvals().len() == 2).await;
    session.server_saw_nothing().await;
    session.approve();
    let forwarded = session.server.line().await;
    let expected = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"write","arguments":{"text":"new"},"vendor":1.0e0}}"#;
    assert_eq!(String::from_utf8(forwarded).unwrap().trim_end(), expected);
    session.server.send(answer(1)).await;
    let told: Value = session.client.message().await;
    let text = told["result"]["content"][0]["text"].as_str().unwrap_or_default();
    assert!(text.contains("editor@example.com changed the arguments"), "{told}");
}
