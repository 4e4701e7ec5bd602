//! Signing in and out by the word of an identity provider.

use countersign_model::{Digest, PersonId};
use countersign_store::{
    AccountKind, By, CommandError, ExternalAccount, Session as StoredSession, SignInEnd, StoreError,
    VouchRefusal, Vouching,
};
use http::{HeaderMap, HeaderValue};
use serde::Serialize;

use super::{
    Actor, Address, Evidence, Identity, Secret, Session, SignInError,
    cookie::FlowCookie,
    oidc::{Answer, FLOW_LIFETIME, Flow, OidcError, Provider, TokenProblem, Vouched},
};

/// An identity provider on the sign-in page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProviderButton {
    /// Its name in addresses.
    pub id: String,
    /// Its name for people.
    pub name: String,
}

/// A browser that goes to an identity provider.
#[derive(Debug)]
pub struct Departure {
    /// Where it goes.
    pub to: String,
    /// `Set-Cookie`: what binds the answer to this browser.
    pub cookie: Option<HeaderValue>,
}

/// Somebody who came back.
#[derive(Debug)]
pub struct Arrival {
    /// The session that was opened; none when they only showed that an account is theirs, too.
    pub secret: Option<Secret>,
    /// Where they wanted to go.
    pub next: String,
}

/// Why an identity provider's logout token was not heeded.
#[derive(Debug, thiserror::Error)]
pub enum LogoutError {
    /// It is not valid, or was heard before.
    #[error("the logout token is not valid")]
    Refused,
    /// Too many were tried, or the store does not answer.
    #[error(transparent)]
    SignIn(#[from] SignInError),
}

impl Identity {
    /// The identity providers, for the sign-in page.
    #[must_use]
    pub fn providers(&self) -> Vec<ProviderButton> {
        let button = |provider: &Provider| {
            let config = &provider.config;
            ProviderButton { id: config.id.clone(), name: config.name.clone() }
        };
        self.0.providers.iter().map(button).collect()
    }

    /// Whether people can sign in with a token.
    #[must_use]
    pub fn takes_tokens(&self) -> bool {
        self.0.config.local
    }

    /// Sends a browser to an identity provider; it goes on to `next` afterwards.
    ///
    /// # Errors
    /// When there is no such provider, or it cannot be reached.
    pub async fn depart(&self, provider: &str, next: &str) -> Result<Departure, SignInError> {
        let provider = self.0.providers.named(provider)?;
        self.send(provider, Flow::new(&provider.config.id, next, self.now())?).await
    }

    /// Sends the browser of somebody who is signed in to an identity provider, to show that an account there is
    /// theirs, too: its name becomes another one of theirs, so that they are one human (I3, I4).
    ///
    /// # Errors
    /// When there is no such provider, or it cannot be reached.
    pub async fn depart_to_join(
        &self,
        session: &Session,
        provider: &str,
        next: &str,
    ) -> Result<Departure, SignInError> {
        let provider = self.0.providers.named(provider)?;
        let flow = Flow::new(&provider.config.id, next, self.now())?;
        self.send(provider, flow.joining(session.id)).await
    }

    async fn send(&self, provider: &Provider, flow: Flow) -> Result<Departure, SignInError> {
        let to = provider.departure(&flow, &self.0.providers.redirect(provider), self.now()).await?;
        let cookie = self.flow_cookie().set(&flow.cookie(), FLOW_LIFETIME);
        Ok(Departure { to, cookie })
    }

    /// Whether a browser carries a sign-in that is on its way.
    #[must_use]
    pub fn is_departed(&self, headers: &HeaderMap) -> bool {
        self.flow_cookie().read(headers).is_some()
    }

    /// `Set-Cookie` that ends a sign-in on its way.
    #[must_use]
    pub fn forget_departure(&self) -> Option<HeaderValue> {
        self.flow_cookie().clear()
    }

    fn flow_cookie(&self) -> FlowCookie {
        FlowCookie::new(self.0.cookie.is_secure())
    }

    /// Signs in whoever comes back from an identity provider, in the browser that went there.
    ///
    /// # Errors
    /// When the answer is none to this browser's question, or is not believed, or is not enough.
    pub async fn arrive(
        &self,
        provider: &str,
        headers: &HeaderMap,
        answer: &Answer,
        from: Address,
    ) -> Result<Arrival, SignInError> {
        self.0.failures.check(from, self.now())?;
        let arrived = self.try_arrive(provider, headers, answer).await;
        if let Err(SignInError::Oidc(error)) = &arrived
            && !matches!(error, OidcError::Unreachable(_))
        {
            if let OidcError::Unproven(problem) = error {
                tracing::warn!(provider, %problem, "an identity provider's token was not believed");
            }
            self.refused::<()>(from, "oidc").await.or_else(only_refused)?;
        }
        arrived
    }

    async fn try_arrive(
        &self,
        provider: &str,
        headers: &HeaderMap,
        answer: &Answer,
    ) -> Result<Arrival, SignInError> {
        let (provider, now) = (self.0.providers.named(provider)?, self.now());
        let flow = self.flow_cookie().read(headers).and_then(|cookie| Flow::parse(&cookie));
        let state = answer.state.as_deref().unwrap_or_default();
        let flow = flow.filter(|flow| flow.is_answered_by(&provider.config.id, state, now));
        let flow = flow.ok_or(OidcError::NotAsked)?;
        let redirect = self.0.providers.redirect(provider);
        let vouched = provider.arrival(&flow, answer, &redirect, now).await?;
        let secret = match flow.joins {
            None => Some(self.open_vouched(provider, vouched).await?),
            Some(session) => {
                self.join_vouched(provider, vouched, session, headers).await?;
                None
            }
        };
        Ok(Arrival { secret, next: flow.next })
    }

    /// Makes the name that a provider vouches for another one of whoever asked for it, who must still be the one
    /// who is signed in.
    async fn join_vouched(
        &self,
        provider: &Provider,
        vouched: Vouched,
        asked: Digest,
        headers: &HeaderMap,
    ) -> Result<(), SignInError> {
        let secret = self.0.cookie.read(headers).ok_or(OidcError::NotAsked)?;
        let session = self.session(&secret).await?;
        if session.id != asked {
            return Err(OidcError::NotAsked.into());
        }
        let account = account_of(provider, vouched.subject);
        self.authorities(provider, &vouched.email)?;
        let linked = self.0.people.linked_account(account.id()).await?;
        if linked.as_ref().is_some_and(|linked| linked.email.as_ref() != Some(&vouched.email)) {
            return Err(OidcError::Conflict(VouchRefusal::OtherAddress).into());
        }
        let name = linked.map_or(vouched.email, |linked| linked.person);
        if name == session.actor.person {
            return Ok(());
        }
        let by = By::new(&session.actor, self.now());
        match self.0.people.join_names(name, session.actor.person, by).await {
            Ok(_) => Ok(()),
            Err(CommandError::Refused(refusal)) => Err(OidcError::Names(refusal).into()),
            Err(CommandError::Store(error)) => Err(error.into()),
        }
    }

    /// The issuers whose word about an address counts together. Where somebody has authority over its domain,
    /// nobody else vouches for it.
    fn authorities(&self, provider: &Provider, email: &PersonId) -> Result<Vec<String>, OidcError> {
        let domain = email.as_str().rsplit_once('@').map_or("", |(_, domain)| domain);
        let authorities = self.0.providers.authorities(domain);
        if !authorities.is_empty() && !authorities.contains(&provider.config.issuer) {
            return Err(OidcError::Conflict(VouchRefusal::OtherAuthority));
        }
        Ok(authorities)
    }

    /// Opens a session for somebody whom a provider vouches for.
    async fn open_vouched(&self, provider: &Provider, vouched: Vouched) -> Result<Secret, SignInError> {
        let config = &provider.config;
        let account = account_of(provider, vouched.subject);
        let linked = self.0.people.linked_account(account.id()).await?;
        let person = linked.map_or_else(|| vouched.email.clone(), |linked| linked.person);
        let person = self.known_as(person).await?;
        let (secret, session) = self.new_session(person, "oidc", None)?;
        let session = StoredSession {
            method: format!("oidc:{}", config.id),
            groups: vouched.groups,
            account: Some(account),
            sid: vouched.sid,
            id_token: Some(vouched.id_token),
            ..session
        };
        let mut standing = self.local(&session.person, Evidence::Session(&session)).await?;
        standing.add(config.standing(&session.person, &session.groups));
        if standing.roles.is_empty() {
            return Err(OidcError::NoRole { provider: config.name.clone() }.into());
        }
        let authorities = self.authorities(provider, &vouched.email)?;
        let by = By::new(session.person.as_str(), session.created_at);
        let vouching = Vouching { session, email: vouched.email, authorities };
        match self.0.people.open_vouched_session(vouching, by).await {
            Ok(()) => Ok(secret),
            Err(CommandError::Refused(refusal)) => Err(OidcError::Conflict(refusal).into()),
            Err(CommandError::Store(error)) => Err(error.into()),
        }
    }

    /// Ends the sessions that an identity provider says are over, and takes back the sign-ins behind them.
    ///
    /// # Errors
    /// When the token is not valid, or was heard before.
    pub async fn back_channel_logout(
        &self,
        provider: &str,
        token: &str,
        from: Address,
    ) -> Result<(), LogoutError> {
        self.0.failures.check(from, self.now()).map_err(SignInError::from)?;
        let provider = self.0.providers.named(provider).map_err(SignInError::from)?;
        let logout = match provider.logout(token, self.now()).await {
            Ok(logout) => logout,
            Err(OidcError::Unproven(problem)) => return self.not_heeded(provider, &problem, from).await,
            Err(error) => return Err(SignInError::from(error).into()),
        };
        let end = SignInEnd {
            issuer: provider.config.issuer.clone(),
            subject: logout.subject,
            sid: logout.sid,
            jti: logout.jti,
            until: logout.until,
        };
        let by = By::new(format!("provider:{}", provider.config.id), self.now());
        match self.0.people.end_sign_ins(end, by).await {
            Ok(sessions) => {
                tracing::info!(
                    provider = provider.config.id,
                    sessions,
                    "an identity provider ended sign-ins"
                );
                Ok(())
            }
            Err(CommandError::Refused(_)) => {
                self.not_heeded(provider, &TokenProblem::Claim("jti"), from).await
            }
            Err(CommandError::Store(error)) => Err(SignInError::from(error).into()),
        }
    }

    async fn not_heeded(
        &self,
        provider: &Provider,
        problem: &TokenProblem,
        from: Address,
    ) -> Result<(), LogoutError> {
        tracing::warn!(provider = provider.config.id, %problem, "a logout token was not believed");
        self.refused::<()>(from, "logout token").await.or_else(only_refused)?;
        Err(LogoutError::Refused)
    }

    /// Ends a session, and says where its browser goes to end the provider's own, if there is one.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn sign_out_everywhere(
        &self,
        actor: &Actor,
        secret: &Secret,
    ) -> Result<Option<String>, StoreError> {
        let session = self.0.people.session(secret.hash()).await?;
        self.sign_out(actor, secret).await?;
        let Some(StoredSession { account: Some(account), id_token, .. }) = session else { return Ok(None) };
        let Some(provider) = self.0.providers.of_issuer(&account.realm) else { return Ok(None) };
        let back = self.0.providers.after_logout();
        Ok(provider.farewell(id_token.as_deref(), &back, self.now()).await)
    }
}

fn account_of(provider: &Provider, subject: String) -> ExternalAccount {
    ExternalAccount { kind: AccountKind::Oidc, realm: provider.config.issuer.clone(), subject }
}

/// A refusal was recorded; only that it could not be is an error.
fn only_refused(error: SignInError) -> Result<(), SignInError> {
    if matches!(error, SignInError::Refused) { Ok(()) } else { Err(error) }
}
