//! A receiver of webhooks that writes down what it gets and answers what a test tells it to.

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use aws_lc_rs::hmac;
use axum::{Router, body::Bytes, extract::State, response::IntoResponse, routing::post};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, StatusCode};
use serde_json::Value;

/// What events are signed with in these tests.
const KEY: [u8; 32] = [7; 32];

/// One event, its signature checked.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) id: String,
    pub(crate) body: Value,
}

impl Received {
    pub(crate) fn kind(&self) -> &str {
        self.body["type"].as_str().unwrap()
    }
}

/// What the receiver answers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: &'static str,
    pub(crate) location: String,
}

impl Answer {
    pub(crate) fn status(status: u16) -> Self {
        Self { status, ..Self::default() }
    }
}

#[derive(Clone)]
struct Shared {
    received: Arc<Mutex<Vec<Received>>>,
    answer: Arc<Mutex<Option<Answer>>>,
}

/// A receiver on this machine.
pub(crate) struct Receiver {
    pub(crate) url: String,
    shared: Shared,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let shared =
            Shared { received: Arc::default(), answer: Arc::new(Mutex::new(Some(Answer::status(204)))) };
        let router = Router::new().route("/", post(take)).with_state(shared.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        tokio::spawn(async { axum::serve(listener, router).await.unwrap() });
        Self { url, shared }
    }

    /// What is answered from now on; `None` for nothing, ever.
    pub(crate) fn answer(&self, answer: Option<Answer>) {
        *self.shared.answer.lock().unwrap() = answer;
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.shared.received.lock().unwrap().clone()
    }

    pub(crate) fn kinds(&self) -> Vec<String> {
        self.received().iter().map(|one| one.kind().to_owned()).collect()
    }

    /// Waits until there is such an event, and gives the first one.
    pub(crate) async fn until(&self, wanted: impl Fn(&Received) -> bool) -> Received {
        for _ in 0..3_000 {
            if let Some(found) = self.received().into_iter().find(&wanted) {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("only {:?}", self.received());
    }

    pub(crate) async fn until_kind(&self, kind: &str) -> Received {
        self.until(|one| one.kind() == kind).await
    }
}

/// Writes the secret to a file, as an operator would.
pub(crate) fn secret_file(folder: &Path) -> PathBuf {
    let path = folder.join("webhook.secret");
    std::fs::write(&path, format!("whsec_{}\n", STANDARD.encode(KEY))).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path
}

async fn take(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> axum::response::Response {
    let text = |name: &str| headers[name].to_str().unwrap().to_owned();
    let (id, timestamp) = (text("webhook-id"), text("webhook-timestamp"));
    let signed = [id.as_bytes(), b".", timestamp.as_bytes(), b".", &body].concat();
    let signature = STANDARD.decode(text("webhook-signature").strip_prefix("v1,").unwrap()).unwrap();
    hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, &KEY), &signed, &signature).expect("a good signature");
    let body = serde_json::from_slice(&body).unwrap();
    shared.received.lock().unwrap().push(Received { id, body });
    let answer = shared.answer.lock().unwrap().clone();
    let Some(Answer { status, body, location }) = answer else { std::future::pending().await };
    (StatusCode::from_u16(status).unwrap(), [("location", location)], body).into_response()
}
