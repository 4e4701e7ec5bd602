//! A sidecar's MCP listener over a gate in a fake world, and a server behind it that a test plays.

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, body::Body, extract::State, http::HeaderMap, response::Response};
use bytes::Bytes;
use countersign_gate::record::Kind;
use countersign_intercept::{
    check::Token,
    mcp::{
        Servers,
        http::{self, Processes, ServerSettings, Settings, UpstreamSettings},
        servers::Shared,
    },
};
use countersign_testkit::{World, world::eventually};
use futures::StreamExt as _;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::outputs;

const POLICIES: &str = r#"
permit (principal, action in [
  Mcp::Action::"initialize", Mcp::Action::"server/discover", Mcp::Action::"tools/list", Mcp::Action::"resources/list",
  Mcp::Action::"tools/call", Mcp::Action::"resources/read", Mcp::Action::"roots/list",
  Mcp::Action::"subscriptions/listen"
], resource);
@id("mcp.write") @approval("sre") @reason("Writing needs an SRE")
forbid (principal, action == Mcp::Action::"tools/call", resource == Mcp::Tool::"files/write")
unless { context.approvals.contains("sre") };
@id("mcp.delete") @reason("Nothing is deleted")
forbid (principal, action == Mcp::Action::"tools/call", resource == Mcp::Tool::"files/delete");
@id("mcp.quarantine") @approval("sre") @reason("This tool is not what it was")
forbid (principal, action == Mcp::Action::"tools/call", resource)
when { context has tool && (context.tool.status == "new" || context.tool.status == "changed") }
unless { context.approvals.contains("sre") };
@id("mcp.instructions") @approval("sre") @reason("The server tells models something else")
forbid (principal, action == Mcp::Action::"initialize", resource)
when { context has instructions }
unless { context.approvals.contains("sre") };
@id("mcp.sampling") @reason("No model is lent out")
forbid (principal, action == Mcp::Action::"sampling/createMessage", resource);
"#;

/// What the server got.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Seen {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

#[derive(Default)]
struct Script {
    seen: Vec<Seen>,
    answers: VecDeque<Response>,
    tools: Vec<Value>,
    listed: usize,
    pings: usize,
}

type Plan = Arc<Mutex<Script>>;

/// The listener, and what is around it.
pub(crate) struct Stage {
    pub(crate) world: World,
    pub(crate) stop: CancellationToken,
    pub(crate) processes: Processes,
    url: String,
    script: Plan,
    client: reqwest::Client,
    tasks: Vec<JoinHandle<()>>,
}

impl Stage {
    pub(crate) async fn start(patience: Duration) -> Self {
        let script = Plan::default();
        let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = upstream.local_addr().unwrap();
        let served = Router::new().fallback(answer).with_state(Arc::clone(&script));
        let server = tokio::spawn(async move { axum::serve(upstream, served).await.unwrap() });
        let upstream = UpstreamSettings::Url {
            url: format!("http://{address}/mcp").parse().unwrap(),
            credential: Some((http_name("authorization"), "Bearer server-token".parse().unwrap())),
        };
        let mut stage = Self::before(upstream, patience).await;
        stage.script = script;
        stage.tasks.push(server);
        stage
    }

    /// A listener before any server.
    pub(crate) async fn before(upstream: UpstreamSettings, patience: Duration) -> Self {
        let world = World::new();
        world.activate_bundle(2, outputs::bundle(POLICIES));
        let stop = CancellationToken::new();
        let console = Some("https://console.example/".to_owned());
        let shared = Shared { console, stop: stop.clone(), ..Shared::default() };
        let known = Servers::new(world.gate.clone(), shared);
        let processes = Processes::default();
        let settings =
            Settings { token: Token::new("agent-token"), clients: [].into(), processes: processes.clone() };
        let servers = vec![ServerSettings {
            name: "files".to_owned(),
            path: "/mcp/files".to_owned(),
            upstream,
            origins: Vec::new(),
            hosts: Vec::new(),
            patience,
        }];
        let routes = http::router(&known, &settings, servers).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/mcp/files", listener.local_addr().unwrap());
        let proxy = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        let (script, client) = (Plan::default(), reqwest::Client::new());
        Self { world, stop, processes, url, script, client, tasks: vec![proxy] }
    }

    /// What the server answers next; without anything it answers a call with an empty result.
    pub(crate) fn will_answer(&self, answer: Response) {
        self.script.lock().unwrap().answers.push_back(answer);
    }

    /// What the server's tools are when the sidecar itself asks.
    pub(crate) fn set_tools(&self, tools: &[Value]) {
        self.script.lock().unwrap().tools = tools.to_vec();
    }

    /// How often the sidecar itself has asked.
    pub(crate) fn listed(&self) -> usize {
        self.script.lock().unwrap().listed
    }

    /// How often the sidecar has shown that a session is in use.
    pub(crate) fn pings(&self) -> usize {
        self.script.lock().unwrap().pings
    }

    /// What the server got from clients.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.script.lock().unwrap().seen.clone()
    }

    /// What the server got, when it has got that many requests.
    pub(crate) async fn has_seen(&self, count: usize) -> Vec<Seen> {
        eventually("the server was asked", || self.seen().len() >= count).await;
        self.seen()
    }

    pub(crate) fn request(&self, method: reqwest::Method) -> reqwest::RequestBuilder {
        let request = self.client.request(method, &self.url).bearer_auth("agent-token");
        request.header("accept", "application/json, text/event-stream")
    }

    pub(crate) fn post(&self, body: impl Into<String>) -> reqwest::RequestBuilder {
        self.request(reqwest::Method::POST).header("content-type", "application/json").body(body.into())
    }

    /// A request of 2026-07-28.
    pub(crate) fn modern(&self, method: &str, name: &str, body: &Value) -> reqwest::RequestBuilder {
        let request = self.post(body.to_string()).header("mcp-protocol-version", "2026-07-28");
        request.header("mcp-method", method).header("mcp-name", name)
    }

    /// The approval that was asked for last is given.
    pub(crate) fn approve(&self) {
        self.world.control.approve(self.world.control.last());
    }

    /// Waits until something is on record.
    pub(crate) async fn recorded(&self, kind: Kind) {
        eventually("it is on record", || self.world.audit.kinds().contains(&kind)).await;
    }

    /// Waits until people are asked.
    pub(crate) async fn asked(&self) {
        let control = self.world.control.clone();
        eventually("people are asked", || !control.approvals().is_empty()).await;
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

fn http_name(name: &'static str) -> axum::http::HeaderName {
    axum::http::HeaderName::from_static(name)
}

async fn answer(State(script): State<Plan>, request: axum::extract::Request) -> Response {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let mut script = script.lock().unwrap();
    let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
    if asked["id"].as_str().is_some_and(|id| id.starts_with("countersign-list")) {
        script.listed += 1;
        let result = json!({"tools": script.tools});
        return json_answer(json!({"jsonrpc": "2.0", "id": asked["id"], "result": result}).to_string());
    }
    if asked["id"] == "countersign-ping" {
        script.pings += 1;
        return json_answer(r#"{"jsonrpc":"2.0","id":"countersign-ping","result":{}}"#);
    }
    let scripted = script.answers.pop_front();
    let id = asked["id"].clone();
    script.seen.push(Seen { method: head.method.to_string(), headers: head.headers, body });
    scripted.unwrap_or_else(|| {
        json_answer(json!({"jsonrpc": "2.0", "id": id, "result": {"content": []}}).to_string())
    })
}

pub(crate) fn json_answer(body: impl Into<String>) -> Response {
    Response::builder().header("content-type", "application/json").body(Body::from(body.into())).unwrap()
}

/// An event stream, written by a test as it goes.
pub(crate) fn stream() -> (mpsc::UnboundedSender<Bytes>, Response) {
    let (pieces, mut received) = mpsc::unbounded_channel::<Bytes>();
    let body = futures::stream::poll_fn(move |context| received.poll_recv(context)).map(Ok::<_, Infallible>);
    let answer = Response::builder().header("content-type", "text/event-stream");
    (pieces, answer.body(Body::from_stream(body)).unwrap())
}

pub(crate) fn call(id: u32, tool: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": tool, "arguments": {}}})
}

/// What comes next on an event stream, comments left out.
pub(crate) async fn next_event(response: &mut reqwest::Response) -> Option<Value> {
    let mut text = String::new();
    loop {
        while !text.ends_with("\n\n") {
            let piece = tokio::time::timeout(Duration::from_secs(30), response.chunk());
            match piece.await.expect("an event in time") {
                Ok(Some(piece)) => text.push_str(std::str::from_utf8(&piece).unwrap()),
                Ok(None) | Err(_) => return None,
            }
        }
        let data: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
        if !data.is_empty() {
            return Some(serde_json::from_str(&data.join("\n")).unwrap_or_else(|_| panic!("{text}")));
        }
        text.clear();
    }
}
