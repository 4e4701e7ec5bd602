//! A Slack that does as it is told, and remembers what it was asked.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, State},
    response::{IntoResponse, Response},
    routing::post,
};
use http::{HeaderMap, StatusCode, header};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::watch};

/// How long a test waits for something that has to happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// What the fake was asked.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) method: String,
    pub(crate) body: Value,
}

/// The other side.
pub(crate) struct FakeSlack {
    pub(crate) url: String,
    said: Arc<Said>,
}

struct Said {
    calls: Mutex<Vec<Call>>,
    count: watch::Sender<usize>,
    users: Mutex<HashMap<String, Value>>,
    socket: Mutex<String>,
    is_down: AtomicBool,
    next: AtomicU64,
}

impl FakeSlack {
    pub(crate) async fn start() -> Self {
        let said = Arc::new(Said {
            calls: Mutex::default(),
            count: watch::Sender::new(0),
            users: Mutex::default(),
            socket: Mutex::default(),
            is_down: AtomicBool::new(false),
            next: AtomicU64::new(1),
        });
        let router = Router::new().route("/api/{method}", post(answer)).with_state(Arc::clone(&said));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/api/", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let fake = Self { url, said };
        for user in ["U1", "U2", "U3"] {
            fake.user(user, &json!({}));
        }
        fake
    }

    /// Makes a user known: a full member of the workspace, but for what is said otherwise.
    pub(crate) fn user(&self, id: &str, otherwise: &Value) {
        let mut user = json!({
            "id": id, "team_id": "T1", "name": format!("name-of-{id}"), "deleted": false, "is_bot": false,
            "is_restricted": false, "is_ultra_restricted": false,
        });
        for (name, value) in otherwise.as_object().unwrap() {
            user[name] = value.clone();
        }
        self.said.users.lock().unwrap().insert(id.to_owned(), user);
    }

    /// Where sockets are to be opened.
    pub(crate) fn sockets_are_at(&self, url: &str) {
        url.clone_into(&mut self.said.socket.lock().unwrap());
    }

    /// Whether it answers.
    pub(crate) fn is_down(&self, is_down: bool) {
        self.said.is_down.store(is_down, Ordering::SeqCst);
    }

    /// Everything that it was asked so far.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.said.calls.lock().unwrap().clone()
    }

    /// How often it was asked that.
    pub(crate) fn count(&self, method: &str) -> usize {
        self.calls().iter().filter(|call| call.method == method).count()
    }

    /// The first call that fits, once there is one.
    pub(crate) async fn until(&self, fits: impl Fn(&Call) -> bool) -> Call {
        let mut count = self.said.count.subscribe();
        let found = async {
            loop {
                if let Some(call) = self.calls().into_iter().find(|call| fits(call)) {
                    return call;
                }
                count.changed().await.unwrap();
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, found).await;
        in_time.unwrap_or_else(|_| panic!("that was not asked; this was: {:#?}", self.calls()))
    }

    /// The first call of that method.
    pub(crate) async fn until_asked(&self, method: &str) -> Call {
        self.until(|call| call.method == method).await
    }

    /// The card of a message once it says that.
    pub(crate) async fn until_card_says(&self, words: &str) -> Value {
        let is_card = |call: &Call| matches!(call.method.as_str(), "chat.postMessage" | "chat.update");
        self.until(|call| is_card(call) && call.body.to_string().contains(words)).await.body
    }

    /// What one user alone is told, the next after so many.
    pub(crate) async fn until_whispered(&self, user: &str, words: &str) -> Value {
        let is_whisper = |call: &Call| call.method == "chat.postEphemeral" && call.body["user"] == user;
        self.until(|call| is_whisper(call) && call.body.to_string().contains(words)).await.body
    }
}

async fn answer(
    State(said): State<Arc<Said>>,
    Path(method): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if said.is_down.load(Ordering::SeqCst) {
        return StatusCode::BAD_GATEWAY.into_response();
    }
    let token = headers[header::AUTHORIZATION].to_str().unwrap();
    let expected = if method == "apps.connections.open" { "Bearer xapp-test" } else { "Bearer xoxb-test" };
    if token != expected {
        return Json(json!({"ok": false, "error": "invalid_auth"})).into_response();
    }
    let is_json = headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    let body: Value = match is_json {
        true => serde_json::from_slice(&body).unwrap(),
        false => {
            form_urlencoded::parse(&body).map(|(name, value)| (name.into_owned(), json!(value))).collect()
        }
    };
    let answer = match method.as_str() {
        "auth.test" => json!({"ok": true, "team_id": "T1", "user_id": "UBOT"}),
        "chat.postMessage" => {
            let ts = format!("1700000000.{:06}", said.next.fetch_add(1, Ordering::SeqCst));
            json!({"ok": true, "channel": body["channel"], "ts": ts})
        }
        "users.info" => match said.users.lock().unwrap().get(body["user"].as_str().unwrap()) {
            Some(user) => json!({"ok": true, "user": user}),
            None => json!({"ok": false, "error": "user_not_found"}),
        },
        "apps.connections.open" => json!({"ok": true, "url": *said.socket.lock().unwrap()}),
        _ => json!({"ok": true}),
    };
    said.calls.lock().unwrap().push(Call { method, body });
    said.count.send_modify(|count| *count += 1);
    Json(answer).into_response()
}
