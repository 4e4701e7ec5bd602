//! What passes, passes byte for byte and as it comes; what is refused is refused honestly.

use std::time::Duration;

use axum::{body::Body, http::StatusCode, response::Response};
use bytes::Bytes;
use countersign_gate::record::Kind;
use serde_json::{Value, json};

use crate::stage::{Stage, call, json_answer, next_event, stream};

const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn every_byte_passes_and_credentials_do_not() {
    let stage = Stage::start(PATIENCE).await;
    let asked = "\t{\"vendor\":{\"x\":[1,  2]} , \"jsonrpc\":\"2.0\",\"id\":1152921504606846977,\"method\":\"tools/call\",\
                 \"params\":{\"arguments\":{\"n\":1.50e1},\"name\":\"read\",\"extra\":null}}\r\n";
    let answered = "{ \"jsonrpc\":\"2.0\", \"id\":1152921504606846977 ,\"vendor\":1e400,\"result\":{\"content\":[],\"x\":{\"y\":1.0}}}\n";
    let mut answer = json_answer(answered);
    answer.headers_mut().insert("mcp-session-id", "abc".parse().unwrap());
    answer.headers_mut().insert("set-cookie", "a=b".parse().unwrap());
    stage.will_answer(answer);
    let request =
        stage.post(asked).header("x-vendor", "1").header("mcp-session-id", "abc").header("cookie", "c=d");
    let response = request.header("mcp-name", "other").send().await.unwrap();
    assert_eq!(response.headers()["mcp-session-id"], "abc");
    assert!(!response.headers().contains_key("set-cookie"));
    assert_eq!(response.text().await.unwrap(), answered);
    let seen = &stage.seen()[0];
    assert_eq!(seen.body, asked.as_bytes());
    assert_eq!(seen.headers["authorization"], "Bearer server-token");
    assert_eq!(
        (&seen.headers["x-vendor"], &seen.headers["mcp-session-id"]),
        (&"1".parse().unwrap(), &"abc".parse().unwrap())
    );
    for gone in ["cookie", "origin", "mcp-name", "accept-encoding"] {
        assert!(!seen.headers.contains_key(gone), "{gone}");
    }
}

#[tokio::test]
async fn strangers_and_pages_of_elsewhere_are_turned_away() {
    let stage = Stage::start(PATIENCE).await;
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    let status = |request: reqwest::RequestBuilder| async { request.send().await.unwrap().status().as_u16() };
    assert_eq!(status(stage.post(ping).header("origin", "http://evil.example")).await, 403);
    assert_eq!(status(stage.post(ping).header("host", "evil.example")).await, 403);
    let mut stranger = stage.post(ping).build().unwrap();
    stranger.headers_mut().insert("authorization", "Bearer server-token".parse().unwrap());
    assert_eq!(reqwest::Client::new().execute(stranger).await.unwrap().status(), 401);
    assert_eq!(status(stage.post(ping).header("origin", "http://localhost:6274")).await, 200);
    assert_eq!(stage.seen().len(), 1);
}

#[tokio::test]
async fn a_denial_is_honest_and_reaches_nobody() {
    let stage = Stage::start(PATIENCE).await;
    let response = stage.post(call(1, "delete").to_string()).send().await.unwrap();
    let answer: Value = response.json().await.unwrap();
    assert_eq!((&answer["id"], &answer["result"]["isError"]), (&json!(1), &json!(true)));
    let denial = &answer["result"]["_meta"]["countersign/denial"];
    assert_eq!(denial["policies"][0]["id"], "mcp.delete");
    assert_eq!(denial["policies"][0]["reason"], "Nothing is deleted");
    assert!(denial["evaluation"].is_string());
    let unknown = json!({"jsonrpc": "2.0", "id": 2, "method": "vendor/do"}).to_string();
    let answer: Value = stage.post(unknown).send().await.unwrap().json().await.unwrap();
    assert_eq!(answer["error"]["code"], -32001);
    assert!(stage.seen().is_empty());
    assert_eq!(stage.world.audit.kinds(), [Kind::Denied, Kind::Denied]);
}

#[tokio::test]
async fn what_could_be_read_in_two_ways_is_refused() {
    let stage = Stage::start(PATIENCE).await;
    let twice = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read","name":"delete"}}"#;
    let case = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","Method":"ping","params":{"name":"read"}}"#;
    let trailing = format!("{} {}", call(1, "read"), call(2, "delete"));
    for body in [twice, case, &trailing] {
        let status = stage.post(body).send().await.unwrap().status();
        assert_eq!(status, 400, "{body}");
    }
    let invalid = stage.post("").body(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\xff\"}".to_vec());
    assert_eq!(invalid.send().await.unwrap().status(), 400);
    let params = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read","Name":"delete"}}"#;
    let answer: Value = stage.post(params).send().await.unwrap().json().await.unwrap();
    assert_eq!(answer["result"]["isError"], true);
    let lying = stage.modern("tools/call", "read", &call(1, "write")).send().await.unwrap();
    assert_eq!(lying.status(), 400);
    assert_eq!(lying.json::<Value>().await.unwrap()["error"]["code"], -32020);
    assert!(stage.seen().is_empty());
}

#[tokio::test]
async fn of_a_batch_only_what_is_permitted_passes() {
    let stage = Stage::start(PATIENCE).await;
    let result = r#"{"jsonrpc":"2.0","id":2,"result":{"content":[]}}"#;
    stage.will_answer(json_answer(format!("[{result}]")));
    let batch = format!("[{}, {}]", call(1, "delete"), call(2, "read"));
    let answers: Value = stage.post(batch).send().await.unwrap().json().await.unwrap();
    assert_eq!((&answers[0]["id"], &answers[0]["result"]["isError"]), (&json!(1), &json!(true)));
    assert_eq!(answers[1], serde_json::from_str::<Value>(result).unwrap());
    assert_eq!(stage.seen()[0].json(), json!([call(2, "read")]));
    let untouched = format!("[ {} ]", call(3, "read"));
    stage.post(untouched.clone()).send().await.unwrap();
    assert_eq!(stage.seen()[1].body, untouched.as_bytes());
}

#[tokio::test]
async fn streams_are_never_buffered() {
    let stage = Stage::start(PATIENCE).await;
    let (server, answer) = stream();
    stage.will_answer(answer);
    let mut response = stage.post(call(1, "read").to_string()).send().await.unwrap();
    for number in 0..3 {
        let event =
            json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progress": number}});
        server.send(format!("id: {number}\ndata: {event}\n\n").into()).unwrap();
        assert_eq!(next_event(&mut response).await.unwrap(), event);
    }
    server.send(Bytes::from_static(b"data: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n\n")).unwrap();
    drop(server);
    assert_eq!(next_event(&mut response).await.unwrap()["id"], 1);
    assert_eq!(next_event(&mut response).await, None);
    stage.recorded(Kind::Executed).await;
}

#[tokio::test]
async fn a_long_result_passes_and_a_long_question_breaks_off() {
    let stage = Stage::start(PATIENCE).await;
    let long = "x".repeat(3 * 1024 * 1024);
    let result = format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{{\"content\":[\"{long}\"]}}}}");
    let event = format!("event: message\ndata: {result}\n\n");
    for (kind, body) in [("text/event-stream", &event), ("application/json", &result)] {
        stage.will_answer(
            Response::builder().header("content-type", kind).body(Body::from(body.clone())).unwrap(),
        );
        let response = stage.post(call(1, "read").to_string()).send().await.unwrap();
        assert_eq!(&response.text().await.unwrap(), body);
    }
    let question = format!(
        "data: {{\"jsonrpc\":\"2.0\",\"id\":9,\"params\":{{\"a\":\"{long}\"}},\"method\":\"sampling/createMessage\"}}\n\n"
    );
    let answer = Response::builder().header("content-type", "text/event-stream");
    stage.will_answer(answer.body(Body::from(question)).unwrap());
    let response = stage.post(call(1, "read").to_string()).send().await.unwrap();
    assert!(response.text().await.is_err(), "the client must not get a whole event");
}

#[tokio::test]
async fn sessions_streams_and_their_ends_pass() {
    let stage = Stage::start(PATIENCE).await;
    let (server, answer) = stream();
    stage.will_answer(answer);
    let mut listening = stage
        .request(reqwest::Method::GET)
        .header("mcp-session-id", "abc")
        .header("mcp-protocol-version", "2025-11-25")
        .header("last-event-id", "7")
        .send()
        .await
        .unwrap();
    server
        .send(Bytes::from_static(b"data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/x\"}\n\n"))
        .unwrap();
    assert_eq!(next_event(&mut listening).await.unwrap()["method"], "notifications/x");
    stage.will_answer(Response::builder().status(StatusCode::NO_CONTENT).body(Body::empty()).unwrap());
    let ended = stage.request(reqwest::Method::DELETE).header("mcp-session-id", "abc").send().await.unwrap();
    assert_eq!(ended.status(), 204);
    let seen = stage.seen();
    assert_eq!((seen[0].method.as_str(), seen[1].method.as_str()), ("GET", "DELETE"));
    assert_eq!(seen[0].headers["last-event-id"], "7");
    let modern = stage.request(reqwest::Method::GET).header("mcp-protocol-version", "2026-07-28");
    assert_eq!(modern.send().await.unwrap().status(), 405);
    stage.stop.cancel();
    assert_eq!(next_event(&mut listening).await, None, "a stop ends what could go on for ever");
}
