//! People and what proves who they are. Secrets are stored as SHA-256 hashes of random values only.

use async_trait::async_trait;
use countersign_model::{Digest, PersonId, Timestamp, TokenId};
use serde::{Deserialize, Serialize};

use crate::{By, CommandError, ExternalAccount, Page, PageError, PageRequest, StoreError};

/// Whether a credential stands for a person or a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CredentialKind {
    /// A person.
    Human,
    /// A program. It can never vote (I3).
    Machine,
}

/// An API token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiToken {
    /// Its id.
    pub id: TokenId,
    /// SHA-256 over its secret.
    pub hash: Digest,
    /// What its owner calls it.
    pub name: String,
    /// The person who answers for it.
    pub owner: PersonId,
    /// Whether it stands for that person or for a program.
    pub kind: CredentialKind,
    /// What it may be used for, as the control plane names its rights; `None`: all that its owner may do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it runs out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// When it was last used, about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<Timestamp>,
    /// When it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
}

/// A person whom this installation knows itself, without an identity provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalPerson {
    /// Who.
    pub person: PersonId,
    /// Their roles, as the control plane names them.
    pub roles: Vec<String>,
    /// Their groups.
    pub groups: Vec<String>,
    /// Whether they can sign in.
    pub enabled: bool,
}

/// A console session, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// SHA-256 over its secret.
    pub hash: Digest,
    /// Whose it is.
    pub person: PersonId,
    /// How they proved who they are.
    pub method: String,
    /// The groups that an identity provider told at this sign-in, in its own words; none for local people.
    #[serde(default)]
    pub groups: Vec<String>,
    /// The account at the identity provider that vouched for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<ExternalAccount>,
    /// The provider's own session (`sid`), so that it can end this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sid: Option<String>,
    /// The provider's ID token, which it recognises when they sign out. It proves nothing here again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id_token: Option<String>,
    /// The token that it was opened with: it ends when that is revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenId>,
    /// When it was opened.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// A link that signs somebody in once, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignInLink {
    /// SHA-256 over its secret.
    pub hash: Digest,
    /// Whom it signs in.
    pub person: PersonId,
    /// When it runs out.
    pub expires_at: Timestamp,
}

/// Why a token was not made or revoked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefusal {
    /// There is no such token.
    #[error("there is no such token")]
    Unknown,
    /// There is one with that id or secret.
    #[error("there is such a token already")]
    Exists,
}

/// Why a sign-in link did not sign anybody in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignInRefusal {
    /// It is unknown, or was used before.
    #[error("the link is unknown or was used before")]
    Unknown,
    /// It ran out.
    #[error("the link has expired")]
    Expired,
    /// It is somebody else's.
    #[error("the link is not for that person")]
    OtherPerson,
}

/// There is no such thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is no such session")]
pub struct NotThere;

/// The idempotency key of an API write, as its actor used it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteKey {
    /// Whose key: keys of different actors never meet.
    pub actor: String,
    /// The key.
    pub key: String,
    /// The digest of the request, so that a key is not used for two different ones.
    pub request: Digest,
}

/// The response to a write, to be given again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredResponse {
    /// The HTTP status.
    pub status: u16,
    /// Headers worth repeating.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

/// What is to be done with a write that has a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reservation {
    /// Do it, then [`PeopleStore::complete_write`] or [`PeopleStore::release_write`].
    New,
    /// It was done: give this response again.
    Done(StoredResponse),
    /// It is being done, or was cut off by a crash, in which case the key is free again when its
    /// reservation ends.
    InFlight,
    /// The key was used for another request.
    OtherRequest,
}

/// People, their credentials, and the idempotency keys of what they write.
#[async_trait]
pub trait PeopleStore {
    /// Adds or changes a local person (`person.changed`). Disabling or changing ends nothing that is open:
    /// roles and groups are looked up at every request.
    async fn put_local_person(&self, person: LocalPerson, by: By) -> Result<(), StoreError>;

    /// A local person.
    async fn local_person(&self, person: &PersonId) -> Result<Option<LocalPerson>, StoreError>;

    /// Local people by name.
    async fn local_people(&self, page: PageRequest) -> Result<Page<LocalPerson>, PageError>;

    /// Makes an API token (`token.created`).
    async fn create_token(&self, token: ApiToken, by: By) -> Result<(), CommandError<TokenRefusal>>;

    /// Revokes an API token and ends the sessions that were opened with it (`token.revoked`). Twice is
    /// no error.
    async fn revoke_token(&self, id: TokenId, by: By) -> Result<ApiToken, CommandError<TokenRefusal>>;

    /// Notes when tokens were last used. Not an event.
    async fn note_tokens_used(&self, used: Vec<(TokenId, Timestamp)>) -> Result<(), StoreError>;

    /// The token with that secret's hash, revoked and expired ones included: that is for the caller to judge.
    async fn token_by_hash(&self, hash: Digest) -> Result<Option<ApiToken>, StoreError>;

    /// A token.
    async fn token(&self, id: TokenId) -> Result<Option<ApiToken>, StoreError>;

    /// Tokens, newest first.
    async fn tokens(&self, page: PageRequest) -> Result<Page<ApiToken>, PageError>;

    /// Opens a console session (`session.signed_in`), and notes the sign-in in the person's profile unless an
    /// earlier one made it possible.
    async fn open_session(&self, session: Session, by: By) -> Result<(), StoreError>;

    /// Ends a console session (`session.signed_out`).
    async fn close_session(&self, hash: Digest, by: By) -> Result<(), CommandError<NotThere>>;

    /// Ends a console session from elsewhere (`session.ended`).
    async fn end_session(&self, hash: Digest, by: By) -> Result<(), CommandError<NotThere>>;

    /// Every session, expired ones included, in no order that means anything.
    async fn sessions(&self, page: PageRequest) -> Result<Page<Session>, PageError>;

    /// The session with that secret's hash, expired ones included.
    async fn session(&self, hash: Digest) -> Result<Option<Session>, StoreError>;

    /// Makes a link that signs somebody in once (`token.created`).
    async fn create_sign_in_link(&self, link: SignInLink, by: By) -> Result<(), StoreError>;

    /// Uses a sign-in link up, once, whoever races for it, and opens a session (`session.signed_in`).
    async fn redeem_sign_in_link(
        &self,
        hash: Digest,
        session: Session,
        by: By,
    ) -> Result<Session, CommandError<SignInRefusal>>;

    /// The person whom a sign-in link is for.
    async fn sign_in_link(&self, hash: Digest) -> Result<Option<SignInLink>, StoreError>;

    /// Takes a write's key, until `until` at most.
    async fn reserve_write(
        &self,
        key: WriteKey,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Reservation, StoreError>;

    /// Keeps the response to a write under its key, until `until`.
    async fn complete_write(
        &self,
        key: WriteKey,
        response: StoredResponse,
        until: Timestamp,
    ) -> Result<(), StoreError>;

    /// Frees the key of a write that was not done.
    async fn release_write(&self, key: WriteKey) -> Result<(), StoreError>;

    /// Removes sessions, links and keys that ended before `now`. Returns how many.
    async fn sweep_expired(&self, now: Timestamp) -> Result<usize, StoreError>;
}
