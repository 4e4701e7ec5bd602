//! The relay between an MCP client and an MCP server, on any pair of byte streams.
//!
//! Two loops read lines, one from each side; two tasks write them. A message that policy must look at
//! is decided in a task of its own ([`request`]), so a held call never holds up anything else. What the
//! server's tools are is the sidecar's to know; where it does not know, the relay asks ([`listing`]).

mod batches;
mod listing;
mod request;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use countersign_model::Provenance;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader},
    sync::mpsc,
};
use tokio_util::task::TaskTracker;
use tracing::warn;

use self::{
    batches::Batches,
    listing::Listing,
    request::{Request, Told},
};
use super::{
    batch,
    envelope::{self, Envelope, EnvelopeError, FromServer, Id, MAX_MESSAGE},
    framing::{Line, Lines, content},
    lane::{Answered, Lane, LaneError},
    refusal,
    ruling::Call,
};
use crate::local::{
    LocalClient,
    wire::{self, Direction, OutcomeReport},
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
    /// How long people may take before the client is told to call again.
    pub patience: Duration,
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
        name: wire::Relay { server: settings.server.clone(), id: random_id()? },
        settings,
        to_client: client_queue,
        calls: Lane::default(),
        asks: Lane::default(),
        batches: Batches::default(),
        changes: AtomicU64::new(0),
        listing: Listing::default(),
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
    for answers in relay.batches.rest() {
        relay.pass(&relay.to_client, answers).await;
    }
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

/// What only this relay and the sidecar know: nobody else can speak for its server.
fn random_id() -> std::io::Result<String> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| std::io::Error::other("there is no randomness"))?;
    Ok(BASE64_URL_SAFE_NO_PAD.encode(bytes))
}

struct Relay {
    settings: RelaySettings,
    /// How the sidecar tells it from others.
    name: wire::Relay,
    to_client: Queue,
    /// What the client asks the server, and what is asked on the relay's own account.
    calls: Lane<Told>,
    /// What the server asks the client.
    asks: Lane<OutcomeReport>,
    /// The client's batches, until all of their answers have come.
    batches: Batches,
    /// How often the server has said that its tools have changed.
    changes: AtomicU64,
    /// The lists of tools that are asked for on the relay's own account.
    listing: Listing,
    tasks: TaskTracker,
}

impl Relay {
    async fn read_client(self: Arc<Self>, from: impl AsyncRead + Unpin + Send, to_server: Queue) {
        let mut lines = Lines::new(BufReader::new(from), MAX_MESSAGE);
        loop {
            match lines.next().await {
                Ok(Some(Line::Whole(line))) if batch::is_batch(&line) => self.batch(&line, &to_server).await,
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

    /// Takes a batch apart. What cannot be read is refused without its neighbours.
    async fn batch(self: &Arc<Self>, line: &Bytes, to_server: &Queue) {
        let elements = match batch::elements(&line.slice_ref(content(line))) {
            Ok(elements) => elements,
            Err(error) => return self.answer_unacceptable(&error).await,
        };
        let (mut taken, mut requests, mut refused) = (Vec::new(), Vec::new(), Vec::new());
        for element in elements {
            match envelope::read(&element) {
                Err(error) => refused.push(refusal::unacceptable(&error).into()),
                Ok(envelope) => {
                    if let Envelope::Request { id, .. } = envelope {
                        requests.push(id);
                    }
                    taken.push(on_a_line(&element));
                }
            }
        }
        self.send(self.batches.open(requests, refused)).await;
        for element in taken {
            self.from_client(element, to_server).await;
        }
    }

    async fn from_client(self: &Arc<Self>, line: Bytes, to_server: &Queue) {
        let text = content(&line);
        if text.is_empty() {
            return self.pass(to_server, line).await;
        }
        match envelope::read(text) {
            Err(error) => self.answer_unacceptable(&error).await,
            Ok(Envelope::Request { id, method, .. }) if passes(&method) => {
                self.pass_request(&id, line, to_server).await;
            }
            Ok(Envelope::Request { id, method, params }) => {
                self.evaluate(Direction::ToServer, Call { id, method, params }, line, to_server).await;
            }
            Ok(Envelope::Notification { method, params }) => {
                self.notification(&method, params.as_deref(), line, to_server).await;
            }
            Ok(Envelope::Response { id, result }) => {
                let outcome = OutcomeReport::of_answer(result.is_some(), None, None);
                match id.map_or(Answered::Unasked, |id| self.asks.answer(&id, outcome)) {
                    Answered::Forward => self.pass(to_server, line).await,
                    Answered::Forged | Answered::Unasked => {
                        warn!("the client answered what it was not asked; not forwarded");
                    }
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
        if let Some(id) = &id {
            self.send(self.batches.forget(id)).await;
        }
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
                Line::Whole(line) if batch::is_batch(&line) => self.server_batch(&line, &to_server).await,
                Line::Whole(line) => self.from_server(line, &to_server).await,
                Line::TooLong => {
                    warn!(limit = MAX_SERVER_MESSAGE, "a message of the server is too long; not forwarded");
                }
            }
        }
        Ok(())
    }

    /// A server's answers to a batch go the way of any other: what the client is owed together is
    /// gathered from them again.
    async fn server_batch(self: &Arc<Self>, line: &Bytes, to_server: &mpsc::WeakSender<Bytes>) {
        match batch::elements(&line.slice_ref(content(line))) {
            Ok(elements) => {
                for element in elements {
                    self.from_server(on_a_line(&element), to_server).await;
                }
            }
            Err(error) => warn!(%error, "a batch of the server cannot be read; not forwarded"),
        }
    }

    async fn from_server(self: &Arc<Self>, line: Bytes, to_server: &mpsc::WeakSender<Bytes>) {
        match envelope::read_from_server(content(&line)) {
            FromServer::Request { id, method } if asks_the_client(&method) => {
                // With the client's output closed, nobody could answer the server anyway.
                if let Some(to_server) = to_server.upgrade() {
                    let call = Call { id, method, params: None };
                    self.evaluate(Direction::ToClient, call, line, &to_server).await;
                }
            }
            FromServer::Answer { id, success, result } => {
                let (told, taken) = Told::new(OutcomeReport::of_answer(success, result, None), line);
                match self.calls.answer(&id, told) {
                    // What comes after it is passed on after it.
                    Answered::Forward => drop(taken.await),
                    // An answer that comes after its request was cancelled is nobody's either.
                    Answered::Forged | Answered::Unasked => {
                        warn!("the server answered what it was not asked; not forwarded");
                    }
                }
            }
            FromServer::ToolsChanged => {
                self.changes.fetch_add(1, Ordering::AcqRel);
                self.pass(&self.to_client, line).await;
            }
            FromServer::Cancelled { id } => {
                if self.asks.cancel(&id) {
                    self.pass(&self.to_client, line).await;
                }
            }
            FromServer::Request { id, .. } => {
                if self.asks.open(&id).is_ok() {
                    // Nobody has to be told how it ended.
                    drop(self.asks.forward(&id, || ()));
                    self.pass(&self.to_client, line).await;
                }
            }
            FromServer::Other => self.pass(&self.to_client, line).await,
            FromServer::Ambiguous => {
                warn!("a message of the server can be read in more than one way; not forwarded");
            }
        }
    }

    /// Has policy decide about a request, in a task of its own.
    async fn evaluate(self: &Arc<Self>, direction: Direction, call: Call, line: Bytes, to_server: &Queue) {
        let opened = match direction {
            Direction::ToServer => self.calls.open(&call.id),
            Direction::ToClient => self.asks.open(&call.id),
        };
        let withdrawn = match (opened, direction) {
            (Ok(withdrawn), _) => withdrawn,
            (Err(error), Direction::ToServer) => return self.answer_in_use(&call.id, error).await,
            (Err(error), Direction::ToClient) => {
                return self.pass(to_server, in_use(&call.id, error)).await;
            }
        };
        let relay = Arc::clone(self);
        let to_server = to_server.clone();
        self.tasks.spawn(async move {
            Request::new(&relay, direction, call, to_server).carry_out(line, withdrawn).await;
        });
    }

    /// Passes a request on that policy does not look at, and the answer to it.
    async fn pass_request(self: &Arc<Self>, id: &Id, line: Bytes, to_server: &Queue) {
        if let Err(error) = self.calls.open(id) {
            return self.answer_in_use(id, error).await;
        }
        let Some(answer) = self.calls.forward(id, || ()) else { return };
        self.pass(to_server, line).await;
        let (relay, id) = (Arc::clone(self), id.clone());
        self.tasks.spawn(async move {
            if let Ok(told) = answer.await {
                relay.reply(&id, told.line).await;
            }
        });
    }

    async fn answer_unacceptable(&self, error: &EnvelopeError) {
        self.pass(&self.to_client, refusal::unacceptable(error).into()).await;
    }

    async fn answer_in_use(&self, id: &Id, error: LaneError) {
        self.reply(id, in_use(id, error)).await;
    }

    /// Answers a request of the client, together with its batch if it came in one.
    async fn reply(&self, id: &Id, line: Bytes) {
        self.send(self.batches.answer(id, line)).await;
    }

    /// What is due to the client now, if anything.
    async fn send(&self, line: Option<Bytes>) {
        if let Some(line) = line {
            self.pass(&self.to_client, line).await;
        }
    }

    async fn pass(&self, queue: &Queue, line: Bytes) {
        if queue.send(line).await.is_err() {
            warn!("a message came too late: the other side has closed");
        }
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

fn in_use(id: &Id, error: LaneError) -> Bytes {
    let error = EnvelopeError { id: Some(id.raw().to_owned()), code: -32600, message: error.to_string() };
    refusal::unacceptable(&error).into()
}

/// An element of a batch as a message of its own.
fn on_a_line(element: &Bytes) -> Bytes {
    [element, &b"\n"[..]].concat().into()
}
