//! MCP messages that relays submit. What is decided, and what the answers go through, is what the HTTP path
//! does ([`crate::mcp`]); a relay only carries bytes.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use countersign_gate::{Interceptor, Outcome, Permit};
use countersign_model::{EvaluationId, strict_json};
use countersign_policy::outputs::Ruled;

use super::{
    server::{Desk, Events, Report, Settled, problem, say},
    wire::{
        AnsweredEvent, DeniedEvent, Direction, Event, McpMessage, McpTerms, NextPage, OutcomeReport, Relay,
        Review, Reviewed, ToolsPage,
    },
};
use crate::mcp::{
    agreed::Agreed,
    envelope::{FromServer, read_from_server},
    known::{Known, Origin},
    lists::{self, Next},
    normalise,
    review::{Context, Verdict},
    revision,
    ruling::{self, Asked, Call, Pin},
    servers::{ServerError, Servers},
    substitute::substitute,
};

/// The most relays that are remembered. The one that was heard of longest ago goes first; when it comes back
/// it lists its server's tools again.
const MAX_RELAYS: usize = 128;
/// The longest id of a relay.
const MAX_ID: usize = 64;
/// The longest that people may take before a relay is answered.
const MAX_PATIENCE: Duration = Duration::from_secs(24 * 60 * 60);

/// The servers behind the relays.
#[derive(Default)]
pub(super) struct Relays(Mutex<HashMap<Relay, Reached>>);

struct Reached {
    client: Arc<Client>,
    used: Instant,
}

/// A relay's client, and the server that it reaches.
struct Client {
    known: Known,
    /// What the two have agreed on last.
    agreed: Mutex<Option<Agreed>>,
}

impl Client {
    fn agreed(&self) -> MutexGuard<'_, Option<Agreed>> {
        self.agreed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the client can have a person open an address.
    fn opens_urls(&self) -> bool {
        self.agreed().as_ref().is_some_and(|agreed| agreed.opens_urls)
    }
}

/// Why a relay is not known.
#[derive(Debug, thiserror::Error)]
enum RelayError {
    #[error("the id of a relay has at most {MAX_ID} bytes")]
    Id,
    #[error(transparent)]
    Server(#[from] ServerError),
}

impl Relays {
    fn reach(&self, servers: &Servers, relay: &Relay) -> Result<Arc<Client>, RelayError> {
        if relay.id.len() > MAX_ID {
            return Err(RelayError::Id);
        }
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reached) = all.get_mut(relay) {
            reached.used = Instant::now();
            return Ok(Arc::clone(&reached.client));
        }
        let client = Arc::new(Client { known: servers.reach(&relay.server)?, agreed: Mutex::default() });
        if all.len() >= MAX_RELAYS {
            let oldest = all.iter().min_by_key(|(_, reached)| reached.used).map(|(relay, _)| relay.clone());
            oldest.and_then(|oldest| all.remove(&oldest));
        }
        all.insert(relay.clone(), Reached { client: Arc::clone(&client), used: Instant::now() });
        Ok(client)
    }
}

/// A request that a relay has submitted.
pub(super) struct Submitted {
    client: Arc<Client>,
    call: Call,
    direction: Direction,
    is_stateless: bool,
    /// How often the server had told the relay that its tools have changed.
    changes: u64,
    origin: Origin,
    patience: Duration,
}

impl Submitted {
    /// What it relies on.
    fn pin(&self) -> Option<Pin> {
        match self.direction {
            Direction::ToServer => self.client.known.pin(&self.call),
            Direction::ToClient => None,
        }
    }
}

/// A message that was forwarded.
pub(super) struct Forwarded {
    client: Arc<Client>,
    asked: Asked,
    is_stateless: bool,
    changes: u64,
    origin: Origin,
    patience: Duration,
}

impl Forwarded {
    /// Looks at the answer to it.
    async fn review(&self, answer: &str) -> (Verdict, Option<Ruled>) {
        let context = Context {
            is_stateless: self.is_stateless,
            changes: self.changes,
            origin: &self.origin,
            patience: self.patience,
        };
        let call = &self.asked.call;
        if call.method == "initialize" {
            *self.client.agreed() = Agreed::of(call.params.as_deref(), answer);
        }
        self.client.known.review(&self.asked, &context, answer).await
    }
}

impl Desk {
    /// Decides about a message, and has it forwarded.
    pub(super) async fn message(
        &self,
        message: McpMessage,
        patience: Duration,
        origin: Origin,
        events: &Events,
    ) {
        match self.submitted(&message, patience.min(MAX_PATIENCE), origin).await {
            Ok(submitted) => self.decide_message(submitted, &message, events).await,
            Err(event) => say(events, event).await,
        }
    }

    /// Reads a message again, from the bytes that the relay would forward: what the relay thinks of it decides
    /// nothing.
    async fn submitted(
        &self,
        message: &McpMessage,
        patience: Duration,
        origin: Origin,
    ) -> Result<Submitted, Event> {
        let client = match self.relays.reach(&self.servers, &message.relay) {
            Ok(client) => client,
            Err(error) => {
                let (why, trace) = (error.to_string(), origin.trace.as_deref());
                let denial = self.gate.refuse(Interceptor::Mcp, "a relay", why, trace).await;
                return Err(Event::Denied(DeniedEvent::of(&denial)));
            }
        };
        let known = &client.known;
        known.heard_of_changes(message.changes);
        let call = match normalise::call_in(&known.name, &message.text) {
            Ok(call) => call,
            Err(unreadable) => {
                let denial = known.refuse(unreadable, &origin).await;
                return Err(Event::Denied(DeniedEvent::of(&denial)));
            }
        };
        let is_stateless = match revision::said(call.params.as_deref()) {
            None => false,
            Some(said) => match revision::Revision::parse(&said) {
                Some(revision) => revision.is_stateless(),
                None => return Err(answered(ruling::unsupported(&call, &said))),
            },
        };
        let (direction, changes) = (message.direction, message.changes);
        Ok(Submitted { client, call, direction, is_stateless, changes, origin, patience })
    }

    async fn decide_message(&self, mut submitted: Submitted, message: &McpMessage, events: &Events) {
        let client = Arc::clone(&submitted.client);
        let known = &client.known;
        let mut instead = None;
        if submitted.direction == Direction::ToServer {
            if !message.listed && known.wants_tools(&submitted.call) {
                return say(events, Event::ListTools).await;
            }
            if submitted.is_stateless {
                match known.restore(&mut submitted.call, &message.text) {
                    Ok(restored) => instead = restored,
                    Err(refused) => return say(events, answered(refused)).await,
                }
            }
        }
        let pin = submitted.pin();
        let Submitted { call, direction, origin, .. } = &submitted;
        let answer = known.decide(*direction, &call.method, call.params.as_deref(), origin).await;
        match self.settle(answer, Some(submitted.patience), events).await {
            Settled::Permitted(permit) => {
                let text = instead.as_deref().unwrap_or(&message.text);
                match substitute(&mut submitted.call, text, &permit) {
                    Ok(edited) => {
                        self.forward(submitted, pin, edited.or(instead), *permit, events).await;
                    }
                    Err(unfit) => {
                        permit.consume().finish(Outcome::Failed { detail: unfit.to_string() }).await;
                        let denied =
                            answered(ruling::not_let_through(&submitted.call.id, &unfit.to_string()));
                        say(events, denied).await;
                    }
                }
            }
            Settled::Denied(denied) => say(events, Event::Denied(denied)).await,
            Settled::Pending { status, .. } if *direction == Direction::ToServer => {
                say(
                    events,
                    answered(known.pending(call, submitted.is_stateless, client.opens_urls(), &status)),
                )
                .await;
            }
            Settled::Pending { evaluation, policies, status } => {
                say(events, Event::Denied(DeniedEvent::pending(evaluation, policies, &status))).await;
            }
        }
    }

    /// Has a permitted message forwarded, if what it calls is still what was decided about.
    async fn forward(
        &self,
        submitted: Submitted,
        pin: Option<Pin>,
        instead: Option<String>,
        permit: Permit,
        events: &Events,
    ) {
        // Read before the pin is looked up again: a change in between is seen by the one or by the other.
        let changes = submitted.client.known.changes();
        if submitted.pin() != pin {
            let denied = ruling::changed(&permit);
            let detail = "not forwarded: the server has changed what it says of itself".to_owned();
            permit.consume().finish(Outcome::Failed { detail }).await;
            return say(events, Event::Denied(denied)).await;
        }
        if let (Some(_), Some(pin)) = (permit.used(), &pin) {
            submitted.client.known.accept(pin);
        }
        let is_pinned = matches!(pin, Some(Pin::Tool(_, Some(_))));
        let Submitted { client, call, direction, is_stateless, changes: asked_at, origin, patience } =
            submitted;
        let asked = client.known.asked(call, pin.as_ref(), &permit);
        let review = match direction {
            Direction::ToServer => asked.review(),
            Direction::ToClient => Review::None,
        };
        let terms = McpTerms { message: instead, changes: is_pinned.then_some(changes), review };
        let forwarded = Forwarded { client, asked, is_stateless, changes: asked_at, origin, patience };
        // A client that is gone by now has not started anything: the permit is not consumed.
        if let Ok(place) = events.reserve().await {
            self.run(permit.consume(), terms, Some(forwarded), place).await;
        }
    }
}

fn answered(message: String) -> Event {
    Event::Answered(AnsweredEvent { message })
}

/// Takes in what tools a relay's server has.
pub(super) async fn tools(State(desk): State<Arc<Desk>>, body: Bytes) -> Response {
    let page = match strict_json::parse_as::<ToolsPage>(&body) {
        Ok(page) => page,
        Err(error) => return problem(StatusCode::BAD_REQUEST, error.to_string()),
    };
    let client = match desk.relays.reach(&desk.servers, &page.relay) {
        Ok(client) => client,
        Err(error) => return problem(StatusCode::BAD_REQUEST, error.to_string()),
    };
    let known = &client.known;
    known.heard_of_changes(page.changes);
    let next = page.answer.and_then(|answer| lists::take_page(known, &answer, page.is_first, page.changes));
    let cursor = match next {
        Some(Next::Cursor(cursor)) => Some(cursor),
        Some(Next::End) => None,
        None => {
            known.refused_to_list();
            return problem(StatusCode::BAD_REQUEST, "that is no list of tools".to_owned());
        }
    };
    Json(NextPage { cursor }).into_response()
}

/// Looks at the answer to a message that was forwarded, and records how that ended.
pub(super) async fn answer(
    State(desk): State<Arc<Desk>>,
    Path(execution): Path<EvaluationId>,
    body: Bytes,
) -> Response {
    let Some((report, forwarded)) = desk.take_forwarded(execution) else {
        return problem(StatusCode::NOT_FOUND, "no such message is on its way".to_owned());
    };
    // Dropping the report leaves the outcome unknown, as it is.
    let no_answer = || problem(StatusCode::BAD_REQUEST, "that is no answer to the message".to_owned());
    let Ok(text) = std::str::from_utf8(&body) else { return no_answer() };
    let FromServer::Answer { id, success, result } = read_from_server(text.as_bytes()) else {
        return no_answer();
    };
    if id != forwarded.asked.call.id {
        return no_answer();
    }
    let (verdict, ruled) = forwarded.review(text).await;
    let recorded = Report::send(report, OutcomeReport::of_answer(success, result, ruled)).await;
    if !recorded {
        return problem(StatusCode::NOT_FOUND, "no such message is on its way".to_owned());
    }
    Json(match verdict {
        Verdict::Pass => Reviewed::Pass,
        Verdict::Instead(message) => Reviewed::Instead { message },
        Verdict::Drop => Reviewed::Drop,
    })
    .into_response()
}
