//! The sidecar half: take an operation in, tell its events, take its outcome in.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use countersign_approval::Status;
use countersign_gate::{
    Answer, Execution, Gate, Held, Intent, Interceptor, Outcome, Permit, Produced, Waited, ports::BrokerError,
};
use countersign_model::{ApprovalId, EvaluationId, strict_json};
use futures::StreamExt as _;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::wire::{
    self, DeniedEvent, Event, HeldEvent, MAX_REQUEST, OperationRequest, OutcomeReport, PermitEvent, Problem,
    WaitingEvent,
};
use crate::{
    exec::{self, normalise::ProgramFolders},
    hook, mcp,
};

/// How often a waiting client hears something, so that each side notices when the other is gone.
const TICK: Duration = Duration::from_secs(5);
/// How many events may wait for a client that does not read them.
const QUEUE: usize = 16;

/// What the local API needs to know.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// The address at which reviewers decide, if it is known.
    pub console: Option<String>,
    /// The folders whose programs go by their names: those of the sidecar's own `PATH`.
    pub folders: ProgramFolders,
    /// Cancelled when the sidecar stops: what is held then is withdrawn, and what runs may finish.
    pub stop: CancellationToken,
}

/// The local API over a gate.
///
/// Whoever serves this must know that the peer may act as the agent: every client can submit operations.
pub fn router(gate: Gate, settings: Settings) -> Router {
    let desk = Arc::new(Desk { gate, settings, running: Mutex::default() });
    Router::new()
        .route(wire::OPERATIONS, post(submit))
        .route("/local/v1/executions/{execution}/outcome", post(finish))
        .route("/local/v1/approvals/{approval}/cancel", post(cancel))
        .layer(DefaultBodyLimit::max(MAX_REQUEST))
        .with_state(desk)
}

/// What the requests share.
struct Desk {
    gate: Gate,
    settings: Settings,
    running: Mutex<HashMap<EvaluationId, oneshot::Sender<Report>>>,
}

/// An outcome, and whom to tell that it is recorded.
struct Report {
    outcome: Outcome,
    produced: Produced,
    recorded: oneshot::Sender<()>,
}

type Events = mpsc::Sender<Event>;

async fn submit(State(desk): State<Arc<Desk>>, body: Bytes) -> Response {
    let request = match strict_json::parse_as::<OperationRequest>(&body) {
        Ok(request) => request,
        Err(error) => return problem(StatusCode::BAD_REQUEST, error.to_string()),
    };
    let (events, mut lines) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        let gone = events.clone();
        // When the client goes, everything about its operation is dropped. What that means depends on
        // how far it has come: a held operation is cancelled, a running one has an unknown outcome.
        tokio::select! {
            () = gone.closed() => {}
            () = desk.exchange(request, events) => {}
        }
    });
    let lines = futures::stream::poll_fn(move |context| lines.poll_recv(context)).map(|event| line(&event));
    let headers = [(header::CONTENT_TYPE, "application/x-ndjson"), (header::CACHE_CONTROL, "no-store")];
    (headers, Body::from_stream(lines)).into_response()
}

fn line(event: &Event) -> Result<Bytes, serde_json::Error> {
    let mut line = serde_json::to_vec(event)?;
    line.push(b'\n');
    Ok(line.into())
}

async fn finish(State(desk): State<Arc<Desk>>, Path(execution): Path<EvaluationId>, body: Bytes) -> Response {
    let (outcome, produced) = match strict_json::parse_as::<OutcomeReport>(&body) {
        Ok(OutcomeReport::Executed { result, ruled }) => {
            (Outcome::Executed, Produced { digest: result, ruled })
        }
        Ok(OutcomeReport::Failed { reason }) => (Outcome::Failed { detail: reason }, Produced::default()),
        Err(error) => return problem(StatusCode::BAD_REQUEST, error.to_string()),
    };
    let unknown = || problem(StatusCode::NOT_FOUND, "no such execution is running".to_owned());
    let Some(running) = desk.running().remove(&execution) else {
        return unknown();
    };
    let (recorded, when_recorded) = oneshot::channel();
    if running.send(Report { outcome, produced, recorded }).is_err() {
        return unknown();
    }
    match when_recorded.await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(_) => unknown(),
    }
}

async fn cancel(State(desk): State<Arc<Desk>>, Path(approval): Path<ApprovalId>) -> Response {
    match desk.gate.cancel(approval).await {
        Ok(_) => StatusCode::NO_CONTENT.into_response(),
        Err(error @ BrokerError::Unknown) => problem(StatusCode::NOT_FOUND, error.to_string()),
        Err(error @ BrokerError::Refused(_)) => problem(StatusCode::CONFLICT, error.to_string()),
        Err(error) => problem(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
    }
}

fn problem(status: StatusCode, error: String) -> Response {
    (status, Json(Problem { error })).into_response()
}

impl Desk {
    fn running(&self) -> MutexGuard<'_, HashMap<EvaluationId, oneshot::Sender<Report>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn exchange(&self, request: OperationRequest, events: Events) {
        let patience = match &request {
            OperationRequest::Hook { patience, .. } => Some(Duration::from_secs(*patience)),
            OperationRequest::Exec { .. } | OperationRequest::Mcp { .. } => None,
        };
        let answer = match self.read(request) {
            Ok(intent) => self.gate.decide(intent).await,
            Err((unreadable, trace)) => {
                let mcp::normalise::Unreadable { about, why } = unreadable;
                Answer::Denied(self.gate.refuse(Interceptor::Mcp, &about, why, trace.as_deref()).await)
            }
        };
        let answer = match answer {
            Answer::Held(held) => {
                let (evaluation, policies) = (held.evaluation(), held.policies().to_vec());
                tokio::select! {
                    waited = self.hold(held, patience, &events) => match waited {
                        Waited::Answered(answer) => answer,
                        Waited::Pending(status) => {
                            return say(&events, Event::Denied(DeniedEvent::pending(evaluation, policies, &status))).await;
                        }
                    },
                    // Dropping the hold withdraws the request: its requester cannot be told any more.
                    () = self.settings.stop.cancelled() => {
                        return say(&events, Event::Denied(DeniedEvent::stopping(evaluation))).await;
                    }
                }
            }
            decided => decided,
        };
        match answer {
            Answer::Permitted(permit) if patience.is_some() => hand_over(permit, &events).await,
            Answer::Permitted(permit) => {
                // A client that is gone by now has not started anything: the permit is not consumed.
                if let Ok(place) = events.reserve().await {
                    self.run(permit.consume(), place).await;
                }
            }
            Answer::Denied(denial) => say(&events, Event::Denied(DeniedEvent::of(&denial))).await,
            Answer::Held(held) => say(&events, Event::Denied(DeniedEvent::still_held(&held))).await,
        }
    }

    fn read(
        &self,
        request: OperationRequest,
    ) -> Result<Intent, (mcp::normalise::Unreadable, Option<String>)> {
        match request {
            OperationRequest::Exec { command, provenance, trace } => {
                Ok(exec::normalise::intent(command, &self.settings.folders, provenance, trace))
            }
            OperationRequest::Mcp { server, direction, message, tool_pin, declared, provenance, trace } => {
                let environment = trace.clone();
                let observed = mcp::normalise::Observed {
                    server,
                    direction,
                    message,
                    tool_pin,
                    declared,
                    provenance,
                    trace,
                };
                mcp::normalise::intent(observed).map_err(|unreadable| (unreadable, environment))
            }
            OperationRequest::Hook { call, patience: _, provenance, trace } => {
                let (agent, folders) = (self.gate.agent(), &self.settings.folders);
                Ok(hook::normalise::intent(agent, call, folders, provenance, trace))
            }
        }
    }

    /// Asks people, and keeps the client informed until they have decided, or its patience is over.
    async fn hold(&self, held: Held, patience: Option<Duration>, events: &Events) -> Waited {
        let told = HeldEvent {
            evaluation: held.evaluation(),
            digest: held.digest(),
            summary: summary(&held),
            policies: held.policies().to_vec(),
            requirements: held.requirements().to_vec(),
        };
        say(events, Event::Held(told)).await;
        let (news, mut changes) = watch::channel(None);
        let console = self.settings.console.as_deref();
        let over = async {
            match patience {
                Some(patience) => tokio::time::sleep(patience).await,
                None => std::future::pending().await,
            }
        };
        let mut hold = std::pin::pin!(self.gate.hold_within(held, over, |status: &Status| {
            news.send_replace(Some(waiting(status, console)));
        }));
        loop {
            tokio::select! {
                waited = &mut hold => return waited,
                _ = tokio::time::timeout(TICK, changes.changed()) => {
                    let latest = changes.borrow_and_update().clone();
                    if let Some(waiting) = latest {
                        // A client that does not read its events misses some; it is not waited for.
                        let _ = events.try_send(Event::Waiting(waiting));
                    }
                }
            }
        }
    }

    /// Hands the permit over and waits for the outcome.
    async fn run(&self, execution: Execution, place: mpsc::Permit<'_, Event>) {
        let id = execution.evaluation();
        let (running, report) = oneshot::channel();
        let _listed = Listed::new(self, id, running);
        place.send(Event::Permit(PermitEvent {
            evaluation: id,
            approval: execution.used().map(|used| used.approval),
            trace: execution.traceparent(),
        }));
        // Without a report, the execution is dropped: its outcome is unknown, and recorded as such.
        if let Ok(report) = report.await {
            execution.finish_with(report.outcome, report.produced).await;
            // Whoever reported may have gone; the outcome is recorded all the same.
            let _ = report.recorded.send(());
        }
    }
}

/// Lets a client go ahead that runs the operation where nobody sees it. That is recorded before it is told.
async fn hand_over(permit: Permit, events: &Events) {
    if events.is_closed() {
        // Nothing has been started: the permit is not consumed.
        return;
    }
    let approval = permit.used().map(|used| used.approval);
    let event = PermitEvent { evaluation: permit.evaluation(), approval, trace: None };
    permit.hand_over().await;
    say(events, Event::Permit(event)).await;
}

/// An execution that an outcome can be reported for, until this is dropped.
struct Listed<'a> {
    desk: &'a Desk,
    id: EvaluationId,
}

impl<'a> Listed<'a> {
    fn new(desk: &'a Desk, id: EvaluationId, running: oneshot::Sender<Report>) -> Self {
        desk.running().insert(id, running);
        Self { desk, id }
    }
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.desk.running().remove(&self.id);
    }
}

/// Tells the client; one that has gone is noticed elsewhere.
async fn say(events: &Events, event: Event) {
    let _ = events.send(event).await;
}

fn summary(held: &Held) -> String {
    let operation = held.operation();
    format!("{} {}::{:?}", operation.action.name, operation.resource.kind, operation.resource.id)
}

fn waiting(status: &Status, console: Option<&str>) -> WaitingEvent {
    WaitingEvent {
        approval: status.id,
        phase: status.phase,
        decide_by: status.decide_by,
        progress: status.progress.clone(),
        link: console.map(|console| format!("{}/approvals/{}", console.trim_end_matches('/'), status.id)),
    }
}
