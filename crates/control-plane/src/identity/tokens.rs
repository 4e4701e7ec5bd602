//! API tokens: made by a person for themselves or for a program of theirs, listed, revoked.

use std::collections::BTreeSet;

use countersign_model::{PersonId, Seconds, Timestamp, TokenId};
use countersign_store::{
    ApiToken, Author, By, CommandError, CredentialKind, PageError, PageRequest, StoreError, TokenRefusal,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Actor, ActorKind, BearerToken, Identity, Right, Secret, is_live, kind_of, scopes_of};
use crate::clock::{NoEntropy, entropy};

/// How long a token lives when nothing else is asked for.
const DEFAULT_LIFETIME: Seconds = Seconds::new(30 * 24 * 60 * 60);
/// How long a token can live at most.
const MAX_LIFETIME: Seconds = Seconds::new(366 * 24 * 60 * 60);
/// How many live tokens one person can have.
const MOST_LIVE: usize = 100;
/// The longest name, in characters.
const MAX_NAME: usize = 100;

/// A token without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct TokenView {
    /// Its public half.
    #[schema(value_type = String)]
    pub id: TokenId,
    /// What its owner calls it.
    pub name: String,
    /// The person who answers for it.
    #[schema(value_type = String)]
    pub owner: PersonId,
    /// `human` for a person's own use, `machine` for a program, which can never vote.
    pub kind: ActorKind,
    /// What it was made for.
    pub scopes: BTreeSet<Right>,
    /// When it was made.
    #[schema(value_type = String)]
    pub created_at: Timestamp,
    /// When it runs out.
    #[schema(value_type = Option<String>)]
    pub expires_at: Option<Timestamp>,
    /// When it was last used, about.
    #[schema(value_type = Option<String>)]
    pub last_used_at: Option<Timestamp>,
    /// When it was revoked.
    #[schema(value_type = Option<String>)]
    pub revoked_at: Option<Timestamp>,
}

impl From<ApiToken> for TokenView {
    fn from(token: ApiToken) -> Self {
        Self {
            scopes: scopes_of(&token).unwrap_or_else(|| Right::ALL.iter().copied().collect()),
            id: token.id,
            name: token.name,
            owner: token.owner,
            kind: kind_of(token.kind),
            created_at: token.created_at,
            expires_at: token.expires_at,
            last_used_at: token.last_used_at,
            revoked_at: token.revoked_at,
        }
    }
}

/// A new token, and the only time that it is shown.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct CreatedToken {
    /// The token's record.
    #[serde(flatten)]
    pub view: TokenView,
    /// The token itself: shown once, stored as a hash.
    pub token: String,
}

/// A wish for a token.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// What its owner calls it.
    pub name: String,
    /// Whether the person or a program will use it.
    pub kind: ActorKind,
    /// What it is for; everything that the owner may do when left out.
    pub scopes: Option<BTreeSet<Right>>,
    /// How long it lives.
    pub lifetime: Option<Seconds>,
}

/// Why something about a token was not done.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// Machines make no tokens.
    #[error("a machine cannot make tokens; sign in as a person")]
    Machine,
    /// More than the actor has, or nothing at all.
    #[error("a token needs at least one scope, and none that you do not have: {0}")]
    Scopes(String),
    /// The name or the lifetime is out of bounds.
    #[error("{0}")]
    Invalid(&'static str),
    /// Too many of them.
    #[error("you have {MOST_LIVE} live tokens; revoke some first")]
    TooMany,
    /// There is no such token, or it is somebody else's.
    #[error("there is no token {0}")]
    NotFound(TokenId),
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No randomness.
    #[error(transparent)]
    Entropy(#[from] NoEntropy),
    /// The cursor is none that a page gave out.
    #[error("the cursor is none that a page gave out")]
    Cursor,
}

impl From<PageError> for TokenError {
    fn from(error: PageError) -> Self {
        match error {
            PageError::Cursor(_) => Self::Cursor,
            PageError::Store(error) => Self::Store(error),
        }
    }
}

impl Identity {
    /// Makes a token for the actor's own person. It can do no more than the actor can now, and a token
    /// that was made with a token does not outlive it.
    ///
    /// # Errors
    /// When the actor is a machine, asks for more than they have, or the wish is out of bounds.
    pub async fn create_token(&self, actor: &Actor, wish: NewToken) -> Result<CreatedToken, TokenError> {
        if actor.kind == ActorKind::Machine {
            return Err(TokenError::Machine);
        }
        let scopes = scopes(actor, &wish)?;
        let now = self.now();
        let mut expires_at = now.plus(lifetime(wish.lifetime)?);
        if let Some(id) = actor.token {
            let parent = self.0.people.token(id).await?.ok_or(TokenError::NotFound(id))?;
            expires_at = expires_at.min(parent.expires_at.unwrap_or(expires_at));
        }
        let mine = self.owned_tokens(Some(&actor.person)).await?;
        if mine.iter().filter(|token| is_live(token, now)).count() >= MOST_LIVE {
            return Err(TokenError::TooMany);
        }
        let kind = match wish.kind {
            ActorKind::Human => CredentialKind::Human,
            ActorKind::Machine => CredentialKind::Machine,
        };
        let token =
            NewRecord { name: name(&wish.name)?, owner: actor.person.clone(), kind, scopes, expires_at };
        self.keep_token(token, actor.into()).await
    }

    /// Makes a personal token with everything that the person may do. For the process itself (`by`), to
    /// hand out where it was started; no request leads here.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn bootstrap_token(
        &self,
        person: PersonId,
        name: &str,
        lifetime: Seconds,
        by: &str,
    ) -> Result<CreatedToken, TokenError> {
        let token = NewRecord {
            name: name.to_owned(),
            owner: person,
            kind: CredentialKind::Human,
            scopes: Right::ALL.iter().copied().collect(),
            expires_at: self.now().plus(lifetime),
        };
        self.keep_token(token, by.into()).await
    }

    async fn keep_token(&self, new: NewRecord, author: Author) -> Result<CreatedToken, TokenError> {
        let now = self.now();
        let token = BearerToken { id: TokenId::new(now, entropy()?), secret: Secret::new(entropy()?) };
        let record = ApiToken {
            id: token.id,
            hash: token.secret.hash(),
            name: new.name,
            owner: new.owner,
            kind: new.kind,
            scopes: Some(new.scopes.iter().map(Right::to_string).collect()),
            created_at: now,
            expires_at: Some(new.expires_at),
            last_used_at: None,
            revoked_at: None,
        };
        match self.0.people.create_token(record.clone(), By::new(author, now)).await {
            Ok(()) => Ok(CreatedToken { view: record.into(), token: token.expose() }),
            Err(CommandError::Store(error)) => Err(error.into()),
            // Ids are random: one that exists already means that the randomness is none.
            Err(CommandError::Refused(_)) => Err(NoEntropy.into()),
        }
    }

    /// The actor's tokens, newest first; an admin sees everybody's.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn tokens(&self, actor: &Actor) -> Result<Vec<TokenView>, TokenError> {
        let owner = (!actor.may(Right::Admin)).then_some(&actor.person);
        Ok(self.owned_tokens(owner).await?.into_iter().map(TokenView::from).collect())
    }

    /// Whether somebody has a token that can be used now.
    pub(super) async fn has_live_token(&self, person: &PersonId) -> Result<bool, TokenError> {
        let now = self.now();
        Ok(self.owned_tokens(Some(person)).await?.iter().any(|token| is_live(token, now)))
    }

    /// Every token of one owner, or of all.
    async fn owned_tokens(&self, owner: Option<&PersonId>) -> Result<Vec<ApiToken>, TokenError> {
        let mut tokens = Vec::new();
        let mut page = PageRequest::first(PageRequest::MAX);
        loop {
            let found = self.0.people.tokens(page).await?;
            let wanted = |token: &ApiToken| owner.is_none_or(|owner| token.owner == *owner);
            tokens.extend(found.items.into_iter().filter(wanted));
            let Some(next) = found.next else { return Ok(tokens) };
            page = PageRequest { limit: PageRequest::MAX, after: Some(next) };
        }
    }

    /// Revokes a token: one's own, or any for an admin. Sessions opened with it end as well.
    ///
    /// # Errors
    /// When there is no such token for this actor.
    pub async fn revoke_token(&self, actor: &Actor, id: TokenId) -> Result<TokenView, TokenError> {
        let record = self.0.people.token(id).await?.ok_or(TokenError::NotFound(id))?;
        if record.owner != actor.person && !actor.may(Right::Admin) {
            return Err(TokenError::NotFound(id));
        }
        match self.0.people.revoke_token(id, By::new(actor, self.now())).await {
            Ok(token) => Ok(token.into()),
            Err(CommandError::Refused(TokenRefusal::Unknown | TokenRefusal::Exists)) => {
                Err(TokenError::NotFound(id))
            }
            Err(CommandError::Store(error)) => Err(error.into()),
        }
    }
}

/// A token that is about to be made.
struct NewRecord {
    name: String,
    owner: PersonId,
    kind: CredentialKind,
    scopes: BTreeSet<Right>,
    expires_at: Timestamp,
}

fn scopes(actor: &Actor, wish: &NewToken) -> Result<BTreeSet<Right>, TokenError> {
    let machine = wish.kind == ActorKind::Machine;
    let available: BTreeSet<Right> =
        actor.rights().iter().copied().filter(|right| !(machine && *right == Right::Vote)).collect();
    let wanted = wish.scopes.clone().unwrap_or_else(|| available.clone());
    if wanted.is_empty() || !wanted.is_subset(&available) {
        let names: Vec<_> = available.iter().map(|right| right.as_str()).collect();
        return Err(TokenError::Scopes(names.join(", ")));
    }
    Ok(wanted)
}

fn lifetime(wanted: Option<Seconds>) -> Result<Seconds, TokenError> {
    let lifetime = wanted.unwrap_or(DEFAULT_LIFETIME);
    if lifetime == Seconds::new(0) || lifetime > MAX_LIFETIME {
        return Err(TokenError::Invalid("a token lives at most 366 days"));
    }
    Ok(lifetime)
}

fn name(wanted: &str) -> Result<String, TokenError> {
    let name = wanted.trim();
    let fits = (1..=MAX_NAME).contains(&name.chars().count()) && !name.chars().any(char::is_control);
    if fits {
        Ok(name.to_owned())
    } else {
        Err(TokenError::Invalid("a token's name has 1 to 100 characters"))
    }
}
