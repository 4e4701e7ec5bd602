//! `/api/v1/events`: what changes, as server-sent events.
//!
//! An event is a hint to read anew, never the state itself, so nothing is lost when one is missed. A
//! stream starts with a `sync` event: whoever connects, or reconnects with `Last-Event-ID`, reads the
//! lists once and is told of every change from then on. A reader that falls behind gets another one.

use std::{convert::Infallible, time::Duration};

use axum::{
    extract::State,
    response::{
        IntoResponse, Response,
        sse::{Event, Sse},
    },
};
use futures::{Stream, stream};
use http::{HeaderMap, HeaderValue, header};
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    time::{Instant, MissedTickBehavior, interval_at},
};
use tokio_util::sync::CancellationToken;

use super::{
    ApiState,
    extract::{Caller, Signed},
    problem::{Problem, ProblemDetails},
    waiters::Place,
};
use crate::{
    identity::{Credential, Identity},
    services::Change,
};

/// How often a silent stream says that it is alive, and checks that its reader still may read.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How long the reader waits before it reconnects, in milliseconds.
const RETRY: Duration = Duration::from_secs(2);

/// Approval, agent and channel events as they happen (server-sent events): `sync`, `approval`, `agent`,
/// `channel`.
#[utoipa::path(get, operation_id = "events", path = "/api/v1/events", tag = "events",
    params(("Last-Event-ID" = Option<String>, Header, description = "The last event that you saw")),
    responses((status = 200, content_type = "text/event-stream", body = String),
              (status = "default", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn events(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Signed(credential): Signed,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let place = state.waiters.enter()?;
    let feed = Feed {
        changes: state.services.approvals.subscribe(&actor)?,
        identity: state.identity,
        credential,
        heartbeat: heartbeat(),
        next_id: first_id(&headers),
        started: false,
        stop: state.stop,
        _place: place,
    };
    let mut response = Sse::new(feed.into_stream()).into_response();
    let own = response.headers_mut();
    own.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Asks buffering proxies not to.
    own.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

fn heartbeat() -> tokio::time::Interval {
    let mut heartbeat = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    heartbeat
}

/// Ids go on counting from the last one that the reader saw.
fn first_id(headers: &HeaderMap) -> u64 {
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    last.map_or(1, |last| last.saturating_add(1))
}

/// One reader's stream.
struct Feed {
    changes: Receiver<Change>,
    identity: Identity,
    credential: Credential,
    heartbeat: tokio::time::Interval,
    next_id: u64,
    started: bool,
    stop: CancellationToken,
    _place: Place,
}

impl Feed {
    fn into_stream(self) -> impl Stream<Item = Result<Event, Infallible>> {
        stream::unfold(self, |mut feed| async move {
            let event = feed.next().await?;
            Some((Ok(event), feed))
        })
    }

    /// The next event; `None` ends the stream.
    async fn next(&mut self) -> Option<Event> {
        if !self.started {
            self.started = true;
            return Some(self.sync().retry(RETRY));
        }
        tokio::select! {
            () = self.stop.cancelled() => None,
            change = self.changes.recv() => match change {
                Ok(change) => Some(self.change(&change)),
                Err(RecvError::Lagged(_)) => Some(self.sync()),
                Err(RecvError::Closed) => None,
            },
            _ = self.heartbeat.tick() => {
                // A revoked token or an ended session must not go on listening.
                self.identity.authenticate(&self.credential).await.ok()?;
                Some(Event::default().comment("alive"))
            }
        }
    }

    fn sync(&mut self) -> Event {
        self.numbered("sync").data("{}")
    }

    fn change(&mut self, change: &Change) -> Event {
        let (name, data) = match change {
            Change::Approval { id, version, state } => {
                ("approval", serde_json::json!({"id": id, "version": version, "state": state}))
            }
            Change::Agent { name } => ("agent", serde_json::json!({"name": name})),
            Change::Channel { name } => ("channel", serde_json::json!({"name": name})),
        };
        self.numbered(name).data(data.to_string())
    }

    fn numbered(&mut self, name: &str) -> Event {
        let event = Event::default().event(name).id(self.next_id.to_string());
        self.next_id = self.next_id.saturating_add(1);
        event
    }
}
