//! What a client POSTs: decide about each message, wait for people where policy says so ([`super::waiting`]), forward.

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use countersign_gate::{Answer, Held, Outcome, Permit};
use futures::future::join_all;
use http::{HeaderMap, StatusCode, header};
use tokio::{sync::oneshot, time::Instant};
use tracing::warn;

use super::{
    Server,
    channel::{self, Sender},
    exchange::Exchange,
    headers,
    held::HeldCall,
    listing,
    posted::{self, Message, Posted, Rejection},
    reply,
    session::{Place, Session},
    sse,
    waiting::with_comments,
};
use crate::{
    local::wire::{Direction, OutcomeReport},
    mcp::{
        envelope::{self, Envelope, EnvelopeError},
        known::Origin,
        lane::Answered,
        revision::Revision,
        ruling::{self, Asked, Call, Pin},
        substitute::substitute,
    },
};

/// What becomes of one message.
pub(super) enum Part {
    /// It goes on; nobody decides about it.
    Pass(Bytes),
    /// A ping: it goes on, and so does what answers it.
    Ping(Bytes, Call, Place),
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
pub(super) struct Decided {
    pub(super) raw: Bytes,
    pub(super) call: Call,
    pub(super) place: Place,
    pub(super) pin: Option<Pin>,
    pub(super) withdrawn: oneshot::Receiver<()>,
}

/// One POST.
pub(super) struct Job {
    pub(super) server: Arc<Server>,
    pub(super) session: Arc<Session>,
    pub(super) revision: Revision,
    is_batch: bool,
    accepts_events: bool,
    body: Bytes,
    /// How many messages the body has.
    count: usize,
    messages: Vec<Message>,
    pub(super) headers: HeaderMap,
    pub(super) own_headers: HeaderMap,
    /// Whom it is made for, as far as that is known.
    pub(super) origin: Origin,
    pub(super) arrived: Instant,
    /// Nobody is waited for: what is held is asked about, and to be asked for again.
    pub(super) at_once: bool,
}

impl Job {
    pub(super) fn new(
        server: Arc<Server>,
        posted: Posted,
        origin: Origin,
        headers: &HeaderMap,
        arrived: Instant,
    ) -> Self {
        let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
        Self {
            arrived,
            at_once: false,
            accepts_events: accept.is_some_and(|accept| accept.contains("text/event-stream")),
            headers: headers::to_server(headers, posted.revision),
            own_headers: headers::own(headers),
            origin,
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
            origin: held.origin.clone(),
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

    pub(super) async fn run(mut self) -> Response {
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
        if call.method == "ping" {
            return Ok(match Place::take(&self.session, &call.id) {
                Ok((place, _)) => Part::Ping(raw, call, place),
                Err(error) => Part::Answered(ruling::unacceptable(&call.id, -32600, &error)),
            });
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
        let answer = self.server.known.decide(Direction::ToServer, method, params, &self.origin).await;
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

    /// Starts what is permitted. Returns the body to send, if anything is left to send, and our own
    /// answers; nothing when there is neither.
    async fn forwarded(&self, parts: Vec<Part>) -> Option<(Arc<Exchange>, Option<Bytes>, Vec<String>)> {
        let (mut calls, mut raws, mut own) = (Vec::new(), Vec::new(), Vec::new());
        let (mut headers, mut is_edited) = (self.headers.clone(), false);
        for part in parts {
            match part {
                Part::Pass(raw) => raws.push(raw),
                Part::Ping(raw, call, place) => {
                    // Nobody has to be told how it ended.
                    drop(self.session.calls.forward(&call.id, || ()));
                    let asked = Asked::unruled(call);
                    self.session.note(&asked);
                    calls.push((asked, place));
                    raws.push(raw);
                }
                Part::Answered(answer) => own.push(answer),
                Part::Dropped | Part::Held(..) => {}
                Part::Permitted(Decided { call, pin, .. }, permit) if self.server.known.pin(&call) != pin => {
                    own.push(ruling::refused(&call, &ruling::changed(&permit)));
                    let detail = "not forwarded: the server has changed what it says of itself".to_owned();
                    permit.consume().finish(Outcome::Failed { detail }).await;
                }
                Part::Permitted(Decided { raw, mut call, place, pin, .. }, permit) => {
                    let text = std::str::from_utf8(&raw).unwrap_or_default();
                    let raw = match substitute(&mut call, text, &permit) {
                        Ok(None) => raw,
                        Ok(Some(edited)) => {
                            is_edited = true;
                            let mirrored =
                                call.tool().map(|tool| self.server.known.definitions.mirrored(&tool));
                            let mirrored =
                                mirrored.filter(|_| self.revision.is_stateless()).unwrap_or_default();
                            headers::repeat_arguments(&mut headers, &mirrored, call.params.as_deref());
                            Bytes::from(edited)
                        }
                        Err(unfit) => {
                            own.push(ruling::not_let_through(&call.id, &unfit.to_string()));
                            permit.consume().finish(Outcome::Failed { detail: unfit.to_string() }).await;
                            continue;
                        }
                    };
                    let asked = self.server.known.asked(call, pin.as_ref(), &permit);
                    if let (Some(_), Some(pin)) = (permit.used(), &pin) {
                        self.server.known.accept(pin);
                    }
                    // From here on it is on its way, unless it was withdrawn in the meantime.
                    match self.session.calls.forward(&asked.call.id, || ()) {
                        Some(outcome) => {
                            ruling::start(*permit, outcome);
                            self.session.note(&asked);
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
        let body = self.rebuilt(&raws, is_edited);
        let (server, session) = (Arc::clone(&self.server), Arc::clone(&self.session));
        let mut exchange = Exchange::new(server, session, self.revision, self.own_headers.clone(), calls);
        exchange.is_batch = self.is_batch;
        exchange.request_headers = headers;
        exchange.origin = self.origin.clone();
        Some((Arc::new(exchange), body, own))
    }

    /// The body as it came, or with what is left or was made of it.
    fn rebuilt(&self, raws: &[Bytes], is_edited: bool) -> Option<Bytes> {
        match raws {
            [] => None,
            [one] if !self.is_batch => Some(one.clone()),
            all if all.len() == self.count && !is_edited => Some(self.body.clone()),
            some => {
                let mut body = vec![b'['];
                body.extend(some.join(&b','));
                body.push(b']');
                Some(body.into())
            }
        }
    }
}
