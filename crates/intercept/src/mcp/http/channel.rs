//! The body of an answer that is written while the work goes on.

use std::convert::Infallible;

use axum::{body::Body, response::Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use tokio::sync::mpsc;

/// How many pieces may wait for a client that does not read them. The one who writes waits then, so that
/// a slow client holds up the server and not the sidecar's memory.
const QUEUE: usize = 16;

/// The writing end. Its receiver is gone when the client is.
pub(super) type Sender = mpsc::Sender<Result<Bytes, Broken>>;

/// The answer cannot be finished. The client sees a connection that breaks off, never an answer that
/// seems whole.
#[derive(Debug, thiserror::Error)]
#[error("the answer was broken off")]
pub(super) struct Broken;

impl From<Infallible> for Broken {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

pub(super) fn open() -> (Sender, Body) {
    let (sender, mut pieces) = mpsc::channel(QUEUE);
    (sender, Body::from_stream(futures::stream::poll_fn(move |context| pieces.poll_recv(context))))
}

/// An event stream that begins before it is known what it will say.
pub(super) fn event_stream(body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// An answer with the status and headers of the server's.
pub(super) fn passed_on(status: StatusCode, headers: HeaderMap, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}
