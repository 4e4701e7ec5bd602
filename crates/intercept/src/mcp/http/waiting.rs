//! A client that is kept waiting for people, and what it is told meanwhile and when its patience ends.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use countersign_gate::{Held, Status};
use futures::future::join_all;
use http::Method;
use tokio::{
    sync::oneshot,
    time::{Instant, MissedTickBehavior, interval_at},
};
use tracing::warn;

use super::{
    channel::Sender,
    held::{HeldCall, knows_tasks},
    job::{Decided, Job, Part},
    session::id_of,
    sse,
    upstream::UpstreamError,
};
use crate::mcp::{
    agreed::client_of,
    patience::Waited,
    progress::Progress,
    ruling::{self, Call, comes_back_until},
};

/// How often a client that waits hears something. Less than what anything between the two allows.
const COMMENT_EVERY: Duration = Duration::from_secs(15);

/// How often a server hears of a session in which a call is held.
const PING_EVERY: Duration = Duration::from_secs(60);

impl Job {
    /// Waits for people, for all held messages at once.
    pub(super) async fn wait(&self, parts: Vec<Part>, out: Option<&Sender>) -> Vec<Part> {
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
            let (call, origin) = (call.clone(), self.origin.clone());
            let held = HeldCall { raw, call, headers, own_headers, origin };
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
pub(super) async fn with_comments<T>(out: &Sender, work: impl Future<Output = T>) -> T {
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
