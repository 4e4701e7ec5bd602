//! A Bot Framework, an Entra and a Workflows webhook in one, with keys of its own.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
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
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, Method, StatusCode, Uri, header};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::watch};

/// What was sent.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) body: Value,
}

/// The other side.
pub(crate) struct FakeTeams {
    pub(crate) url: String,
    said: Arc<Said>,
}

struct Said {
    sent: Mutex<Vec<Sent>>,
    count: watch::Sender<usize>,
    keys: Mutex<Vec<Value>>,
    next: AtomicU64,
}

/// A key that calls are signed with.
pub(crate) struct Signer {
    pub(crate) name: String,
    pair: KeyPair,
}

impl Signer {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), pair: KeyPair::generate(KeySize::Rsa2048).unwrap() }
    }

    /// The public half, and what it may speak for.
    pub(crate) fn jwk(&self, endorsements: &[&str]) -> Value {
        let public = self.pair.public_key();
        let (n, e) = (public.modulus(), public.exponent());
        let text = |number: &[u8]| URL_SAFE_NO_PAD.encode(number);
        let (n, e) = (text(n.big_endian_without_leading_zero()), text(e.big_endian_without_leading_zero()));
        json!({"kty": "RSA", "use": "sig", "kid": self.name, "n": n, "e": e, "endorsements": endorsements})
    }

    pub(crate) fn sign(&self, claims: &Value) -> String {
        self.sign_as(&json!({"typ": "JWT", "alg": "RS256", "kid": self.name}), claims)
    }

    pub(crate) fn sign_as(&self, head: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(head), part(claims));
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// What a verifier would take for a shared secret, if it let the token choose how it is verified.
    pub(crate) fn public_bytes(&self) -> Vec<u8> {
        self.pair.public_key().as_der().unwrap().as_ref().to_vec()
    }
}

impl FakeTeams {
    pub(crate) async fn start() -> Self {
        let said = Arc::new(Said {
            sent: Mutex::default(),
            count: watch::Sender::new(0),
            keys: Mutex::default(),
            next: AtomicU64::new(1),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer).with_state((url.clone(), Arc::clone(&said)));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, said }
    }

    /// The keys that its metadata tell from now on.
    pub(crate) fn keys(&self, keys: Vec<Value>) {
        *self.said.keys.lock().unwrap() = keys;
    }

    pub(crate) fn sent(&self) -> Vec<Sent> {
        self.said.sent.lock().unwrap().clone()
    }

    /// The first of what was sent that fits, once there is one.
    pub(crate) async fn until(&self, fits: impl Fn(&Sent) -> bool) -> Sent {
        let mut count = self.said.count.subscribe();
        let found = async {
            loop {
                if let Some(sent) = self.sent().into_iter().find(|sent| fits(sent)) {
                    return sent;
                }
                count.changed().await.unwrap();
            }
        };
        let in_time = tokio::time::timeout(super::fake_slack::PATIENCE, found).await;
        in_time.unwrap_or_else(|_| panic!("that was not sent; this was: {:#?}", self.sent()))
    }
}

async fn answer(
    State((url, said)): State<(String, Arc<Said>)>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    request: Request,
) -> Response {
    let body: Bytes = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
    let path = uri.path().to_owned();
    match path.as_str() {
        "/metadata" => {
            let metadata = json!({"issuer": "https://api.botframework.com", "jwks_uri": format!("{url}/keys"),
                "id_token_signing_alg_values_supported": ["RS256"]});
            return Json(metadata).into_response();
        }
        "/keys" => return Json(json!({"keys": *said.keys.lock().unwrap()})).into_response(),
        "/entra/oauth2/v2.0/token" => {
            let form: Vec<_> = form_urlencoded::parse(&body).into_owned().collect();
            let has = |name: &str, value: &str| form.iter().any(|(n, v)| n == name && v == value);
            assert!(
                has("grant_type", "client_credentials")
                    && has("scope", "https://api.botframework.com/.default")
            );
            if !has("client_secret", "test-client-secret") {
                return StatusCode::UNAUTHORIZED.into_response();
            }
            return Json(json!({"access_token": "bot-token", "token_type": "Bearer", "expires_in": 3600}))
                .into_response();
        }
        _ => {}
    }
    if path.starts_with("/teams/")
        && headers.get(header::AUTHORIZATION).is_none_or(|it| it != "Bearer bot-token")
    {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let body = serde_json::from_slice(&body).unwrap_or_default();
    said.sent.lock().unwrap().push(Sent { method, path, body });
    said.count.send_modify(|count| *count += 1);
    let id = format!("a-{}", said.next.fetch_add(1, Ordering::SeqCst));
    (StatusCode::CREATED, Json(json!({"id": id}))).into_response()
}
