//! A provider's public keys, and signatures by them.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{
    Algorithm, DecodingKey,
    crypto::verify,
    jwk::{Jwk, KeyAlgorithm, PublicKeyUse},
};
use serde::Deserialize;
use serde_json::{Map, Value};

/// The longest token that is looked at.
const MAX_TOKEN: usize = 64 * 1024;
/// The most keys of one provider.
const MAX_KEYS: usize = 100;

/// Why a token proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenProblem {
    /// It is no JWS in compact form.
    #[error("it is no signed token")]
    Malformed,
    /// It is signed with something that is not accepted: nothing, a shared secret, an old algorithm.
    #[error("its algorithm is not accepted")]
    Algorithm,
    /// It is signed with a key that the provider does not publish.
    #[error("its key is unknown")]
    UnknownKey,
    /// The signature is not the provider's.
    #[error("its signature is not right")]
    Signature,
    /// A claim that must be there is missing, or says something else than it must.
    #[error("its claim {0} is missing or wrong")]
    Claim(&'static str),
}

/// A token that is read but not believed yet.
pub(super) struct Unverified<'a> {
    signed: &'a str,
    signature: &'a str,
    pub(super) algorithm: Algorithm,
    pub(super) kid: Option<String>,
    /// The media type that the header says.
    pub(super) typ: Option<String>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    crit: Option<Value>,
}

impl<'a> Unverified<'a> {
    /// Reads a token's header.
    pub(super) fn parse(token: &'a str) -> Result<Self, TokenProblem> {
        if token.len() > MAX_TOKEN {
            return Err(TokenProblem::Malformed);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenProblem::Malformed)?;
        let (header, _) = signed.split_once('.').ok_or(TokenProblem::Malformed)?;
        let header: Header = part(header)?;
        // What a critical extension would mean is not known here (RFC 7515 §4.1.11).
        if header.crit.is_some() {
            return Err(TokenProblem::Malformed);
        }
        let algorithm = accepted(&header.alg).ok_or(TokenProblem::Algorithm)?;
        Ok(Self { signed, signature, algorithm, kid: header.kid, typ: header.typ })
    }

    /// The claims, once the signature is seen to be by that key.
    pub(super) fn verify(&self, key: &DecodingKey) -> Result<Map<String, Value>, TokenProblem> {
        let holds = verify(self.signature, self.signed.as_bytes(), key, self.algorithm);
        if !holds.unwrap_or(false) {
            return Err(TokenProblem::Signature);
        }
        let (_, payload) = self.signed.split_once('.').ok_or(TokenProblem::Malformed)?;
        part(payload)
    }
}

fn part<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, TokenProblem> {
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenProblem::Malformed)?;
    serde_json::from_slice(&bytes).map_err(|_| TokenProblem::Malformed)
}

/// The algorithms that are accepted. None of them is symmetric: a public key is never taken for a secret.
fn accepted(name: &str) -> Option<Algorithm> {
    match name {
        "RS256" => Some(Algorithm::RS256),
        "PS256" => Some(Algorithm::PS256),
        "ES256" => Some(Algorithm::ES256),
        "EdDSA" => Some(Algorithm::EdDSA),
        _ => None,
    }
}

/// The keys that a provider publishes (JWKS).
#[derive(Debug, Clone, Default)]
pub(super) struct Keys(Vec<Jwk>);

/// The document; a key of an unknown kind does not spoil the others.
#[derive(Deserialize)]
pub(super) struct Document {
    keys: Vec<Value>,
}

impl From<Document> for Keys {
    fn from(document: Document) -> Self {
        let keys = document.keys.into_iter().take(MAX_KEYS);
        Self(keys.filter_map(|key| serde_json::from_value(key).ok()).filter(signs).collect())
    }
}

fn signs(key: &Jwk) -> bool {
    matches!(key.common.public_key_use, None | Some(PublicKeyUse::Signature))
}

impl Keys {
    /// The key that a token names; the only one of its kind when it names none.
    pub(super) fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Option<DecodingKey> {
        let named = |key: &&Jwk| kid.is_none() || key.common.key_id.as_deref() == kid;
        let mut fitting = self.0.iter().filter(named).filter(|key| fits(key, algorithm)).filter_map(|key| {
            let key = DecodingKey::from_jwk(key).ok()?;
            (key.family() == algorithm.family()).then_some(key)
        });
        let key = fitting.next()?;
        // Two keys to choose from would mean trying: a provider with several must name the one it used.
        fitting.next().is_none().then_some(key)
    }
}

fn fits(key: &Jwk, algorithm: Algorithm) -> bool {
    let wanted = match algorithm {
        Algorithm::RS256 => KeyAlgorithm::RS256,
        Algorithm::PS256 => KeyAlgorithm::PS256,
        Algorithm::ES256 => KeyAlgorithm::ES256,
        _ => KeyAlgorithm::EdDSA,
    };
    key.common.key_algorithm.is_none_or(|said| said == wanted)
}
