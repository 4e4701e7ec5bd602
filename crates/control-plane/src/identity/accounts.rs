//! Accounts in chats: linked by their person at the console, and good for a vote as long as that person's
//! sign-in is.
//!
//! A link is made for one account, by the code that has verified who is asking there, and works once.
//! Whoever opens it must be signed in and is shown which account it is: a link that somebody else passes
//! on would let that somebody vote. An account is never linked anew by itself, and a person has one
//! account of each place, so that neither can be taken over quietly (I3, I4).

use std::collections::BTreeSet;

use countersign_model::{Digest, PersonId, Seconds, Timestamp};
use countersign_store::{
    AccountKind, AccountLink, AccountRefusal, By, CommandError, ExternalAccount, LinkedAccount, PageError,
    PageRequest, StoreError,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Actor, ActorKind, AuthError, Evidence, Identity, Right, Secret, Session};
use crate::clock::{NoEntropy, entropy};

/// How long an account link can be opened.
pub const ACCOUNT_LINK_LIFETIME: Seconds = Seconds::new(10 * 60);
/// The longest realm, subject and label, in bytes.
const MAX_TEXT: usize = 512;

/// An account elsewhere, as its person sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct AccountView {
    /// What it is called by here.
    #[schema(value_type = String)]
    pub id: Digest,
    /// `oidc`, `slack` or `teams`.
    pub kind: String,
    /// The issuer, team or tenant.
    pub realm: String,
    /// The account's own id there.
    pub subject: String,
    /// How the account calls itself.
    pub label: String,
    /// Whose it is.
    #[schema(value_type = String)]
    pub person: PersonId,
    /// When it was linked.
    #[schema(value_type = String)]
    pub linked_at: Timestamp,
}

impl From<LinkedAccount> for AccountView {
    fn from(linked: LinkedAccount) -> Self {
        Self {
            id: linked.account.id(),
            kind: linked.account.kind.as_str().to_owned(),
            realm: linked.account.realm,
            subject: linked.account.subject,
            label: linked.label,
            person: linked.person,
            linked_at: linked.linked_at,
        }
    }
}

/// Why an account was not linked or unlinked.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// The account's names are none.
    #[error("an account's realm, subject and label have 1 to {MAX_TEXT} bytes and no control characters")]
    Malformed,
    /// The link was used, has run out, or never was one.
    #[error("this link was used before, has run out, or was replaced by a newer one; ask for another")]
    Spent,
    /// It is somebody's already.
    #[error("this account is linked already; whoever has it must unlink it first")]
    Linked,
    /// The person has another one there.
    #[error("you have linked another account of the same place; unlink that one first")]
    Another,
    /// The place says that the account is somebody else's.
    #[error("this account belongs to somebody else")]
    OtherPerson,
    /// There is no such account, or it is somebody else's.
    #[error("there is no such account")]
    NotFound,
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No randomness.
    #[error(transparent)]
    Entropy(#[from] NoEntropy),
}

impl From<CommandError<AccountRefusal>> for AccountError {
    fn from(error: CommandError<AccountRefusal>) -> Self {
        match error {
            CommandError::Refused(AccountRefusal::Unknown) => Self::Spent,
            CommandError::Refused(AccountRefusal::Linked) => Self::Linked,
            CommandError::Refused(AccountRefusal::Another) => Self::Another,
            CommandError::Refused(AccountRefusal::OtherPerson) => Self::OtherPerson,
            CommandError::Store(error) => Self::Store(error),
        }
    }
}

impl Identity {
    /// Makes the link that an account's person opens at the console to make the account theirs. For the
    /// code of a chat, which has verified the account and gives the link to nobody else. `only_for` is
    /// the person whom the chat itself vouches for (a verified e-mail address), if it does. Returns the path.
    ///
    /// # Errors
    /// When the account is linked already, its names are none, or the store does not answer.
    pub async fn begin_link(
        &self,
        account: ExternalAccount,
        label: &str,
        only_for: Option<PersonId>,
    ) -> Result<String, AccountError> {
        let texts = [account.realm.as_str(), account.subject.as_str(), label];
        let fits = |text: &&str| (1..=MAX_TEXT).contains(&text.len()) && !text.contains(char::is_control);
        if !texts.iter().all(fits) {
            return Err(AccountError::Malformed);
        }
        let (secret, now) = (Secret::new(entropy()?), self.now());
        let by = By::new(format!("{}:{}", account.kind.as_str(), account.subject), now);
        let link = AccountLink {
            hash: link_hash(&secret),
            account,
            label: label.to_owned(),
            only_for,
            expires_at: now.plus(ACCOUNT_LINK_LIFETIME),
        };
        self.0.people.create_account_link(link, by).await?;
        Ok(format!("/accounts/link?secret={}", secret.expose()))
    }

    /// The account that a link is for. Looking uses nothing up.
    ///
    /// # Errors
    /// When the link is not valid, or the account is not this person's.
    pub async fn look_at_account_link(
        &self,
        session: &Session,
        text: &str,
    ) -> Result<AccountLink, AccountError> {
        let secret: Secret = text.parse().map_err(|_| AccountError::Spent)?;
        let link = self.0.people.account_link(link_hash(&secret)).await?;
        let link = link.filter(|link| self.now() < link.expires_at).ok_or(AccountError::Spent)?;
        if link.only_for.as_ref().is_some_and(|only| !session.actor.is(only)) {
            return Err(AccountError::OtherPerson);
        }
        Ok(link)
    }

    /// Makes a link's account that of whoever is signed in, and uses the link up.
    ///
    /// # Errors
    /// When the link is not valid, or the account cannot be this person's.
    pub async fn complete_link(&self, session: &Session, text: &str) -> Result<AccountView, AccountError> {
        let secret: Secret = text.parse().map_err(|_| AccountError::Spent)?;
        let actor = &session.actor;
        let by = By::new(actor, self.now());
        let linked = self.0.people.redeem_account_link(link_hash(&secret), actor.person.clone(), by).await?;
        Ok(linked.into())
    }

    /// The accounts of the actor's person; everybody's for an admin.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn linked_accounts(&self, actor: &Actor) -> Result<Vec<AccountView>, AccountError> {
        let mut accounts = Vec::new();
        let mut page = PageRequest::first(PageRequest::MAX);
        loop {
            let found = self.0.people.linked_accounts(page).await.map_err(stored)?;
            let seen = |linked: &LinkedAccount| linked.person == actor.person || actor.may(Right::Admin);
            accounts.extend(found.items.into_iter().filter(seen).map(AccountView::from));
            let Some(next) = found.next else { break };
            page = PageRequest { limit: PageRequest::MAX, after: Some(next) };
        }
        accounts.sort_by(|a, b| (&a.person, a.linked_at).cmp(&(&b.person, b.linked_at)));
        Ok(accounts)
    }

    /// Takes an account from its person: one's own, or any for an admin. What was opened with it ends.
    ///
    /// # Errors
    /// When there is no such account for this actor.
    pub async fn unlink_account(&self, actor: &Actor, id: Digest) -> Result<AccountView, AccountError> {
        let linked = self.0.people.linked_account(id).await?.ok_or(AccountError::NotFound)?;
        let own = linked.person == actor.person && actor.kind == ActorKind::Human;
        if !own && !actor.may(Right::Admin) {
            return Err(AccountError::NotFound);
        }
        match self.0.people.unlink_account(id, By::new(actor, self.now())).await {
            Err(CommandError::Refused(AccountRefusal::Unknown)) => Err(AccountError::NotFound),
            other => Ok(other?.into()),
        }
    }

    /// The actor behind an account in a chat, which the chat's own code has verified: its person, with
    /// what they may do as of their latest sign-in. It can look and vote, and nothing else.
    ///
    /// # Errors
    /// When the account is nobody's, its person is disabled, or did not sign in lately.
    pub async fn account_actor(&self, account: &ExternalAccount) -> Result<Actor, AuthError> {
        // An identity provider's account proves itself by a sign-in only.
        if account.kind == AccountKind::Oidc {
            return Err(AuthError::Refused);
        }
        let linked = self.0.people.linked_account(account.id()).await?.ok_or(AuthError::Unlinked)?;
        let standing = self.standing(&linked.person, Evidence::Chat).await?;
        let scopes = BTreeSet::from([Right::Read, Right::Vote]);
        let method = account.kind.as_str();
        let actor =
            Self::with_standing(linked.person, ActorKind::Human, standing, method, None, Some(&scopes))?;
        self.with_delegators(actor).await
    }
}

fn link_hash(secret: &Secret) -> Digest {
    secret.derive("account link")
}

fn stored(error: PageError) -> AccountError {
    match error {
        PageError::Store(error) => AccountError::Store(error),
        PageError::Cursor(error) => AccountError::Store(StoreError::Damaged(error.to_string())),
    }
}
