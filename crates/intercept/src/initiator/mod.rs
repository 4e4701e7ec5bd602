//! The initiating human, vouched for by their identity provider.
//!
//! The agent's host may hand over the token that its person signed in with: an OIDC ID token, or an access
//! token that is a JWT. It comes in the header [`HEADER`], ends here, and is neither logged nor shipped. A
//! token that holds makes its person the verified initiator: who may confirm, and may not approve (I3).
//! One that does not hold is an error, and an error is a denial (I6): what was handed over to be trusted is
//! never quietly taken for less.
//!
//! Keys are fetched beside the way of decisions ([`keys`]). While there are none that are fresh enough, what
//! a token says counts as the caller's own word: it takes that person's vote away and gives nobody any.

mod issuer;
mod keys;
#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use countersign_model::{Timestamp, provenance::Initiator};
use http::{HeaderMap, HeaderName};
use serde_json::{Map, Value};

use self::issuer::Issuer;
pub use self::{
    issuer::{IssuerSettings, is_algorithm},
    keys::Refresh,
};
use crate::mcp::http::UpstreamError;

/// The header that carries the token.
pub const HEADER: HeaderName = HeaderName::from_static("countersign-initiator-token");
/// The longest token, in bytes.
pub const MAX_TOKEN: usize = 16 * 1024;

/// Why a token is not taken. No text repeats any of it but what its issuer is called.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// None can be taken at all.
    #[error(
        "this sidecar takes no initiator tokens; name their issuer in [[initiators]] of its configuration"
    )]
    NotConfigured,
    /// Not a JWT, or more than one.
    #[error("the initiator token is not one JWT of at most {MAX_TOKEN} bytes")]
    Malformed,
    /// From somebody else.
    #[error("the initiator token is from {0:?}, which is not among the issuers in [[initiators]]")]
    Issuer(String),
    /// Signed in a way that is not allowed, or not at all.
    #[error("the initiator token is not signed with an algorithm that is allowed for its issuer")]
    Algorithm,
    /// Signed with a key that is not known. It may be new: the keys are being fetched again.
    #[error("the initiator token's key is not known yet; its issuer's keys are being fetched, try again")]
    UnknownKey,
    /// Not signed with that key.
    #[error("the initiator token's signature is not valid")]
    Signature,
    /// For somebody else.
    #[error("the initiator token is for another audience")]
    Audience,
    /// Over.
    #[error("the initiator token has expired; hand over a fresh one")]
    Expired,
    /// Not begun.
    #[error("the initiator token is not valid yet; check this machine's clock")]
    NotYet,
    /// It names nobody, or somebody whose address nobody has verified.
    #[error("the initiator token does not name a person by a verified address")]
    Nobody,
    /// Of another domain.
    #[error("the initiator token's person is of a domain that is not allowed")]
    Domain,
    /// Somebody else is named beside it.
    #[error("the initiator token is another person's than who is named as the initiator")]
    OtherPerson,
}

/// The issuers whose word counts. Clones share their keys.
#[derive(Clone, Default)]
pub struct Initiators(Arc<Vec<Issuer>>);

impl fmt::Debug for Initiators {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|issuer| &issuer.settings.issuer)).finish()
    }
}

impl Initiators {
    /// Takes the word of these issuers, once their keys are there.
    #[must_use]
    pub fn new(issuers: Vec<IssuerSettings>) -> Self {
        Self(Arc::new(issuers.into_iter().map(Issuer::new).collect()))
    }

    /// What keeps their keys fresh, for each of them.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn refreshes(&self) -> Result<Vec<Refresh>, UpstreamError> {
        (0..self.0.len()).map(|number| Refresh::new(self.clone(), number)).collect()
    }

    /// The initiator whom a request's token vouches for; nobody when there is no token.
    ///
    /// # Errors
    /// When there is one that does not hold.
    pub fn of(&self, headers: &HeaderMap, now: Timestamp) -> Result<Option<Initiator>, Refused> {
        let mut given = headers.get_all(HEADER).iter();
        let Some(token) = given.next() else { return Ok(None) };
        let token = token.to_str().map_err(|_| Refused::Malformed)?;
        if given.next().is_some() {
            return Err(Refused::Malformed);
        }
        self.verify(token.trim(), now).map(Some)
    }

    fn verify(&self, token: &str, now: Timestamp) -> Result<Initiator, Refused> {
        if self.0.is_empty() {
            return Err(Refused::NotConfigured);
        }
        if token.len() > MAX_TOKEN {
            return Err(Refused::Malformed);
        }
        let claimed = unverified_claims(token)?;
        let named = claimed.get("iss").and_then(Value::as_str).ok_or(Refused::Malformed)?;
        let issuer = self.0.iter().find(|issuer| issuer.settings.issuer == named);
        let issuer = issuer.ok_or_else(|| Refused::Issuer(named.chars().take(200).collect()))?;
        issuer.verify(token, &claimed, now)
    }
}

/// The initiator of an operation: whom a token vouches for, else whom the caller names, on its own word.
///
/// # Errors
/// When the caller names somebody else than the token does.
pub(crate) fn settled(
    vouched: Option<&Initiator>,
    named: Option<Initiator>,
) -> Result<Option<Initiator>, Refused> {
    match (vouched, named) {
        (Some(vouched), Some(named)) if named.person != vouched.person => Err(Refused::OtherPerson),
        (Some(vouched), _) => Ok(Some(vouched.clone())),
        (None, named) => Ok(named.map(|named| Initiator { verified: false, ..named })),
    }
}

/// What a token says, before anybody has checked who says so.
fn unverified_claims(token: &str) -> Result<Map<String, Value>, Refused> {
    let mut parts = token.split('.');
    let (Some(_), Some(claims), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Refused::Malformed);
    };
    let claims = BASE64_URL_SAFE_NO_PAD.decode(claims).map_err(|_| Refused::Malformed)?;
    countersign_model::strict_json::parse_as(&claims).map_err(|_| Refused::Malformed)
}
