//! The event stream.

use axum::body::{Body, BodyDataStream};
use futures::StreamExt;
use http::Method;

use crate::stage::{ONE, Stage, TWO, deploy, request};

/// Reads a stream's events, one by one.
struct Events {
    body: BodyDataStream,
    read: String,
}

impl Events {
    async fn open(stage: &Stage, token: &str, last: Option<&str>) -> Self {
        let mut builder = request(Method::GET, "/api/v1/events", token);
        if let Some(last) = last {
            builder = builder.header("last-event-id", last);
        }
        let response = stage.open(builder.body(Body::empty()).unwrap()).await;
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { body: response.into_body().into_data_stream(), read: String::new() }
    }

    /// The next event's text.
    async fn next(&mut self) -> String {
        loop {
            if let Some((event, rest)) = self.read.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.read = rest;
                return event;
            }
            let chunk = self.body.next().await.expect("the stream goes on").unwrap();
            self.read.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    async fn until(&mut self, wanted: &str) -> String {
        loop {
            let event = self.next().await;
            if event.contains(wanted) {
                return event;
            }
        }
    }
}

#[tokio::test]
async fn a_stream_starts_with_sync_and_tells_of_every_approval() {
    let stage = Stage::new().await;
    let one = stage.token(ONE).await;
    let mut events = Events::open(&stage, &one, None).await;
    let first = events.next().await;
    assert!(first.contains("event: sync") && first.contains("id: 1") && first.contains("retry: "), "{first}");

    let id = stage.submit(deploy("payments"), "one").await;
    let told = events.until(&id).await;
    assert!(told.contains("event: approval") && told.contains(r#""state":"pending""#), "{told}");
    stage.vote(&id, &one, "approve").await.is(201);
    events.until(r#""state":"approved""#).await;
}

#[tokio::test]
async fn whoever_reconnects_is_told_to_read_anew() {
    let stage = Stage::new().await;
    let mut events = Events::open(&stage, &stage.token(ONE).await, Some("41")).await;
    let first = events.next().await;
    assert!(first.contains("event: sync") && first.contains("id: 42"), "{first}");
}

/// A console that somebody left open does not hold up the shutdown.
#[tokio::test]
async fn streams_and_waits_end_with_the_control_plane() {
    let stage = Stage::new().await;
    let one = stage.token(ONE).await;
    let mut events = Events::open(&stage, &one, None).await;
    events.next().await;
    let id = stage.submit(deploy("payments"), "one").await;
    let path = format!("/api/v1/approvals/{id}/wait?version=99&timeout=60");
    let (waited, ()) = tokio::join!(stage.get(&path, &one), async { stage.stop.cancel() });
    assert_eq!(waited.is(200).json()["state"], "pending");
    while events.body.next().await.is_some() {}
}

/// A stream that is silent says that it is alive; one whose credential was revoked ends then.
#[tokio::test]
async fn a_heartbeat_tells_who_is_there_and_ends_who_may_no_longer_listen() {
    let stage = Stage::new().await;
    let (one, two) = (stage.token(ONE).await, stage.token(TWO).await);
    let mut goes_on = Events::open(&stage, &one, None).await;
    let mut ends = Events::open(&stage, &two, None).await;
    let id = two.split('_').nth(1).unwrap().to_owned();
    stage.post(&format!("/api/v1/tokens/{id}/revoke"), &two, serde_json::json!({})).await.is(200);
    goes_on.until(": alive").await;
    while ends.body.next().await.is_some() {}
    stage.submit(deploy("payments"), "one").await;
    goes_on.until("event: approval").await;
}

#[tokio::test]
async fn the_stream_takes_a_credential() {
    let stage = Stage::new().await;
    stage.get("/api/v1/events", "").await.is_problem(401, "unauthenticated");
}
