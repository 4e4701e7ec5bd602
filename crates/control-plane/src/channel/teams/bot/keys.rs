//! The keys that the Bot Framework signs its calls with, by its OpenID metadata.

use std::collections::HashMap;

use countersign_model::{Seconds, Timestamp};
use http::StatusCode;
use jsonwebtoken::DecodingKey;
use reqwest::{Client, Url};
use serde::{Deserialize, de::DeserializeOwned};
use tokio::sync::Mutex;

use crate::channel::call::{self, CallError};

/// How long keys are used before they are read anew.
const LIFETIME: Seconds = Seconds::new(24 * 60 * 60);
/// How often they are read anew, at most, because somebody names a key that is not among them.
const PATIENCE: Seconds = Seconds::new(60);
/// How many keys there are at most.
const MOST: usize = 256;

/// A key, and the channels that it may speak for.
#[derive(Clone)]
pub(super) struct Key {
    pub(super) verifies: DecodingKey,
    pub(super) endorsements: Vec<String>,
}

/// The keys as they were last read.
pub(super) struct Keys {
    http: Client,
    metadata: Url,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    read_at: Option<Timestamp>,
    tried_at: Option<Timestamp>,
    keys: HashMap<String, Key>,
}

#[derive(Deserialize)]
struct Metadata {
    jwks_uri: String,
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Jwk>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    n: Option<String>,
    e: Option<String>,
    #[serde(default)]
    endorsements: Vec<String>,
}

impl Keys {
    pub(super) fn new(http: Client, metadata: Url) -> Self {
        Self { http, metadata, known: Mutex::default() }
    }

    /// The key of that name; `None` when there is none. Keys change, so a name that is not known has them
    /// read anew, but not as often as somebody asks.
    pub(super) async fn get(&self, name: &str, now: Timestamp) -> Result<Option<Key>, CallError> {
        let mut known = self.known.lock().await;
        let is_within = |at: Option<Timestamp>, span: Seconds| {
            at.is_some_and(|at| (0..span.as_millis()).contains(&now.millis_since(at)))
        };
        let is_fresh = is_within(known.read_at, LIFETIME);
        let was_tried = is_within(known.tried_at, PATIENCE);
        if is_fresh && (known.keys.contains_key(name) || was_tried) {
            return Ok(known.keys.get(name).cloned());
        }
        if was_tried {
            return Err(CallError::Unreachable("its keys could not be read a moment ago".to_owned()));
        }
        known.tried_at = Some(now);
        match self.read().await {
            Ok(keys) => (known.keys, known.read_at) = (keys, Some(now)),
            Err(error) if is_fresh => tracing::warn!(%error, "the Bot Framework's keys cannot be read anew"),
            Err(error) => return Err(error),
        }
        Ok(known.keys.get(name).cloned())
    }

    async fn read(&self) -> Result<HashMap<String, Key>, CallError> {
        let metadata: Metadata = self.fetch(self.metadata.clone()).await?;
        let keys = metadata.jwks_uri.parse().ok().filter(call::is_private);
        let keys =
            keys.ok_or_else(|| CallError::Malformed("its keys are at no https:// address".to_owned()))?;
        let set: KeySet = self.fetch(keys).await?;
        Ok(set.keys.into_iter().take(MOST).filter_map(key).collect())
    }

    async fn fetch<T: DeserializeOwned>(&self, url: Url) -> Result<T, CallError> {
        let answer = call::call(self.http.get(url)).await?;
        match answer.status {
            StatusCode::OK => answer.json(),
            status => Err(CallError::Unreachable(format!("the Bot Framework's keys: {status}"))),
        }
    }
}

/// A key that can be used: RSA, with a name.
fn key(jwk: Jwk) -> Option<(String, Key)> {
    let (name, modulus, exponent) = (jwk.kid?, jwk.n?, jwk.e?);
    let verifies = DecodingKey::from_rsa_components(&modulus, &exponent).ok()?;
    (jwk.kty == "RSA").then_some((name, Key { verifies, endorsements: jwk.endorsements }))
}
