//! An issuer's keys: by OpenID Connect Discovery, fetched in the background and kept in memory.

use std::{sync::Arc, time::Duration};

use axum::body::{Body, to_bytes};
use countersign_gate::ports::Clock;
use countersign_model::Timestamp;
use http::{Request, Uri};
use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{Jwk, JwkSet, PublicKeyUse},
};
use serde::{Deserialize, de::DeserializeOwned};
use tokio::time::{sleep, timeout};

use super::{Initiators, issuer::Issuer};
use crate::mcp::http::{HttpClient, UpstreamError, client};

/// How often keys are fetched when nothing asks for them.
const EVERY: Duration = Duration::from_secs(60 * 60);
/// How long it takes at least from one time to the next, however many tokens ask for unknown keys.
const AT_MOST_EVERY: Duration = Duration::from_secs(2);
/// How long a fetch may take.
const WITHIN: Duration = Duration::from_secs(10);
/// The largest document, in bytes.
const MAX_DOCUMENT: usize = 512 * 1024;
/// The most keys of one issuer.
const MAX_KEYS: usize = 64;

/// An issuer's keys, as they were at a time.
pub(super) struct Keys {
    pub(super) fetched_at: Timestamp,
    keys: Vec<(Jwk, DecodingKey)>,
}

impl Keys {
    /// The keys of a set that verify signatures. What this release cannot use is left out.
    pub(super) fn new(set: JwkSet, fetched_at: Timestamp) -> Self {
        let signs = |jwk: &Jwk| !matches!(jwk.common.public_key_use, Some(PublicKeyUse::Encryption));
        let usable = |jwk: Jwk| DecodingKey::from_jwk(&jwk).ok().map(|key| (jwk, key));
        let keys = set.keys.into_iter().filter(signs).take(MAX_KEYS).filter_map(usable).collect();
        Self { fetched_at, keys }
    }

    /// The key of that id; without an id, the only one of the kind that the algorithm takes.
    pub(super) fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Option<&DecodingKey> {
        let mut fitting = self.keys.iter().filter(|(jwk, key)| {
            let of_kind = key.family() == algorithm.family();
            of_kind && kid.is_none_or(|kid| jwk.common.key_id.as_deref() == Some(kid))
        });
        let (_, key) = fitting.next()?;
        (kid.is_some() || fitting.next().is_none()).then_some(key)
    }
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

/// Why keys were not fetched.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("{0} cannot be fetched: {1}")]
    Unreachable(String, String),
    #[error("{0} is not what it should be: {1}")]
    Malformed(String, String),
}

/// Keeps one issuer's keys fresh.
pub struct Refresh {
    initiators: Initiators,
    number: usize,
    client: HttpClient,
}

impl Refresh {
    pub(super) fn new(initiators: Initiators, number: usize) -> Result<Self, UpstreamError> {
        Ok(Self { initiators, number, client: client()? })
    }

    /// Fetches the keys now, every hour, and when a token asks for one that is not known. Never ends; a
    /// failure is told and tried again.
    pub async fn run(self, clock: Arc<dyn Clock>) {
        let Some(issuer) = self.initiators.0.get(self.number) else { return };
        loop {
            match self.fetch(issuer).await {
                Ok(set) => issuer.adopt(Keys::new(set, clock.now())),
                Err(error) => tracing::warn!(issuer = issuer.settings.issuer, %error, "no fresh keys"),
            }
            sleep(AT_MOST_EVERY).await;
            let _ = timeout(EVERY, issuer.wanted.notified()).await;
        }
    }

    async fn fetch(&self, issuer: &Issuer) -> Result<JwkSet, FetchError> {
        let name = &issuer.settings.issuer;
        let place = format!("{}/.well-known/openid-configuration", name.trim_end_matches('/'));
        let document: Discovery = self.get(&place).await?;
        if document.issuer != *name {
            let why = format!("it is that of {:?}", document.issuer);
            return Err(FetchError::Malformed(place, why));
        }
        // Keys over HTTP would be anybody's on the way; only an issuer that is itself reached so has them so.
        if name.starts_with("https://") && !document.jwks_uri.starts_with("https://") {
            return Err(FetchError::Malformed(place, "its jwks_uri is not https".to_owned()));
        }
        self.get(&document.jwks_uri).await
    }

    async fn get<T: DeserializeOwned>(&self, place: &str) -> Result<T, FetchError> {
        let unreachable = |why: String| FetchError::Unreachable(place.to_owned(), why);
        let malformed = |why: String| FetchError::Malformed(place.to_owned(), why);
        let uri: Uri = place.parse().map_err(|_| malformed("it is no address".to_owned()))?;
        let request = Request::get(uri).header(http::header::ACCEPT, "application/json").body(Body::empty());
        let request = request.map_err(|error| malformed(error.to_string()))?;
        let fetched = async {
            let response =
                self.client.request(request).await.map_err(|error| unreachable(error.to_string()))?;
            if !response.status().is_success() {
                return Err(unreachable(response.status().to_string()));
            }
            let body = to_bytes(Body::new(response.into_body()), MAX_DOCUMENT).await;
            body.map_err(|error| unreachable(error.to_string()))
        };
        let body =
            timeout(WITHIN, fetched).await.map_err(|_| unreachable("it took too long".to_owned()))??;
        serde_json::from_slice(&body).map_err(|error| malformed(error.to_string()))
    }
}
