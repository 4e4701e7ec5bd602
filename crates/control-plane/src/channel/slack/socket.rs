//! Socket Mode: Slack's clicks through a connection that we open, so that nothing has to be reachable from outside.
//!
//! ```text
//! connecting ──hello──▶ serving ──lost, or silent──▶ waiting (back-off, jitter) ──▶ connecting
//!                          └──disconnect──▶ connecting, while the old connection is read to its end
//! ```
//!
//! Slack gives each click to any one connection of the app, and replaces connections as it likes. Two are kept at
//! once, so that one is always there; every envelope is acknowledged at once, and taken once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use countersign_transport::Backoff;
use futures::{SinkExt, StreamExt, future::join_all};
use http::{StatusCode, header};
use reqwest::{Client, Upgraded, Url};
use serde::Deserialize;
use serde_json::{json, value::RawValue};
use tokio::{task::JoinSet, time::timeout};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        handshake::{client::generate_key, derive_accept_key},
        protocol::{Role, WebSocketConfig},
    },
};
use tokio_util::sync::CancellationToken;

use super::{
    api::{SlackError, WebApi},
    inbox::Inbox,
};
use crate::{
    channel::{Health, call::CallError, http::reason},
    clock::entropy,
};

/// How many connections are kept at once.
pub(super) const CONNECTIONS: usize = 2;
/// The largest message that is taken, in bytes.
const MAX_MESSAGE: usize = 1024 * 1024;

type Socket = WebSocketStream<Upgraded>;

/// How patient the connections are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// How long a new connection may take to say hello.
    pub(super) hello: Duration,
    /// How long a connection may be silent before it is asked for a sign of life, and again before it is given up.
    pub(super) silence: Duration,
    /// How long a connection that Slack replaces is read on.
    pub(super) retirement: Duration,
    /// How long to wait between attempts.
    pub(super) backoff: Backoff,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            hello: Duration::from_secs(10),
            silence: Duration::from_secs(20),
            retirement: Duration::from_secs(30),
            backoff: Backoff { first: Duration::from_secs(1), most: Duration::from_secs(30) },
        }
    }
}

/// Why there is no connection, or no longer.
#[derive(Debug, thiserror::Error)]
enum SocketError {
    #[error(transparent)]
    Slack(#[from] SlackError),
    #[error("Slack's socket: {0}")]
    Call(#[from] CallError),
    #[error("Slack's socket does not speak WebSocket ({0})")]
    Handshake(StatusCode),
    #[error("Slack's socket: {0}")]
    WebSocket(#[from] tokio_tungstenite::tungstenite::Error),
    #[error("Slack's socket was silent for too long")]
    Silent,
    #[error("Slack closed the socket")]
    Closed,
    #[error(
        "Socket Mode is turned off for this Slack app: turn it on, or configure a signing secret instead"
    )]
    TurnedOff,
}

/// How serving a connection ended.
enum End {
    /// Slack asked for another connection in its place; this one is still to be read for a while.
    Replaced(Box<Socket>),
    /// It is gone.
    Lost(SocketError),
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    envelope_id: Option<&'a str>,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
    reason: Option<&'a str>,
}

/// Keeps connections to Slack.
pub(super) struct SocketMode {
    api: Arc<WebApi>,
    inbox: Arc<Inbox>,
    health: Health,
    pace: Pace,
    up: AtomicUsize,
}

impl SocketMode {
    pub(super) fn new(api: Arc<WebApi>, inbox: Arc<Inbox>, health: Health, pace: Pace) -> Self {
        Self { api, inbox, health, pace, up: AtomicUsize::new(0) }
    }

    /// Keeps all connections until the stop.
    pub(super) async fn run(self: Arc<Self>, stop: CancellationToken) {
        let connections = join_all((0..CONNECTIONS).map(|_| Arc::clone(&self).keep()));
        tokio::select! {
            () = stop.cancelled() => {}
            _ = connections => {}
        }
    }

    /// Keeps one connection.
    async fn keep(self: Arc<Self>) {
        let mut failures = 0_u32;
        let mut retired = JoinSet::new();
        loop {
            match self.connect().await {
                Ok(socket) => {
                    failures = 0;
                    match self.serve_counted(socket).await {
                        End::Replaced(old) => {
                            let this = Arc::clone(&self);
                            retired
                                .spawn(timeout(this.pace.retirement, async move { this.serve(*old).await }));
                        }
                        End::Lost(error) => tracing::info!(%error, "connecting to Slack again"),
                    }
                }
                Err(error) => {
                    failures = failures.saturating_add(1);
                    tracing::warn!(%error, "no connection to Slack; trying again");
                    self.tell_health(&error);
                }
            }
            while retired.try_join_next().is_some() {}
            // Without randomness the wait is the longest, which is the kindest.
            let random = entropy::<8>().map_or(u64::MAX, u64::from_le_bytes);
            tokio::time::sleep(self.pace.backoff.wait(failures, random)).await;
        }
    }

    /// Opens a connection, and waits until Slack says hello on it.
    async fn connect(&self) -> Result<Socket, SocketError> {
        let url = self.api.open_socket().await?;
        let greeted = async {
            let mut socket = handshake(self.api.http(), url).await?;
            while let Some(message) = socket.next().await {
                if let Message::Text(text) = message?
                    && envelope(&text).is_some_and(|envelope| envelope.kind == "hello")
                {
                    return Ok(socket);
                }
            }
            Err(SocketError::Closed)
        };
        timeout(self.pace.hello, greeted).await.unwrap_or(Err(SocketError::Silent))
    }

    async fn serve_counted(&self, socket: Socket) -> End {
        let _up = Up::of(&self.up);
        self.health.alarm(None);
        self.serve(socket).await
    }

    /// With no connection left nobody's clicks are heard.
    fn tell_health(&self, error: &SocketError) {
        if self.up.load(Ordering::Relaxed) == 0 {
            self.health.alarm(Some(error.to_string()));
        }
    }

    /// Reads a connection until it is replaced or lost. A silent one is asked for a sign of life first.
    async fn serve(&self, mut socket: Socket) -> End {
        let mut asked = false;
        loop {
            let Ok(message) = timeout(self.pace.silence, socket.next()).await else {
                if asked {
                    return End::Lost(SocketError::Silent);
                }
                asked = true;
                if let Err(error) = socket.send(Message::Ping(Bytes::new())).await {
                    return End::Lost(error.into());
                }
                continue;
            };
            asked = false;
            match message {
                None | Some(Ok(Message::Close(_))) => return End::Lost(SocketError::Closed),
                Some(Err(error)) => return End::Lost(error.into()),
                Some(Ok(Message::Text(text))) => match self.take(&mut socket, &text).await {
                    Ok(Go::On) => {}
                    Ok(Go::Elsewhere) => return End::Replaced(Box::new(socket)),
                    Err(error) => return End::Lost(error),
                },
                // Pings are answered by the library.
                Some(Ok(_)) => {}
            }
        }
    }

    /// Takes an envelope and acknowledges it at once: Slack waits three seconds, working it off can take longer.
    async fn take(&self, socket: &mut Socket, text: &str) -> Result<Go, SocketError> {
        let Some(envelope) = envelope(text) else { return Ok(Go::On) };
        if envelope.kind == "disconnect" {
            return match envelope.reason {
                Some("link_disabled") => Err(SocketError::TurnedOff),
                _ => Ok(Go::Elsewhere),
            };
        }
        let Some(id) = envelope.envelope_id else { return Ok(Go::On) };
        if let ("interactive", Some(payload)) = (envelope.kind, envelope.payload)
            && let Err(busy) = self.inbox.take(id.as_bytes(), payload.get())
        {
            // Without an answer Slack sends it again.
            tracing::warn!(%busy, "an interaction of Slack's is left for later");
            return Ok(Go::On);
        }
        socket.send(Message::text(json!({"envelope_id": id}).to_string())).await?;
        Ok(Go::On)
    }
}

/// What to do after a message.
enum Go {
    On,
    Elsewhere,
}

/// Counts a connection while it is served.
struct Up<'a>(&'a AtomicUsize);

impl<'a> Up<'a> {
    fn of(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Up<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What cannot be read is passed over: nothing is acknowledged that was not understood.
fn envelope(text: &str) -> Option<Envelope<'_>> {
    serde_json::from_str(text).ok()
}

/// The address holds a ticket, so errors are told without it.
fn unreachable(error: reqwest::Error) -> SocketError {
    SocketError::Call(CallError::Unreachable(reason(error)))
}

/// Upgrades an HTTPS request, so that sockets go through the same proxies and certificates as everything else.
async fn handshake(http: &Client, mut url: Url) -> Result<Socket, SocketError> {
    let scheme = if url.scheme() == "ws" { "http" } else { "https" };
    // Between these schemes it always can be changed.
    let _ = url.set_scheme(scheme);
    let key = generate_key();
    let request = http
        .get(url)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_VERSION, "13")
        .header(header::SEC_WEBSOCKET_KEY, &key);
    let response = request.send().await.map_err(unreachable)?;
    let accept = response.headers().get(header::SEC_WEBSOCKET_ACCEPT);
    let accepted =
        accept.is_some_and(|accept| accept.as_bytes() == derive_accept_key(key.as_bytes()).as_bytes());
    if response.status() != StatusCode::SWITCHING_PROTOCOLS || !accepted {
        return Err(SocketError::Handshake(response.status()));
    }
    let stream = response.upgrade().await.map_err(unreachable)?;
    let config =
        WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE)).max_frame_size(Some(MAX_MESSAGE));
    Ok(WebSocketStream::from_raw_socket(stream, Role::Client, Some(config)).await)
}

#[cfg(test)]
mod tests;
