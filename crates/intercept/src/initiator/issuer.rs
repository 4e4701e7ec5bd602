//! One issuer: what is demanded of its tokens, and its keys as they are known now.

use std::sync::{Arc, PoisonError, RwLock};

use countersign_model::{PersonId, Seconds, Timestamp, provenance::Initiator};
use jsonwebtoken::{Algorithm, Validation, decode, decode_header};
use serde_json::{Map, Value};
use tokio::sync::Notify;

use super::{Refused, keys::Keys};

/// How far two clocks may be apart.
const LEEWAY: Seconds = Seconds::new(60);
/// For how long keys are good that could not be fetched again.
const STALE_AFTER: Seconds = Seconds::new(24 * 60 * 60);

/// What is demanded of an issuer's tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerSettings {
    /// The issuer, exactly as it names itself: where its discovery document is found, too.
    pub issuer: String,
    /// Whom its tokens must be for: one of these.
    pub audience: Vec<String>,
    /// How they may be signed, by the names of RFC 7518.
    pub algorithms: Vec<String>,
    /// The claim that names the person.
    pub person_claim: String,
    /// The domains of whose people they may be; any when empty.
    pub domains: Vec<String>,
}

/// Whether tokens may be signed that way: with a key that only the issuer has.
#[must_use]
pub fn is_algorithm(name: &str) -> bool {
    name.parse().is_ok_and(|algorithm: Algorithm| {
        !matches!(algorithm, Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512)
    })
}

/// One issuer.
pub(super) struct Issuer {
    pub(super) settings: IssuerSettings,
    keys: RwLock<Option<Arc<Keys>>>,
    /// Told when a token has a key that is not known.
    pub(super) wanted: Notify,
}

impl Issuer {
    pub(super) fn new(settings: IssuerSettings) -> Self {
        Self { settings, keys: RwLock::default(), wanted: Notify::new() }
    }

    /// Takes up keys that were just fetched.
    pub(super) fn adopt(&self, keys: Keys) {
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(keys));
    }

    fn keys(&self, now: Timestamp) -> Option<Arc<Keys>> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner).clone();
        keys.filter(|keys| now < keys.fetched_at.plus(STALE_AFTER))
    }

    /// The person whom a token vouches for.
    pub(super) fn verify(
        &self,
        token: &str,
        claimed: &Map<String, Value>,
        now: Timestamp,
    ) -> Result<Initiator, Refused> {
        let header = decode_header(token).map_err(|_| Refused::Algorithm)?;
        let is_allowed = |name: &String| name.parse().is_ok_and(|allowed: Algorithm| allowed == header.alg);
        if !self.settings.algorithms.iter().any(is_allowed) {
            return Err(Refused::Algorithm);
        }
        let Some(keys) = self.keys(now) else {
            self.wanted.notify_one();
            self.check_claims(claimed, now)?;
            return Ok(Initiator { person: self.person(claimed)?, verified: false });
        };
        let Some(key) = keys.find(header.kid.as_deref(), header.alg) else {
            self.wanted.notify_one();
            return Err(Refused::UnknownKey);
        };
        let verified = decode::<Map<String, Value>>(token, key, &signature_only(header.alg));
        let claims = verified.map_err(|_| Refused::Signature)?.claims;
        self.check_claims(&claims, now)?;
        Ok(Initiator { person: self.person(&claims)?, verified: true })
    }

    fn check_claims(&self, claims: &Map<String, Value>, now: Timestamp) -> Result<(), Refused> {
        if claims.get("iss").and_then(Value::as_str) != Some(&self.settings.issuer) {
            return Err(Refused::Malformed);
        }
        let is_ours =
            |one: &Value| one.as_str().is_some_and(|one| self.settings.audience.iter().any(|our| our == one));
        let for_us = match claims.get("aud") {
            Some(Value::Array(several)) => several.iter().any(is_ours),
            Some(one) => is_ours(one),
            None => false,
        };
        if !for_us {
            return Err(Refused::Audience);
        }
        let expires = time(claims, "exp").ok_or(Refused::Malformed)?;
        if now >= expires.plus(LEEWAY) {
            return Err(Refused::Expired);
        }
        match time(claims, "nbf") {
            Some(begins) if now.plus(LEEWAY) < begins => Err(Refused::NotYet),
            None if claims.contains_key("nbf") => Err(Refused::Malformed),
            _ => Ok(()),
        }
    }

    fn person(&self, claims: &Map<String, Value>) -> Result<PersonId, Refused> {
        let name = self.settings.person_claim.as_str();
        let person = claims.get(name).and_then(Value::as_str).ok_or(Refused::Nobody)?;
        let unverified = claims.get("email_verified").is_some_and(|verified| *verified != Value::Bool(true));
        if name == "email" && unverified {
            return Err(Refused::Nobody);
        }
        let person: PersonId = person.parse().map_err(|_| Refused::Nobody)?;
        let domain = person.as_str().rsplit_once('@').map(|(_, domain)| domain).unwrap_or_default();
        let allowed = &self.settings.domains;
        if !allowed.is_empty() && !allowed.iter().any(|one| one.eq_ignore_ascii_case(domain)) {
            return Err(Refused::Domain);
        }
        Ok(person)
    }
}

/// The library checks the signature; the claims are checked here, against the sidecar's own clock.
fn signature_only(algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation
}

fn time(claims: &Map<String, Value>, name: &str) -> Option<Timestamp> {
    let seconds = claims.get(name)?.as_f64().filter(|seconds| seconds.abs() < 1e12)?;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "bounded above; a fraction of a second does not matter"
    )]
    let seconds = seconds as i64;
    Some(Timestamp::from_millis(seconds.saturating_mul(1_000)))
}
