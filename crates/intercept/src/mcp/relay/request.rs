//! One request that policy looks at, from its first byte to its answer.

use std::sync::{Mutex, PoisonError, atomic::Ordering};

use bytes::Bytes;
use countersign_model::ApprovalId;
use tokio::sync::oneshot;
use tracing::warn;

use super::{Queue, Relay};
use crate::{
    local::{
        Exchange, LocalError,
        wire::{
            DeniedEvent, Direction, Event, MAX_ANSWER, McpMessage, OperationRequest, OutcomeReport,
            PermitEvent, Review, Reviewed,
        },
    },
    mcp::{
        framing::content,
        progress::Progress,
        questions, refusal,
        ruling::{self, Call},
    },
};

/// The answer to a request.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) outcome: OutcomeReport,
    /// The answer, as it came.
    pub(super) line: Bytes,
    /// Until it is dropped, nothing that the server says later is passed on.
    turn: Turn,
}

/// Whose turn it is.
#[derive(Debug)]
struct Turn {
    _ends: oneshot::Sender<()>,
}

impl Told {
    /// The receiver resolves when what comes after the answer may be passed on.
    pub(super) fn new(outcome: OutcomeReport, line: Bytes) -> (Self, oneshot::Receiver<()>) {
        let (ends, ended) = oneshot::channel();
        (Self { outcome, line, turn: Turn { _ends: ends } }, ended)
    }
}

pub(super) struct Request<'a> {
    relay: &'a Relay,
    direction: Direction,
    call: Call,
    to_server: Queue,
}

/// How a decision ended.
enum Decided {
    Permitted(Exchange, PermitEvent),
    Denied(DeniedEvent),
    /// The sidecar has answered.
    Answered(String),
    /// The sidecar has to know first what the server's tools are.
    ListTools,
}

impl<'a> Request<'a> {
    pub(super) fn new(relay: &'a Relay, direction: Direction, call: Call, to_server: Queue) -> Self {
        Self { relay, direction, call, to_server }
    }

    fn hold(&self) {
        match self.direction {
            Direction::ToServer => self.relay.calls.hold(&self.call.id),
            Direction::ToClient => self.relay.asks.hold(&self.call.id),
        }
    }

    fn close(&self) {
        match self.direction {
            Direction::ToServer => self.relay.calls.close(&self.call.id),
            Direction::ToClient => self.relay.asks.close(&self.call.id),
        }
    }

    pub(super) async fn carry_out(self, line: Bytes, withdrawn: oneshot::Receiver<()>) {
        let approval = Mutex::new(None);
        let decided = {
            let mut deciding = std::pin::pin!(self.decide(&line, &approval));
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
            Ok(Decided::Permitted(exchange, permit)) => self.forward(line, exchange, permit).await,
            Ok(Decided::Denied(denied)) => self.refuse(&denied).await,
            Ok(Decided::Answered(message)) => self.answer(message).await,
            Ok(Decided::ListTools) => self.refuse(&unavailable(&"the server's tools cannot be listed")).await,
            Err(error) => self.refuse(&unavailable(&error)).await,
        }
    }

    async fn decide(
        &self,
        line: &Bytes,
        approval: &Mutex<Option<ApprovalId>>,
    ) -> Result<Decided, LocalError> {
        match self.ask(line, false, approval).await? {
            Decided::ListTools => {
                self.relay.list_tools(&self.call, &self.to_server).await;
                self.ask(line, true, approval).await
            }
            decided => Ok(decided),
        }
    }

    /// Asks the sidecar, and waits until it has decided.
    async fn ask(
        &self,
        line: &Bytes,
        listed: bool,
        approval: &Mutex<Option<ApprovalId>>,
    ) -> Result<Decided, LocalError> {
        let settings = &self.relay.settings;
        let message = McpMessage {
            relay: self.relay.name.clone(),
            direction: self.direction,
            // Read strictly before, so it is UTF-8.
            text: String::from_utf8_lossy(content(line)).into_owned(),
            changes: self.relay.changes.load(Ordering::Acquire),
            listed,
        };
        let operation = OperationRequest::Mcp {
            message,
            patience: settings.patience.as_secs(),
            provenance: settings.provenance.clone(),
            trace: settings.trace.clone(),
        };
        let mut progress = Progress::of(self.call.params.as_deref());
        let mut exchange = settings.sidecar.submit(&operation).await?;
        while let Some(event) = exchange.next().await? {
            match event {
                Event::Held(_) => self.hold(),
                Event::Waiting(waiting) => {
                    *approval.lock().unwrap_or_else(PoisonError::into_inner) = Some(waiting.approval);
                    if let Some(progress) = &mut progress {
                        // A client that does not read misses it; it is not waited for.
                        let _ = self.relay.to_client.try_send(terminated(progress.next()));
                    }
                }
                Event::Permit(permit) => return Ok(Decided::Permitted(exchange, permit)),
                Event::Denied(denied) => return Ok(Decided::Denied(denied)),
                Event::Answered(answered) => return Ok(Decided::Answered(answered.message)),
                Event::ListTools => return Ok(Decided::ListTools),
                Event::Edited(_) => break,
            }
        }
        Err(LocalError::Broken("it ended without a decision".to_owned()))
    }

    async fn forward(self, line: Bytes, exchange: Exchange, permit: PermitEvent) {
        let line = permit.mcp.message.clone().map_or(line, terminated);
        match self.direction {
            Direction::ToServer => self.forward_to_server(line, exchange, permit).await,
            Direction::ToClient => self.forward_to_client(line, exchange, permit).await,
        }
    }

    async fn forward_to_server(self, line: Bytes, exchange: Exchange, permit: PermitEvent) {
        let Ok(place) = self.to_server.reserve().await else { return self.close() };
        let changes = self.relay.changes.load(Ordering::Acquire);
        if permit.mcp.changes.is_some_and(|known| known < changes) {
            drop(place);
            report(exchange, &permit, &not_forwarded("the tool's definition changed")).await;
            return self.refuse(&changed(&permit)).await;
        }
        // From here on the message is on its way, unless it was withdrawn in the meantime.
        let Some(answer) = self.relay.calls.forward(&self.call.id, || place.send(line)) else {
            return report(exchange, &permit, &not_forwarded("the request was withdrawn")).await;
        };
        // Held no longer than needed, so that the server's input closes when the client's output does.
        let Self { relay, call, to_server, .. } = self;
        drop(to_server);
        // Without an answer the exchange is dropped: the sidecar records that the outcome is unknown.
        if let Ok(told) = answer.await {
            relay.pass_answer(&call, told, exchange, &permit).await;
        }
    }

    async fn forward_to_client(self, line: Bytes, exchange: Exchange, permit: PermitEvent) {
        let Ok(place) = self.relay.to_client.reserve().await else { return self.close() };
        let Some(outcome) = self.relay.asks.forward(&self.call.id, || place.send(line)) else {
            return report(exchange, &permit, &not_forwarded("the request was withdrawn")).await;
        };
        drop(self.to_server);
        if let Ok(outcome) = outcome.await {
            report(exchange, &permit, &outcome).await;
        }
    }

    async fn refuse(&self, denied: &DeniedEvent) {
        let answer = match self.direction {
            Direction::ToServer => ruling::refused(&self.call, denied),
            Direction::ToClient => {
                self.close();
                let error = refusal::error(self.call.id.raw(), denied);
                return self.relay.pass(&self.to_server, error.into()).await;
            }
        };
        self.answer(answer).await;
    }

    async fn answer(&self, message: String) {
        self.close();
        match self.direction {
            Direction::ToServer => self.relay.reply(&self.call.id, terminated(message)).await,
            Direction::ToClient => self.relay.pass(&self.to_server, terminated(message)).await,
        }
    }

    async fn withdraw(&self, approval: Option<ApprovalId>) {
        if matches!(self.direction, Direction::ToServer) {
            self.relay.send(self.relay.batches.forget(&self.call.id)).await;
        }
        if let Some(approval) = approval
            && let Err(error) = self.relay.settings.sidecar.cancel(approval).await
        {
            warn!(%error, "a withdrawn request counts as one whose requester has gone");
        }
    }
}

impl Relay {
    /// Passes the answer to a request on, once the sidecar has seen it if it wants to.
    async fn pass_answer(&self, call: &Call, told: Told, exchange: Exchange, permit: &PermitEvent) {
        let Told { outcome, line, turn } = told;
        let is_reviewed = match permit.mcp.review {
            Review::None => false,
            Review::Concerning => std::str::from_utf8(content(&line)).is_ok_and(questions::concern),
            Review::Every => true,
        };
        if !is_reviewed {
            self.reply(&call.id, line).await;
            drop(turn);
            return report(exchange, permit, &outcome).await;
        }
        if permit.mcp.review == Review::Concerning {
            // People may be asked about what is in it; the server's other messages do not wait for that.
            drop(turn);
        }
        let shown = line.slice_ref(content(&line));
        if shown.len() > MAX_ANSWER {
            let message = ruling::not_let_through(&call.id, "it is too long to be looked at");
            self.reply(&call.id, terminated(message)).await;
            return report(exchange, permit, &outcome).await;
        }
        let passed = match exchange.show(permit.evaluation, shown, self.settings.patience).await {
            Ok(Reviewed::Pass) => line,
            Ok(Reviewed::Instead { message }) => terminated(message),
            Ok(Reviewed::Drop) => {
                terminated(ruling::not_let_through(&call.id, "it has more than one reading"))
            }
            Err(error) => terminated(ruling::not_let_through(&call.id, &error.to_string())),
        };
        self.reply(&call.id, passed).await;
    }
}

/// A message of our own, on a line.
pub(super) fn terminated(mut message: String) -> Bytes {
    message.push('\n');
    message.into()
}

async fn report(exchange: Exchange, permit: &PermitEvent, outcome: &OutcomeReport) {
    if let Err(error) = exchange.finish(permit.evaluation, outcome).await {
        warn!(%error, "an outcome could not be reported");
    }
}

fn not_forwarded(why: &str) -> OutcomeReport {
    OutcomeReport::Failed { reason: format!("not forwarded: {why}") }
}

/// The tool is not what it was when the call was decided about.
fn changed(permit: &PermitEvent) -> DeniedEvent {
    DeniedEvent::changed(permit.evaluation, permit.approval)
}

/// Without a sidecar nothing is forwarded (I6).
fn unavailable(why: &dyn std::fmt::Display) -> DeniedEvent {
    DeniedEvent {
        evaluation: None,
        approval: None,
        code: "sidecar".to_owned(),
        retry: true,
        message: why.to_string(),
        policies: Vec::new(),
    }
}
