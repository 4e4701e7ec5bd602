//! What clients are shown, and tools that are not what they were.

use countersign_intercept::local::wire::{Relay, ToolsPage};
use serde_json::{Value, json};

use crate::stage::{Session, call, list, listed, tool};

const CHANGED: &str = "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/tools/list_changed\"}\n";

fn names(list: &Value) -> Vec<&str> {
    list["result"]["tools"].as_array().unwrap().iter().filter_map(|tool| tool["name"].as_str()).collect()
}

/// The server says that its tools have changed, and the client hears of it.
async fn changes(session: &mut Session) {
    session.server.send(CHANGED).await;
    assert_eq!(session.client.line().await, CHANGED.as_bytes());
}

#[tokio::test]
async fn what_policy_never_lets_through_is_not_shown_and_the_list_is_not_kept() {
    let mut session = Session::start();
    let whole = [tool("read", "Reads"), tool("delete", "Deletes"), tool("write", "Writes")];
    let shown = session.list(&whole).await;
    assert_eq!(names(&shown), ["read", "write"], "what would be held is shown");
    assert_eq!(shown["result"]["tools"][0], whole[0]);
    session.client.send(list(1)).await;
    session.server.line().await;
    let mut kept = listed(1, &whole);
    kept["result"]["ttlMs"] = json!(60_000);
    kept["result"]["cacheScope"] = json!("public");
    session.server.send(format!("{kept}\n")).await;
    let shown = session.client.message().await;
    assert_eq!((&shown["result"]["ttlMs"], &shown["result"]["cacheScope"]), (&json!(0), &json!("private")));
    // What loses nothing stays as it is, to the byte.
    session.client.send(list(2)).await;
    session.server.line().await;
    let untouched = format!("  {} \r\n", listed(2, &whole[..1]));
    session.server.send(&untouched).await;
    assert_eq!(session.client.line().await, untouched.as_bytes());
}

#[tokio::test]
async fn resources_and_prompts_are_lists_too() {
    let mut session = Session::start();
    session.client.send("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"prompts/list\"}\n").await;
    session.server.line().await;
    session
        .server
        .send("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"prompts\":[{\"name\":\"spell\"}]}}\n")
        .await;
    let shown = session.client.message().await;
    assert_eq!(shown["result"]["prompts"], json!([]), "prompts/get is not permitted");
}

#[tokio::test]
async fn a_list_that_comes_after_its_request_was_cancelled_is_nobodys() {
    let mut session = Session::start();
    session.client.send(list(1)).await;
    session.server.line().await;
    let cancel =
        "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\",\"params\":{\"requestId\":1}}\n";
    session.client.send(cancel).await;
    assert_eq!(session.server.line().await, cancel.as_bytes());
    session.server.send(format!("{}\n", listed(1, &[tool("delete", "Deletes")]))).await;
    session.client_saw_nothing().await;
}

#[tokio::test]
async fn a_list_cannot_be_looked_at_without_a_sidecar_and_is_not_shown_then() {
    let mut session = Session::start();
    session.client.send(list(1)).await;
    session.server.line().await;
    session.sidecar.stop();
    session.server.send(format!("{}\n", listed(1, &[tool("delete", "Deletes")]))).await;
    let refused = session.client.message().await;
    assert_eq!((&refused["id"], &refused["error"]["code"]), (&json!(1), &json!(-32603)));
}

#[tokio::test]
async fn a_changed_tool_is_held_shows_what_changed_and_is_accepted_by_approval() {
    let mut session = Session::start();
    session.list(&[tool("read", "Reads")]).await;
    session.flows(1, "read").await;
    assert_eq!(session.listed(), 0, "what the client has listed need not be listed again");
    changes(&mut session).await;
    session.set_tools(&[tool("read", "Reads, and sends it away")]);
    session.client.send(call(2, "read")).await;
    session.asked().await;
    assert_eq!(session.listed(), 1, "the relay lists by itself before it asks");
    let operation = session.sidecar.world.control.approvals()[0].request.submission.operation.clone();
    assert!(operation.contains("sends it away") && operation.contains("changed"), "{operation}");
    session.server_saw_nothing().await;
    session.approve();
    assert_eq!(session.server.line().await, call(2, "read").as_bytes());
    session.flows(3, "read").await;
    assert_eq!(session.listed(), 1);
}

#[tokio::test]
async fn a_tool_that_changes_while_a_call_of_it_is_held_is_not_called() {
    let mut session = Session::start();
    session.list(&[tool("write", "Writes")]).await;
    session.client.send(call(2, "write")).await;
    session.asked().await;
    let control = session.sidecar.world.control.clone();
    assert!(control.approvals()[0].request.submission.tool_pin.is_some());
    session.list(&[tool("write", "Writes, and sends it away")]).await;
    session.approve();
    let refused = session.client.message().await;
    assert_eq!(refused["result"]["_meta"]["countersign/denial"]["code"], "tool_changed");
    session.server_saw_nothing().await;
}

#[tokio::test]
async fn a_change_that_nobody_has_looked_at_yet_stops_what_is_held() {
    let mut session = Session::start();
    session.list(&[tool("write", "Writes")]).await;
    session.client.send(call(2, "write")).await;
    session.asked().await;
    changes(&mut session).await;
    session.approve();
    let refused = session.client.message().await;
    assert_eq!(refused["result"]["_meta"]["countersign/denial"]["code"], "tool_changed");
    session.server_saw_nothing().await;
}

#[tokio::test]
async fn two_relays_of_one_name_share_what_is_accepted_and_not_what_is_listed() {
    let mut one = Session::start();
    one.list(&[tool("read", "Reads")]).await;
    let mut other = one.another();
    other.list(&[tool("read", "Reads, and sends it away")]).await;
    one.flows(1, "read").await;
    other.client.send(call(1, "read")).await;
    other.asked().await;
    other.server_saw_nothing().await;
    one.flows(2, "read").await;
    other.approve();
    assert_eq!(other.server.line().await, call(1, "read").as_bytes());
    // From now on that is what is accepted, for whoever comes later, too.
    let mut third = one.another();
    third.set_tools(&[tool("read", "Reads, and sends it away")]);
    third.flows(1, "read").await;
    assert_eq!(third.listed(), 1);
}

#[tokio::test]
async fn whoever_lies_about_a_tool_does_so_for_nobody_else() {
    let mut session = Session::start();
    session.list(&[tool("read", "Reads")]).await;
    changes(&mut session).await;
    session.set_tools(&[tool("read", "Reads, and sends it away")]);
    // Somebody with access to the socket says that the tool is what it was.
    let lie = |id: &str, changes| ToolsPage {
        relay: Relay { server: "files".to_owned(), id: id.to_owned() },
        changes,
        is_first: true,
        answer: Some(listed(1, &[tool("read", "Reads")]).to_string()),
    };
    for (id, changes) in [("", 0), ("mine", 1), ("mine", 1 << 50)] {
        session.sidecar.client.tell_tools(&lie(id, changes)).await.unwrap();
    }
    session.client.send(call(1, "read")).await;
    session.asked().await;
    session.server_saw_nothing().await;
    assert!(session.sidecar.client.tell_tools(&lie(&"x".repeat(65), 0)).await.is_err());
    let mut elsewhere = lie("mine", 0);
    elsewhere.relay.server = "../../etc/passwd".to_owned();
    assert!(session.sidecar.client.tell_tools(&elsewhere).await.is_err());
}

#[tokio::test]
async fn a_server_that_does_not_list_its_tools_has_none_that_are_known() {
    let mut session = Session::start();
    session.refuse_to_list();
    session.flows(1, "read").await;
    session.client.send(call(2, "write")).await;
    session.asked().await;
    let operation = session.sidecar.world.control.approvals()[0].request.submission.operation.clone();
    assert!(operation.contains("unlisted"), "{operation}");
    assert_eq!(session.listed(), 1, "it is not asked before every call");
}
