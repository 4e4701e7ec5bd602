//! A client, the relay, and a server, as a test plays them.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use countersign_intercept::mcp::relay::{RelaySettings, relay};
use countersign_model::Provenance;
use countersign_testkit::world::eventually;
use serde_json::{Value, json};
use tokio::{
    io::{
        AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream, ReadHalf, WriteHalf, duplex, split,
    },
    sync::mpsc,
    task::JoinHandle,
};

use crate::common::Sidecar;

const PING: &str = "{\"jsonrpc\":\"2.0\",\"id\":\"fence\",\"method\":\"ping\"}\n";
const NOTICE: &str = "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/fence\"}\n";

/// Longer than any test takes.
const LONG: Duration = Duration::from_secs(600);

type Output = Arc<tokio::sync::Mutex<Option<WriteHalf<DuplexStream>>>>;

/// One side of the relay.
pub(crate) struct Side {
    lines: mpsc::UnboundedReceiver<Vec<u8>>,
    output: Output,
}

impl Side {
    /// `own` may answer a line by itself; then the test does not see it.
    fn new(stream: DuplexStream, own: impl Fn(&[u8]) -> Option<String> + Send + 'static) -> Self {
        let (input, output) = split(stream);
        let output: Output = Arc::new(tokio::sync::Mutex::new(Some(output)));
        let (sender, lines) = mpsc::unbounded_channel();
        tokio::spawn(read(BufReader::new(input), Arc::clone(&output), sender, own));
        Self { lines, output }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        write(&self.output, bytes.as_ref()).await;
    }

    pub(crate) async fn close(&mut self) {
        self.output.lock().await.take().unwrap().shutdown().await.unwrap();
    }

    /// The next line; nothing when there will be none.
    pub(crate) async fn line(&mut self) -> Vec<u8> {
        let next = tokio::time::timeout(Duration::from_secs(30), self.lines.recv());
        next.await.expect("a line in time").unwrap_or_default()
    }

    pub(crate) async fn message(&mut self) -> Value {
        let line = self.line().await;
        serde_json::from_slice(&line).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&line)))
    }
}

async fn read(
    mut input: BufReader<ReadHalf<DuplexStream>>,
    output: Output,
    lines: mpsc::UnboundedSender<Vec<u8>>,
    own: impl Fn(&[u8]) -> Option<String>,
) {
    loop {
        let mut line = Vec::new();
        if input.read_until(b'\n', &mut line).await.unwrap_or_default() == 0 {
            return;
        }
        match own(&line) {
            Some(answer) => write(&output, answer.as_bytes()).await,
            None => drop(lines.send(line)),
        }
    }
}

async fn write(output: &Output, bytes: &[u8]) {
    if let Some(output) = output.lock().await.as_mut() {
        output.write_all(bytes).await.unwrap();
    }
}

/// What the server says when the relay itself asks what its tools are.
struct Tools {
    /// None: it does not say.
    tools: Mutex<Option<Vec<Value>>>,
    listed: AtomicUsize,
}

impl Tools {
    fn answer(&self, line: &[u8]) -> Option<String> {
        let asked: Value = serde_json::from_slice(line).ok()?;
        let id = asked["id"].as_str().filter(|id| id.starts_with("countersign-list"))?;
        self.listed.fetch_add(1, Ordering::AcqRel);
        let answer = match self.tools.lock().unwrap().as_ref() {
            Some(tools) => json!({"jsonrpc": "2.0", "id": id, "result": {"tools": tools}}),
            None => json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32601, "message": "no tools"}}),
        };
        Some(format!("{answer}\n"))
    }
}

pub(crate) struct Session {
    pub(crate) sidecar: Arc<Sidecar>,
    pub(crate) client: Side,
    pub(crate) server: Side,
    pub(crate) relay: JoinHandle<std::io::Result<()>>,
    tools: Arc<Tools>,
}

impl Session {
    pub(crate) fn start() -> Self {
        Self::beside(&Arc::new(Sidecar::start()), LONG)
    }

    /// A client that is told at once when people have to decide.
    pub(crate) fn impatient() -> Self {
        Self::beside(&Arc::new(Sidecar::start()), Duration::ZERO)
    }

    /// One more client and server of that name, beside the same sidecar.
    pub(crate) fn another(&self) -> Self {
        Self::beside(&self.sidecar, LONG)
    }

    fn beside(sidecar: &Arc<Sidecar>, patience: Duration) -> Self {
        let (client, client_end) = duplex(1024 * 1024);
        let (server, server_end) = duplex(1024 * 1024);
        let settings = RelaySettings {
            sidecar: sidecar.client.clone(),
            server: "files".to_owned(),
            patience,
            provenance: Provenance::default(),
            trace: None,
        };
        let relay = tokio::spawn(relay(settings, split(client_end), split(server_end)));
        let tools = Arc::new(Tools { tools: Mutex::new(Some(Vec::new())), listed: AtomicUsize::new(0) });
        let answering = Arc::clone(&tools);
        Self {
            sidecar: Arc::clone(sidecar),
            client: Side::new(client, |_| None),
            server: Side::new(server, move |line| answering.answer(line)),
            relay,
            tools,
        }
    }

    /// What was sent to the server before did not reach it: a ping that comes later is the first thing there.
    pub(crate) async fn server_saw_nothing(&mut self) {
        self.client.send(PING).await;
        assert_eq!(self.server.line().await, PING.as_bytes());
        self.server.send("{\"jsonrpc\":\"2.0\",\"id\":\"fence\",\"result\":{}}\n").await;
        assert_eq!(self.client.message().await["id"], "fence");
    }

    /// The same for the client.
    pub(crate) async fn client_saw_nothing(&mut self) {
        self.server.send(NOTICE).await;
        assert_eq!(self.client.line().await, NOTICE.as_bytes());
    }

    /// Waits until people are asked.
    pub(crate) async fn asked(&self) {
        let control = self.sidecar.world.control.clone();
        eventually("people are asked", || !control.approvals().is_empty()).await;
    }

    /// The approval that was asked for last is given.
    pub(crate) fn approve(&self) {
        let control = &self.sidecar.world.control;
        control.approve(control.last());
    }

    /// What the server's tools are when the relay itself asks.
    pub(crate) fn set_tools(&self, tools: &[Value]) {
        *self.tools.tools.lock().unwrap() = Some(tools.to_vec());
    }

    /// The relay is not told what the server's tools are.
    pub(crate) fn refuse_to_list(&self) {
        *self.tools.tools.lock().unwrap() = None;
    }

    /// How often the relay itself has asked.
    pub(crate) fn listed(&self) -> usize {
        self.tools.listed.load(Ordering::Acquire)
    }

    /// The client lists, and the server says that. Returns what the client sees.
    pub(crate) async fn list(&mut self, tools: &[Value]) -> Value {
        self.client.send(list(90)).await;
        assert_eq!(self.server.line().await, list(90).as_bytes());
        self.server.send(format!("{}\n", listed(90, tools))).await;
        self.client.message().await
    }

    /// A call runs, without people.
    pub(crate) async fn flows(&mut self, id: u32, tool: &str) {
        self.client.send(call(id, tool)).await;
        assert_eq!(self.server.line().await, call(id, tool).as_bytes());
        self.server.send(answer(id)).await;
        assert_eq!(self.client.line().await, answer(id).as_bytes());
    }
}

pub(crate) fn call(id: u32, tool: &str) -> String {
    format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"tools/call\",\"params\":{{\"name\":\"{tool}\",\"arguments\":{{}}}}}}\n"
    )
}

pub(crate) fn answer(id: u32) -> String {
    format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{\"content\":[]}}}}\n")
}

pub(crate) fn list(id: u32) -> String {
    format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"tools/list\"}}\n")
}

pub(crate) fn listed(id: u32, tools: &[Value]) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "result": {"tools": tools}})
}

pub(crate) fn tool(name: &str, description: &str) -> Value {
    json!({"name": name, "description": description, "inputSchema": {"type": "object"}})
}
