//! One exchange with a server, and what becomes of each message that it says in it.
//!
//! An answer passes. A question to the client (a request of the server's, or one in an answer that asks
//! for input) is decided about first.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use axum::body::Body;
use bytes::Bytes;
use countersign_model::Digest;
use countersign_policy::outputs::Ruled;
use http::{HeaderMap, Method, Response};
use serde_json::value::RawValue;
use tracing::warn;

use super::{
    Server, asks,
    channel::Sender,
    session::{Place, Session, id_of},
    upstream::UpstreamError,
};
use crate::{
    local::wire::OutcomeReport,
    mcp::{
        agreed::Agreed,
        envelope::{FromServer, Id, read_from_server},
        known::Origin,
        lane::Answered,
        review::{Context, Verdict},
        revision::Revision,
        ruling::{self, Asked},
    },
};

/// One exchange with the server: what was forwarded, and what is still to be answered.
pub(super) struct Exchange {
    pub(super) server: Arc<Server>,
    pub(super) session: Arc<Session>,
    pub(super) revision: Revision,
    pub(super) is_batch: bool,
    pub(super) request_headers: HeaderMap,
    /// The headers under which the sidecar itself tells the server something.
    pub(super) own_headers: HeaderMap,
    /// Whom the request was made for: what the server asks about it is asked of them, too.
    pub(super) origin: Origin,
    asked: Mutex<Vec<(Asked, Place)>>,
    /// The session that the server begins with its answer.
    begins: OnceLock<String>,
}

impl Exchange {
    pub(super) fn new(
        server: Arc<Server>,
        session: Arc<Session>,
        revision: Revision,
        own_headers: HeaderMap,
        asked: Vec<(Asked, Place)>,
    ) -> Self {
        Self {
            server,
            session,
            revision,
            is_batch: false,
            request_headers: HeaderMap::new(),
            own_headers,
            origin: Origin::default(),
            asked: Mutex::new(asked),
            begins: OnceLock::new(),
        }
    }

    /// Sends what was permitted.
    pub(super) async fn send(&self, body: Bytes) -> Result<Response<Body>, UpstreamError> {
        self.server.upstream.send(Method::POST, self.request_headers.clone(), body).await
    }

    pub(super) fn asked(&self) -> MutexGuard<'_, Vec<(Asked, Place)>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether an answer has to be kept whole, because it may have to be changed, or because those to a
    /// batch share a stream. On a stream that is for no request, any can come.
    pub(super) fn may_change(&self) -> bool {
        let asked = self.asked();
        let here = asked.iter().any(|(asked, _)| asked.may_change());
        self.is_batch || here || asked.is_empty() && self.session.may_change()
    }

    /// What becomes of a message, or of a batch of them.
    pub(super) async fn messages(self: &Arc<Self>, text: &[u8], out: Option<&Sender>) -> Verdict {
        let text = text.trim_ascii();
        if text.first() != Some(&b'[') {
            return self.message(text, out).await;
        }
        let Ok(elements) = serde_json::from_slice::<Vec<&RawValue>>(text) else {
            warn!("a batch of the server cannot be read; not forwarded");
            return Verdict::Drop;
        };
        let (mut kept, mut changed) = (Vec::new(), false);
        for element in elements {
            match self.message(element.get().as_bytes(), out).await {
                Verdict::Pass => kept.push(element.get().to_owned()),
                Verdict::Instead(other) => {
                    changed = true;
                    kept.push(other);
                }
                Verdict::Drop => changed = true,
            }
        }
        match (changed, kept.is_empty()) {
            (false, _) => Verdict::Pass,
            (true, true) => Verdict::Drop,
            (true, false) => Verdict::Instead(format!("[{}]", kept.join(","))),
        }
    }

    /// What becomes of one message. `out` is where a question goes that people must be asked about.
    async fn message(self: &Arc<Self>, text: &[u8], out: Option<&Sender>) -> Verdict {
        match read_from_server(text) {
            FromServer::Answer { id, success, result } => self.answer(&id, (success, result), text).await,
            FromServer::Request { id, method } => asks::request(self, id, &method, text, out).await,
            FromServer::Cancelled { id } => {
                // A server takes back its own questions, and from 2026-07-28 on its streams.
                let passes = self.revision.is_stateless() || self.session.asks.cancel(&id);
                if passes { Verdict::Pass } else { Verdict::Drop }
            }
            FromServer::ToolsChanged => {
                self.server.known.definitions.outdated();
                Verdict::Pass
            }
            FromServer::Other => Verdict::Pass,
            FromServer::Ambiguous => {
                warn!("a message of the server can be read in more than one way; not forwarded");
                Verdict::Drop
            }
        }
    }

    async fn answer(
        self: &Arc<Self>,
        id: &Id,
        (success, result): (bool, Option<Digest>),
        text: &[u8],
    ) -> Verdict {
        let (verdict, ruled) = match &self.session.asked(id) {
            Some(asked) => self.changed(asked, text).await,
            // An error that answers nothing says that something could not be read.
            None if id.raw() == "null" && !success => (Verdict::Pass, None),
            None => {
                warn!("the server answered what it was not asked; not forwarded");
                return Verdict::Drop;
            }
        };
        let forged = self.answered(id, OutcomeReport::of_answer(success, result, ruled));
        if forged { Verdict::Drop } else { verdict }
    }

    /// Takes note of an answer that was too long to be looked at. Whether it may end, which it may not if it
    /// should have been.
    pub(super) fn passed(&self, id: &Id, outcome: OutcomeReport) -> bool {
        let unseen = self.session.asked(id).is_some_and(|asked| !asked.may_change());
        unseen && !self.answered(id, outcome)
    }

    /// Notes that a request is answered. Whether it cannot be, because it was never forwarded.
    fn answered(&self, id: &Id, outcome: OutcomeReport) -> bool {
        let answered = self.session.calls.answer(id, outcome);
        self.asked().retain(|(asked, _)| asked.call.id != *id);
        self.session.forget(id);
        if answered == Answered::Forged {
            warn!("the server answered what it was not asked; not forwarded");
        }
        answered == Answered::Forged
    }

    /// What has to be changed in an answer.
    async fn changed(self: &Arc<Self>, asked: &Asked, text: &[u8]) -> (Verdict, Option<Ruled>) {
        let Ok(text) = std::str::from_utf8(text) else { return (Verdict::Drop, None) };
        let call = &asked.call;
        if call.method == "initialize"
            && let (Some(id), Some(agreed)) = (self.begins.get(), Agreed::of(call.params.as_deref(), text))
        {
            self.server.sessions.begun(id, agreed);
        }
        let known = &self.server.known;
        let context = Context {
            is_stateless: self.revision.is_stateless(),
            changes: known.changes(),
            origin: &self.origin,
            patience: self.server.clients.patience(None),
        };
        known.review(asked, &context, text).await
    }

    /// The server has begun to answer, under these headers.
    pub(super) fn answered_under(&self, headers: &HeaderMap) {
        if let Some(id) = id_of(headers) {
            let _ = self.begins.set(id.to_owned());
        }
    }

    /// What clients are told whose requests did not get an answer, because the server cannot be reached.
    pub(super) fn failed(&self, error: &UpstreamError) -> Vec<String> {
        let asked = std::mem::take(&mut *self.asked());
        // One that was answered on another stream has its answer.
        let left = asked.iter().filter(|(asked, _)| self.session.asked(&asked.call.id).is_some());
        let answers = left.map(|(Asked { call, .. }, _)| {
            if matches!(error, UpstreamError::Unreachable(_)) {
                // Without a connection nothing was delivered; else its outcome is unknown.
                self.session.calls.answer(&call.id, OutcomeReport::Failed { reason: error.to_string() });
            }
            ruling::unacceptable(&call.id, -32603, error)
        });
        answers.collect()
    }

    /// The stream has ended. What is not answered yet may be on another one, if the client can come back.
    pub(super) fn ended(&self, resumable: bool) {
        for (_, place) in std::mem::take(&mut *self.asked()) {
            if resumable && !self.revision.is_stateless() {
                place.leave_resumable();
            }
        }
    }
}
