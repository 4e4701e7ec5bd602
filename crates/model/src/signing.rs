//! Ed25519 keys (RFC 8032), JSON Web Keys for them (RFC 8037), and compact JWS (RFC 7515).
//!
//! One algorithm, so there is none to confuse: a JWS whose header says anything but `EdDSA` is
//! refused before its key is looked up.

use std::fmt;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{digest::Digest, strict_json};

/// Why a key or signature was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SigningError {
    /// The seed or key bytes are not an Ed25519 key.
    #[error("not an Ed25519 key")]
    Key,
    /// The token is not three base64url parts with the expected header.
    #[error("not a compact JWS of type {0}")]
    Form(&'static str),
    /// No key of that id is trusted.
    #[error("signed with the unknown key {0:?}")]
    UnknownKey(String),
    /// The signature does not match.
    #[error("the signature does not match")]
    Signature,
    /// The signed content is not what it should be.
    #[error("the signed content is malformed: {0}")]
    Content(String),
}

/// An Ed25519 private key. Its bytes are never printed.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    public: VerifyingKey,
}

impl SigningKey {
    /// The key of a 32-byte seed (RFC 8032 §5.1.5).
    ///
    /// # Errors
    /// Only when the cryptographic library refuses the seed.
    pub fn from_seed(seed: &[u8; 32]) -> Result<Self, SigningError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| SigningError::Key)?;
        let public = pair.public_key().as_ref().try_into().map_err(|_| SigningError::Key)?;
        Ok(Self { pair, public: VerifyingKey(public) })
    }

    /// The public half.
    #[must_use]
    pub fn verifying_key(&self) -> VerifyingKey {
        self.public
    }

    /// Signs some bytes. Deterministic (RFC 8032 §5.1.6).
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.pair.sign(message).as_ref().to_vec()
    }

    /// Signs a payload as a compact JWS with the given `typ` header.
    ///
    /// # Errors
    /// When the payload cannot be written as JSON.
    pub fn sign_jws<T: Serialize>(&self, typ: &'static str, payload: &T) -> Result<String, SigningError> {
        let content = |error: serde_json::Error| SigningError::Content(error.to_string());
        let header = Header { alg: "EdDSA".into(), kid: self.public.key_id(), typ: typ.into() };
        let header = serde_json::to_vec(&header).map_err(content)?;
        let payload = serde_json::to_vec(payload).map_err(content)?;
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let signature = URL_SAFE_NO_PAD.encode(self.sign(signed.as_bytes()));
        Ok(format!("{signed}.{signature}"))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public.key_id())
    }
}

/// An Ed25519 public key.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct VerifyingKey([u8; 32]);

impl VerifyingKey {
    /// A key from its 32 bytes. Any bytes are taken; a point that is none verifies nothing.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key's id: its JWK thumbprint (RFC 7638), base64url.
    #[must_use]
    pub fn key_id(&self) -> String {
        let canonical =
            format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, URL_SAFE_NO_PAD.encode(self.0));
        URL_SAFE_NO_PAD.encode(Digest::of(canonical.as_bytes()).as_bytes())
    }

    /// Checks a signature.
    ///
    /// # Errors
    /// [`SigningError::Signature`] when it does not match.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), SigningError> {
        UnparsedPublicKey::new(&ED25519, &self.0)
            .verify(message, signature)
            .map_err(|_| SigningError::Signature)
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({})", self.key_id())
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    kid: String,
    typ: String,
}

/// A public key as JSON (RFC 8037 §2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jwk {
    kty: String,
    crv: String,
    x: String,
    kid: String,
    #[serde(rename = "use", default, skip_serializing_if = "Option::is_none")]
    usage: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    alg: Option<String>,
}

impl From<VerifyingKey> for Jwk {
    fn from(key: VerifyingKey) -> Self {
        Self {
            kty: "OKP".into(),
            crv: "Ed25519".into(),
            x: URL_SAFE_NO_PAD.encode(key.0),
            kid: key.key_id(),
            usage: Some("sig".into()),
            alg: Some("EdDSA".into()),
        }
    }
}

impl Jwk {
    /// The key that this JSON stands for.
    ///
    /// # Errors
    /// When it is not an Ed25519 key, or its `kid` is not its thumbprint.
    pub fn verifying_key(&self) -> Result<VerifyingKey, SigningError> {
        if self.kty != "OKP" || self.crv != "Ed25519" {
            return Err(SigningError::Key);
        }
        let bytes = URL_SAFE_NO_PAD.decode(&self.x).map_err(|_| SigningError::Key)?;
        let key = VerifyingKey(bytes.try_into().map_err(|_| SigningError::Key)?);
        if key.key_id() == self.kid { Ok(key) } else { Err(SigningError::Key) }
    }
}

/// A set of public keys (RFC 7517 §5).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jwks {
    /// The keys that are trusted.
    pub keys: Vec<Jwk>,
}

impl FromIterator<VerifyingKey> for Jwks {
    fn from_iter<I: IntoIterator<Item = VerifyingKey>>(keys: I) -> Self {
        Self { keys: keys.into_iter().map(Jwk::from).collect() }
    }
}

impl Jwks {
    /// Checks a compact JWS against these keys and reads its payload.
    ///
    /// # Errors
    /// When the form, the `typ`, the key, the signature or the payload is not what it should be.
    pub fn verify_jws<T: DeserializeOwned>(&self, typ: &'static str, token: &str) -> Result<T, SigningError> {
        let form = || SigningError::Form(typ);
        let (signed, signature) = token.rsplit_once('.').ok_or_else(form)?;
        let (header, payload) = signed.split_once('.').ok_or_else(form)?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| form());
        let header: Header = strict_json::parse_as(&decode(header)?).map_err(|_| form())?;
        if header.alg != "EdDSA" || header.typ != typ {
            return Err(form());
        }
        let known = self.keys.iter().find(|key| key.kid == header.kid);
        let key = known.ok_or(SigningError::UnknownKey(header.kid))?.verifying_key()?;
        key.verify(signed.as_bytes(), &decode(signature)?)?;
        strict_json::parse_as(&decode(payload)?).map_err(|error| SigningError::Content(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(&[seed; 32]).unwrap()
    }

    /// RFC 8037 appendix A.2 and A.3: the key and its thumbprint.
    #[test]
    fn the_key_id_is_the_published_thumbprint() {
        let seed = URL_SAFE_NO_PAD.decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").unwrap();
        let key = SigningKey::from_seed(&seed.try_into().unwrap()).unwrap().verifying_key();
        assert_eq!(Jwk::from(key).x, "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
        assert_eq!(key.key_id(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    #[test]
    fn a_jws_is_read_only_as_what_it_was_signed_as() {
        let token = key(1).sign_jws("a+jwt", &json!({"n": 1})).unwrap();
        let jwks: Jwks = [key(1).verifying_key()].into_iter().collect();
        assert_eq!(jwks.verify_jws::<Value>("a+jwt", &token), Ok(json!({"n": 1})));
        assert_eq!(jwks.verify_jws::<Value>("b+jwt", &token), Err(SigningError::Form("b+jwt")));
        let stranger: Jwks = [key(2).verifying_key()].into_iter().collect();
        assert!(matches!(stranger.verify_jws::<Value>("a+jwt", &token), Err(SigningError::UnknownKey(_))));
    }

    #[test]
    fn every_changed_byte_of_a_jws_is_noticed() {
        let token = key(1).sign_jws("a+jwt", &json!({"n": 1})).unwrap();
        let jwks: Jwks = [key(1).verifying_key()].into_iter().collect();
        for position in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[position] = if changed[position] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(jwks.verify_jws::<Value>("a+jwt", &changed).is_err(), "byte {position}");
        }
        let none =
            format!("{}.{}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#), URL_SAFE_NO_PAD.encode("{}"));
        assert!(jwks.verify_jws::<Value>("a+jwt", &none).is_err());
    }
}
