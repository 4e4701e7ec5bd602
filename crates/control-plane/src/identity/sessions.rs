//! Console sessions: sign in, stay signed in, sign out.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_audit::{EventDraft, kind};
use countersign_model::{Digest, PersonId, Timestamp, TokenId};
use countersign_store::{Author, By, CommandError, SignInLink, StoreError};
use serde_json::json;

use super::{
    Actor, ActorKind, Address, AuthError, BearerToken, Evidence, Identity, LINK_LIFETIME, OidcError, Secret,
    TooManyFailures, is_live, links::LinkSecret, same, standing::BY_LINK,
};
use crate::clock::{NoEntropy, entropy};

/// A session of somebody who is signed in to the console.
#[derive(Debug, Clone)]
pub struct Session {
    /// Who, by what is known now.
    pub actor: Actor,
    /// What every form of this session carries.
    pub csrf: String,
    /// What names it: the hash of its secret.
    pub id: Digest,
    /// When its person signed in.
    pub signed_in_at: Timestamp,
}

/// Why somebody was not signed in.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// Too many failures from there.
    #[error(transparent)]
    TooMany(#[from] TooManyFailures),
    /// Not a valid credential.
    #[error("this is not a valid credential, or no longer")]
    Refused,
    /// A token whose person has not signed in lately.
    #[error("your latest sign-in is too long ago; sign in at your identity provider again")]
    SignInAgain,
    /// A machine token.
    #[error("this is a machine's token; sign in with a personal one")]
    Machine,
    /// Tokens are not taken here.
    #[error("tokens are not taken here; sign in at your identity provider")]
    NoTokens,
    /// The identity provider's word was not enough.
    #[error(transparent)]
    Oidc(#[from] OidcError),
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No randomness.
    #[error(transparent)]
    Entropy(#[from] NoEntropy),
}

impl From<AuthError> for SignInError {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::SignInAgain => Self::SignInAgain,
            AuthError::Refused | AuthError::Unlinked => Self::Refused,
            AuthError::Store(error) => Self::Store(error),
        }
    }
}

impl Identity {
    /// The session of that secret, if it is still open.
    ///
    /// # Errors
    /// When there is none, it has ended, or the store does not answer.
    pub async fn session(&self, secret: &Secret) -> Result<Session, AuthError> {
        let (now, hash) = (self.now(), secret.hash());
        let record = self.0.people.session(hash).await?.ok_or(AuthError::Refused)?;
        if now >= record.expires_at || self.0.seen.session_idled(hash, now) {
            return Err(AuthError::Refused);
        }
        let token = match record.token {
            None => None,
            Some(id) => {
                let token = self.0.people.token(id).await?.filter(|token| is_live(token, now));
                Some(token.ok_or(AuthError::Refused)?)
            }
        };
        let standing = self.standing(&record.person, Evidence::Session(&record)).await?;
        let actor = self.actor(&record.person, standing, &record.method, token.as_ref()).await?;
        if actor.kind == ActorKind::Machine {
            return Err(AuthError::Refused);
        }
        Ok(Session { actor, csrf: csrf(secret), id: hash, signed_in_at: record.created_at })
    }

    /// Opens a session for whoever holds a personal token.
    ///
    /// # Errors
    /// When the token is not valid, is a machine's, or too many were tried from there.
    pub async fn sign_in_with_token(&self, text: &str, from: Address) -> Result<Secret, SignInError> {
        self.0.failures.check(from, self.now())?;
        if !self.takes_tokens() {
            return Err(SignInError::NoTokens);
        }
        let Ok(token) = text.trim().parse::<BearerToken>() else { return self.refused(from, "token").await };
        let actor = match self.token_actor(&token).await {
            Err(AuthError::Refused) => return self.refused(from, "token").await,
            other => other?,
        };
        if actor.kind == ActorKind::Machine {
            return self.refused(from, "machine token").await.or(Err(SignInError::Machine));
        }
        let (secret, session) = self.new_session(actor.person, "session:token", Some(token.id))?;
        let by = By::new(session.person.as_str(), session.created_at);
        self.0.people.open_session(session, by).await?;
        Ok(secret)
    }

    /// Whom a link would sign in. Looking does not use it up, so a previewer of links does no harm.
    ///
    /// # Errors
    /// When the link is not valid, or too many were tried from there.
    pub async fn look_at_link(&self, text: &str, from: Address) -> Result<PersonId, SignInError> {
        self.0.failures.check(from, self.now())?;
        let Ok(link) = LinkSecret::parse(text) else { return self.refused(from, "link").await };
        match self.0.people.sign_in_link(link.hash()).await? {
            Some(link) if self.now() < link.expires_at => Ok(link.person),
            _ => self.refused(from, "link").await,
        }
    }

    /// Opens a session for whoever holds an unused sign-in link, and uses the link up.
    ///
    /// # Errors
    /// When the link is not valid, or too many were tried from there.
    pub async fn sign_in_with_link(&self, text: &str, from: Address) -> Result<Secret, SignInError> {
        let person = self.look_at_link(text, from).await?;
        let Ok(link) = LinkSecret::parse(text) else { return self.refused(from, "link").await };
        let (secret, session) = self.new_session(person, BY_LINK, link.token)?;
        let by = By::new(session.person.as_str(), session.created_at);
        match self.0.people.redeem_sign_in_link(link.hash(), session, by).await {
            // What the link was made with may be revoked by now.
            Ok(_) => Ok(self.session(&secret).await.map(|_| secret)?),
            Err(CommandError::Refused(_)) => self.refused(from, "link").await,
            Err(CommandError::Store(error)) => Err(error.into()),
        }
    }

    /// Makes a sign-in link for the actor's own person; nobody gets one for somebody else (I3). Returns
    /// its path with the secret.
    ///
    /// # Errors
    /// When the actor is a machine, or the store does not answer.
    pub async fn sign_in_link(&self, actor: &Actor) -> Result<String, SignInError> {
        if actor.kind == ActorKind::Machine {
            return Err(SignInError::Machine);
        }
        self.new_link(actor.person.clone(), actor.token, actor.into()).await
    }

    /// Makes a sign-in link for the first sign-in of a person. For the process itself (`by`) to print
    /// where it was started; no request leads here.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn bootstrap_link(&self, person: PersonId, by: &str) -> Result<String, SignInError> {
        self.new_link(person, None, by.into()).await
    }

    async fn new_link(
        &self,
        person: PersonId,
        token: Option<TokenId>,
        author: Author,
    ) -> Result<String, SignInError> {
        let link = LinkSecret::new(Secret::new(entropy()?), token);
        let now = self.now();
        let record = SignInLink { hash: link.hash(), person, expires_at: now.plus(LINK_LIFETIME) };
        self.0.people.create_sign_in_link(record, By::new(author, now)).await?;
        Ok(link.path())
    }

    /// Ends a session. Ending one that has ended is no error.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn sign_out(&self, actor: &Actor, secret: &Secret) -> Result<(), StoreError> {
        let hash = secret.hash();
        self.0.seen.forget(&hash);
        match self.0.people.close_session(hash, By::new(actor, self.now())).await {
            Ok(()) | Err(CommandError::Refused(_)) => Ok(()),
            Err(CommandError::Store(error)) => Err(error),
        }
    }

    pub(super) fn new_session(
        &self,
        person: PersonId,
        method: &str,
        token: Option<TokenId>,
    ) -> Result<(Secret, countersign_store::Session), NoEntropy> {
        let secret = Secret::new(entropy()?);
        let now = self.now();
        let session = countersign_store::Session {
            hash: secret.hash(),
            person,
            method: method.to_owned(),
            groups: Vec::new(),
            account: None,
            sid: None,
            id_token: None,
            token,
            created_at: now,
            expires_at: now.plus(self.0.config.session_lifetime),
        };
        Ok((secret, session))
    }

    /// Counts and records a refused sign-in. The limit on failures also bounds what this adds to the log.
    pub(super) async fn refused<T>(&self, from: Address, with: &'static str) -> Result<T, SignInError> {
        self.0.failures.failed(from, self.now());
        tracing::warn!(address = ?from, with, "a sign-in was refused");
        let mut event = EventDraft::new(self.now(), kind::SESSION_REFUSED);
        event.body.insert("with".to_owned(), json!(with));
        event.body.insert("address".to_owned(), json!(from.map(|address| address.to_string())));
        self.0.people.record(vec![event]).await?;
        Err(SignInError::Refused)
    }
}

fn csrf(secret: &Secret) -> String {
    URL_SAFE_NO_PAD.encode(secret.derive("csrf").as_bytes())
}

impl Session {
    /// Whether a form carries what this session's forms carry, in constant time.
    #[must_use]
    pub fn owns_form(&self, csrf: &str) -> bool {
        let digest = |text: &str| Digest::of(text.as_bytes());
        same(&digest(csrf), &digest(&self.csrf))
    }
}
