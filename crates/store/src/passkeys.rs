//! Passkeys: the public halves of keys that people's authenticators keep (WebAuthn).

use async_trait::async_trait;
use countersign_model::{Digest, PersonId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{By, CommandError, StoreError};

/// The most passkeys that one person can have.
pub const MOST_PASSKEYS: usize = 16;

/// A passkey. Nothing of it is secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passkey {
    /// SHA-256 over the credential id, by which it is named.
    pub id: Digest,
    /// Whose it is.
    pub person: PersonId,
    /// What they call it.
    pub name: String,
    /// The credential id, base64url.
    pub credential: String,
    /// The public key's COSE algorithm.
    pub algorithm: i32,
    /// The public key, a DER `SubjectPublicKeyInfo`, base64url.
    pub public_key: String,
    /// The authenticator's signature counter when it was last used; it stays 0 where there is none.
    pub counter: u32,
    /// When it was added.
    pub created_at: Timestamp,
    /// When it was last used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<Timestamp>,
}

/// A passkey that has signed something.
#[derive(Debug, Clone, PartialEq)]
pub struct PasskeyUse {
    /// Whose.
    pub person: PersonId,
    /// Which.
    pub id: Digest,
    /// What its counter says now.
    pub counter: u32,
    /// What it has signed, so that anyone can check that with its public key.
    pub evidence: serde_json::Value,
}

/// Why nothing was done with a passkey.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasskeyRefusal {
    /// That person has no such passkey.
    #[error("there is no such passkey")]
    Unknown,
    /// They have that one already.
    #[error("this passkey is registered already")]
    Exists,
    /// They have as many as they can.
    #[error("you have {MOST_PASSKEYS} passkeys, which is the most; remove one first")]
    TooMany,
    /// Its counter did not grow: there may be a second one with the same key (WebAuthn §6.1.1).
    #[error("this passkey's counter went back, so it may have been copied; nothing was accepted from it")]
    WentBack,
}

/// People's passkeys.
#[async_trait]
pub trait PasskeyStore {
    /// Adds a passkey (`passkey.added`).
    async fn add_passkey(&self, passkey: Passkey, by: By) -> Result<(), CommandError<PasskeyRefusal>>;

    /// A person's passkeys.
    async fn passkeys_of(&self, person: &PersonId) -> Result<Vec<Passkey>, StoreError>;

    /// Notes that a passkey has signed something (`passkey.used`). Of two uses with the same counter, one
    /// is refused.
    async fn use_passkey(&self, used: PasskeyUse, by: By) -> Result<Passkey, CommandError<PasskeyRefusal>>;

    /// Removes a passkey (`passkey.removed`).
    async fn remove_passkey(
        &self,
        person: &PersonId,
        id: Digest,
        by: By,
    ) -> Result<Passkey, CommandError<PasskeyRefusal>>;
}
