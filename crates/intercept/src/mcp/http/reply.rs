//! What the server says: passed on as it comes, once it is known what it is ([`super::exchange`]).
//!
//! Nothing is kept longer than it takes to read one message, and what is too long to be kept is read as it
//! passes ([`super::long`]).

use std::sync::Arc;

use axum::{
    body::Body,
    response::{IntoResponse, Response as Answer},
};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use tracing::warn;

use super::{
    channel::{self, Broken, Sender},
    exchange::Exchange,
    headers,
    long::{Framing, Long},
    sse::{self, Events},
    upstream::UpstreamError,
};
use crate::{
    local::wire::{MAX_ANSWER, OutcomeReport},
    mcp::{envelope::Id, review::Verdict},
};

/// The longest message that is kept whole to be read. A longer one is read as it passes.
const MAX_WHOLE: usize = 1024 * 1024;

/// Answers with nothing but our own.
pub(super) fn own_answers(exchange: &Exchange, own: &[String]) -> Answer {
    let body = if exchange.is_batch { format!("[{}]", own.join(",")) } else { own.concat() };
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// Answers for a server that cannot be reached.
pub(super) fn unreachable(exchange: &Exchange, error: &UpstreamError, mut own: Vec<String>) -> Answer {
    warn!(server = exchange.server.known.name, %error, "an MCP server did not answer");
    own.extend(exchange.failed(error));
    if own.is_empty() {
        return (StatusCode::BAD_GATEWAY, error.to_string()).into_response();
    }
    own_answers(exchange, &own)
}

fn is_json(headers: &HeaderMap) -> bool {
    media_type(headers).is_some_and(|kind| kind.eq_ignore_ascii_case("application/json"))
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    media_type(headers).is_some_and(|kind| kind.eq_ignore_ascii_case("text/event-stream"))
}

fn media_type(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::CONTENT_TYPE)?.to_str().ok()?.split(';').next().map(str::trim)
}

/// Passes the server's answer on, with our own answers first.
pub(super) async fn respond(exchange: Arc<Exchange>, response: Response<Body>, own: Vec<String>) -> Answer {
    let (head, body) = response.into_parts();
    exchange.answered_under(&head.headers);
    if head.status == StatusCode::UNAUTHORIZED {
        exchange.ended(false);
        let message = "the MCP server does not accept the credentials that the sidecar has for it";
        return (StatusCode::BAD_GATEWAY, message).into_response();
    }
    let passed = headers::to_client(&head.headers);
    if is_event_stream(&head.headers) || !own.is_empty() && !is_json(&head.headers) {
        let (out, stream) = channel::open();
        tokio::spawn(async move {
            for answer in own {
                let _ = out.send(Ok(sse::event(&answer))).await;
            }
            pump(exchange, body, out).await;
        });
        return channel::passed_on(head.status, passed, stream);
    }
    whole(exchange, (head.status, passed), body, own).await
}

/// An answer that is one body.
async fn whole(
    exchange: Arc<Exchange>,
    (status, mut passed): (StatusCode, HeaderMap),
    mut body: Body,
    mut own: Vec<String>,
) -> Answer {
    let limit = if exchange.may_change() { MAX_ANSWER } else { MAX_WHOLE };
    let mut read = match collect(&mut body, limit).await {
        Ok(Collected::Whole(read)) => read,
        Ok(Collected::Longer(begun)) if own.is_empty() && !exchange.may_change() => {
            return too_long(exchange, (status, passed), begun, body);
        }
        Ok(Collected::Longer(_)) => {
            return (StatusCode::BAD_GATEWAY, "the answer of the MCP server is too long").into_response();
        }
        Err(error) => return unreachable(&exchange, &UpstreamError::Broken(error.to_string()), own),
    };
    if !read.is_empty() {
        match exchange.messages(&read, None).await {
            Verdict::Pass => {}
            Verdict::Instead(other) => read = Bytes::from(other),
            Verdict::Drop => {
                let error = UpstreamError::Broken("its answer was not let through".to_owned());
                return unreachable(&exchange, &error, own);
            }
        }
    }
    exchange.ended(false);
    if !own.is_empty() {
        let theirs = String::from_utf8_lossy(&read);
        let theirs = theirs.trim().trim_start_matches('[').trim_end_matches(']');
        own.extend(Some(theirs.to_owned()).filter(|theirs| !theirs.is_empty()));
        read = Bytes::from(format!("[{}]", own.join(",")));
    }
    if !read.is_empty() {
        passed.insert(header::CONTENT_LENGTH, HeaderValue::from(read.len()));
    }
    channel::passed_on(status, passed, Body::from(read))
}

enum Collected {
    Whole(Bytes),
    Longer(BytesMut),
}

async fn collect(body: &mut Body, limit: usize) -> Result<Collected, axum::Error> {
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        read.extend_from_slice(&data);
        if read.len() > limit {
            return Ok(Collected::Longer(read));
        }
    }
    Ok(Collected::Whole(read.freeze()))
}

/// An answer that is one body, too long to be kept.
fn too_long(
    exchange: Arc<Exchange>,
    (status, passed): (StatusCode, HeaderMap),
    begun: BytesMut,
    mut body: Body,
) -> Answer {
    let (out, stream) = channel::open();
    tokio::spawn(async move {
        let mut long = Long::new(Framing::Plain);
        let mut piece = Some(begun.freeze());
        while let Some(read) = piece {
            if out.send(Ok(long.feed(&read))).await.is_err() {
                return;
            }
            piece = match body.frame().await {
                Some(Ok(frame)) => Some(frame.into_data().unwrap_or_default()),
                Some(Err(_)) => return drop(out.send(Err(Broken)).await),
                None => None,
            };
        }
        let _ = out.send(finish(&exchange, long).ok_or(Broken)).await;
    });
    channel::passed_on(status, passed, stream)
}

/// The end of a long message, if it may end.
fn finish(exchange: &Exchange, long: Long) -> Option<Bytes> {
    let finished = long.finish().and_then(|(answer, end)| {
        let outcome = OutcomeReport::of_answer(answer.success, answer.result, None);
        exchange.passed(&Id::from_raw(&answer.id)?, outcome).then_some(end)
    });
    if finished.is_none() {
        warn!("a long message of the server is no plain answer; broken off");
    }
    finished
}

/// Writes the server's answer into a stream that has begun already.
pub(super) async fn write(exchange: Arc<Exchange>, response: Response<Body>, out: Sender) {
    let (head, mut body) = response.into_parts();
    if is_event_stream(&head.headers) {
        return pump(exchange, body, out).await;
    }
    let limit = MAX_ANSWER;
    if let Ok(Collected::Whole(read)) = collect(&mut body, limit).await
        && is_json(&head.headers)
    {
        let event = match exchange.messages(&read, Some(&out)).await {
            Verdict::Pass => std::str::from_utf8(&read).ok().map(sse::event),
            Verdict::Instead(other) => Some(sse::event(&other)),
            Verdict::Drop => None,
        };
        if let Some(event) = event {
            let _ = out.send(Ok(event)).await;
        }
    }
    let error = UpstreamError::Broken(format!("it answered {} without a message", head.status));
    for answer in exchange.failed(&error) {
        let _ = out.send(Ok(sse::event(&answer))).await;
    }
}

/// Passes an event stream on, until it ends, the client goes, or the sidecar stops.
async fn pump(exchange: Arc<Exchange>, mut body: Body, out: Sender) {
    let mut stream = Stream { exchange, events: Events::default(), long: None, resumable: false, out };
    loop {
        // A stream that answers no request could go on for ever.
        let stops = stream.exchange.asked().is_empty();
        let frame = tokio::select! {
            frame = body.frame() => frame,
            () = stream.out.closed() => break,
            () = stream.exchange.server.known.stop().cancelled(), if stops => break,
        };
        let going_on = match frame {
            Some(Ok(frame)) => stream.take_in(&frame.into_data().unwrap_or_default()).await,
            Some(Err(error)) => {
                warn!(%error, "a stream of the server broke off");
                stream.broken(error.to_string()).await;
                false
            }
            None => {
                stream.end().await;
                false
            }
        };
        if !going_on {
            break;
        }
    }
    stream.exchange.ended(stream.resumable);
}

struct Stream {
    exchange: Arc<Exchange>,
    events: Events,
    long: Option<Long>,
    resumable: bool,
    out: Sender,
}

impl Stream {
    /// Takes bytes in, and passes on what can be. Whether the stream goes on.
    async fn take_in(&mut self, bytes: &[u8]) -> bool {
        self.events.push(bytes);
        loop {
            let Some(event) = self.events.next() else {
                return self.part_of_long().await;
            };
            let passed = match self.long.take() {
                Some(mut long) => {
                    let begun = long.feed(&event);
                    finish(&self.exchange, long).map(|end| [begun, end].concat().into()).ok_or(Broken)
                }
                None => Ok(self.whole(event).await),
            };
            let broken = passed.is_err();
            if self.out.send(passed).await.is_err() || broken {
                return false;
            }
        }
    }

    /// Passes on a part of an event that is too long to be kept.
    async fn part_of_long(&mut self) -> bool {
        if self.long.is_none() {
            let limit = if self.exchange.may_change() { MAX_ANSWER } else { MAX_WHOLE };
            if self.events.waiting() <= limit {
                return true;
            }
            if self.exchange.may_change() {
                warn!("a list of the server is too long; broken off");
                let _ = self.out.send(Err(Broken)).await;
                return false;
            }
        }
        let part = self.events.drain();
        let long = self.long.get_or_insert_with(|| Long::new(Framing::Events));
        let passed = long.feed(&part);
        passed.is_empty() || self.out.send(Ok(passed)).await.is_ok()
    }

    async fn whole(&mut self, event: Bytes) -> Bytes {
        self.resumable |= sse::is_resumable(&event);
        let Some(data) = sse::data(&event).filter(|data| !data.trim_ascii().is_empty()) else { return event };
        match self.exchange.messages(&data, Some(&self.out)).await {
            Verdict::Pass => event,
            Verdict::Instead(other) => sse::event(&other),
            Verdict::Drop => Bytes::new(),
        }
    }

    /// The server has broken off. Whoever waits for an answer is told, unless it may still come on another
    /// stream, or half of it is there already.
    async fn broken(&mut self, why: String) {
        let is_told = self.long.is_none() && !self.resumable && !self.exchange.asked().is_empty();
        if !is_told {
            let _ = self.out.send(Err(Broken)).await;
            return;
        }
        for answer in self.exchange.failed(&UpstreamError::Broken(why)) {
            let _ = self.out.send(Ok(sse::event(&answer))).await;
        }
    }

    /// What a server leaves behind without a blank line is no event, but some clients take it for one.
    async fn end(&mut self) {
        let left = self.events.take();
        if self.long.is_none() && !left.is_empty() {
            let passed = self.whole(left).await;
            let _ = self.out.send(Ok(passed)).await;
        }
    }
}
