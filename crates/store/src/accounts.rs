//! Accounts elsewhere (at an identity provider, in a chat) and whose they are; and what is known of a
//! person from their latest sign-in.
//!
//! An account is one person's only. It never becomes another's by itself: whoever has it must unlink it first.

use std::collections::BTreeSet;

use async_trait::async_trait;
use countersign_model::{Digest, PersonId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{By, CommandError, Page, PageError, PageRequest, Session, StoreError};

/// Where an account is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccountKind {
    /// At an identity provider: the realm is the issuer, the subject its `sub`.
    Oidc,
    /// In Slack: the realm is the team, the subject the user.
    Slack,
    /// In Microsoft Teams: the realm is the tenant, the subject the user's `oid`.
    Teams,
}

impl AccountKind {
    /// The word for it in records and in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Oidc => "oidc",
            Self::Slack => "slack",
            Self::Teams => "teams",
        }
    }
}

/// An account elsewhere, by what never changes of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ExternalAccount {
    /// Where it is.
    pub kind: AccountKind,
    /// The issuer, team or tenant.
    pub realm: String,
    /// The account's own id there.
    pub subject: String,
}

impl ExternalAccount {
    /// What the account is found by. The realm's length is in it, so that no two accounts share one.
    #[must_use]
    pub fn id(&self) -> Digest {
        let length = (self.realm.len() as u64).to_be_bytes();
        let parts: [&[u8]; 4] =
            [self.kind.as_str().as_bytes(), &length, self.realm.as_bytes(), self.subject.as_bytes()];
        Digest::of_parts(&parts)
    }

    /// Whether both are in the same place: the same team, tenant or issuer.
    #[must_use]
    pub fn is_beside(&self, other: &Self) -> bool {
        self.kind == other.kind && self.realm == other.realm
    }
}

/// An account, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkedAccount {
    /// The account.
    pub account: ExternalAccount,
    /// Whose it is.
    pub person: PersonId,
    /// How the account calls itself, for people to recognise it by; nothing is decided by it.
    pub label: String,
    /// The e-mail address that an identity provider told when it was linked: another one later is no longer
    /// surely the same person's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<PersonId>,
    /// When it was linked.
    pub linked_at: Timestamp,
}

/// A link that makes one account that of whoever opens it while signed in, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountLink {
    /// SHA-256 over its secret.
    pub hash: Digest,
    /// The account.
    pub account: ExternalAccount,
    /// How the account calls itself.
    pub label: String,
    /// The only person who may open it, when the account's place vouches for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only_for: Option<PersonId>,
    /// When it runs out.
    pub expires_at: Timestamp,
}

/// A person's latest sign-in with a credential of their own: not one that an earlier sign-in has made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignIn {
    /// When.
    pub at: Timestamp,
    /// The account at the identity provider that vouched; `None` for a local person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<ExternalAccount>,
    /// The provider's own session (`sid`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sid: Option<String>,
    /// The groups that the provider told, in its own words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// When the provider took it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
}

/// What is known of a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// Who.
    pub person: PersonId,
    /// Since when they may do nothing here, whoever vouches for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled_at: Option<Timestamp>,
    /// Their latest sign-in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sign_in: Option<SignIn>,
    /// Whose other name this is: the same human goes by that one, and this one is good for nothing by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub same_as: Option<PersonId>,
    /// The other names of the same human.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub names: BTreeSet<PersonId>,
}

impl Profile {
    /// A person of whom nothing is known yet.
    #[must_use]
    pub fn new(person: PersonId) -> Self {
        Self { person, disabled_at: None, sign_in: None, same_as: None, names: BTreeSet::new() }
    }
}

/// Why an account was not linked or unlinked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccountRefusal {
    /// The link is unknown, was used before, or ran out; or there is no such account.
    #[error("there is no such link or account, or no longer")]
    Unknown,
    /// It is somebody's already.
    #[error("the account is linked already")]
    Linked,
    /// The person has another account in the same place.
    #[error("another account in the same place is linked to this person")]
    Another,
    /// The link is for somebody else.
    #[error("the link is for somebody else")]
    OtherPerson,
}

/// Why two names were not joined, or not parted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameRefusal {
    /// They are the same.
    #[error("that is one name, not two")]
    Same,
    /// It belongs to somebody else already.
    #[error("{0} is another name of {1} already; part them first")]
    Joined(PersonId, PersonId),
    /// It is nobody's other name.
    #[error("{0} is nobody's other name")]
    NotJoined(PersonId),
}

/// An identity provider's word that somebody has signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vouching {
    /// The session to be opened, with the account. Its person is whom the account belongs to.
    pub session: Session,
    /// The e-mail address that the provider tells.
    pub email: PersonId,
    /// The issuers whose word about that address counts together; empty when no issuer has authority over
    /// its domain, in which case the first one that vouches is the only one.
    pub authorities: Vec<String>,
}

/// Why an identity provider's word does not sign somebody in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VouchRefusal {
    /// The person is disabled here.
    #[error("you may not use this installation")]
    Disabled,
    /// The account came with another address before.
    #[error("your account at the identity provider has another e-mail address than it had here before")]
    OtherAddress,
    /// The address came with another account of the same provider before.
    #[error("your e-mail address belonged to another account of the same identity provider before")]
    OtherAccount,
    /// Somebody else vouches for the address, without the two being trusted alike.
    #[error("your e-mail address is vouched for by somebody else here already")]
    OtherAuthority,
}

/// The end of sign-ins at an identity provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignInEnd {
    /// The provider.
    pub issuer: String,
    /// Whose; anybody's with that `sid` when there is none.
    pub subject: Option<String>,
    /// The provider's session; all of the subject's when there is none.
    pub sid: Option<String>,
    /// The id of the message that says so, which counts once.
    pub jti: String,
    /// Until when the id is remembered: from then on the message would be too old.
    pub until: Timestamp,
}

impl SignInEnd {
    /// Whether it means a sign-in with that account and in that session of the provider.
    #[must_use]
    pub fn means(&self, account: &ExternalAccount, sid: Option<&str>) -> bool {
        account.kind == AccountKind::Oidc
            && account.realm == self.issuer
            && self.subject.as_ref().is_none_or(|subject| *subject == account.subject)
            && self.sid.as_deref().is_none_or(|ended| sid == Some(ended))
    }
}

/// The message was heard before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it was heard before")]
pub struct Replayed;

/// Accounts, and what is known of people.
#[async_trait]
pub trait AccountStore {
    /// Makes a link for an account that nobody has (`account.link_created`). An earlier one for it ends.
    async fn create_account_link(
        &self,
        link: AccountLink,
        by: By,
    ) -> Result<(), CommandError<AccountRefusal>>;

    /// The account link with that secret's hash, expired ones included.
    async fn account_link(&self, hash: Digest) -> Result<Option<AccountLink>, StoreError>;

    /// Uses an account link up, once, and links its account to that person (`account.linked`).
    async fn redeem_account_link(
        &self,
        hash: Digest,
        person: PersonId,
        by: By,
    ) -> Result<LinkedAccount, CommandError<AccountRefusal>>;

    /// Takes an account from its person (`account.unlinked`). What was opened with it ends; with an account at an
    /// identity provider, that is everything that could have been made by its word, tokens included.
    async fn unlink_account(&self, id: Digest, by: By)
    -> Result<LinkedAccount, CommandError<AccountRefusal>>;

    /// An account, by its id.
    async fn linked_account(&self, id: Digest) -> Result<Option<LinkedAccount>, StoreError>;

    /// Every linked account, in no order that means anything.
    async fn linked_accounts(&self, page: PageRequest) -> Result<Page<LinkedAccount>, PageError>;

    /// Opens a session by an identity provider's word (`session.signed_in`), and links the account to its
    /// person when it is new (`account.linked`).
    async fn open_vouched_session(
        &self,
        vouching: Vouching,
        by: By,
    ) -> Result<(), CommandError<VouchRefusal>>;

    /// Ends the sessions that an identity provider says are over (`session.ended`), and takes back the sign-ins
    /// behind them. Returns how many sessions there were.
    async fn end_sign_ins(&self, end: SignInEnd, by: By) -> Result<usize, CommandError<Replayed>>;

    /// What is known of a person.
    async fn profile(&self, person: &PersonId) -> Result<Option<Profile>, StoreError>;

    /// What is known of people, by name.
    async fn profiles(&self, page: PageRequest) -> Result<Page<Profile>, PageError>;

    /// Disables or enables a person (`person.changed`). Returns what is known of them.
    async fn set_disabled(&self, person: PersonId, disabled: bool, by: By) -> Result<Profile, StoreError>;

    /// Makes a name, with all that was joined to it, another name of somebody (`person.changed`), and ends its
    /// sessions. Returns what is known of them.
    async fn join_names(
        &self,
        name: PersonId,
        person: PersonId,
        by: By,
    ) -> Result<Profile, CommandError<NameRefusal>>;

    /// Makes a name that of somebody else again (`person.changed`). Returns what is known of whose it was.
    async fn part_names(&self, name: PersonId, by: By) -> Result<Profile, CommandError<NameRefusal>>;
}
