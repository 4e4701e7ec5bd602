//! Bearer secrets: 32 random bytes that are shown once and kept as a SHA-256 digest.
//!
//! The secrets are random and long, so a plain digest is enough: there is nothing to guess, and no
//! reason to slow each request down. Comparison is constant-time all the same.

use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_model::{Digest, TokenId};
use subtle::ConstantTimeEq;

/// How many random bytes a secret has.
const SECRET_BYTES: usize = 32;

/// A text that is not a token. It does not say what was wrong with it: that is nobody's business.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a token")]
pub struct SecretError;

/// A secret in the clear. It is never printed by `Debug`, stored or logged.
#[derive(Clone)]
pub struct Secret([u8; SECRET_BYTES]);

impl Secret {
    /// A secret of fresh randomness, which the caller draws.
    #[must_use]
    pub fn new(entropy: [u8; SECRET_BYTES]) -> Self {
        Self(entropy)
    }

    /// The text that is handed out.
    #[must_use]
    pub fn expose(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    pub(super) fn as_bytes(&self) -> &[u8; SECRET_BYTES] {
        &self.0
    }

    /// What is kept of it.
    #[must_use]
    pub fn hash(&self) -> Digest {
        Digest::of(&self.0)
    }

    /// Another value that only the holder of this secret can know, for one named purpose.
    #[must_use]
    pub fn derive(&self, purpose: &str) -> Digest {
        Digest::of_parts(&[purpose.as_bytes(), b"\0", &self.0])
    }

    /// Whether this is the secret that `stored` was taken of, in constant time.
    #[must_use]
    pub fn matches(&self, stored: &Digest) -> bool {
        same(&self.hash(), stored)
    }
}

/// Whether two digests are equal, in constant time.
#[must_use]
pub fn same(left: &Digest, right: &Digest) -> bool {
    left.as_bytes().ct_eq(right.as_bytes()).into()
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl FromStr for Secret {
    type Err = SecretError;

    fn from_str(text: &str) -> Result<Self, SecretError> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| SecretError)?;
        Ok(Self(bytes.try_into().map_err(|_| SecretError)?))
    }
}

/// An API token as it is handed out: `cs_<id>_<secret>`. The id finds the record, the secret proves it.
#[derive(Debug, Clone)]
pub struct BearerToken {
    /// The public half.
    pub id: TokenId,
    /// The other half.
    pub secret: Secret,
}

impl BearerToken {
    /// What every token starts with, so that scanners for leaked secrets can find one.
    pub const PREFIX: &'static str = "cs_";

    /// The text that is handed out, once.
    #[must_use]
    pub fn expose(&self) -> String {
        format!("{}{}_{}", Self::PREFIX, self.id, self.secret.expose())
    }
}

impl FromStr for BearerToken {
    type Err = SecretError;

    fn from_str(text: &str) -> Result<Self, SecretError> {
        // An id has no underscore, a secret may have some.
        let (id, secret) =
            text.strip_prefix(Self::PREFIX).and_then(|rest| rest.split_once('_')).ok_or(SecretError)?;
        Ok(Self { id: id.parse().map_err(|_| SecretError)?, secret: secret.parse()? })
    }
}

#[cfg(test)]
mod tests {
    use countersign_model::Timestamp;

    use super::*;

    fn token() -> BearerToken {
        BearerToken {
            id: TokenId::new(Timestamp::from_millis(1_000), [7; 10]),
            secret: Secret::new([255; SECRET_BYTES]),
        }
    }

    #[test]
    fn a_token_reads_what_it_writes() {
        let read: BearerToken = token().expose().parse().unwrap();
        assert_eq!(read.id, token().id);
        assert!(read.secret.matches(&token().secret.hash()));
        assert!(!read.secret.matches(&Digest::ZERO));
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let good = token().expose();
        let short = &good[..good.len() - 2];
        for text in ["", "cs_", "cs__", "cs_x_y", short, &good[3..], &format!("{good}A"), &format!(" {good}")]
        {
            assert!(text.parse::<BearerToken>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_secret_does_not_print_itself() {
        assert_eq!(format!("{:?}", token().secret), "Secret(…)");
        assert!(!format!("{:?}", token()).contains(&token().secret.expose()));
    }

    #[test]
    fn derived_values_differ_by_purpose_and_from_what_is_stored() {
        let secret = token().secret;
        assert_ne!(secret.derive("csrf"), secret.derive("other"));
        assert_ne!(secret.derive("csrf"), secret.hash());
    }
}
