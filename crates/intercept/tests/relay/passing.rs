//! Bytes pass as they are, and nothing passes that policy did not permit.

use countersign_approval::{CancelReason, State};
use countersign_gate::record::Kind;
use countersign_testkit::world::eventually;
use serde_json::Value;

use crate::stage::{Session, answer, call};

#[tokio::test]
async fn every_byte_of_what_passes_is_the_byte_that_was_sent() {
    let mut session = Session::start();
    let to_server: [&[u8]; 7] = [
        b"{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"initialize\",\"params\":{\"protocolVersion\":\"2025-06-18\",\"vendor\":{\"x\":[1,2]}}}\n",
        b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}\r\n",
        b"  { \"method\" : \"ping\" , \"jsonrpc\":\"2.0\",\"id\" : \"p\\u0069ng\" , \"vendor\" : 1e400000 }\n",
        b"\n",
        b"{\"jsonrpc\":\"2.0\",\"id\":1152921504606846977,\"method\":\"tools/list\",\"params\":{\"_meta\":{\"progressToken\":9007199254740993}}}\n",
        "{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"tools/call\",\"params\":{\"name\":\"read\",\"task\":{\"ttl\":6e1},\"arguments\":{\"päth\":\"\u{1f600}\\ud83d\\ude00\"},\"vendor\":null}}\n".as_bytes(),
        b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/vendor/thing\",\"params\":{\"n\":1.50}}\n",
    ];
    for line in to_server {
        // 1e400000 is no number to some readers: that line is refused, the others pass.
        session.client.send(line).await;
        if line.windows(3).any(|window| window == b"1e4") {
            assert_eq!(session.client.message().await["error"]["code"], -32700);
        } else {
            assert_eq!(session.server.line().await, line);
        }
    }
    let to_client: [&[u8]; 6] = [
        b"{\"jsonrpc\":\"2.0\",\"id\":0,\"result\":{\"serverInfo\":{\"name\":\"x\"},\"vendor\":{\"a\":1,\"a\":2}}}\n",
        b"{\"id\":1152921504606846977,\"jsonrpc\":\"2.0\",\"result\":{\"tools\":[{\"name\":\"read\",\"x-vendor\":9007199254740993}]}}\r\n",
        b"{\"jsonrpc\":\"2.0\",\"id\":3,\"result\":{\"structuredContent\":{\"n\":NaN}}}\n",
        b"{\"jsonrpc\":\"2.0\",\"id\":77,\"method\":\"roots/list\",\"vendor\":[ ]}\n",
        b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"data\":\"\\u00e9\"}}\n",
        b"not JSON at all\n",
    ];
    for line in to_client {
        session.server.send(line).await;
        assert_eq!(session.client.line().await, line);
    }
    let answer = b"{\"jsonrpc\":\"2.0\",\"id\":77,\"result\":{\"roots\":[]},\"vendor\":true}\n";
    session.client.send(answer).await;
    assert_eq!(session.server.line().await, answer);
}

#[tokio::test]
async fn a_denied_call_is_a_tool_result_and_never_reaches_the_server() {
    let mut session = Session::start();
    session.client.send(call(5, "delete")).await;
    let refused = session.client.message().await;
    assert_eq!((&refused["id"], &refused["result"]["isError"]), (&Value::from(5), &Value::Bool(true)));
    let text = refused["result"]["content"][0]["text"].as_str().unwrap();
    for expected in ["mcp.delete", "Nothing is deleted", "Decision 0"] {
        assert!(text.contains(expected), "{text}");
    }
    assert_eq!(refused["result"]["_meta"]["countersign/denial"]["code"], "policy");
    session.server_saw_nothing().await;
}

#[tokio::test]
async fn an_unknown_method_is_evaluated_and_so_denied() {
    let mut session = Session::start();
    for method in ["vendor/dangerous", "sampling/createMessage", "notifications/with-an-id", "Tools/Call"] {
        session.client.send(format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"{method}\"}}\n")).await;
        assert_eq!(session.client.message().await["error"]["code"], -32001, "{method}");
    }
    assert_eq!(session.sidecar.world.audit.kinds(), [Kind::Denied; 4]);
    session.server_saw_nothing().await;
}

#[tokio::test]
async fn hostile_messages_are_refused_and_never_reach_the_server() {
    let mut session = Session::start();
    for (line, code) in [
        (br#"{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call","params":{"name":"delete"}}"#.as_slice(), -32700),
        (br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read","name":"delete","arguments":{}}}"#, -32700),
        (br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read","arguments":{"a":1,"\u0061":2}}}"#, -32700),
        (br#"{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call","Params":{"name":"delete"}}"#, -32600),
        (br#"[{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"delete"}}"#, -32700),
        (b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{\"name\":\"re\xffad\"}}", -32700),
        (br#"{"jsonrpc":"2.0","id":1,"method":"tools/call"} {"jsonrpc":"2.0","id":2,"method":"ping"}"#, -32700),
        (br#"{"jsonrpc":"2.0","id":null,"method":"tools/call","params":{"name":"delete"}}"#, -32600),
        (b"rm -rf /", -32700),
    ] {
        session.client.send(line).await;
        session.client.send("\n").await;
        let refused = session.client.message().await;
        assert_eq!(refused["error"]["code"], code, "{}", String::from_utf8_lossy(line));
    }
    // Strictly read by the sidecar: what differs by case from a parameter that is known.
    session.client.send("{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"tools/call\",\"params\":{\"name\":\"read\",\"Name\":\"delete\"}}\n").await;
    assert_eq!(session.client.message().await["result"]["isError"], true);
    // A call without an id cannot be answered, but some servers would carry it out.
    session
        .client
        .send("{\"jsonrpc\":\"2.0\",\"method\":\"tools/call\",\"params\":{\"name\":\"delete\"}}\n")
        .await;
    session.server_saw_nothing().await;
    let mut long = vec![b' '; 4 * 1024 * 1024];
    long.push(b'\n');
    session.client.send(&long).await;
    assert_eq!(session.client.message().await["error"]["code"], -32700);
}

#[tokio::test]
async fn a_held_call_holds_up_nothing_else_and_then_runs_as_it_was() {
    let mut session = Session::start();
    session.client.send(call(1, "write")).await;
    session.asked().await;
    session.client.send(call(2, "read")).await;
    assert_eq!(session.server.line().await, call(2, "read").as_bytes());
    session.server.send(answer(2)).await;
    assert_eq!(session.client.line().await, answer(2).as_bytes());
    session.server_saw_nothing().await;
    let control = &session.sidecar.world.control;
    control.approve(control.last());
    assert_eq!(session.server.line().await, call(1, "write").as_bytes());
    session.server.send(answer(1)).await;
    assert_eq!(session.client.line().await, answer(1).as_bytes());
    let audit = session.sidecar.world.audit.clone();
    eventually("both outcomes are recorded", || {
        audit.kinds().iter().filter(|kind| **kind == Kind::Executed).count() == 2
    })
    .await;
}

#[tokio::test]
async fn a_call_that_a_reviewer_refuses_is_answered_and_never_forwarded() {
    let mut session = Session::start();
    session.client.send(call(1, "write")).await;
    session.asked().await;
    let control = &session.sidecar.world.control;
    control.deny(control.last());
    let refused = session.client.message().await;
    let text = refused["result"]["content"][0]["text"].as_str().unwrap();
    assert!(text.contains("refused by a reviewer") && text.contains("Approval 0"), "{text}");
    session.server_saw_nothing().await;
}

#[tokio::test]
async fn a_held_call_that_is_cancelled_is_withdrawn_and_neither_is_forwarded() {
    let mut session = Session::start();
    session.client.send(call(1, "write")).await;
    session.asked().await;
    let cancel =
        "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\",\"params\":{\"requestId\":1.0}}\n";
    session.client.send(cancel).await;
    let control = session.sidecar.world.control.clone();
    let withdrawn =
        || matches!(&control.approvals()[0].state, State::Cancelled { why: CancelReason::Requester, .. });
    eventually("it is withdrawn", withdrawn).await;
    session.server_saw_nothing().await;
    session.client_saw_nothing().await;
    // A call that runs is another matter: the server must know.
    session.client.send(call(2, "read")).await;
    session.server.line().await;
    let cancel =
        "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\",\"params\":{\"requestId\":2}}\n";
    session.client.send(cancel).await;
    assert_eq!(session.server.line().await, cancel.as_bytes());
}

#[tokio::test]
async fn a_client_that_goes_away_cancels_what_is_held_and_closes_the_servers_input() {
    let mut session = Session::start();
    session.client.send(call(1, "write")).await;
    session.asked().await;
    session.client.close().await;
    let control = session.sidecar.world.control.clone();
    eventually("it is cancelled", || matches!(control.approvals()[0].state, State::Cancelled { .. })).await;
    assert_eq!(session.server.line().await, b"", "the server's input has ended");
    session.server.close().await;
    session.relay.await.unwrap().unwrap();
}

#[tokio::test]
async fn answers_come_even_when_the_client_has_sent_all_it_wants_to_send() {
    let mut session = Session::start();
    session.client.send(call(1, "read")).await;
    session.client.close().await;
    assert_eq!(session.server.line().await, call(1, "read").as_bytes());
    assert_eq!(session.server.line().await, b"");
    session.server.send(answer(1)).await;
    session.server.close().await;
    assert_eq!(session.client.line().await, answer(1).as_bytes());
    session.relay.await.unwrap().unwrap();
}

#[tokio::test]
async fn outcomes_tell_success_from_failure_and_both_from_a_server_that_died() {
    let mut session = Session::start();
    let audit = session.sidecar.world.audit.clone();
    let count = |kind: Kind| audit.kinds().iter().filter(|found| **found == kind).count();
    session.client.send(call(1, "read")).await;
    session.server.line().await;
    session
        .server
        .send("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"isError\":true,\"content\":[]}}\n")
        .await;
    eventually("the failure is recorded", || count(Kind::Failed) == 1).await;
    session.client.send(call(2, "read")).await;
    session.server.line().await;
    session.server.close().await;
    eventually("the unknown outcome is recorded", || count(Kind::OutcomeUnknown) == 1).await;
    session.relay.await.unwrap().unwrap();
}

#[tokio::test]
async fn an_id_is_one_requests_at_a_time_and_an_answer_to_a_held_call_is_forged() {
    let mut session = Session::start();
    session.client.send(call(1, "write")).await;
    session.asked().await;
    session.client.send(call(1, "read")).await;
    assert_eq!(session.client.message().await["error"]["code"], -32600);
    session.server.send(answer(1)).await;
    session.client_saw_nothing().await;
}

#[tokio::test]
async fn what_the_server_asks_of_the_clients_model_is_evaluated() {
    let mut session = Session::start();
    let sampling = "{\"jsonrpc\":\"2.0\",\"id\":\"s1\",\"method\":\"sampling/createMessage\",\"params\":{\"messages\":[]}}\n";
    session.server.send(sampling).await;
    let refused = session.server.message().await;
    assert_eq!((&refused["id"], &refused["error"]["code"]), (&Value::from("s1"), &Value::from(-32001)));
    // What some client might take for such a request is not forwarded either.
    session.server.send("{\"jsonrpc\":\"2.0\",\"id\":2,\"Method\":\"sampling/createMessage\"}\n").await;
    session.client_saw_nothing().await;
}

#[tokio::test]
async fn without_a_sidecar_nothing_but_pings_and_notifications_pass() {
    let mut session = Session::start();
    session.sidecar.stop();
    session.client.send(call(1, "read")).await;
    let refused = session.client.message().await;
    assert_eq!(refused["result"]["_meta"]["countersign/denial"]["code"], "sidecar");
    session.client.send("{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"tools/list\"}\n").await;
    assert_eq!(session.client.message().await["error"]["code"], -32603);
    let ping = "{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"ping\"}\n";
    session.client.send(ping).await;
    assert_eq!(session.server.line().await, ping.as_bytes());
}

#[tokio::test]
async fn only_what_was_asked_can_be_answered() {
    let mut session = Session::start();
    let answer = "{\"jsonrpc\":\"2.0\",\"id\":6,\"result\":{}}\n";
    session.client.send(answer).await;
    session.server_saw_nothing().await;
    session.server.send(answer).await;
    session.client_saw_nothing().await;
    let ping = "{\"jsonrpc\":\"2.0\",\"id\":6,\"method\":\"ping\"}\n";
    session.server.send(ping).await;
    assert_eq!(session.client.line().await, ping.as_bytes());
    session.client.send(answer).await;
    assert_eq!(session.server.line().await, answer.as_bytes());
    session.client.send(answer).await;
    session.server_saw_nothing().await;
}

#[tokio::test]
async fn a_list_that_is_too_long_to_be_looked_at_is_not_shown() {
    let mut session = Session::start();
    session.client.send(crate::stage::list(1)).await;
    session.server.line().await;
    let long = "x".repeat(16 * 1024 * 1024);
    let answer = format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{{\"tools\":[],\"x\":\"{long}\"}}}}\n");
    session.server.send(answer).await;
    let refused = session.client.message().await;
    assert_eq!(refused["error"]["code"], -32603);
    // A result that asks for nothing may be as long as it is.
    session.client.send(call(2, "read")).await;
    session.server.line().await;
    let answer = format!("{{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{{\"x\":\"{long}\"}}}}\n");
    session.server.send(&answer).await;
    assert_eq!(session.client.line().await, answer.as_bytes());
}
