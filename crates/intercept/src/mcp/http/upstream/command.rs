//! A server that is a command: a stdio server as it is, presented as one over streamable HTTP.
//!
//! | revision | processes |
//! |---|---|
//! | to 2025-11-25 | one for each session: `initialize` starts it, DELETE ends it, and so does disuse |
//! | 2026-07-28 | one for all requests, started with the first of them and again after it has ended |
//!
//! A session belongs to its process. When that has ended the session is over (404), and what was asked in
//! it never reaches another process: it was asked, and approved, of a server in another state.

use std::{
    collections::HashMap,
    ffi::OsString,
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::response::{IntoResponse as _, Response};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde_json::value::RawValue;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    super::{
        posted::Rejection,
        revision::{Named, named},
        session::{SESSION_ID, id_of},
    },
    ToolsChanged, UpstreamError, answer,
    child::Processes,
    process::{Process, Purpose},
    table::Callers,
};
use crate::mcp::{edit::Members, envelope::EnvelopeError, revision::Revision, servers::ServerError};

/// How long a server may take to begin a session. Some are downloaded first.
const BEGIN_WITHIN: Duration = Duration::from_secs(5 * 60);
/// How long a session must not have been used before it makes room for another one. It is longer than what
/// lies between two signs of life from a session in which something is held.
const UNUSED_FOR: Duration = Duration::from_secs(2 * 60);
/// How long that may take.
const ROOM_WITHIN: Duration = Duration::from_secs(5);

/// A command that is a server.
#[derive(Clone)]
pub struct CommandSettings {
    /// The program and its arguments.
    pub words: Vec<String>,
    /// All of its environment. It may hold secrets.
    pub env: Vec<(String, OsString)>,
    /// The folder that it works in, when it is another one than the sidecar's.
    pub cwd: Option<PathBuf>,
    /// The most sessions at a time, with a process each.
    pub max_sessions: usize,
    /// After how long a session ends that nobody uses.
    pub idle: Duration,
}

impl fmt::Debug for CommandSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&String> = self.env.iter().map(|(name, _)| name).collect();
        f.debug_struct("CommandSettings")
            .field("words", &self.words)
            .field("env", &names)
            .finish_non_exhaustive()
    }
}

/// A server that is a command.
pub(super) struct Command {
    server: String,
    settings: CommandSettings,
    processes: Processes,
    /// Without the server its processes end.
    ending: CancellationToken,
    _ending: DropGuard,
    places: Arc<Semaphore>,
    sessions: Mutex<HashMap<String, Arc<Process>>>,
    /// The process of all who have no session.
    shared: Mutex<Option<Arc<Process>>>,
    tools_changed: ToolsChanged,
}

impl Command {
    pub(super) fn new(
        server: &str,
        settings: CommandSettings,
        processes: &Processes,
        tools_changed: ToolsChanged,
    ) -> Self {
        let ending = processes.ending();
        Self {
            server: server.to_owned(),
            places: Arc::new(Semaphore::new(settings.max_sessions)),
            settings,
            processes: processes.clone(),
            _ending: ending.clone().drop_guard(),
            ending,
            sessions: Mutex::default(),
            shared: Mutex::default(),
            tools_changed,
        }
    }

    /// Whether a request is of a session that there is, or needs none.
    pub(super) fn admit(
        &self,
        headers: &HeaderMap,
        revision: Revision,
        begins: bool,
    ) -> Result<(), Rejection> {
        if revision.is_stateless() {
            // In the process that all share it would begin a session for all.
            let gone = "Method not found: this revision has no initialize";
            return if begins { Err(rejected(StatusCode::NOT_FOUND, -32601, gone)) } else { Ok(()) };
        }
        match id_of(headers) {
            Some(id) if self.session(id).is_some() => Ok(()),
            None if begins && !headers.contains_key(SESSION_ID) => Ok(()),
            Some(_) => Err(rejected(
                StatusCode::NOT_FOUND,
                -32600,
                "this session is over; begin anew with initialize",
            )),
            None => Err(rejected(
                StatusCode::BAD_REQUEST,
                -32600,
                "send the Mcp-Session-Id that initialize was answered with",
            )),
        }
    }

    /// Carries out what a client asks over HTTP.
    pub(super) async fn send(
        &self,
        method: &Method,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Response, UpstreamError> {
        if matches!(named(headers), Named::Known(revision) if revision.is_stateless()) {
            return post(&self.shared()?, body).await;
        }
        let Some(id) = id_of(headers) else { return self.begin(body).await };
        let process =
            self.session(id).ok_or_else(|| UpstreamError::Unreachable("the session is over".to_owned()))?;
        match *method {
            Method::GET => Ok(answer::listening(process.listen()?)),
            Method::DELETE => {
                process.ending().cancel();
                self.sessions().remove(id);
                Ok(StatusCode::NO_CONTENT.into_response())
            }
            _ => post(&process, body).await,
        }
    }

    /// Waits until a request's session is over, if it has one.
    pub(super) async fn session_ended(&self, headers: &HeaderMap) {
        let has_none = matches!(named(headers), Named::Known(revision) if revision.is_stateless());
        match id_of(headers).filter(|_| !has_none) {
            None => std::future::pending().await,
            Some(id) => {
                if let Some(process) = self.session(id) {
                    process.until_ended().await;
                }
            }
        }
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<String, Arc<Process>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn session(&self, id: &str) -> Option<Arc<Process>> {
        self.sessions().get(id).filter(|process| !process.has_ended()).map(Arc::clone)
    }

    /// Begins a session. It is one once the process has said so; a client that goes before, or a process
    /// that refuses, leaves nothing behind.
    async fn begin(&self, body: &[u8]) -> Result<Response, UpstreamError> {
        let place = self.place().await?;
        let process = self.start(Callers::One, Some(place))?;
        let unless_begun = process.ending().clone().drop_guard();
        let broken = |why: &str| UpstreamError::Broken(why.to_owned());
        let (messages, _) = messages(body)?;
        let caller = process.send(&messages, false).await?;
        let mut caller =
            caller.ok_or_else(|| UpstreamError::Unreachable("there is no session".to_owned()))?;
        let answered = timeout(BEGIN_WITHIN, async {
            loop {
                match caller.next().await {
                    Some(said) if said.is_last => return Some(said.text),
                    Some(_) => {}
                    None => return None,
                }
            }
        });
        let answered = answered.await.map_err(|_| broken("its process takes too long to begin"))?;
        let answered = answered.ok_or_else(|| broken("its process ended before it had begun"))?;
        let begun = Members::parse(&answered).is_ok_and(|answer| answer.get("result").is_some());
        let mut response = answer::whole(answered, Callers::One);
        if begun {
            let id = new_session_id()?;
            response
                .headers_mut()
                .insert(SESSION_ID, HeaderValue::from_str(&id).map_err(|_| ServerError::Key)?);
            let mut sessions = self.sessions();
            sessions.retain(|_, process| !process.has_ended());
            sessions.insert(id, process);
            unless_begun.disarm();
        }
        Ok(response)
    }

    fn start(
        &self,
        callers: Callers,
        place: Option<OwnedSemaphorePermit>,
    ) -> Result<Arc<Process>, UpstreamError> {
        if self.ending.is_cancelled() {
            return Err(UpstreamError::Unreachable("the sidecar is shutting down".to_owned()));
        }
        let purpose = Purpose {
            callers,
            idle: place.as_ref().map(|_| self.settings.idle),
            place,
            ending: self.ending.child_token(),
            tools_changed: Arc::clone(&self.tools_changed),
        };
        Process::start((&self.server, &self.settings), &self.processes, purpose)
    }

    /// Room for one more session, if need be that of one that nobody uses.
    async fn place(&self) -> Result<OwnedSemaphorePermit, UpstreamError> {
        let places = || Arc::clone(&self.places);
        if let Ok(place) = places().try_acquire_owned() {
            return Ok(place);
        }
        if self.end_longest_unused()
            && let Ok(Ok(place)) = timeout(ROOM_WITHIN, places().acquire_owned()).await
        {
            return Ok(place);
        }
        Err(UpstreamError::Unreachable(format!(
            "all of its {} sessions are in use; end one, or raise max_sessions",
            self.settings.max_sessions
        )))
    }

    fn end_longest_unused(&self) -> bool {
        let sessions = self.sessions();
        let unused = sessions.values().filter(|process| !process.has_ended());
        let unused = unused.filter_map(|process| Some((process.unused_since()?, process)));
        let longest = unused.min_by_key(|(since, _)| *since);
        match longest.filter(|(since, _)| since.elapsed() > UNUSED_FOR) {
            Some((_, process)) => {
                process.ending().cancel();
                true
            }
            None => false,
        }
    }

    fn shared(&self) -> Result<Arc<Process>, UpstreamError> {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        match shared.as_ref().filter(|process| !process.has_ended()) {
            Some(process) => Ok(Arc::clone(process)),
            None => Ok(Arc::clone(shared.insert(self.start(Callers::Many, None)?))),
        }
    }
}

fn rejected(status: StatusCode, code: i32, message: &str) -> Rejection {
    let error = EnvelopeError { id: None, code, message: message.to_owned() };
    Rejection { status, error, data: None }
}

async fn post(process: &Arc<Process>, body: &[u8]) -> Result<Response, UpstreamError> {
    let (messages, is_batch) = messages(body)?;
    match process.send(&messages, true).await? {
        Some(caller) => answer::answer(caller, is_batch).await,
        None => Ok(StatusCode::ACCEPTED.into_response()),
    }
}

/// The messages of a body, and whether they came as a batch. A process gets them one by one: no revision
/// that a server is likely to be of has batches any more.
fn messages(body: &[u8]) -> Result<(Vec<&str>, bool), UpstreamError> {
    let unreadable = |error: &dyn fmt::Display| UpstreamError::Unreachable(format!("not a message: {error}"));
    let text = std::str::from_utf8(body).map_err(|error| unreadable(&error))?.trim();
    if !text.starts_with('[') {
        return Ok((vec![text], false));
    }
    let elements: Vec<&RawValue> = serde_json::from_str(text).map_err(|error| unreadable(&error))?;
    Ok((elements.into_iter().map(RawValue::get).collect(), true))
}

/// Nobody can guess it. All the same it proves nothing: who may call at all is asked before.
fn new_session_id() -> Result<String, UpstreamError> {
    let mut random = [0; 32];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| ServerError::Key)?;
    Ok(BASE64_URL_SAFE_NO_PAD.encode(random))
}
