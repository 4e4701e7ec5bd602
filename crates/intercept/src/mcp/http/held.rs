//! Calls that wait for people as tasks (2026-07-28, extension `io.modelcontextprotocol/tasks`), for clients that
//! say that they know tasks.
//!
//! The task is the sidecar's own: the server sees nothing of it. Whoever looks at it makes the call once
//! more, under the policy of that moment: it attaches to its approval, and runs when that is given while
//! somebody looks, once and never by itself. A task's id permits nothing.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use countersign_gate::{Answer, Permit, Status};
use countersign_model::{ApprovalId, Timestamp};
use http::HeaderMap;
use http_body_util::{BodyExt as _, Limited};
use serde_json::{Value, json};
use tokio::sync::{OwnedMutexGuard, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{
    Server, channel,
    job::Job,
    sse::{self, Events},
};
use crate::{
    local::wire::Direction,
    mcp::{
        edit::Members,
        known::Origin,
        patience::Waited,
        ruling::{self, Call, Pin},
    },
};

/// What a client says that knows tasks.
const EXTENSION: &str = "io.modelcontextprotocol/tasks";
const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
/// What the ids of tasks of ours begin with.
const PREFIX: &str = "countersign-";
/// The most calls of one server that wait as tasks. Others wait in another way.
const MAX_TASKS: usize = 256;
/// The longest result that is kept for whoever looks next.
const MAX_RESULT: usize = 8 * 1024 * 1024;
/// How long whoever looks is kept waiting for news. Less than any client waits for an answer.
const LOOK: Duration = Duration::from_secs(20);
/// How often a client may look, in milliseconds. It is kept waiting each time, so it misses nothing.
const LOOK_AGAIN: u64 = 1_000;

/// The calls of one server that wait as tasks.
#[derive(Default)]
pub(super) struct HeldTasks(Mutex<HashMap<String, Arc<HeldTask>>>);

/// A call as it was made.
#[derive(Clone)]
pub(super) struct HeldCall {
    pub(super) raw: Bytes,
    pub(super) call: Call,
    pub(super) headers: HeaderMap,
    pub(super) own_headers: HeaderMap,
    pub(super) origin: Origin,
}

struct HeldTask {
    id: String,
    held: HeldCall,
    approval: ApprovalId,
    created: Timestamp,
    /// Until when it can be looked at.
    until: Timestamp,
    state: watch::Sender<State>,
    /// Held by whoever looks for all others.
    looking: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Waiting,
    Running,
    Cancelled,
    /// The answer: its member, `result` or `error`, and what that is.
    Ended(&'static str, String),
}

/// Whether a client knows tasks, by what it says in its request.
pub(super) fn knows_tasks(call: &Call) -> bool {
    let extensions = |params: &str| {
        let meta: Value = serde_json::from_str(Members::parse(params).ok()?.get("_meta")?).ok()?;
        Some(meta.get(CAPABILITIES)?.get("extensions")?.get(EXTENSION)?.is_object())
    };
    call.method == "tools/call" && call.params.as_deref().and_then(extensions) == Some(true)
}

impl Server {
    /// Makes a held call a task. `None` when there are too many.
    pub(super) fn begin_task(&self, held: HeldCall, status: &Status, until: Timestamp) -> Option<String> {
        let now = self.known.gate.now();
        let mut random = [0; 16];
        aws_lc_rs::rand::fill(&mut random).ok()?;
        let id = format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(random));
        let request = held.call.id.clone();
        let task = HeldTask {
            id: id.clone(),
            held: without_tasks(held),
            approval: status.id,
            created: now,
            until,
            state: watch::Sender::new(State::Waiting),
            looking: Arc::default(),
        };
        let told = task.told("task", &State::Waiting, now);
        let mut tasks = self.held.0.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.retain(|_, task| now < task.until);
        if tasks.len() >= MAX_TASKS {
            return None;
        }
        tasks.insert(id, Arc::new(task));
        Some(format!("{{\"jsonrpc\":\"2.0\",\"id\":{},\"result\":{told}}}", request.raw()))
    }

    /// Answers a request about a task of ours. `None` when it is about none.
    pub(super) async fn about_task(self: &Arc<Self>, call: &Call) -> Option<String> {
        let id = call.method.starts_with("tasks/").then(|| call.parameter("taskId"))??;
        if !id.starts_with(PREFIX) {
            return None;
        }
        let task = self.held.0.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned();
        let Some(task) = task.filter(|task| self.known.gate.now() < task.until) else {
            let error = json!({"code": -32602, "message": "there is no such task; make the call again"});
            return Some(ruling::message(call.id.raw(), "error", &error));
        };
        match call.method.as_str() {
            "tasks/get" => Some(task.look(self, call).await),
            "tasks/cancel" => {
                task.cancel(self).await;
                Some(ruling::message(call.id.raw(), "result", &json!({"resultType": "complete"})))
            }
            // It asks for nothing, so there is nothing to be answered.
            _ => Some(ruling::message(call.id.raw(), "result", &json!({"resultType": "complete"}))),
        }
    }
}

impl HeldTask {
    /// Looks whether the call can be made by now, and waits a little for that.
    async fn look(self: Arc<Self>, server: &Arc<Server>, request: &Call) -> String {
        let mut news = self.state.subscribe();
        // Dropped with whoever looks: nothing runs when nobody does any more.
        let looks = CancellationToken::new();
        let _guard = looks.clone().drop_guard();
        if let Ok(turn) = Arc::clone(&self.looking).try_lock_owned() {
            tokio::spawn(Arc::clone(&self).advance(Arc::clone(server), looks, turn));
        }
        let has_ended = |state: &State| !matches!(state, State::Waiting | State::Running);
        let _ = tokio::time::timeout(LOOK, news.wait_for(has_ended)).await;
        let told = self.told("complete", &news.borrow(), server.known.gate.now());
        format!("{{\"jsonrpc\":\"2.0\",\"id\":{},\"result\":{told}}}", request.id.raw())
    }

    /// Makes the call once more, if it still waits.
    async fn advance(
        self: Arc<Self>,
        server: Arc<Server>,
        looks: CancellationToken,
        turn: OwnedMutexGuard<()>,
    ) {
        if *self.state.borrow() != State::Waiting {
            return;
        }
        let call = &self.held.call;
        let pin = server.known.pin(call);
        let (method, params) = (&call.method, call.params.as_deref());
        let answer = server.known.decide(Direction::ToServer, method, params, &self.held.origin).await;
        let permit = match answer {
            Answer::Permitted(permit) => Box::new(permit),
            Answer::Denied(denial) => return self.answered(&ruling::refused(call, &ruling::denied(&denial))),
            Answer::Held(held) => {
                let (_kept, withdrawn) = oneshot::channel();
                let until = async {
                    let _ = tokio::time::timeout(LOOK, looks.cancelled()).await;
                };
                match server.known.wait(held, withdrawn, until, |_| {}).await {
                    Waited::Permitted(permit) => permit,
                    Waited::Denied(denial) => {
                        return self.answered(&ruling::refused(call, &ruling::denied(&denial)));
                    }
                    Waited::Pending(_) | Waited::Unsettled(_) | Waited::Withdrawn | Waited::Stopping(_) => {
                        return;
                    }
                }
            }
        };
        self.run(server, pin, permit).await;
        drop(turn);
    }

    async fn run(&self, server: Arc<Server>, pin: Option<Pin>, permit: Box<Permit>) {
        let is_wanted = self.state.send_if_modified(|state| {
            let is_wanted = *state == State::Waiting;
            if is_wanted {
                *state = State::Running;
            }
            is_wanted
        });
        if !is_wanted {
            // Cancelled at the last moment: the permit is dropped, which is on record.
            return;
        }
        let (out, body) = channel::open();
        let collecting = tokio::spawn(Limited::new(body, MAX_RESULT).collect());
        Job::again(server, &self.held).permitted(self.held.clone(), pin, permit, &out).await;
        drop(out);
        let body = match collecting.await {
            Ok(Ok(body)) => body.to_bytes(),
            _ => Bytes::new(),
        };
        match answer_in(&body, &self.held.call) {
            Some(answer) => self.answered(&answer),
            None => self.failed("its answer was broken off, or is too long for a task"),
        }
    }

    /// Takes the answer to the call for that of the task.
    fn answered(&self, text: &str) {
        let Ok(message) = Members::parse(text) else { return self.failed("its answer cannot be read") };
        let result = message.get("result").and_then(|result| Members::parse(result).ok());
        let kind = result.and_then(|result| result.string("resultType"));
        if kind.is_some_and(|kind| kind != "complete") {
            return self.failed("the server asks for more before it goes on; make the call without tasks");
        }
        let answer = ["result", "error"].into_iter().find_map(|member| Some((member, message.get(member)?)));
        match answer {
            Some((member, said)) => drop(self.state.send_replace(State::Ended(member, said.to_owned()))),
            None => self.failed("its answer cannot be read"),
        }
    }

    fn failed(&self, why: &str) {
        let error = json!({"code": -32603, "message": format!("the call was made, and {why}")});
        self.state.send_replace(State::Ended("error", error.to_string()));
    }

    /// The client does not want it any more. What runs is not stopped.
    async fn cancel(&self, server: &Server) {
        let is_waiting = self.state.send_if_modified(|state| {
            let is_waiting = *state == State::Waiting;
            if is_waiting {
                *state = State::Cancelled;
            }
            is_waiting
        });
        if is_waiting && let Err(error) = server.known.gate.cancel(self.approval).await {
            warn!(%error, "a request that was taken back stays open until it expires");
        }
    }

    /// What a client is told of it.
    fn told(&self, kind: &str, state: &State, now: Timestamp) -> String {
        let (status, message) = match state {
            State::Waiting => ("working", "Waiting for approval: people are deciding about this call"),
            State::Running => ("working", "Approved: the call is being made"),
            State::Cancelled => ("cancelled", "The call was taken back"),
            State::Ended("result", _) => ("completed", "The call was answered"),
            State::Ended(..) => ("failed", "The call has failed"),
        };
        let task = json!({
            "resultType": kind,
            "taskId": self.id,
            "status": status,
            "statusMessage": message,
            "createdAt": self.created.to_string(),
            "lastUpdatedAt": now.to_string(),
            "ttlMs": self.until.millis_since(self.created),
            "pollIntervalMs": LOOK_AGAIN,
        });
        let mut told = task.to_string();
        if let State::Ended(member, said) = state {
            told.truncate(told.len() - 1);
            told.push_str(&format!(",\"{member}\":{said}}}"));
        }
        told
    }
}

/// The call without word of tasks, so that the server does not make it one of its own.
fn without_tasks(mut held: HeldCall) -> HeldCall {
    let changed = || {
        let text = std::str::from_utf8(&held.raw).ok()?;
        let mut message = Members::parse(text).ok()?;
        let mut params = Members::parse(message.raw("params")?).ok()?;
        let mut meta: Value = serde_json::from_str(params.get("_meta")?).ok()?;
        meta.get_mut(CAPABILITIES)?.get_mut("extensions")?.as_object_mut()?.remove(EXTENSION)?;
        params.set("_meta", meta.to_string());
        let params = params.to_string();
        message.set("params", params.clone());
        Some((Bytes::from(message.to_string()), params))
    };
    if let Some((raw, params)) = changed() {
        held.raw = raw;
        held.call.params = Some(params);
    }
    held
}

/// The answer to a call among the events of a stream.
fn answer_in(body: &[u8], call: &Call) -> Option<String> {
    let mut events = Events::default();
    events.push(body);
    std::iter::from_fn(|| events.next()).find_map(|event| {
        let text = String::from_utf8(sse::data(&event)?).ok()?;
        let message = Members::parse(&text).ok()?;
        let is_answer = message.get("id") == Some(call.id.raw()) && message.get("method").is_none();
        is_answer.then_some(text)
    })
}
