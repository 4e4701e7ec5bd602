//! One-time join tokens: how a machine without an identity shows that it may have one.
//!
//! A token carries its id, a secret, and the fingerprint of the authority, so that the machine knows
//! whom it talks to before it says the secret. Only the secret's hash is stored. Expiry and single
//! use belong to the store, which alone can decide them under a race.

use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_model::{Digest, JoinTokenId};
use subtle::ConstantTimeEq;
use zeroize::{ZeroizeOnDrop, Zeroizing};

const PREFIX: &str = "cs-join.";
const VERSION: u8 = 1;
const LENGTH: usize = 1 + 16 + 32 + 32;

/// A text that is not a join token. What was given is not repeated: it may be nearly a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JoinTokenError {
    /// It does not look like one.
    #[error("not a join token: it starts with cs-join. and is copied whole from `agents add`")]
    Malformed,
    /// It is one of a newer release.
    #[error("a join token of version {0}, which is newer than this program")]
    Version(u8),
}

/// The secret of a join token. Never printed; wiped when dropped.
#[derive(Clone, ZeroizeOnDrop)]
pub struct JoinSecret([u8; 32]);

impl JoinSecret {
    /// A secret from 32 fresh random bytes, or as it came over the link.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// What is stored instead of the secret. A plain hash is enough: the secret has 256 bits of entropy.
    #[must_use]
    pub fn hash(&self) -> Digest {
        Digest::of_parts(&[b"countersign join token v1\0", &self.0])
    }

    /// Whether this is the secret of which the hash was stored, in constant time.
    #[must_use]
    pub fn matches(&self, stored: &Digest) -> bool {
        self.hash().as_bytes().ct_eq(stored.as_bytes()).into()
    }

    /// The bytes, to be sent to the authority that the token names.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for JoinSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinSecret(…)")
    }
}

/// A join token, as given to the machine that is to enrol.
#[derive(Debug, Clone)]
pub struct JoinToken {
    /// Which token this is. Not secret.
    pub id: JoinTokenId,
    /// What proves that one holds it.
    pub secret: JoinSecret,
    /// SHA-256 over the certificate of the authority that made it.
    pub authority: Digest,
}

impl JoinToken {
    /// The text to hand over. It is a secret: show it once, and log it nowhere.
    #[must_use]
    pub fn expose(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(LENGTH));
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.id.to_bytes());
        bytes.extend_from_slice(&self.secret.0);
        bytes.extend_from_slice(self.authority.as_bytes());
        let mut text = Zeroizing::new(String::with_capacity(PREFIX.len() + LENGTH * 2));
        text.push_str(PREFIX);
        URL_SAFE_NO_PAD.encode_string(bytes.as_slice(), &mut text);
        text
    }
}

impl FromStr for JoinToken {
    type Err = JoinTokenError;

    fn from_str(text: &str) -> Result<Self, JoinTokenError> {
        let encoded = text.trim().strip_prefix(PREFIX).ok_or(JoinTokenError::Malformed)?;
        if encoded.len() > 2 * LENGTH {
            return Err(JoinTokenError::Malformed);
        }
        let decoded = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| JoinTokenError::Malformed)?;
        let bytes = Zeroizing::new(decoded);
        let (version, bytes) = bytes.split_first().ok_or(JoinTokenError::Malformed)?;
        if *version != VERSION {
            return Err(JoinTokenError::Version(*version));
        }
        let (id, bytes) = bytes.split_first_chunk::<16>().ok_or(JoinTokenError::Malformed)?;
        let (secret, bytes) = bytes.split_first_chunk::<32>().ok_or(JoinTokenError::Malformed)?;
        let authority: &[u8; 32] = bytes.try_into().map_err(|_| JoinTokenError::Malformed)?;
        Ok(Self {
            id: JoinTokenId::from_bytes(*id),
            secret: JoinSecret(*secret),
            authority: Digest::from_bytes(*authority),
        })
    }
}

#[cfg(test)]
mod tests {
    use countersign_model::Timestamp;

    use super::*;

    fn token() -> JoinToken {
        JoinToken {
            id: JoinTokenId::new(Timestamp::from_millis(1), [7; 10]),
            secret: JoinSecret::new([9; 32]),
            authority: Digest::of(b"ca"),
        }
    }

    #[test]
    fn a_token_reads_what_it_writes() {
        let text = token().expose();
        let read: JoinToken = text.parse().unwrap();
        assert_eq!((read.id, read.authority), (token().id, token().authority));
        assert!(read.secret.matches(&token().secret.hash()));
        assert!(!JoinSecret::new([8; 32]).matches(&token().secret.hash()));
    }

    #[test]
    fn a_secret_is_never_printed() {
        let shown = format!("{:?}", token());
        assert!(!shown.contains("9, 9") && !shown.contains("0909"), "{shown}");
        assert!(shown.contains("JoinSecret(…)"));
    }

    #[test]
    fn other_texts_are_refused_with_a_reason() {
        let text = token().expose();
        for wrong in ["", "cs-join.", "cs-join.!!", text.get(1..).unwrap(), text.get(..60).unwrap()] {
            assert_eq!(wrong.parse::<JoinToken>().unwrap_err(), JoinTokenError::Malformed, "{wrong}");
        }
        let newer = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode([2; LENGTH]));
        assert_eq!(newer.parse::<JoinToken>().unwrap_err(), JoinTokenError::Version(2));
        assert!(format!("{PREFIX}{}", "A".repeat(100_000)).parse::<JoinToken>().is_err());
    }
}
