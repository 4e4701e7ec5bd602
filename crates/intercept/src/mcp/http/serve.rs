//! One HTTP request: decide about what it carries, wait for people where policy says so, forward.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    body::{Body, to_bytes},
    extract::State,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use countersign_gate::{Answer, Held, Outcome, Permit, Status};
use futures::future::join_all;
use http::{HeaderMap, Method, Request, StatusCode, header};
use tokio::{
    sync::oneshot,
    time::{Instant, MissedTickBehavior, interval_at},
};
use tracing::warn;

use super::{
    Server,
    channel::{self, Sender},
    exchange::Exchange,
    headers,
    held::{HeldCall, knows_tasks},
    listing,
    posted::{self, Message, Posted, Rejection},
    reply,
    revision::{Named, named},
    session::{Place, Session, id_of},
    sse,
    upstream::UpstreamError,
};
use crate::{
    local::wire::{Direction, OutcomeReport},
    mcp::{
        agreed::client_of,
        envelope::{self, Envelope, EnvelopeError, MAX_MESSAGE},
        known::Origin,
        lane::Answered,
        patience::Waited,
        progress::Progress,
        revision::Revision,
        ruling::{self, Call, Pin, comes_back_until},
    },
};

/// How often a client that waits hears something. Less than what anything between the two allows.
const COMMENT_EVERY: Duration = Duration::from_secs(15);

/// How often a server hears of a session in which a call is held.
const PING_EVERY: Duration = Duration::from_secs(60);

/// Serves one request for a server.
pub(super) async fn serve(State(server): State<Arc<Server>>, request: Request<Body>) -> Response {
    let arrived = Instant::now();
    let (head, body) = request.into_parts();
    match head.method {
        Method::POST => match to_bytes(body, MAX_MESSAGE).await {
            Ok(body) => match admitted(&server, &head.headers, body) {
                Ok(posted) => Job::new(server, posted, &head.headers, arrived).run().await,
                Err(rejection) => rejection.into_response(),
            },
            Err(_) => (StatusCode::PAYLOAD_TOO_LARGE, format!("a body may have at most {MAX_MESSAGE} bytes"))
                .into_response(),
        },
        Method::GET | Method::DELETE => of_session(server, head.method, &head.headers).await,
        _ => not_allowed(),
    }
}

/// Takes a body apart, if the server can be asked at all.
fn admitted(server: &Server, headers: &HeaderMap, body: Bytes) -> Result<Posted, Rejection> {
    let posted = Posted::read(&server.sessions, headers, body)?;
    server.upstream.admit(headers, posted.revision, posted.begins())?;
    Ok(posted)
}

fn not_allowed() -> Response {
    (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "GET, POST, DELETE")]).into_response()
}

/// A stream of what the server says by itself, or the end of a session. Revisions without sessions have
/// neither.
async fn of_session(server: Arc<Server>, method: Method, headers: &HeaderMap) -> Response {
    let session = server.sessions.of(headers);
    let revision = match named(headers) {
        Named::Known(revision) if !revision.is_stateless() => revision,
        Named::Not => session.revision(),
        Named::Known(_) | Named::Unknown(_) | Named::Unclear => return not_allowed(),
    };
    if let Err(rejection) = server.upstream.admit(headers, revision, false) {
        return rejection.into_response();
    }
    let ends = method == Method::DELETE;
    match server.upstream.send(method, headers::to_server(headers, revision), Bytes::new()).await {
        Ok(response) => {
            if ends && response.status().is_success() {
                server.sessions.ended(headers);
            }
            let exchange = Exchange::new(server, session, revision, headers::own(headers), Vec::new());
            reply::respond(Arc::new(exchange), response, Vec::new()).await
        }
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}

/// What becomes of one message.
enum Part {
    /// It goes on; nobody decides about it.
    Pass(Bytes),
    /// It goes on under a permit.
    Permitted(Decided, Box<Permit>),
    /// People are asked about it.
    Held(Decided, Box<Held>),
    /// It does not go on, and this is what its sender is told.
    Answered(String),
    /// It does not go on, and nobody waits for an answer.
    Dropped,
}

/// A request with its place in the session.
struct Decided {
    raw: Bytes,
    call: Call,
    place: Place,
    pin: Option<Pin>,
    withdrawn: oneshot::Receiver<()>,
}

/// One POST.
pub(super) struct Job {
    server: Arc<Server>,
    session: Arc<Session>,
    revision: Revision,
    is_batch: bool,
    accepts_events: bool,
    body: Bytes,
    /// How many messages the body has.
    count: usize,
    messages: Vec<Message>,
    headers: HeaderMap,
    own_headers: HeaderMap,
    arrived: Instant,
    /// Nobody is waited for: what is held is asked about, and to be asked for again.
    at_once: bool,
}

impl Job {
    fn new(server: Arc<Server>, posted: Posted, headers: &HeaderMap, arrived: Instant) -> Self {
        let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
        Self {
            arrived,
            at_once: false,
            accepts_events: accept.is_some_and(|accept| accept.contains("text/event-stream")),
            headers: headers::to_server(headers, posted.revision),
            own_headers: headers::own(headers),
            session: posted.session,
            revision: posted.revision,
            is_batch: posted.is_batch,
            body: posted.body,
            count: posted.messages.len(),
            messages: posted.messages,
            server,
        }
    }

    /// A held call that is made once more.
    pub(super) fn again(server: Arc<Server>, held: &HeldCall) -> Self {
        Self {
            arrived: Instant::now(),
            at_once: false,
            accepts_events: true,
            headers: held.headers.clone(),
            own_headers: held.own_headers.clone(),
            session: Arc::default(),
            revision: Revision::July2026,
            is_batch: false,
            body: held.raw.clone(),
            count: 1,
            messages: Vec::new(),
            server,
        }
    }

    /// Makes a held call that is permitted by now, and writes what comes of it into a stream.
    pub(super) async fn permitted(
        &self,
        held: HeldCall,
        pin: Option<Pin>,
        permit: Box<Permit>,
        out: &Sender,
    ) {
        let HeldCall { raw, call, .. } = held;
        if let Ok((place, withdrawn)) = Place::take(&self.session, &call.id) {
            let decided = Decided { raw, call, place, pin, withdrawn };
            self.carry_out(vec![Part::Permitted(decided, permit)], out).await;
        }
    }

    async fn run(mut self) -> Response {
        let mut parts = Vec::with_capacity(self.messages.len());
        for message in std::mem::take(&mut self.messages) {
            match self.part(message).await {
                Ok(part) => parts.push(part),
                Err(rejection) => return rejection.into_response(),
            }
        }
        // The answer to `initialize` has headers, so it cannot begin before the server has answered.
        let begins_early =
            |part: &Part| matches!(part, Part::Held(decided, _) if decided.call.method != "initialize");
        if self.accepts_events && parts.iter().any(begins_early) {
            return self.stream(parts);
        }
        if self.is_batch && parts.len() > 1 {
            // What is permitted cannot wait for what is held, and this client takes one answer to both: it
            // is told at once which to make again.
            self.at_once = true;
        }
        let parts = self.wait(parts, None).await;
        let Some((exchange, body, own)) = self.forwarded(parts).await else {
            return StatusCode::ACCEPTED.into_response();
        };
        let Some(body) = body else { return reply::own_answers(&exchange, &own) };
        match exchange.send(body).await {
            Ok(response) => reply::respond(exchange, response, own).await,
            Err(error) => reply::unreachable(&exchange, &error, own),
        }
    }

    /// Answers at once with a stream, so that the client and everything in between can see that something
    /// happens. A client that goes away ends the work: what is held is withdrawn.
    fn stream(self, parts: Vec<Part>) -> Response {
        let (out, body) = channel::open();
        tokio::spawn(async move {
            let gone = out.clone();
            tokio::select! {
                () = gone.closed() => {}
                () = self.stream_into(parts, out) => {}
            }
        });
        channel::event_stream(body)
    }

    /// What is permitted does not wait for what is held beside it: by the time people have decided, policy
    /// could say something else about it (I7).
    async fn stream_into(self, parts: Vec<Part>, out: Sender) {
        let (held, now): (Vec<_>, Vec<_>) =
            parts.into_iter().partition(|part| matches!(part, Part::Held(..)));
        let later = held.into_iter().map(|part| async {
            let part = with_comments(&out, self.wait(vec![part], Some(&out))).await;
            self.carry_out(part, &out).await;
        });
        tokio::join!(self.carry_out(now, &out), join_all(later));
    }

    /// Forwards what is permitted, and writes what comes of it into a stream that has begun.
    async fn carry_out(&self, parts: Vec<Part>, out: &Sender) {
        let Some((exchange, body, own)) = self.forwarded(parts).await else { return };
        for answer in own {
            if out.send(Ok(sse::event(&answer))).await.is_err() {
                return;
            }
        }
        let Some(body) = body else { return };
        match with_comments(out, exchange.send(body)).await {
            Ok(response) => reply::write(exchange, response, out.clone()).await,
            Err(error) => {
                for answer in exchange.failed(&error) {
                    let _ = out.send(Ok(sse::event(&answer))).await;
                }
            }
        }
    }

    /// What becomes of a message.
    async fn part(&self, Message { raw, envelope }: Message) -> Result<Part, Rejection> {
        match envelope {
            Envelope::Notification { method, .. } if !method.starts_with("notifications/") => {
                // Some servers carry out a request without an id as well. It cannot be answered.
                let message = "a request needs an id".to_owned();
                Err(EnvelopeError { id: None, code: -32600, message }.into())
            }
            Envelope::Notification { method, params } => {
                let cancelled = (method == "notifications/cancelled").then_some(params).flatten();
                let id = cancelled.as_deref().and_then(envelope::cancelled_request);
                let is_known = id.is_none_or(|id| self.session.calls.cancel(&id));
                Ok(if is_known { Part::Pass(raw) } else { Part::Dropped })
            }
            Envelope::Response { id, result } => {
                let answered = id.map_or(Answered::Unasked, |id| {
                    self.session.asks.answer(&id, OutcomeReport::of_answer(result.is_some(), None, None))
                });
                if answered == Answered::Forward {
                    return Ok(Part::Pass(raw));
                }
                warn!("the client answered what it was not asked; not forwarded");
                Ok(Part::Dropped)
            }
            Envelope::Request { id, method, params } => self.request(raw, Call { id, method, params }).await,
        }
    }

    async fn request(&self, mut raw: Bytes, mut call: Call) -> Result<Part, Rejection> {
        if call.method == "ping" && self.session.calls.is_free(&call.id) {
            return Ok(Part::Pass(raw));
        }
        if self.revision.is_stateless()
            && let Err(refused) = self.restore(&mut raw, &mut call)
        {
            return Ok(Part::Answered(refused));
        }
        if self.revision.is_stateless()
            && let Some(answer) = self.server.about_task(&call).await
        {
            return Ok(Part::Answered(answer));
        }
        listing::bring_up_to_date(&self.server, &call, self.revision, &self.own_headers).await;
        let (place, withdrawn) = match Place::take(&self.session, &call.id) {
            Ok(taken) => taken,
            Err(error) => return Ok(Part::Answered(ruling::unacceptable(&call.id, -32600, &error))),
        };
        let pin = self.server.known.pin(&call);
        if let Some(tool) = call.tool().filter(|_| self.revision.is_stateless()) {
            let mirrored = self.server.known.definitions.mirrored(&tool);
            if let Some(problem) =
                headers::argument_mismatch(&self.headers, &mirrored, call.params.as_deref())
            {
                return Err(posted::header_mismatch(Some(call.id.raw().to_owned()), &problem));
            }
        }
        let (method, params) = (&call.method, call.params.as_deref());
        let answer = self.server.known.decide(Direction::ToServer, method, params, &Origin::default()).await;
        Ok(match answer {
            Answer::Permitted(permit) => {
                Part::Permitted(Decided { raw, call, place, pin, withdrawn }, Box::new(permit))
            }
            Answer::Held(held) => Part::Held(Decided { raw, call, place, pin, withdrawn }, Box::new(held)),
            Answer::Denied(denial) => Part::Answered(ruling::refused(&call, &ruling::denied(&denial))),
        })
    }

    /// Takes a state of ours out of a request that is made again, so that it is the one that it was.
    fn restore(&self, raw: &mut Bytes, call: &mut Call) -> Result<(), String> {
        let text = std::str::from_utf8(raw).unwrap_or_default();
        if let Some(restored) = self.server.known.restore(call, text)? {
            *raw = Bytes::from(restored);
        }
        Ok(())
    }

    /// Waits for people, for all held messages at once.
    async fn wait(&self, parts: Vec<Part>, out: Option<&Sender>) -> Vec<Part> {
        join_all(parts.into_iter().map(|part| async {
            match part {
                Part::Held(decided, held) => self.wait_for(decided, *held, out).await,
                other => other,
            }
        }))
        .await
    }

    async fn wait_for(&self, decided: Decided, held: Held, out: Option<&Sender>) -> Part {
        let Decided { raw, call, place, pin, withdrawn } = decided;
        let mut progress = out.zip(Progress::of(call.params.as_deref()));
        let client = self.client(&call);
        let patience = self.server.clients.patience(client.as_deref());
        let until = if self.at_once { Instant::now() } else { self.arrived + patience };
        let until = tokio::time::sleep_until(until);
        let mut waiting = Waiting { job: self, client, is_over: false };
        let waited = self.server.known.wait(held, withdrawn, until, |_| {
            if let Some((out, progress)) = &mut progress {
                // A client that does not read misses it; it is not waited for.
                let _ = out.try_send(Ok(sse::event(&progress.next())));
            }
        });
        let waited = tokio::select! {
            waited = waited => waited,
            never = self.keep_session() => match never {},
            () = self.server.upstream.session_ended(&self.own_headers) => {
                let over = UpstreamError::Unreachable("the session is over; nothing was executed".to_owned());
                return Part::Answered(ruling::unacceptable(&call.id, -32603, &over));
            }
        };
        waiting.is_over = !matches!(waited, Waited::Withdrawn);
        match waited {
            Waited::Permitted(permit) => {
                let (_kept, withdrawn) = oneshot::channel();
                Part::Permitted(Decided { raw, call, place, pin, withdrawn }, permit)
            }
            Waited::Denied(denial) => Part::Answered(ruling::refused(&call, &ruling::denied(&denial))),
            Waited::Pending(status) => Part::Answered(self.pending(raw, &call, &status)),
            Waited::Unsettled(held) => Part::Answered(ruling::refused(&call, &ruling::unsettled(&held))),
            Waited::Stopping(evaluation) => {
                Part::Answered(ruling::refused(&call, &ruling::stopping(evaluation)))
            }
            Waited::Withdrawn => Part::Dropped,
        }
    }

    /// What a client is told whose patience ends before people have decided.
    fn pending(&self, raw: Bytes, call: &Call, status: &Status) -> String {
        if self.revision.is_stateless() && knows_tasks(call) {
            let (headers, own_headers) = (self.headers.clone(), self.own_headers.clone());
            let held = HeldCall { raw, call: call.clone(), headers, own_headers };
            if let Some(task) = self.server.begin_task(held, status, comes_back_until(status)) {
                return task;
            }
        }
        let opens_urls = self.session.agreed.get().is_some_and(|agreed| agreed.opens_urls);
        self.server.known.pending(call, self.revision.is_stateless(), opens_urls, status)
    }

    /// The name that the client gives itself.
    fn client(&self, call: &Call) -> Option<String> {
        match self.session.agreed.get() {
            Some(agreed) => agreed.client.clone(),
            None => client_of(call.params.as_deref()),
        }
    }

    /// Shows the server now and then that its session is in use: it hears nothing of a call that waits for
    /// people, and servers give up sessions of which they hear nothing for minutes.
    async fn keep_session(&self) -> Infallible {
        if self.revision.is_stateless() || id_of(&self.own_headers).is_none() {
            return std::future::pending().await;
        }
        loop {
            let ping = Bytes::from_static(br#"{"jsonrpc":"2.0","id":"countersign-ping","method":"ping"}"#);
            if let Err(error) = self.server.upstream.send(Method::POST, self.own_headers.clone(), ping).await
            {
                warn!(%error, "a session of the server may end while a call in it is held");
            }
            tokio::time::sleep(PING_EVERY).await;
        }
    }

    /// Starts what is permitted. Returns the body to send, if anything is left to send, and our own
    /// answers; nothing when there is neither.
    async fn forwarded(&self, parts: Vec<Part>) -> Option<(Arc<Exchange>, Option<Bytes>, Vec<String>)> {
        let (mut calls, mut raws, mut own) = (Vec::new(), Vec::new(), Vec::new());
        for part in parts {
            match part {
                Part::Pass(raw) => raws.push(raw),
                Part::Answered(answer) => own.push(answer),
                Part::Dropped | Part::Held(..) => {}
                Part::Permitted(Decided { call, pin, .. }, permit) if self.server.known.pin(&call) != pin => {
                    own.push(ruling::refused(&call, &ruling::changed(&permit)));
                    let detail = "not forwarded: the server has changed what it says of itself".to_owned();
                    permit.consume().finish(Outcome::Failed { detail }).await;
                }
                Part::Permitted(Decided { raw, call, place, pin, .. }, permit) => {
                    let asked = self.server.known.asked(call, pin.as_ref(), &permit);
                    if let (Some(_), Some(pin)) = (permit.used(), &pin) {
                        self.server.known.accept(pin);
                    }
                    // From here on it is on its way, unless it was withdrawn in the meantime.
                    match self.session.calls.forward(&asked.call.id, || ()) {
                        Some(outcome) => {
                            ruling::start(*permit, outcome);
                            calls.push((asked, place));
                            raws.push(raw);
                        }
                        None => {
                            let detail = "not forwarded: the request was withdrawn".to_owned();
                            permit.consume().finish(Outcome::Failed { detail }).await;
                        }
                    }
                }
            }
        }
        if raws.is_empty() && own.is_empty() {
            return None;
        }
        let body = self.rebuilt(&raws);
        let (server, session) = (Arc::clone(&self.server), Arc::clone(&self.session));
        let mut exchange = Exchange::new(server, session, self.revision, self.own_headers.clone(), calls);
        exchange.is_batch = self.is_batch;
        exchange.request_headers = self.headers.clone();
        Some((Arc::new(exchange), body, own))
    }

    /// The body as it came, or with what is left of it.
    fn rebuilt(&self, raws: &[Bytes]) -> Option<Bytes> {
        match raws {
            [] => None,
            [one] if !self.is_batch => Some(one.clone()),
            all if all.len() == self.count => Some(self.body.clone()),
            some => {
                let mut body = vec![b'['];
                body.extend(some.join(&b','));
                body.push(b']');
                Some(body.into())
            }
        }
    }
}

/// A client that is kept waiting. Dropped before that is over, it has given up.
struct Waiting<'a> {
    job: &'a Job,
    client: Option<String>,
    is_over: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.job.server.clients.gave_up(self.client.as_deref(), self.job.arrived.elapsed());
        }
    }
}

/// Tells a client that waits that it still does.
async fn with_comments<T>(out: &Sender, work: impl Future<Output = T>) -> T {
    let mut ticks = interval_at(Instant::now() + COMMENT_EVERY, COMMENT_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut work = std::pin::pin!(work);
    // The first bytes go out at once: some clients wait for them and not for the head.
    let _ = out.try_send(Ok(Bytes::from_static(b": waiting for a decision\n\n")));
    loop {
        tokio::select! {
            done = &mut work => return done,
            _ = ticks.tick() => {
                // A client that does not read misses a comment; it is not waited for.
                let _ = out.try_send(Ok(Bytes::from_static(b": still waiting\n\n")));
            }
        }
    }
}
