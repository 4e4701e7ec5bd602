//! An identity provider that says whatever a test wants, also what no real one would.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard},
};

use axum::{
    Form, Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_control_plane::identity::{ProviderConfig, ProviderKind, Role};
use countersign_model::{Digest, signing::SigningKey};
use reqwest::Url;
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;

pub(crate) const CLIENT: &str = "countersign";

/// What the provider does, for a test to change.
pub(crate) struct Behaviour {
    /// What the next ID token says besides what it should; `null` takes a claim away.
    pub(crate) claims: Value,
    /// What the user-info endpoint tells.
    pub(crate) user_info: Value,
    /// The algorithm that the next header names.
    pub(crate) algorithm: &'static str,
    /// Which key signs.
    pub(crate) key: u8,
    /// Which keys are published.
    pub(crate) published: Vec<u8>,
    /// More that its metadata says.
    pub(crate) metadata: Value,
    /// Whether everything fails.
    pub(crate) down: bool,
    /// How often its keys were asked for.
    pub(crate) asked_for_keys: u32,
    /// How far its clock is ahead, in seconds.
    pub(crate) ahead: i64,
    codes: HashMap<String, (String, String)>,
}

/// A running provider.
#[derive(Clone)]
pub(crate) struct Idp {
    pub(crate) issuer: String,
    state: Arc<Mutex<Behaviour>>,
}

impl Idp {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let behaviour = Behaviour {
            claims: json!({}),
            user_info: Value::Null,
            algorithm: "EdDSA",
            key: 1,
            published: vec![1],
            metadata: json!({}),
            down: false,
            asked_for_keys: 0,
            ahead: 0,
            codes: HashMap::new(),
        };
        let idp = Self { issuer: format!("http://{address}"), state: Arc::new(Mutex::new(behaviour)) };
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(discover))
            .route("/keys", get(keys))
            .route("/token", post(token))
            .route("/me", get(me))
            .with_state(idp.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        idp
    }

    pub(crate) fn now(&self) -> MutexGuard<'_, Behaviour> {
        self.state.lock().unwrap()
    }

    /// How it is configured: authoritative for example.com, reviewers by group.
    pub(crate) fn config(&self, id: &str) -> ProviderConfig {
        let role = |role, who: &str| (role, who.parse().unwrap());
        ProviderConfig {
            id: id.to_owned(),
            name: format!("Provider {id}"),
            kind: ProviderKind::Generic,
            issuer: self.issuer.clone(),
            client_id: CLIENT.to_owned(),
            client_secret_file: None,
            scopes: vec!["openid".to_owned(), "email".to_owned()],
            groups_claim: Some("groups".to_owned()),
            group_prefix: String::new(),
            hosted_domain: None,
            allowed_domains: vec!["example.com".to_owned()],
            require_verified_email: true,
            roles: vec![role(Role::Reviewer, "group:sre"), role(Role::Admin, "group:platform")],
        }
    }

    /// What the provider does when somebody signs in there: sends the browser back with a code.
    pub(crate) fn sign_in(&self, departure: &str) -> String {
        let url = Url::parse(departure).unwrap();
        let asked: HashMap<_, _> = url.query_pairs().into_owned().collect();
        assert!(departure.starts_with(&format!("{}/authorize?", self.issuer)), "{departure}");
        assert_eq!((asked["response_type"].as_str(), asked["client_id"].as_str()), ("code", CLIENT));
        assert_eq!(asked["code_challenge_method"], "S256");
        let mut behaviour = self.now();
        let code = format!("code-{}", behaviour.codes.len());
        behaviour.codes.insert(code.clone(), (asked["nonce"].clone(), asked["code_challenge"].clone()));
        let back = Url::parse(&asked["redirect_uri"]).unwrap();
        format!("{}?code={code}&state={}", back.path(), asked["state"])
    }

    /// A token with these claims, signed as the provider does now.
    pub(crate) fn sign(&self, typ: &str, claims: &Map<String, Value>) -> String {
        let behaviour = self.now();
        let header = json!({"alg": behaviour.algorithm, "kid": name(behaviour.key), "typ": typ});
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(&Value::Object(claims.clone())));
        let signature = if behaviour.algorithm == "none" {
            Vec::new()
        } else {
            key(behaviour.key).sign(signed.as_bytes())
        };
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// Claims that every token has, with some of them changed.
    pub(crate) fn claims(&self, changes: &Value) -> Map<String, Value> {
        let seconds = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let now = i64::try_from(seconds).unwrap() + self.now().ahead;
        let base = json!({"iss": self.issuer, "aud": CLIENT, "iat": now, "exp": now + 300});
        let mut claims = base.as_object().unwrap().clone();
        claims.extend(changes.as_object().unwrap().clone());
        claims.retain(|_, value| !value.is_null());
        claims
    }
}

fn name(key: u8) -> String {
    format!("key-{key}")
}

fn key(number: u8) -> SigningKey {
    SigningKey::from_seed(&[number; 32]).unwrap()
}

fn answer(idp: &Idp, body: Value) -> Response {
    if idp.now().down {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    Json(body).into_response()
}

async fn discover(State(idp): State<Idp>) -> Response {
    let issuer = &idp.issuer;
    let mut metadata = json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"),
        "jwks_uri": format!("{issuer}/keys"),
        "userinfo_endpoint": format!("{issuer}/me"),
        "end_session_endpoint": format!("{issuer}/logout"),
    });
    let more = idp.now().metadata.as_object().unwrap().clone();
    metadata.as_object_mut().unwrap().extend(more);
    answer(&idp, metadata)
}

async fn keys(State(idp): State<Idp>) -> Response {
    let published = idp.now().published.clone();
    idp.now().asked_for_keys += 1;
    let jwk = |number: &u8| {
        let x = URL_SAFE_NO_PAD.encode(key(*number).verifying_key().as_bytes());
        json!({"kty": "OKP", "crv": "Ed25519", "use": "sig", "kid": name(*number), "x": x})
    };
    let mut keys: Vec<_> = published.iter().map(jwk).collect();
    // A key of a kind that nobody knows yet spoils nothing.
    keys.push(json!({"kty": "LATTICE", "kid": "future"}));
    answer(&idp, json!({"keys": keys}))
}

async fn token(State(idp): State<Idp>, Form(form): Form<HashMap<String, String>>) -> Response {
    let refused = || (StatusCode::BAD_REQUEST, Json(json!({"error": "invalid_grant"}))).into_response();
    let Some((nonce, challenge)) = idp.now().codes.remove(&form["code"]) else { return refused() };
    let verifier = Digest::of(form["code_verifier"].as_bytes());
    if URL_SAFE_NO_PAD.encode(verifier.as_bytes()) != challenge || form["client_id"] != CLIENT {
        return refused();
    }
    let mut said = json!({"nonce": nonce, "sub": "s3", "email": "reviewer-three@example.com",
        "email_verified": true, "groups": ["sre"], "sid": "session-1"});
    let changes = idp.now().claims.as_object().unwrap().clone();
    said.as_object_mut().unwrap().extend(changes);
    let id_token = idp.sign("JWT", &idp.claims(&said));
    answer(&idp, json!({"id_token": id_token, "access_token": "access", "token_type": "Bearer"}))
}

async fn me(State(idp): State<Idp>, headers: HeaderMap) -> Response {
    assert_eq!(headers["authorization"], "Bearer access");
    let told = idp.now().user_info.clone();
    answer(&idp, told)
}
