//! The client half: submit an operation, follow its events, report its outcome.

use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
    time::Duration,
};

use axum::body::{Body, BodyDataStream};
use bytes::{Bytes, BytesMut};
use countersign_model::{ApprovalId, EvaluationId};
use futures::StreamExt as _;
use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::net::UnixStream;

use super::wire::{
    self, Event, MAX_ANSWER, MAX_REQUEST, NextPage, OperationRequest, OutcomeReport, Problem, Reviewed,
    ToolsPage,
};
use crate::initiator::{self, MAX_TOKEN};

/// How long the sidecar may take to answer a request (not: to decide an operation).
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// How long the sidecar may be silent on an open exchange. It says something every few seconds.
const SILENT_FOR: Duration = Duration::from_secs(60);
/// The longest event, in bytes: one with a message.
const MAX_LINE: usize = MAX_REQUEST;
/// The longest other answer: one with a message that was an answer.
const MAX_TOLD: usize = 2 * MAX_ANSWER + MAX_REQUEST;

/// Why the sidecar could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// Nobody listens there.
    #[error("no sidecar answers at {}: {why}; start one with `countersign dev` or `countersign sidecar`, or say where it is with --socket or COUNTERSIGN_SOCKET", path.display())]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// Why not.
        why: std::io::Error,
    },
    /// The initiator's token cannot be handed over.
    #[error("the initiator's token in {} cannot be read: {why}", path.display())]
    InitiatorToken {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// The sidecar does not accept the request.
    #[error("the sidecar refuses the request: {0}")]
    Refused(String),
    /// The sidecar went away, or speaks another language.
    #[error("the sidecar broke off: {0}")]
    Broken(String),
}

impl LocalError {
    fn broken(error: impl std::fmt::Display) -> Self {
        Self::Broken(error.to_string())
    }
}

/// A way to the sidecar.
#[derive(Debug, Clone)]
pub struct LocalClient {
    socket: PathBuf,
    initiator_token: Option<PathBuf>,
}

impl LocalClient {
    /// The sidecar that listens on that socket.
    #[must_use]
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into(), initiator_token: None }
    }

    /// The same, with the token of the initiating human in that file. It is read anew for each operation,
    /// so that the agent's host can keep it fresh.
    #[must_use]
    pub fn with_initiator_token(self, file: Option<PathBuf>) -> Self {
        Self { initiator_token: file, ..self }
    }

    /// The socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Submits an operation. Dropping the exchange withdraws it, or leaves its outcome unknown.
    ///
    /// # Errors
    /// When the sidecar cannot be reached or does not accept the request.
    pub async fn submit(&self, operation: &OperationRequest) -> Result<Exchange, LocalError> {
        let body = serde_json::to_vec(operation).map_err(LocalError::broken)?;
        let token = self.initiator_token.as_deref().map(read_token).transpose()?;
        let response = self.send_with(token, wire::OPERATIONS, body.into(), ANSWER_WITHIN).await?;
        if response.status() != StatusCode::OK {
            return Err(problem(response).await);
        }
        let body = response.into_body().into_data_stream();
        Ok(Exchange { client: self.clone(), body, buffer: BytesMut::new() })
    }

    /// Withdraws a held operation on the requester's own wish.
    ///
    /// # Errors
    /// When the sidecar cannot be reached, or has nothing to cancel.
    pub async fn cancel(&self, approval: ApprovalId) -> Result<(), LocalError> {
        self.tell(&wire::cancel_path(approval), &serde_json::json!({})).await
    }

    /// Whether a sidecar of Countersign answers there.
    ///
    /// # Errors
    /// When none does.
    pub async fn probe(&self) -> Result<(), LocalError> {
        // An empty request is answered with a problem, and decides nothing.
        match self.tell(wire::OPERATIONS, &serde_json::json!({})).await {
            Err(LocalError::Refused(_)) => Ok(()),
            other => other,
        }
    }

    /// Tells what tools a relay's server has. Returns how the list goes on.
    ///
    /// # Errors
    /// When the sidecar cannot be reached, or that is no list of tools.
    pub async fn tell_tools(&self, page: &ToolsPage) -> Result<NextPage, LocalError> {
        told(self.post(wire::TOOLS, page).await?).await
    }

    async fn tell<T: Serialize + Sync>(&self, path: &str, message: &T) -> Result<(), LocalError> {
        let response = self.post(path, message).await?;
        if response.status().is_success() { Ok(()) } else { Err(problem(response).await) }
    }

    async fn post<T: Serialize + Sync>(&self, path: &str, message: &T) -> Result<Response<Body>, LocalError> {
        let body = serde_json::to_vec(message).map_err(LocalError::broken)?;
        self.send(path, body.into(), ANSWER_WITHIN).await
    }

    async fn send(&self, path: &str, body: Bytes, within: Duration) -> Result<Response<Body>, LocalError> {
        self.send_with(None, path, body, within).await
    }

    async fn send_with(
        &self,
        initiator_token: Option<HeaderValue>,
        path: &str,
        body: Bytes,
        within: Duration,
    ) -> Result<Response<Body>, LocalError> {
        let mut request = Request::post(path)
            .header(header::HOST, "sidecar")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body))
            .map_err(LocalError::broken)?;
        if let Some(token) = initiator_token {
            request.headers_mut().insert(initiator::HEADER, token);
        }
        let unreachable = |why| LocalError::Unreachable { path: self.socket.clone(), why };
        let stream = UnixStream::connect(&self.socket).await.map_err(unreachable)?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(LocalError::broken)?;
        // Ends by itself with the response's body, or when that is dropped.
        tokio::spawn(connection);
        let response = tokio::time::timeout(within, sender.send_request(request))
            .await
            .map_err(|_| LocalError::Broken("no answer in time".to_owned()))?
            .map_err(LocalError::broken)?;
        Ok(response.map(Body::new))
    }
}

/// The initiator's token. Without it nothing is asked: the host wanted its person to be known (I6).
fn read_token(file: &Path) -> Result<HeaderValue, LocalError> {
    let refused = |why: String| LocalError::InitiatorToken { path: file.to_owned(), why };
    let mut text = String::new();
    // One more than is accepted is enough to tell.
    let mut bounded =
        File::open(file).map_err(|error| refused(error.to_string()))?.take(MAX_TOKEN as u64 + 1);
    bounded.read_to_string(&mut text).map_err(|error| refused(error.to_string()))?;
    let mut value = HeaderValue::from_str(text.trim()).map_err(|_| refused("it is no token".to_owned()))?;
    if value.is_empty() || value.len() > MAX_TOKEN {
        return Err(refused("it is no token".to_owned()));
    }
    value.set_sensitive(true);
    Ok(value)
}

/// What the sidecar says to a request that it does.
async fn told<T: DeserializeOwned>(response: Response<Body>) -> Result<T, LocalError> {
    if !response.status().is_success() {
        return Err(problem(response).await);
    }
    let body = axum::body::to_bytes(response.into_body(), MAX_TOLD).await.map_err(LocalError::broken)?;
    serde_json::from_slice(&body).map_err(LocalError::broken)
}

async fn problem(response: Response<Body>) -> LocalError {
    let status = response.status();
    let text = match axum::body::to_bytes(response.into_body(), MAX_LINE).await {
        Ok(body) => serde_json::from_slice::<Problem>(&body).map(|problem| problem.error).ok(),
        Err(_) => None,
    };
    LocalError::Refused(text.unwrap_or_else(|| status.to_string()))
}

/// One operation under way.
#[derive(Debug)]
pub struct Exchange {
    client: LocalClient,
    body: BodyDataStream,
    buffer: BytesMut,
}

impl Exchange {
    /// The next event; `None` once the sidecar has nothing more to say.
    ///
    /// # Errors
    /// When the sidecar goes away, is silent for too long, or sends what is no event.
    pub async fn next(&mut self) -> Result<Option<Event>, LocalError> {
        loop {
            if let Some(line) = self.line() {
                return serde_json::from_slice(&line).map(Some).map_err(LocalError::broken);
            }
            if self.buffer.len() > MAX_LINE {
                return Err(LocalError::Broken("an event is too long".to_owned()));
            }
            match tokio::time::timeout(SILENT_FOR, self.body.next()).await {
                Ok(Some(Ok(bytes))) => self.buffer.extend_from_slice(&bytes),
                Ok(Some(Err(error))) => return Err(LocalError::broken(error)),
                Ok(None) if self.buffer.is_empty() => return Ok(None),
                Ok(None) => return Err(LocalError::Broken("it ended in the middle of an event".to_owned())),
                Err(_) => return Err(LocalError::Broken("it has been silent for too long".to_owned())),
            }
        }
    }

    fn line(&mut self) -> Option<Bytes> {
        let end = self.buffer.iter().position(|byte| *byte == b'\n')?;
        let mut line = self.buffer.split_to(end + 1);
        line.truncate(end);
        Some(line.freeze())
    }

    /// Reports how a permitted operation ended.
    ///
    /// # Errors
    /// When the sidecar cannot be reached or does not know the execution (any more).
    pub async fn finish(self, execution: EvaluationId, outcome: &OutcomeReport) -> Result<(), LocalError> {
        // The exchange stays open until the report is in, so the outcome is never unknown in between.
        self.client.tell(&wire::outcome_path(execution), outcome).await
    }

    /// Shows the answer to a forwarded MCP message, and reports its outcome with that. People may be asked
    /// about what is in it, for as long as `patience`.
    ///
    /// # Errors
    /// When the sidecar cannot be reached or does not know the execution (any more).
    pub async fn show(
        self,
        execution: EvaluationId,
        answer: Bytes,
        patience: Duration,
    ) -> Result<Reviewed, LocalError> {
        let within = patience.saturating_add(ANSWER_WITHIN);
        told(self.client.send(&wire::answer_path(execution), answer, within).await?).await
    }
}
