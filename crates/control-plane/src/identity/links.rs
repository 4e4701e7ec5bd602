//! One-time sign-in links: to take a session to another device, and to sign in for the first time.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_model::{Digest, Seconds, TokenId};

use super::secret::{Secret, SecretError};

/// How long a link can be used.
pub const LINK_LIFETIME: Seconds = Seconds::new(10 * 60);

/// What a link carries: a secret, and the id of the token that it was made with, if it was one. The
/// stored hash covers both, so the session that a link opens is always bound to that token: it can do
/// no more than the token and ends with it.
#[derive(Debug, Clone)]
pub(super) struct LinkSecret {
    secret: Secret,
    /// The token that the link was made with.
    pub(super) token: Option<TokenId>,
}

impl LinkSecret {
    /// A link's secret, of fresh randomness.
    pub(super) fn new(secret: Secret, token: Option<TokenId>) -> Self {
        Self { secret, token }
    }

    fn bytes(&self) -> Vec<u8> {
        let token = self.token.map(TokenId::to_bytes);
        [self.secret.as_bytes().as_slice(), token.as_ref().map_or(&[], |id| id.as_slice())].concat()
    }

    /// What is kept of it.
    pub(super) fn hash(&self) -> Digest {
        Digest::of_parts(&[b"sign-in link\0", &self.bytes()])
    }

    /// The path that is handed out.
    pub(super) fn path(&self) -> String {
        format!("/sign-in/link?secret={}", URL_SAFE_NO_PAD.encode(self.bytes()))
    }

    /// Reads what [`Self::path`] wrote.
    pub(super) fn parse(text: &str) -> Result<Self, SecretError> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| SecretError)?;
        let (secret, token) = bytes.split_first_chunk().ok_or(SecretError)?;
        let token = match token {
            [] => None,
            id => Some(TokenId::from_bytes(id.try_into().map_err(|_| SecretError)?)),
        };
        Ok(Self { secret: Secret::new(*secret), token })
    }
}

#[cfg(test)]
mod tests {
    use countersign_model::Timestamp;

    use super::*;

    #[test]
    fn a_link_cannot_be_taken_off_its_token() {
        let token = TokenId::new(Timestamp::from_millis(1), [1; 10]);
        let bound = LinkSecret::new(Secret::new([7; 32]), Some(token));
        let path = bound.path();
        let text = path.strip_prefix("/sign-in/link?secret=").unwrap();
        let read = LinkSecret::parse(text).unwrap();
        assert_eq!((read.hash(), read.token), (bound.hash(), Some(token)));
        // Its first 32 bytes alone are another link, which nobody has made.
        let cut = LinkSecret::parse(&Secret::new([7; 32]).expose()).unwrap();
        assert_eq!(cut.token, None);
        assert_ne!(cut.hash(), bound.hash());
        for text in ["", "AAAA", &text[..60], &format!("{text}AAAA")] {
            assert!(LinkSecret::parse(text).is_err(), "{text}");
        }
    }
}
