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
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use countersign_approval::Status;
use countersign_gate::{
    Answer, Arguments, Cause, Denial, Execution, Gate, Held, Intent, Outcome, Permit, Produced, Waited,
    ports::BrokerError,
};
use countersign_model::{ApprovalId, DecidingPolicy, EvaluationId, strict_json};
use futures::StreamExt as _;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::{
    edits::Edits,
    relays::{self, Forwarded, Relays},
    wire::{
        self, DeniedEvent, Event, HeldEvent, HookCall, MAX_ANSWER, MAX_REQUEST, McpTerms, OperationRequest,
        OutcomeReport, PermitEvent, Problem, WaitingEvent,
    },
};
use crate::{
    exec::{self, normalise::ProgramFolders},
    hook,
    initiator::{self, Initiators},
    mcp::{Servers, known::Origin},
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
    /// Who vouches for the initiating human.
    pub initiators: Initiators,
}

/// The local API over a gate.
///
/// Whoever serves this must know that the peer may act as the agent: every client can submit operations.
pub fn router(gate: Gate, servers: Servers, settings: Settings) -> Router {
    let (relays, running) = (Relays::default(), Mutex::default());
    let desk = Arc::new(Desk { gate, servers, relays, edits: Edits::default(), settings, running });
    // Escaped within a message, an answer is at most twice as long.
    let tools = post(relays::tools).layer(DefaultBodyLimit::max(2 * MAX_ANSWER + MAX_REQUEST));
    let answer = post(relays::answer).layer(DefaultBodyLimit::max(MAX_ANSWER));
    Router::new()
        .route(wire::OPERATIONS, post(submit))
        .route(wire::TOOLS, tools)
        .route("/local/v1/executions/{execution}/outcome", post(finish))
        .route("/local/v1/executions/{execution}/answer", answer)
        .route("/local/v1/approvals/{approval}/cancel", post(cancel))
        .layer(DefaultBodyLimit::max(MAX_REQUEST))
        .with_state(desk)
}

/// What the requests share.
pub(super) struct Desk {
    pub(super) gate: Gate,
    /// The MCP servers that relays stand before.
    pub(super) servers: Servers,
    pub(super) relays: Relays,
    edits: Edits,
    settings: Settings,
    running: Mutex<HashMap<EvaluationId, Running>>,
}

/// What is carried out.
struct Running {
    report: oneshot::Sender<Report>,
    /// The MCP message that was forwarded, if it is one.
    forwarded: Option<Forwarded>,
}

/// An outcome, and whom to tell that it is recorded.
pub(super) struct Report {
    outcome: Outcome,
    produced: Produced,
    recorded: oneshot::Sender<()>,
}

impl Report {
    /// Reports an outcome. Whether it is recorded.
    pub(super) async fn send(to: oneshot::Sender<Self>, outcome: OutcomeReport) -> bool {
        let (outcome, produced) = outcome.split();
        let (recorded, when_recorded) = oneshot::channel();
        to.send(Self { outcome, produced, recorded }).is_ok() && when_recorded.await.is_ok()
    }
}

/// What became of an operation, once people have been asked where policy wants that.
pub(super) enum Settled {
    Permitted(Box<Permit>),
    Denied(DeniedEvent),
    /// Nobody has decided within the client's patience.
    Pending {
        evaluation: EvaluationId,
        policies: Vec<DecidingPolicy>,
        status: Status,
    },
}

impl Settled {
    fn of(answer: Answer) -> Self {
        match answer {
            Answer::Permitted(permit) => Self::Permitted(Box::new(permit)),
            Answer::Denied(denial) => Self::Denied(DeniedEvent::of(&denial)),
            Answer::Held(held) => Self::Denied(DeniedEvent::still_held(&held)),
        }
    }
}

pub(super) type Events = mpsc::Sender<Event>;

async fn submit(State(desk): State<Arc<Desk>>, headers: HeaderMap, body: Bytes) -> Response {
    let mut request = match strict_json::parse_as::<OperationRequest>(&body) {
        Ok(request) => request,
        Err(error) => return problem(StatusCode::BAD_REQUEST, error.to_string()),
    };
    // Only a token verifies an initiator: whoever can reach the socket may act as the agent.
    let vouched = desk.settings.initiators.of(&headers, desk.gate.now());
    let named = &mut request.provenance_mut().initiator;
    match vouched.and_then(|vouched| initiator::settled(vouched.as_ref(), named.take())) {
        Ok(settled) => *named = settled,
        Err(refused) => return problem(StatusCode::FORBIDDEN, refused.to_string()),
    }
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
    let outcome = match strict_json::parse_as::<OutcomeReport>(&body) {
        Ok(outcome) => outcome,
        Err(error) => return problem(StatusCode::BAD_REQUEST, error.to_string()),
    };
    let running = desk.running().remove(&execution);
    let recorded = match running {
        Some(running) => Report::send(running.report, outcome).await,
        None => false,
    };
    if recorded {
        return StatusCode::NO_CONTENT.into_response();
    }
    problem(StatusCode::NOT_FOUND, "no such execution is running".to_owned())
}

async fn cancel(State(desk): State<Arc<Desk>>, Path(approval): Path<ApprovalId>) -> Response {
    match desk.gate.cancel(approval).await {
        Ok(_) => StatusCode::NO_CONTENT.into_response(),
        Err(error @ BrokerError::Unknown) => problem(StatusCode::NOT_FOUND, error.to_string()),
        Err(error @ BrokerError::Refused(_)) => problem(StatusCode::CONFLICT, error.to_string()),
        Err(error) => problem(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
    }
}

pub(super) fn problem(status: StatusCode, error: String) -> Response {
    (status, Json(Problem { error })).into_response()
}

impl Desk {
    fn running(&self) -> MutexGuard<'_, HashMap<EvaluationId, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The MCP message that was forwarded under a permit, and where its outcome is reported. It is taken once.
    pub(super) fn take_forwarded(
        &self,
        execution: EvaluationId,
    ) -> Option<(oneshot::Sender<Report>, Forwarded)> {
        let mut all = self.running();
        let forwarded = all.get_mut(&execution)?.forwarded.take()?;
        Some((all.remove(&execution)?.report, forwarded))
    }

    async fn exchange(&self, request: OperationRequest, events: Events) {
        let intent = match request {
            OperationRequest::Mcp { message, patience, provenance, trace } => {
                let origin = Origin { provenance, trace };
                return self.message(message, Duration::from_secs(patience), origin, &events).await;
            }
            OperationRequest::Exec { command, provenance, trace } => {
                exec::normalise::intent(command, &self.settings.folders, provenance, trace)
            }
            OperationRequest::Hook { call, editable, patience, provenance, trace } => {
                let (agent, folders) = (self.gate.agent(), &self.settings.folders);
                let intent = hook::normalise::intent(agent, call.clone(), folders, provenance, trace);
                return self.hook(call, intent, editable, Duration::from_secs(patience), &events).await;
            }
        };
        let answer = self.gate.decide(intent).await;
        match self.settle(answer, None, &events).await {
            Settled::Permitted(permit) => {
                // A client that is gone by now has not started anything: the permit is not consumed.
                if let Ok(place) = events.reserve().await {
                    self.run(permit.consume(), McpTerms::default(), None, place).await;
                }
            }
            Settled::Denied(denied) => say(&events, Event::Denied(denied)).await,
            Settled::Pending { evaluation, policies, status } => {
                say(&events, Event::Denied(DeniedEvent::pending(evaluation, policies, &status))).await;
            }
        }
    }

    /// Decides about a tool call, whose host uses the tool itself.
    async fn hook(
        &self,
        call: HookCall,
        intent: Intent,
        editable: bool,
        patience: Duration,
        events: &Events,
    ) {
        if let Some(changed) = self.edits.made_of(&call).filter(|_| editable) {
            return say(events, Event::Edited(changed)).await;
        }
        let arguments = if editable {
            Arguments::Resubmittable(self.edits.that_led_to(&call))
        } else {
            Arguments::AsGiven
        };
        let answer = self.gate.decide(Intent { arguments, ..intent }).await;
        let settled = match self.asked(answer, Some(patience), events).await {
            Ok(Answer::Denied(Denial { cause: Cause::Edited(edited), evaluation, .. })) => {
                let told = match self.edits.keep(&call, *edited) {
                    Some(changed) => Event::Edited(changed),
                    None => Event::Denied(DeniedEvent::unfit(evaluation)),
                };
                return say(events, told).await;
            }
            Ok(answer) => Settled::of(answer),
            Err(settled) => settled,
        };
        match settled {
            Settled::Permitted(permit) => {
                self.edits.forget(&call);
                hand_over(*permit, events).await;
            }
            Settled::Denied(denied) => {
                if !denied.retry && denied.code != "refused" {
                    self.edits.forget(&call);
                }
                say(events, Event::Denied(denied)).await;
            }
            Settled::Pending { evaluation, policies, status } => {
                say(events, Event::Denied(DeniedEvent::pending(evaluation, policies, &status))).await;
            }
        }
    }

    /// Has people asked where policy wants that.
    pub(super) async fn settle(
        &self,
        answer: Answer,
        patience: Option<Duration>,
        events: &Events,
    ) -> Settled {
        self.asked(answer, patience, events).await.map_or_else(|settled| settled, Settled::of)
    }

    /// The answer once people have been asked, or what becomes of it when they have not decided.
    async fn asked(
        &self,
        answer: Answer,
        patience: Option<Duration>,
        events: &Events,
    ) -> Result<Answer, Settled> {
        match answer {
            Answer::Held(held) => {
                let (evaluation, policies) = (held.evaluation(), held.policies().to_vec());
                tokio::select! {
                    waited = self.hold(held, patience, events) => match waited {
                        Waited::Answered(answer) => Ok(answer),
                        Waited::Pending(status) => Err(Settled::Pending { evaluation, policies, status }),
                    },
                    // Dropping the hold withdraws the request: its requester cannot be told any more.
                    () = self.settings.stop.cancelled() => {
                        Err(Settled::Denied(DeniedEvent::stopping(evaluation)))
                    }
                }
            }
            decided => Ok(decided),
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
    pub(super) async fn run(
        &self,
        execution: Execution,
        mcp: McpTerms,
        forwarded: Option<Forwarded>,
        place: mpsc::Permit<'_, Event>,
    ) {
        let id = execution.evaluation();
        let (running, report) = oneshot::channel();
        let _listed = Listed::new(self, id, Running { report: running, forwarded });
        place.send(Event::Permit(PermitEvent {
            evaluation: id,
            approval: execution.used().map(|used| used.approval),
            trace: execution.traceparent(),
            mcp,
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
    let event =
        PermitEvent { evaluation: permit.evaluation(), approval, trace: None, mcp: McpTerms::default() };
    permit.hand_over().await;
    say(events, Event::Permit(event)).await;
}

/// An execution that an outcome can be reported for, until this is dropped.
struct Listed<'a> {
    desk: &'a Desk,
    id: EvaluationId,
}

impl<'a> Listed<'a> {
    fn new(desk: &'a Desk, id: EvaluationId, running: Running) -> Self {
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
pub(super) async fn say(events: &Events, event: Event) {
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
