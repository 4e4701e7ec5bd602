//! A server that is a command, for clients with sessions: each has a process of its own, and nobody else's.

use std::{fs, time::Duration};

use countersign_approval::{CancelReason, State};
use countersign_gate::record::Kind;
use countersign_intercept::mcp::http::{CommandSettings, UpstreamSettings};
use countersign_testkit::world::eventually;
use serde_json::{Value, json};

use crate::{
    program::{Process, Program},
    stage::{Stage, call, next_event},
};

const LONG: Duration = Duration::from_secs(600);

fn initialize() -> Value {
    let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}});
    json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params})
}

/// A session that has begun.
struct Session<'a> {
    stage: &'a Stage,
    id: String,
}

impl<'a> Session<'a> {
    async fn begin(stage: &'a Stage, program: &Program) -> (Self, Process) {
        let begins = tokio::spawn(stage.post(initialize().to_string()).send());
        let mut process = program.process().await;
        let asked = process.hears().await;
        assert_eq!(asked, initialize());
        process.answers(&asked, &json!({"protocolVersion": "2025-11-25", "capabilities": {}})).await;
        let response = begins.await.unwrap().unwrap();
        let id = response.headers()["mcp-session-id"].to_str().unwrap().to_owned();
        assert_eq!(response.json::<Value>().await.unwrap()["result"]["protocolVersion"], "2025-11-25");
        (Self { stage, id }, process)
    }

    fn request(&self, method: reqwest::Method) -> reqwest::RequestBuilder {
        let request = self.stage.request(method).header("mcp-session-id", &self.id);
        request.header("mcp-protocol-version", "2025-11-25")
    }

    fn post(&self, body: impl Into<String>) -> reqwest::RequestBuilder {
        self.request(reqwest::Method::POST).header("content-type", "application/json").body(body.into())
    }

    /// Asks for something that takes its time.
    fn ask(&self, body: &Value) -> tokio::task::JoinHandle<reqwest::Result<reqwest::Response>> {
        tokio::spawn(self.post(body.to_string()).send())
    }

    async fn status(&self, method: reqwest::Method) -> u16 {
        self.request(method).send().await.unwrap().status().as_u16()
    }
}

#[tokio::test]
async fn a_session_is_a_process_from_its_first_message_to_its_last() {
    let program = Program::new();
    let stage = Stage::before(program.upstream(), LONG).await;
    let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}).to_string();
    assert_eq!(stage.post(ping.clone()).send().await.unwrap().status(), 400, "no session, and none begun");
    let (session, mut process) = Session::begin(&stage, &program).await;
    assert!(session.id.len() >= 43 && program.has_started_nothing());
    let asked = "\t{\"vendor\":{\"x\":[1,  2]} ,\r\n \"jsonrpc\":\"2.0\",\"id\":1152921504606846977,\n\"method\":\"resources/read\",\
                 \"params\":{\"n\":1.50e1,\"uri\":\"file:///a\"}}\r\n";
    let answered =
        "{ \"jsonrpc\":\"2.0\", \"id\":1152921504606846977 ,\"vendor\":1e400,\"result\":{\"contents\":[]}}";
    let asking = tokio::spawn(session.post(asked).send());
    let expected = asked.trim().replace(['\r', '\n'], " ");
    assert_eq!(
        process.line().await.unwrap().trim_end_matches('\n'),
        expected,
        "on one line, else as it came"
    );
    process.says(answered).await;
    let response = asking.await.unwrap().unwrap();
    assert_eq!(response.headers()["content-type"], "application/json");
    assert_eq!(response.text().await.unwrap(), answered);
    let notice = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    let told = session.post(notice.to_string()).send().await.unwrap();
    assert_eq!((told.status().as_u16(), told.text().await.unwrap()), (202, String::new()));
    assert_eq!(process.hears().await, notice);
    assert_eq!(session.status(reqwest::Method::DELETE).await, 204);
    process.is_told_to_end().await;
    for method in [reqwest::Method::GET, reqwest::Method::DELETE] {
        assert_eq!(session.status(method).await, 404);
    }
    assert_eq!(session.post(ping).send().await.unwrap().status(), 404);
    assert!(program.has_started_nothing());
}

#[tokio::test]
async fn what_belongs_to_a_request_comes_on_its_stream() {
    let program = Program::new();
    let stage = Stage::before(program.upstream(), LONG).await;
    let (session, mut process) = Session::begin(&stage, &program).await;
    let mut read = call(1, "read");
    read["params"]["_meta"] = json!({"progressToken": "p"});
    let asking = session.ask(&read);
    assert_eq!(process.hears().await, read);
    let progress = json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": "p", "progress": 1}});
    process.says("a line that is no message").await;
    process.says(&progress).await;
    let mut response = asking.await.unwrap().unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert_eq!(next_event(&mut response).await.unwrap(), progress);
    // A question, to whoever has asked last; the answer finds its way back.
    let question = json!({"jsonrpc": "2.0", "id": 1, "method": "roots/list"});
    process.says(&question).await;
    assert_eq!(next_event(&mut response).await.unwrap(), question);
    let answer = json!({"jsonrpc": "2.0", "id": 1, "result": {"roots": []}});
    assert_eq!(session.post(answer.to_string()).send().await.unwrap().status(), 202);
    assert_eq!(process.hears().await, answer);
    // Policy forbids this one: the process is told, and nobody else.
    process.says(json!({"jsonrpc": "2.0", "id": 2, "method": "sampling/createMessage", "params": {}})).await;
    let refused = process.hears().await;
    assert_eq!((&refused["id"], &refused["error"]["code"]), (&json!(2), &json!(-32001)));
    process.answers(&read, &json!({"content": []})).await;
    assert_eq!(next_event(&mut response).await.unwrap()["result"], json!({"content": []}));
    assert_eq!(next_event(&mut response).await, None, "the answer is the last of it");
    stage.recorded(Kind::Executed).await;
}

#[tokio::test]
async fn what_a_process_says_by_itself_is_kept_for_who_listens() {
    let program = Program::new();
    let stage = Stage::before(program.upstream(), LONG).await;
    let (session, mut process) = Session::begin(&stage, &program).await;
    let notice =
        |number: u32| json!({"jsonrpc": "2.0", "method": "notifications/x", "params": {"n": number}});
    process.says(notice(1)).await;
    let mut listening = session.request(reqwest::Method::GET).send().await.unwrap();
    assert_eq!(next_event(&mut listening).await.unwrap(), notice(1));
    process.says(notice(2)).await;
    assert_eq!(next_event(&mut listening).await.unwrap(), notice(2));
    // A client that comes again takes over: the stream before may be one that nobody reads.
    let mut again = session.request(reqwest::Method::GET).send().await.unwrap();
    assert_eq!(next_event(&mut listening).await, None);
    process.says(notice(3)).await;
    assert_eq!(next_event(&mut again).await.unwrap(), notice(3));
    drop(process);
    assert_eq!(next_event(&mut again).await, None);
    assert_eq!(session.status(reqwest::Method::GET).await, 404);
}

#[tokio::test]
async fn an_answer_that_nobody_asked_for_reaches_nobody() {
    let program = Program::new();
    let stage = Stage::before(program.upstream(), LONG).await;
    let (first, mut process) = Session::begin(&stage, &program).await;
    let (second, mut other) = Session::begin(&stage, &program).await;
    assert_ne!(first.id, second.id);
    let asking = [first.ask(&call(7, "read")), second.ask(&call(7, "read"))];
    let (asked, asked_other) = (process.hears().await, other.hears().await);
    let result = |text: &str| json!({"content": [{"type": "text", "text": text}]});
    // For an id that was never asked, and once more for one that was.
    for (id, text) in [(json!(8), "forged"), (json!(7), "first"), (json!(7), "again")] {
        process.answers(&json!({"id": id}), &result(text)).await;
    }
    other.answers(&asked_other, &result("second")).await;
    assert_eq!(asked, asked_other);
    for (asking, text) in asking.into_iter().zip(["first", "second"]) {
        let answer: Value = asking.await.unwrap().unwrap().json().await.unwrap();
        assert_eq!((&answer["id"], &answer["result"]), (&json!(7), &result(text)));
    }
    // A guess is a guess, and of no use before or after.
    let guessed = Session { stage: &stage, id: format!("{}x", &first.id[1..]) };
    let response = guessed.post(call(9, "write").to_string()).send().await.unwrap();
    assert_eq!(response.status(), 404);
    assert!(stage.world.control.approvals().is_empty(), "nobody is asked about what cannot be carried out");
}

#[tokio::test]
async fn a_batch_is_taken_apart_and_its_answers_come_one_by_one() {
    let program = Program::new();
    let stage = Stage::before(program.upstream(), LONG).await;
    let (session, mut process) = Session::begin(&stage, &program).await;
    let post = |body: &Value| {
        let request = stage.post(body.to_string()).header("mcp-protocol-version", "2025-03-26");
        tokio::spawn(request.header("mcp-session-id", &session.id).send())
    };
    let asking = post(&json!([call(1, "read"), call(2, "delete"), call(3, "read")]));
    let asked = [process.hears().await, process.hears().await];
    assert_eq!(asked, [call(1, "read"), call(3, "read")], "what policy denies is left out");
    let answer = |id: u32| json!({"jsonrpc": "2.0", "id": id, "result": {"content": []}});
    process.says(json!([answer(3), answer(1)])).await;
    let mut response = asking.await.unwrap().unwrap();
    assert_eq!(next_event(&mut response).await.unwrap()["result"]["isError"], true);
    for id in [3, 1] {
        assert_eq!(next_event(&mut response).await.unwrap(), answer(id));
    }
    assert_eq!(next_event(&mut response).await, None);
    // None begins a session among other things.
    let begins = stage.post(json!([initialize(), call(1, "read")]).to_string()).send().await.unwrap();
    assert_eq!(begins.status(), 400);
    assert!(program.has_started_nothing());
}

#[tokio::test]
async fn what_was_held_never_reaches_another_process() {
    let program = Program::new();
    let stage = Stage::before(program.upstream(), LONG).await;
    let (session, mut process) = Session::begin(&stage, &program).await;
    let asking = session.ask(&call(1, "write"));
    let asked: Value = serde_json::from_str(&process.line().await.unwrap()).unwrap();
    assert_eq!(asked["method"], "tools/list");
    process.answers(&asked, &json!({"tools": [{"name": "write"}]})).await;
    let mut response = asking.await.unwrap().unwrap();
    stage.asked().await;
    drop(process);
    let answer = next_event(&mut response).await.unwrap();
    assert!(answer["error"]["message"].as_str().unwrap().contains("session is over"), "{answer}");
    let control = stage.world.control.clone();
    eventually("people are not asked any more", || {
        matches!(control.approvals()[0].state, State::Cancelled { why: CancelReason::RequesterGone, .. })
    })
    .await;
    assert_eq!(session.post(call(2, "write").to_string()).send().await.unwrap().status(), 404);
    let (_session, mut process) = Session::begin(&stage, &program).await;
    assert_eq!(session.status(reqwest::Method::GET).await, 404, "the session does not come back with it");
    stage.processes.end().await;
    assert_eq!(process.line().await, None, "the new process has heard of nothing");
}

#[tokio::test]
async fn a_process_that_dies_leaves_an_unknown_outcome_and_no_session() {
    let program = Program::new();
    let stage = Stage::before(program.upstream(), LONG).await;
    let (session, mut process) = Session::begin(&stage, &program).await;
    let asking = session.ask(&call(1, "read"));
    process.hears().await;
    let mut progress = call(2, "read");
    progress["params"]["_meta"] = json!({"progressToken": 1});
    let streaming = session.ask(&progress);
    process.hears().await;
    process
        .says(json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": 1, "progress": 1}}))
        .await;
    let mut stream = streaming.await.unwrap().unwrap();
    next_event(&mut stream).await.unwrap();
    drop(process);
    let answer: Value = asking.await.unwrap().unwrap().json().await.unwrap();
    assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!(1), &json!(-32603)));
    let answer = next_event(&mut stream).await.unwrap();
    assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!(2), &json!(-32603)), "it is told, too");
    let audit = stage.world.audit.clone();
    eventually("both outcomes are unknown", || {
        audit.kinds().iter().filter(|kind| **kind == Kind::OutcomeUnknown).count() == 2
    })
    .await;
    assert_eq!(session.post(call(3, "read").to_string()).send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn sessions_are_bounded_and_end_when_nobody_uses_them() {
    let program = Program::new();
    let command = CommandSettings { max_sessions: 1, ..program.command() };
    let stage = Stage::before(UpstreamSettings::Command(command), LONG).await;
    let (session, mut process) = Session::begin(&stage, &program).await;
    let refused: Value = stage.post(initialize().to_string()).send().await.unwrap().json().await.unwrap();
    assert!(refused["error"]["message"].as_str().unwrap().contains("max_sessions"), "{refused}");
    assert_eq!(session.status(reqwest::Method::DELETE).await, 204);
    process.is_told_to_end().await;
    drop(process);
    let stage = {
        let command = CommandSettings { idle: Duration::from_millis(200), ..program.command() };
        Stage::before(UpstreamSettings::Command(command), LONG).await
    };
    let (session, mut process) = Session::begin(&stage, &program).await;
    process.is_told_to_end().await;
    assert_eq!(session.status(reqwest::Method::GET).await, 404);
}

#[tokio::test]
async fn a_client_that_goes_before_its_session_has_begun_leaves_no_process() {
    let folder = tempfile::tempdir().unwrap();
    // Deaf to its closed input and to SIGTERM, and with a child.
    let script = "trap '' TERM; sleep 1000 & echo $! > child; echo $$ > leader; mv leader ready; \
                  while :; do sleep 1; done";
    let command = CommandSettings {
        words: ["/bin/sh", "-c", script].map(str::to_owned).into(),
        env: vec![("PATH".to_owned(), "/usr/bin:/bin".into())],
        cwd: Some(folder.path().to_owned()),
        max_sessions: 1,
        idle: LONG,
    };
    let stage = Stage::before(UpstreamSettings::Command(command), LONG).await;
    let asking = tokio::spawn(stage.post(initialize().to_string()).send());
    let ready = folder.path().join("ready");
    eventually("it has started", || ready.exists()).await;
    asking.abort();
    let number = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap().trim().to_owned();
    // A zombie that nobody waits for would still be there.
    let runs = |id: &str| fs::metadata(format!("/proc/{id}/stat")).is_ok();
    let (leader, child) = (number("ready"), number("child"));
    eventually("the process has gone", || !runs(&leader)).await;
    eventually("what it has started has gone with it", || {
        let state = fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        state.is_empty() || state.contains(") Z ")
    })
    .await;
}

#[tokio::test]
async fn a_command_that_does_not_exist_is_told_by_its_name() {
    let command = CommandSettings { words: vec!["/no/such/server".to_owned()], ..Program::new().command() };
    let stage = Stage::before(UpstreamSettings::Command(command), LONG).await;
    let answer: Value = stage.post(initialize().to_string()).send().await.unwrap().json().await.unwrap();
    assert!(answer["error"]["message"].as_str().unwrap().contains("/no/such/server"), "{answer}");
}
