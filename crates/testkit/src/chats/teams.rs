//! A Bot Framework, an Entra and a Workflows webhook in one, with keys of its own.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use aws_lc_rs::{
    encoding::AsDer,
    rand::SystemRandom,
    rsa::{KeyPair, KeySize},
    signature::{KeyPair as _, RSA_PKCS1_SHA256},
};
use axum::{
    Json, Router,
    body::Bytes,
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{Held, Turns};

/// The bot.
pub const APP: &str = "11111111-1111-1111-1111-111111111111";
/// The tenant that it belongs to.
pub const TENANT: &str = "22222222-2222-2222-2222-222222222222";
/// The bot's client secret.
pub const CLIENT_SECRET: &str = "test-client-secret";
/// Where calls say that they come from.
pub const SERVICE: &str = "https://smba.example/teams/";

/// What was sent.
#[derive(Debug, Clone)]
pub struct Sent {
    /// How.
    pub method: Method,
    /// Where.
    pub path: String,
    /// What.
    pub body: Value,
}

/// The other side.
#[derive(Debug)]
pub struct FakeTeams {
    /// Where it is.
    pub url: String,
    said: Arc<Said>,
}

#[derive(Debug, Default)]
struct Said {
    url: String,
    sent: Mutex<Vec<Sent>>,
    turns: Turns,
    held: Held,
    keys: Mutex<Vec<Value>>,
    /// What is said of members otherwise, by their object id.
    members: Mutex<HashMap<String, Value>>,
    /// Activities as they are now, by their path.
    activities: Mutex<Vec<(String, Value)>>,
    next: AtomicU64,
}

/// A key that calls are signed with.
pub struct Signer {
    /// What it is called.
    pub name: String,
    pair: KeyPair,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Signer {
    /// A new key of that name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), pair: KeyPair::generate(KeySize::Rsa2048).unwrap() }
    }

    /// The public half, and what it may speak for.
    #[must_use]
    pub fn jwk(&self, endorsements: &[&str]) -> Value {
        let public = self.pair.public_key();
        let (n, e) = (public.modulus(), public.exponent());
        let text = |number: &[u8]| URL_SAFE_NO_PAD.encode(number);
        let (n, e) = (text(n.big_endian_without_leading_zero()), text(e.big_endian_without_leading_zero()));
        json!({"kty": "RSA", "use": "sig", "kid": self.name, "n": n, "e": e, "endorsements": endorsements})
    }

    /// A token with these claims.
    #[must_use]
    pub fn sign(&self, claims: &Value) -> String {
        self.sign_as(&json!({"typ": "JWT", "alg": "RS256", "kid": self.name}), claims)
    }

    /// A token with these claims under another head.
    #[must_use]
    pub fn sign_as(&self, head: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(head), part(claims));
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// What a verifier would take for a shared secret, if it let the token choose how it is verified.
    #[must_use]
    pub fn public_bytes(&self) -> Vec<u8> {
        self.pair.public_key().as_der().unwrap().as_ref().to_vec()
    }
}

/// What the Bot Framework claims of a call from that service.
#[must_use]
pub fn claims(service: &str, now: i64) -> Value {
    json!({
        "iss": "https://api.botframework.com", "aud": APP, "exp": now + 600, "nbf": now - 60, "serviceurl": service,
    })
}

/// What the Bot Framework says of a click on a card.
#[must_use]
pub fn click(room: &str, oid: &str, verb: &str, ticket: &str) -> Value {
    json!({
        "type": "invoke", "name": "adaptiveCard/action", "id": "f:1", "channelId": "msteams",
        "serviceUrl": SERVICE,
        "from": {"id": format!("29:{oid}"), "name": "Somebody", "aadObjectId": oid},
        "recipient": {"id": format!("28:{APP}")},
        "conversation": {"id": format!("{room};messageid=1700000000000"), "conversationType": "channel", "tenantId": TENANT},
        "channelData": {"tenant": {"id": TENANT}},
        "value": {"action": {"type": "Action.Execute", "verb": verb, "data": {"ticket": ticket, "reason": "looked at it"}},
                  "trigger": "manual"},
    })
}

impl FakeTeams {
    /// Starts one.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let said = Arc::new(Said { url: url.clone(), ..Said::default() });
        let router = Router::new().fallback(answer).with_state(Arc::clone(&said));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, said }
    }

    /// The keys that its metadata tell from now on.
    pub fn keys(&self, keys: Vec<Value>) {
        *self.said.keys.lock().unwrap() = keys;
    }

    /// What is said of a member otherwise than that they are a full member of the tenant.
    pub fn member(&self, oid: &str, otherwise: Value) {
        self.said.members.lock().unwrap().insert(oid.to_owned(), otherwise);
    }

    /// Lets calls of that HTTP method hang: what they post is there, what they change never is, and nobody is told.
    pub fn hold(&self, method: &Method) {
        self.said.held.hold(method.as_str());
    }

    /// Answers everything again.
    pub fn release(&self) {
        self.said.held.release();
    }

    /// Everything that was sent.
    #[must_use]
    pub fn sent(&self) -> Vec<Sent> {
        self.said.sent.lock().unwrap().clone()
    }

    /// The first of what was sent that fits, once there is one.
    pub async fn until(&self, fits: impl Fn(&Sent) -> bool) -> Sent {
        let found = self.said.turns.until(|| self.sent().into_iter().find(|sent| fits(sent))).await;
        found.unwrap_or_else(|| panic!("that was not sent; this was: {:#?}", self.sent()))
    }

    /// The cards that say this, as they are now.
    #[must_use]
    pub fn cards(&self, words: &str) -> Vec<Value> {
        let activities = self.said.activities.lock().unwrap();
        let cards = activities.iter().map(|(_, body)| &body["attachments"][0]["content"]);
        cards.filter(|card| card["actions"].is_array() && card.to_string().contains(words)).cloned().collect()
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
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    request: Request,
) -> Response {
    let body: Bytes = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
    let path = uri.path().to_owned();
    match path.as_str() {
        "/metadata" => Json(json!({
            "issuer": "https://api.botframework.com", "jwks_uri": format!("{}/keys", said.url),
            "id_token_signing_alg_values_supported": ["RS256"],
        }))
        .into_response(),
        "/keys" => Json(json!({"keys": *said.keys.lock().unwrap()})).into_response(),
        "/entra/oauth2/v2.0/token" => token(&body),
        _ if !path.starts_with("/teams/") => said.take(method, path, &body).await,
        _ if headers.get(header::AUTHORIZATION).is_none_or(|it| it != "Bearer bot-token") => {
            StatusCode::UNAUTHORIZED.into_response()
        }
        _ => match path.rsplit_once("/members/29:") {
            Some((_, oid)) => Json(said.member(oid)).into_response(),
            None => said.take(method, path, &body).await,
        },
    }
}

fn token(body: &[u8]) -> Response {
    let form: Vec<_> = form_urlencoded::parse(body).into_owned().collect();
    let has = |name: &str, value: &str| form.iter().any(|(n, v)| n == name && v == value);
    assert!(has("grant_type", "client_credentials") && has("scope", "https://api.botframework.com/.default"));
    if !has("client_secret", CLIENT_SECRET) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    Json(json!({"access_token": "bot-token", "token_type": "Bearer", "expires_in": 3600})).into_response()
}

impl Said {
    fn member(&self, oid: &str) -> Value {
        let mut member = json!({
            "id": format!("29:{oid}"), "aadObjectId": oid, "name": "Somebody", "tenantId": TENANT, "userRole": "user",
        });
        let otherwise = self.members.lock().unwrap().get(oid).cloned().unwrap_or_else(|| json!({}));
        for (name, value) in otherwise.as_object().unwrap() {
            member[name] = value.clone();
        }
        member
    }

    async fn take(&self, method: Method, path: String, body: &[u8]) -> Response {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let id = format!("a-{}", self.next.fetch_add(1, Ordering::SeqCst) + 1);
        if method == Method::POST {
            self.activities.lock().unwrap().push((format!("{path}/{id}"), body.clone()));
        }
        self.sent.lock().unwrap().push(Sent {
            method: method.clone(),
            path: path.clone(),
            body: body.clone(),
        });
        self.turns.turn();
        if self.held.wait(method.as_str()).await {
            return StatusCode::BAD_GATEWAY.into_response();
        }
        if method == Method::PUT {
            for (_, known) in self.activities.lock().unwrap().iter_mut().filter(|(known, _)| *known == path) {
                known.clone_from(&body);
            }
            self.turns.turn();
        }
        (StatusCode::CREATED, Json(json!({"id": id}))).into_response()
    }
}
