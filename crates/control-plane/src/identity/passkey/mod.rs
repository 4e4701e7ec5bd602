//! Passkeys: a WebAuthn relying party (Web Authentication Level 3, §7), as thin as it can be.
//!
//! What is asked for is always the same: a signature by a key that its authenticator guards, made after
//! it has verified the person, on this console's own page, over a challenge that says what it is for.
//!
//! The challenge is not just random. It is a digest over a fresh nonce *and* what the person is shown:
//! which request, which operation, which answer, which reason ([`Intent`]). So a signature that was
//! given for one thing is worth nothing for another, and it stays in the audit log as something that
//! anyone can check with the public key.
//!
//! No attestation is asked for, so nothing about a new key is signed; its public key is taken in the
//! form that browsers give it out in (§5.2.1.1), and no CBOR need be read.

mod authenticator;
mod ceremony;
mod client;
mod key;
mod relying_party;
mod response;

pub(crate) use self::response::{creation_options, request_options};
pub use self::{
    ceremony::{CEREMONY_LIFETIME, Ceremonies, Ceremony, Intent},
    relying_party::RelyingParty,
    response::{Assertion, NewKey, Registration, Signed},
};

/// Why what a browser sent is not accepted. Each text is for the person at the browser.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unverified {
    /// Not what a browser sends.
    #[error("the browser's answer cannot be read: {0}")]
    Malformed(&'static str),
    /// No such challenge was given to this session, it was used before, or it is over.
    #[error("the confirmation came too late, or was used before; try again")]
    Challenge,
    /// The challenge was given for something else.
    #[error("what was confirmed is not what was sent; look at the request again and decide anew")]
    OtherIntent,
    /// From a page elsewhere.
    #[error("the confirmation was given on another page than this console's own")]
    Origin,
    /// For another site.
    #[error("the passkey belongs to another site")]
    RelyingParty,
    /// The authenticator did not check who holds it.
    #[error("the authenticator did not verify you; set up a PIN, a fingerprint or your face for it")]
    NotVerified,
    /// The passkey is not one of this person's.
    #[error("this passkey is not one of yours")]
    Stranger,
    /// The signature is not that key's.
    #[error("the passkey's signature is not valid")]
    Signature,
    /// A kind of key that was not asked for.
    #[error("this kind of passkey is not supported; it takes ES256, EdDSA or RS256")]
    Key,
}
