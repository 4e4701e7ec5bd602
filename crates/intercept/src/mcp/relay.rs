//! The relay between an MCP client and an MCP server, on any pair of byte streams.
//!
//! Two loops read lines, one from each side; two tasks write them. A message that policy must look at
//! is decided in a task of its own, so a held call never holds up anything else.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use countersign_model::{ApprovalId, Digest, Provenance};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader},
    sync::mpsc,
};
use tokio_util::task::TaskTracker;
use tracing::warn;

use super::{
    envelope::{self, Envelope, EnvelopeError, FromServer, Id, MAX_MESSAGE},
    framing::{Line, Lines, content},
    lane::{Answered, Lane, LaneError},
    pins::{Pinned, Pins},
    refusal,
};
use crate::local::{
    Exchange, LocalClient, LocalError,
    wire::{DeniedEvent, Direction, Event, OperationRequest, OutcomeReport, PermitEvent},
};

/// The most bytes that a server's message may have.
const MAX_SERVER_MESSAGE: usize = 64 * 1024 * 1024;
/// How many messages may wait to be written to one side.
const QUEUE: usize = 64;

/// What the relay needs to know.
#[derive(Debug, Clone)]
pub struct RelaySettings {
    /// The way to the sidecar.
    pub sidecar: LocalClient,
    /// The server's name, as policy knows it.
    pub server: String,
    /// Why and where.
    pub provenance: Provenance,
    /// The `traceparent` of the environment.
    pub trace: Option<String>,
}

/// Relays until the server closes its output.
///
/// # Errors
/// When one of the streams cannot be read or written.
pub async fn relay<CR, CW, SR, SW>(
    settings: RelaySettings,
    (from_client, to_client): (CR, CW),
    (from_server, to_server): (SR, SW),
) -> std::io::Result<()>
where
    CR: AsyncRead + Unpin + Send + 'static,
    CW: AsyncWrite + Unpin + Send + 'static,
    SR: AsyncRead + Unpin + Send,
    SW: AsyncWrite + Unpin + Send + 'static,
{
    let (client_queue, client_writer) = writer(to_client);
    let (server_queue, server_writer) = writer(to_server);
    let relay = Arc::new(Relay {
        settings,
        to_client: client_queue,
        calls: Lane::default(),
        asks: Lane::default(),
        pins: Pins::default(),
        tasks: TaskTracker::new(),
    });
    // Weak, so that the server's input closes when the client's output does.
    let weak_queue = server_queue.downgrade();
    let reader = tokio::spawn(Arc::clone(&relay).read_client(from_client, server_queue));
    let read = relay.read_server(from_server, weak_queue).await;
    // The server has closed its output: nothing more can be answered. What runs has an unknown outcome.
    reader.abort();
    let _ = reader.await;
    server_writer.abort();
    relay.calls.abandon();
    relay.asks.abandon();
    relay.tasks.close();
    relay.tasks.wait().await;
    drop(relay);
    let written = client_writer.await.map_err(std::io::Error::other)?;
    read.and(written)
}

type Queue = mpsc::Sender<Bytes>;
type Writer = tokio::task::JoinHandle<std::io::Result<()>>;

fn writer<W: AsyncWrite + Unpin + Send + 'static>(mut output: W) -> (Queue, Writer) {
    let (queue, mut messages) = mpsc::channel::<Bytes>(QUEUE);
    let task = tokio::spawn(async move {
        while let Some(message) = messages.recv().await {
            output.write_all(&message).await?;
            output.flush().await?;
        }
        output.shutdown().await
    });
    (queue, task)
}

struct Relay {
    settings: RelaySettings,
    to_client: Queue,
    /// What the client asks the server.
    calls: Lane,
    /// What the server asks the client.
    asks: Lane,
    /// What the server said that its tools are.
    pins: Pins,
    tasks: TaskTracker,
}

impl Relay {
    async fn read_client(self: Arc<Self>, from: impl AsyncRead + Unpin + Send, to_server: Queue) {
        let mut lines = Lines::new(BufReader::new(from), MAX_MESSAGE);
        loop {
            match lines.next().await {
                Ok(Some(Line::Whole(line))) => self.from_client(line, &to_server).await,
                Ok(Some(Line::TooLong)) => {
                    let message = format!("longer than {MAX_MESSAGE} bytes");
                    self.answer_unacceptable(&EnvelopeError { id: None, code: -32700, message }).await;
                }
                Ok(None) => break,
                Err(error) => {
                    warn!(%error, "the client cannot be read any more");
                    break;
                }
            }
        }
        // The server's input closes once what is being decided has been; a client that only closed its
        // output still gets its answers.
        self.calls.requester_gone();
    }

    async fn from_client(self: &Arc<Self>, line: Bytes, to_server: &Queue) {
        let text = content(&line);
        if text.is_empty() {
            return self.pass(to_server, line).await;
        }
        match envelope::read(text) {
            Err(error) => self.answer_unacceptable(&error).await,
            Ok(Envelope::Request { id, method, .. }) if passes(&method) => match self.calls.is_free(&id) {
                true => self.pass(to_server, line).await,
                false => self.answer_unacceptable(&in_use(&id, LaneError::Duplicate)).await,
            },
            Ok(Envelope::Request { id, method, .. }) => {
                if method == "tools/list" {
                    self.pins.asked(&id);
                }
                self.evaluate(Direction::ToServer, id, method, line, to_server).await;
            }
            Ok(Envelope::Notification { method, params }) => {
                self.notification(&method, params.as_deref(), line, to_server).await;
            }
            Ok(Envelope::Response { id, result }) => {
                let outcome = outcome(result.is_some(), None);
                match id.map_or(Answered::Unasked, |id| self.asks.answer(&id, outcome)) {
                    Answered::Forward | Answered::Unasked => self.pass(to_server, line).await,
                    Answered::Forged => warn!("the client answered what it was not asked; not forwarded"),
                }
            }
        }
    }

    async fn notification(&self, method: &str, params: Option<&str>, line: Bytes, to_server: &Queue) {
        if !method.starts_with("notifications/") {
            // Some servers carry out a request without an id as well. It cannot be answered, so it is dropped.
            warn!(method, "a request without an id; not forwarded");
            return;
        }
        let cancelled = (method == "notifications/cancelled").then_some(params).flatten();
        let id = cancelled.and_then(envelope::cancelled_request);
        if id.is_none_or(|id| self.calls.cancel(&id)) {
            self.pass(to_server, line).await;
        }
    }

    async fn read_server(
        self: &Arc<Self>,
        from: impl AsyncRead + Unpin + Send,
        to_server: mpsc::WeakSender<Bytes>,
    ) -> std::io::Result<()> {
        let mut lines = Lines::new(BufReader::new(from), MAX_SERVER_MESSAGE);
        while let Some(line) = lines.next().await? {
            match line {
                Line::Whole(line) => self.from_server(line, &to_server).await,
                Line::TooLong => {
                    warn!(limit = MAX_SERVER_MESSAGE, "a message of the server is too long; not forwarded");
                }
            }
        }
        Ok(())
    }

    async fn from_server(self: &Arc<Self>, line: Bytes, to_server: &mpsc::WeakSender<Bytes>) {
        match envelope::read_from_server(content(&line)) {
            FromServer::Request { id, method } if asks_the_client(&method) => {
                // With the client's output closed, nobody could answer the server anyway.
                if let Some(to_server) = to_server.upgrade() {
                    self.evaluate(Direction::ToClient, id, method, line, &to_server).await;
                }
            }
            FromServer::Answer { id, success, result } => {
                match self.calls.answer(&id, outcome(success, result)) {
                    Answered::Forward | Answered::Unasked => {
                        self.pins.answered(&id, content(&line));
                        self.pass(&self.to_client, line).await;
                    }
                    Answered::Forged => warn!("the server answered what it was not asked; not forwarded"),
                }
            }
            FromServer::Cancelled { id } => {
                if self.asks.cancel(&id) {
                    self.pass(&self.to_client, line).await;
                }
            }
            FromServer::Request { .. } | FromServer::Other => self.pass(&self.to_client, line).await,
            FromServer::Ambiguous => {
                warn!("a message of the server can be read in more than one way; not forwarded");
            }
        }
    }

    /// Has policy decide about a request, in a task of its own.
    async fn evaluate(
        self: &Arc<Self>,
        direction: Direction,
        id: Id,
        method: String,
        line: Bytes,
        to_server: &Queue,
    ) {
        let (lane, back) = match direction {
            Direction::ToServer => (&self.calls, &self.to_client),
            Direction::ToClient => (&self.asks, to_server),
        };
        let withdrawn = match lane.open(&id) {
            Ok(withdrawn) => withdrawn,
            Err(error) => {
                let refused = refusal::unacceptable(&in_use(&id, error));
                return self.pass(back, refused.into()).await;
            }
        };
        let relay = Arc::clone(self);
        let to_server = to_server.clone();
        self.tasks.spawn(async move {
            let request = Request { relay: &relay, direction, id, method, to_server };
            request.carry_out(line, withdrawn).await;
        });
    }

    async fn answer_unacceptable(&self, error: &EnvelopeError) {
        self.pass(&self.to_client, refusal::unacceptable(error).into()).await;
    }

    async fn pass(&self, queue: &Queue, line: Bytes) {
        if queue.send(line).await.is_err() {
            warn!("a message came too late: the other side has closed");
        }
    }
}

/// One request that policy looks at.
struct Request<'a> {
    relay: &'a Relay,
    direction: Direction,
    id: Id,
    method: String,
    to_server: Queue,
}

/// How a decision ended.
enum Decided {
    Permitted(Exchange, PermitEvent),
    Denied(DeniedEvent),
}

impl Request<'_> {
    fn lane(&self) -> &Lane {
        match self.direction {
            Direction::ToServer => &self.relay.calls,
            Direction::ToClient => &self.relay.asks,
        }
    }

    /// Where the request goes, and where an answer to it goes.
    fn queues(&self) -> (&Queue, &Queue) {
        match self.direction {
            Direction::ToServer => (&self.to_server, &self.relay.to_client),
            Direction::ToClient => (&self.relay.to_client, &self.to_server),
        }
    }

    async fn carry_out(self, line: Bytes, withdrawn: tokio::sync::oneshot::Receiver<()>) {
        let approval = Mutex::new(None);
        let pin = self.relay.pins.of_call(content(&line));
        let decided = {
            let mut deciding = std::pin::pin!(self.decide(&line, pin.clone(), &approval));
            tokio::select! {
                decided = &mut deciding => decided,
                _ = withdrawn => {
                    let approval = *approval.lock().unwrap_or_else(PoisonError::into_inner);
                    // Before the exchange is dropped, which by itself means that the requester is gone.
                    return self.withdraw(approval).await;
                }
            }
        };
        match decided {
            Ok(Decided::Permitted(exchange, permit)) if self.relay.pins.of_call(content(&line)) == pin => {
                self.forward(line, exchange, permit).await;
            }
            Ok(Decided::Permitted(exchange, permit)) => {
                report(exchange, &permit, &not_forwarded("the tool's definition changed")).await;
                self.refuse(&changed(&permit)).await;
            }
            Ok(Decided::Denied(denied)) => self.refuse(&denied).await,
            Err(error) => self.refuse(&unavailable(&error)).await,
        }
    }

    async fn decide(
        &self,
        line: &Bytes,
        tool: Option<Pinned>,
        approval: &Mutex<Option<ApprovalId>>,
    ) -> Result<Decided, LocalError> {
        let settings = &self.relay.settings;
        let operation = OperationRequest::Mcp {
            server: settings.server.clone(),
            direction: self.direction,
            // Read strictly before, so it is UTF-8.
            message: String::from_utf8_lossy(content(line)).into_owned(),
            tool_pin: tool.as_ref().map(|tool| tool.digest),
            declared: tool.and_then(|tool| tool.declared),
            provenance: settings.provenance.clone(),
            trace: settings.trace.clone(),
        };
        let mut exchange = settings.sidecar.submit(&operation).await?;
        while let Some(event) = exchange.next().await? {
            match event {
                Event::Held(_) => self.lane().hold(&self.id),
                Event::Waiting(waiting) => {
                    *approval.lock().unwrap_or_else(PoisonError::into_inner) = Some(waiting.approval);
                }
                Event::Permit(permit) => return Ok(Decided::Permitted(exchange, permit)),
                Event::Denied(denied) => return Ok(Decided::Denied(denied)),
            }
        }
        Err(LocalError::Broken("it ended without a decision".to_owned()))
    }

    async fn forward(self, line: Bytes, exchange: Exchange, permit: PermitEvent) {
        let (there, _) = self.queues();
        let Ok(place) = there.reserve().await else {
            return self.lane().close(&self.id);
        };
        // From here on the message is on its way, unless it was withdrawn in the meantime.
        let Some(outcome) = self.lane().forward(&self.id, || place.send(line)) else {
            return report(exchange, &permit, &not_forwarded("the request was withdrawn")).await;
        };
        // Held no longer than needed, so that the server's input closes when the client's output does.
        drop(self.to_server);
        // Without an outcome the exchange is dropped: the sidecar records that it is unknown.
        if let Ok(outcome) = outcome.await {
            report(exchange, &permit, &outcome).await;
        }
    }

    async fn refuse(&self, denied: &DeniedEvent) {
        let is_call = self.direction == Direction::ToServer && self.method == "tools/call";
        let answer = if is_call { refusal::tool_result } else { refusal::error };
        let (_, back) = self.queues();
        self.lane().close(&self.id);
        self.relay.pass(back, answer(self.id.raw(), denied).into()).await;
    }

    async fn withdraw(&self, approval: Option<ApprovalId>) {
        if let Some(approval) = approval
            && let Err(error) = self.relay.settings.sidecar.cancel(approval).await
        {
            warn!(%error, "a withdrawn request counts as one whose requester has gone");
        }
    }
}

async fn report(exchange: Exchange, permit: &PermitEvent, outcome: &OutcomeReport) {
    if let Err(error) = exchange.finish(permit.evaluation, outcome).await {
        warn!(%error, "an outcome could not be reported");
    }
}

/// The requests of a client that policy does not look at (COAZ-MCP, pass-through operations).
fn passes(method: &str) -> bool {
    method == "ping"
}

/// The requests of a server that policy looks at: whatever has the client do more than answer.
fn asks_the_client(method: &str) -> bool {
    method != "ping"
}

fn outcome(success: bool, result: Option<Digest>) -> OutcomeReport {
    if success {
        OutcomeReport::Executed { result, ruled: None }
    } else {
        OutcomeReport::Failed { reason: "the answer is an error".to_owned() }
    }
}

fn not_forwarded(why: &str) -> OutcomeReport {
    OutcomeReport::Failed { reason: format!("not forwarded: {why}") }
}

/// The tool is not what it was when the call was decided about.
fn changed(permit: &PermitEvent) -> DeniedEvent {
    DeniedEvent {
        evaluation: Some(permit.evaluation),
        approval: permit.approval,
        code: "tool_changed".to_owned(),
        retry: true,
        message: "the server has changed the tool's definition in the meantime".to_owned(),
        policies: Vec::new(),
    }
}

fn in_use(id: &Id, error: LaneError) -> EnvelopeError {
    EnvelopeError { id: Some(id.raw().to_owned()), code: -32600, message: error.to_string() }
}

/// Without a sidecar nothing is forwarded (I6).
fn unavailable(error: &LocalError) -> DeniedEvent {
    DeniedEvent {
        evaluation: None,
        approval: None,
        code: "sidecar".to_owned(),
        retry: true,
        message: error.to_string(),
        policies: Vec::new(),
    }
}
