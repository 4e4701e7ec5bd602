//! A Slack: its Web API, and clicks as it signs them.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use aws_lc_rs::hmac;
use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{Held, Turns};

/// The workspace.
pub const TEAM: &str = "T1";

/// What the fake was asked.
#[derive(Debug, Clone)]
pub struct Call {
    /// The Web API's method.
    pub method: String,
    /// What came with it.
    pub body: Value,
}

/// The other side.
#[derive(Debug)]
pub struct FakeSlack {
    /// Where its Web API is.
    pub url: String,
    said: Arc<Said>,
}

#[derive(Debug, Default)]
struct Said {
    calls: Mutex<Vec<Call>>,
    turns: Turns,
    held: Held,
    users: Mutex<HashMap<String, Value>>,
    /// Messages as they are now, oldest first.
    messages: Mutex<Vec<Value>>,
    socket: Mutex<String>,
    is_down: AtomicBool,
    next: AtomicU64,
}

impl FakeSlack {
    /// Starts one with three full members: U1, U2 and U3.
    pub async fn start() -> Self {
        let said = Arc::new(Said::default());
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
    pub fn user(&self, id: &str, otherwise: &Value) {
        let mut user = json!({
            "id": id, "team_id": TEAM, "name": format!("name-of-{id}"), "deleted": false, "is_bot": false,
            "is_restricted": false, "is_ultra_restricted": false,
        });
        for (name, value) in otherwise.as_object().unwrap() {
            user[name] = value.clone();
        }
        self.said.users.lock().unwrap().insert(id.to_owned(), user);
    }

    /// Where sockets are to be opened.
    pub fn sockets_are_at(&self, url: &str) {
        url.clone_into(&mut self.said.socket.lock().unwrap());
    }

    /// Whether it answers.
    pub fn is_down(&self, is_down: bool) {
        self.said.is_down.store(is_down, Ordering::SeqCst);
    }

    /// Lets calls of that method hang: what they post is there, what they change never is, and nobody is told.
    pub fn hold(&self, method: &str) {
        self.said.held.hold(method);
    }

    /// Answers everything again.
    pub fn release(&self) {
        self.said.held.release();
    }

    /// Everything that it was asked so far.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.said.calls.lock().unwrap().clone()
    }

    /// How often it was asked that.
    #[must_use]
    pub fn count(&self, method: &str) -> usize {
        self.calls().iter().filter(|call| call.method == method).count()
    }

    /// The first call that fits, once there is one.
    pub async fn until(&self, fits: impl Fn(&Call) -> bool) -> Call {
        let found = self.said.turns.until(|| self.calls().into_iter().find(|call| fits(call))).await;
        found.unwrap_or_else(|| panic!("that was not asked; this was: {:#?}", self.calls()))
    }

    /// The first call of that method.
    pub async fn until_asked(&self, method: &str) -> Call {
        self.until(|call| call.method == method).await
    }

    /// What was posted or changed that says this.
    pub async fn until_card_says(&self, words: &str) -> Value {
        let is_card = |call: &Call| matches!(call.method.as_str(), "chat.postMessage" | "chat.update");
        self.until(|call| is_card(call) && call.body.to_string().contains(words)).await.body
    }

    /// What one user alone is told, once it says this.
    pub async fn until_whispered(&self, user: &str, words: &str) -> Value {
        let is_whisper = |call: &Call| call.method == "chat.postEphemeral" && call.body["user"] == user;
        self.until(|call| is_whisper(call) && call.body.to_string().contains(words)).await.body
    }

    /// What one user alone was told so far.
    #[must_use]
    pub fn whispers(&self, user: &str) -> Vec<Value> {
        let calls = self.calls().into_iter().filter(|call| call.method == "chat.postEphemeral");
        calls.map(|call| call.body).filter(|body| body["user"] == user).collect()
    }

    /// What one user alone is told next, after so much.
    pub async fn until_next_whisper(&self, user: &str, after: usize) -> Value {
        let next = self.said.turns.until(|| self.whispers(user).into_iter().nth(after)).await;
        next.unwrap_or_else(|| panic!("{user} was told nothing more than {:#?}", self.whispers(user)))
    }

    /// The messages that say this and are in no thread, as they are now.
    #[must_use]
    pub fn cards(&self, words: &str) -> Vec<Value> {
        let messages = self.said.messages.lock().unwrap();
        let is_card =
            |message: &&Value| message["thread_ts"].is_null() && message.to_string().contains(words);
        messages.iter().filter(is_card).cloned().collect()
    }

    /// The cards of something once all of them fit, of which there must be one.
    pub async fn until_cards(&self, words: &str, fit: impl Fn(&Value) -> bool) -> Vec<Value> {
        let look = || Some(self.cards(words)).filter(|cards| !cards.is_empty() && cards.iter().all(&fit));
        let found = self.said.turns.until(look).await;
        found.unwrap_or_else(|| panic!("the cards do not become so: {:#?}", self.cards(words)))
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
    Json(said.work_off(method, body).await).into_response()
}

impl Said {
    async fn work_off(&self, method: String, body: Value) -> Value {
        let posted = (method == "chat.postMessage").then(|| self.post(&body));
        self.calls.lock().unwrap().push(Call { method: method.clone(), body: body.clone() });
        self.turns.turn();
        let was_held = self.held.wait(&method).await;
        match method.as_str() {
            _ if was_held => json!({"ok": false, "error": "service_unavailable"}),
            "auth.test" => json!({"ok": true, "team_id": TEAM, "user_id": "UBOT"}),
            "chat.postMessage" => json!({"ok": true, "channel": body["channel"], "ts": posted}),
            "chat.update" => self.change(&body),
            "users.info" => match self.users.lock().unwrap().get(body["user"].as_str().unwrap()) {
                Some(user) => json!({"ok": true, "user": user}),
                None => json!({"ok": false, "error": "user_not_found"}),
            },
            "apps.connections.open" => json!({"ok": true, "url": *self.socket.lock().unwrap()}),
            _ => json!({"ok": true}),
        }
    }

    /// Keeps a message, unless it is known by its name, and answers its timestamp.
    fn post(&self, body: &Value) -> Value {
        let mut messages = self.messages.lock().unwrap();
        let name = body.get("client_msg_id");
        if let Some(known) = messages.iter().find(|one| name.is_some() && one.get("client_msg_id") == name) {
            return known["ts"].clone();
        }
        let mut message = body.clone();
        message["ts"] = json!(format!("1700000000.{:06}", self.next.fetch_add(1, Ordering::SeqCst) + 1));
        let ts = message["ts"].clone();
        messages.push(message);
        ts
    }

    fn change(&self, body: &Value) -> Value {
        let mut messages = self.messages.lock().unwrap();
        let Some(message) = messages.iter_mut().find(|message| message["ts"] == body["ts"]) else {
            return json!({"ok": false, "error": "message_not_found"});
        };
        (message["text"], message["blocks"]) = (body["text"].clone(), body["blocks"].clone());
        drop(messages);
        self.turns.turn();
        json!({"ok": true})
    }
}

/// The button of that name on a card.
#[must_use]
pub fn button(card: &Value, action: &str) -> Option<Value> {
    let blocks = card["blocks"].as_array().unwrap().iter().filter(|block| block["type"] == "actions");
    let mut buttons = blocks.flat_map(|block| block["elements"].as_array().unwrap());
    buttons.find(|button| button["action_id"] == action).cloned()
}

/// What Slack says of a click on a message. No two are alike.
#[must_use]
pub fn click((channel, ts): (&str, &str), user: &str, team: &str, action: &str, value: &str) -> Value {
    static NUMBER: AtomicU64 = AtomicU64::new(1);
    let number = NUMBER.fetch_add(1, Ordering::SeqCst);
    json!({
        "type": "block_actions",
        "user": {"id": user, "username": user, "team_id": team},
        "team": {"id": team, "domain": "example"},
        "api_app_id": "A1",
        "trigger_id": format!("{number}.trigger"),
        "response_url": "https://hooks.slack.example/actions",
        "container": {"type": "message", "channel_id": channel, "message_ts": ts},
        "channel": {"id": channel, "name": "reviews"},
        "actions": [{"type": "button", "action_id": action, "block_id": "decide", "value": value, "action_ts": number.to_string()}],
    })
}

/// The body that carries a payload.
#[must_use]
pub fn form(payload: &Value) -> String {
    form_urlencoded::Serializer::new(String::new()).append_pair("payload", &payload.to_string()).finish()
}

/// The signature of a body that is sent at that second.
#[must_use]
pub fn signature(secret: &str, at: i64, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let tag = hmac::sign(&key, format!("v0:{at}:{body}").as_bytes());
    format!("v0={}", hex::encode(tag.as_ref()))
}
