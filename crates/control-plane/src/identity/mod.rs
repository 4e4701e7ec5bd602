//! Who is asking: people and machines, how they proved it, and what they may do.
//!
//! Everything that identifies a caller ends in an [`Actor`], made anew for each request from what is
//! known now: a revoked token, a role that was taken away or a session that has ended counts at the
//! next request. What an actor may do to an approval is for the approval's own rules to say.
//!
//! There is no way to become somebody else. Tokens and sign-in links are only ever made for the
//! person who asks for them, so that an administrator who owns an agent cannot sign in as its
//! reviewer (I3). Machine tokens open no session and hold no vote.

mod accounts;
mod actor;
mod cookie;
mod credential;
mod delegations;
mod directory;
mod limiter;
mod links;
mod oidc;
mod open_sessions;
pub mod passkey;
pub mod people_file;
mod same_origin;
mod secret;
mod seen;
mod sessions;
pub(crate) mod settings;
mod standing;
#[cfg(test)]
mod tests;
mod tokens;
mod vouched;

use std::{collections::BTreeSet, fmt, net::IpAddr, sync::Arc};

use countersign_model::{Digest, PersonId, Timestamp, TokenId};
pub use countersign_store::{AccountKind, AccountLink, ExternalAccount};
use countersign_store::{ApiToken, By, CredentialKind, PageError, PageRequest, Store, StoreError};

pub use self::{
    accounts::{ACCOUNT_LINK_LIFETIME, AccountError, AccountView},
    actor::{Actor, ActorKind, Right, Role, WordError},
    cookie::SessionCookie,
    credential::Credential,
    delegations::{DelegationError, DelegationView, NewDelegation},
    directory::{PeopleRefusal, PersonView},
    limiter::TooManyFailures,
    links::LINK_LIFETIME,
    oidc::{
        Answer, NotVouched, OidcError, ProviderConfig, ProviderKind, Providers, ProvidersError, TokenProblem,
    },
    open_sessions::{SessionError, SessionView},
    same_origin::{is_cross_site, is_same_origin},
    secret::{BearerToken, Secret, SecretError, same},
    sessions::{Session, SignInError},
    settings::IdentityConfig,
    tokens::{CreatedToken, NewToken, TokenError, TokenView},
    vouched::{Arrival, Departure, LogoutError, ProviderButton},
};
use self::{
    limiter::FailureLimiter,
    seen::Seen,
    standing::{Evidence, Standing},
};
use crate::clock::Clock;

/// Where a request came from, as far as sign-in needs to know.
pub type Address = Option<IpAddr>;

/// A person whom this installation knows itself, without an identity provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalPerson {
    /// Who.
    pub person: PersonId,
    /// Their groups. `"*"` stands for every group; only a development set-up may say so.
    pub groups: Vec<String>,
    /// Their roles.
    pub roles: BTreeSet<Role>,
}

/// Knows people, tokens and sessions.
#[derive(Clone)]
pub struct Identity(Arc<Inner>);

struct Inner {
    people: Arc<dyn Store>,
    clock: Clock,
    config: IdentityConfig,
    providers: Providers,
    failures: FailureLimiter,
    seen: Seen,
    cookie: SessionCookie,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

/// Why a request is nobody's.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// The credential is unknown, revoked, run out, or its person may no longer use this installation.
    /// Which of them is not told to whoever holds it.
    #[error("the credential is not valid, or no longer")]
    Refused,
    /// An account in a chat that nobody has linked.
    #[error("this account is not linked to anybody; link it at the console first")]
    Unlinked,
    /// The person's latest sign-in is too old for this credential, or was taken back.
    #[error("your latest sign-in is too long ago; sign in at the console again")]
    SignInAgain,
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Identity {
    /// An identity service. `secure` says that the console is reached over HTTPS.
    #[must_use]
    pub fn new(
        people: Arc<dyn Store>,
        clock: Clock,
        config: IdentityConfig,
        providers: Providers,
        secure: bool,
    ) -> Self {
        let cookie = SessionCookie::new(secure);
        let failures = FailureLimiter::default();
        let seen = Seen::new(config.session_idle, config.session_lifetime);
        Self(Arc::new(Inner { people, clock, config, providers, failures, seen, cookie }))
    }

    /// The session cookie of this installation.
    #[must_use]
    pub fn cookie(&self) -> SessionCookie {
        self.0.cookie
    }

    /// The time, by the clock that sessions and tokens are measured with.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// Makes a person known to this installation, or changes their groups and roles. For the
    /// configuration of the process itself (`by`); no request leads here.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn put_local_person(&self, person: LocalPerson, by: &str) -> Result<(), StoreError> {
        let roles = person.roles.iter().map(Role::to_string).collect();
        let LocalPerson { person, groups, .. } = person;
        let person = countersign_store::LocalPerson { person, roles, groups, enabled: true };
        self.0.people.put_local_person(person, By::new(by, self.now())).await
    }

    /// Disables every local person but `known`.
    pub(super) async fn forget_others(&self, known: &BTreeSet<PersonId>, by: &str) -> Result<(), PageError> {
        let mut page = PageRequest::first(PageRequest::MAX);
        loop {
            let found = self.0.people.local_people(page).await?;
            for person in
                found.items.into_iter().filter(|person| person.enabled && !known.contains(&person.person))
            {
                let disabled = countersign_store::LocalPerson { enabled: false, ..person };
                self.0.people.put_local_person(disabled, By::new(by, self.now())).await?;
            }
            let Some(next) = found.next else { return Ok(()) };
            page = PageRequest { limit: PageRequest::MAX, after: Some(next) };
        }
    }

    /// The store of people, which also keeps the idempotency keys of what they write.
    pub(crate) fn people(&self) -> &dyn Store {
        self.0.people.as_ref()
    }

    /// Keeps house: notes when tokens were last used, and removes what has run out. To be called every
    /// minute or so; nothing but tidiness depends on it.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn keep_house(&self) -> Result<(), StoreError> {
        let now = self.now();
        let used = self.0.seen.tidy(now);
        if !used.is_empty() {
            self.0.people.note_tokens_used(used).await?;
        }
        self.0.people.sweep_expired(now).await?;
        Ok(())
    }

    /// The actor behind a credential, by what is known now.
    ///
    /// # Errors
    /// When it is nobody's, or the store does not answer.
    pub async fn authenticate(&self, credential: &Credential) -> Result<Actor, AuthError> {
        match credential {
            Credential::Token(token) => self.token_actor(token).await,
            Credential::Session(secret) => Ok(self.session(secret).await?.actor),
        }
    }

    async fn token_actor(&self, token: &BearerToken) -> Result<Actor, AuthError> {
        let record = self.0.people.token(token.id).await?;
        // An unknown id is compared, too, so that it takes as long as a known one.
        let stored = record.as_ref().map_or(Digest::ZERO, |record| record.hash);
        let matches = token.secret.matches(&stored);
        let record =
            record.filter(|record| matches && is_live(record, self.now())).ok_or(AuthError::Refused)?;
        self.0.seen.token(record.id, self.now());
        let standing = self.standing(&record.owner, Evidence::Token(&record)).await?;
        self.actor(&record.owner, standing, "token", Some(&record)).await
    }

    /// The actor for a person who has proved who they are, within what their token was made for.
    async fn actor(
        &self,
        person: &PersonId,
        standing: Standing,
        method: &str,
        token: Option<&ApiToken>,
    ) -> Result<Actor, AuthError> {
        let kind = token.map_or(ActorKind::Human, |token| kind_of(token.kind));
        let (scopes, id) = (token.and_then(scopes_of), token.map(|token| token.id));
        let actor = Self::with_standing(person.clone(), kind, standing, method, id, scopes.as_ref())?;
        self.with_delegators(actor).await
    }

    /// The actor that somebody is by what they may do now, within what their credential was made for.
    fn with_standing(
        person: PersonId,
        kind: ActorKind,
        Standing { roles, groups, also }: Standing,
        method: &str,
        token: Option<TokenId>,
        scopes: Option<&BTreeSet<Right>>,
    ) -> Result<Actor, AuthError> {
        let mut actor = Actor::new(person, kind, roles, groups, method, token, scopes);
        actor.also = also;
        // Somebody without any right is not let in at all.
        if actor.rights().is_empty() { Err(AuthError::Refused) } else { Ok(actor) }
    }
}

/// Whether a token can be used at that time.
fn is_live(token: &ApiToken, now: Timestamp) -> bool {
    token.revoked_at.is_none() && token.expires_at.is_none_or(|end| now < end)
}

/// What a token was made for; `None` when it was made for everything. A scope that this release does
/// not know gives nothing.
fn scopes_of(token: &ApiToken) -> Option<BTreeSet<Right>> {
    let scopes = token.scopes.as_ref()?;
    Some(scopes.iter().filter_map(|scope| scope.parse().ok()).collect())
}

fn kind_of(kind: CredentialKind) -> ActorKind {
    match kind {
        CredentialKind::Human => ActorKind::Human,
        CredentialKind::Machine => ActorKind::Machine,
    }
}
