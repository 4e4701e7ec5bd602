//! Passkeys: whose there are, adding and removing them, and the votes that they confirm.
//!
//! A passkey is worth as much as the sign-in that it was added in, at first. So the first one takes a
//! sign-in of the last minutes, and from then on a passkey vouches for the next: whoever gets hold of a
//! token or a session can neither add one of their own nor take away the ones that are in their way.

use std::sync::Arc;

use countersign_audit::{EventDraft, kind};
use countersign_model::{ApprovalId, Digest, PersonId, Seconds, Timestamp};
use countersign_store::{By, CommandError, Passkey, PasskeyRefusal, PasskeyUse, StoreError};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{ApprovalError, ApprovalView, Approvals, Ballot, MissingRight, Parts, VoteDecision, require};
use crate::{
    clock::{NoEntropy, entropy},
    identity::{
        Actor, Right, Session,
        passkey::{
            Assertion, Ceremonies, Intent, Registration, RelyingParty, Unverified, creation_options,
            request_options,
        },
    },
};

/// How long ago a session's sign-in may be when a passkey is added in it.
const RECENT_SIGN_IN: Seconds = Seconds::new(5 * 60);
/// The longest name of a passkey, in characters.
const MAX_NAME: usize = 64;

/// A passkey, as its person and admins see it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct PasskeyView {
    /// Its id.
    #[schema(value_type = String)]
    pub id: Digest,
    /// Whose it is.
    #[schema(value_type = String)]
    pub person: PersonId,
    /// What they call it.
    pub name: String,
    /// When it was added.
    #[schema(value_type = String)]
    pub created_at: Timestamp,
    /// When it was last used.
    #[schema(value_type = Option<String>)]
    pub last_used_at: Option<Timestamp>,
}

impl From<Passkey> for PasskeyView {
    fn from(passkey: Passkey) -> Self {
        let Passkey { id, person, name, created_at, last_used_at, .. } = passkey;
        Self { id, person, name, created_at, last_used_at }
    }
}

/// What the console's script is to ask the browser for: a confirmation, a new passkey, or one after the other.
#[derive(Debug, Clone, Serialize)]
pub struct Asked {
    /// The one origin where that works.
    pub origin: String,
    /// For `navigator.credentials.get`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub get: Option<Value>,
    /// For `navigator.credentials.create`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub create: Option<Value>,
}

/// Why something was not done with a passkey. Each text is for the person who wanted it.
#[derive(Debug, thiserror::Error)]
pub enum PasskeyError {
    /// The actor may not.
    #[error(transparent)]
    Right(#[from] MissingRight),
    /// This console has no name.
    #[error("passkeys need a console with a name and HTTPS: its operator has to set api.public_url")]
    NotHere,
    /// The sign-in was too long ago.
    #[error(
        "adding a passkey takes a sign-in within the last five minutes: sign out, sign in again, and add it"
    )]
    SignInAgain,
    /// There is none to confirm with.
    #[error("you have no passkey yet; add one under Passkeys first")]
    None,
    /// A name that is none.
    #[error("a passkey's name has 1 to {MAX_NAME} characters")]
    Name,
    /// Removing one's own takes a passkey, as an admin, too.
    #[error(
        "you remove your own passkeys in the console, with a passkey; if you lost them all, ask another admin"
    )]
    Own,
    /// Something else was confirmed, or nothing.
    #[error(transparent)]
    Unverified(#[from] Unverified),
    /// The store refused it.
    #[error(transparent)]
    Refused(PasskeyRefusal),
    /// The approval did.
    #[error(transparent)]
    Approval(#[from] ApprovalError),
    /// The store cannot answer. The text is for the log, not for the caller.
    #[error("the store cannot answer: {0}")]
    Store(String),
    /// No randomness.
    #[error(transparent)]
    Entropy(#[from] NoEntropy),
}

impl From<StoreError> for PasskeyError {
    fn from(error: StoreError) -> Self {
        Self::Store(error.to_string())
    }
}

impl From<CommandError<PasskeyRefusal>> for PasskeyError {
    fn from(error: CommandError<PasskeyRefusal>) -> Self {
        match error {
            CommandError::Refused(refusal) => Self::Refused(refusal),
            CommandError::Store(error) => error.into(),
        }
    }
}

/// The proof that a person has just confirmed something. Only [`Passkeys::confirm`] makes one.
#[derive(Debug)]
pub(super) struct Confirmed(());

/// Manages passkeys, and takes the votes that they confirm.
#[derive(Debug, Clone)]
pub struct Passkeys {
    parts: Arc<Parts>,
    approvals: Approvals,
    ceremonies: Arc<Ceremonies>,
}

impl Passkeys {
    pub(super) fn new(parts: Arc<Parts>) -> Self {
        let approvals = Approvals::new(Arc::clone(&parts));
        Self { parts, approvals, ceremonies: Arc::default() }
    }

    /// A person's passkeys: one's own, or for an admin anybody's.
    ///
    /// # Errors
    /// When the actor may not see them.
    pub async fn list(&self, actor: &Actor, person: &PersonId) -> Result<Vec<PasskeyView>, PasskeyError> {
        require(actor, if *person == actor.person { Right::Read } else { Right::Admin })?;
        let found = self.parts.store.passkeys_of(person).await?;
        Ok(found.into_iter().map(PasskeyView::from).collect())
    }

    /// What the browser is to be asked, to add a passkey to this session's person.
    ///
    /// # Errors
    /// When the sign-in was too long ago.
    pub async fn begin_adding(&self, session: &Session) -> Result<Asked, PasskeyError> {
        self.check_may_add(session)?;
        let party = self.party()?;
        let person = &session.actor.person;
        let known = self.parts.store.passkeys_of(person).await?;
        let challenge = self.begin(session, &Intent::Add)?;
        let create = creation_options(party, person.as_str(), challenge, &known);
        let get = if known.is_empty() {
            None
        } else {
            Some(request_options(party, self.begin(session, &Intent::AddAnother)?, &known))
        };
        Ok(Asked { origin: party.origin().to_owned(), get, create: Some(create) })
    }

    /// Adds the passkey that the browser has made; another one, only with the word of one that is there.
    ///
    /// # Errors
    /// When the sign-in was too long ago, or what the browser sent does not hold.
    pub async fn add(
        &self,
        session: &Session,
        name: &str,
        registration: &str,
        assertion: &str,
    ) -> Result<PasskeyView, PasskeyError> {
        self.check_may_add(session)?;
        let name = name.trim();
        if name.is_empty() || name.chars().count() > MAX_NAME || name.chars().any(char::is_control) {
            return Err(PasskeyError::Name);
        }
        let party = self.party()?;
        let person = &session.actor.person;
        let registration = Registration::read(registration)?;
        let (challenge, now) = (registration.challenge(party)?, self.parts.clock.now());
        self.ceremonies.take(session.id, person, &Intent::Add, challenge, now)?;
        let key = registration.verify(party)?;
        if !self.parts.store.passkeys_of(person).await?.is_empty() {
            self.confirm(session, &Intent::AddAnother, assertion).await?;
        }
        let passkey = Passkey {
            id: key.id,
            person: person.clone(),
            name: name.to_owned(),
            credential: key.credential,
            algorithm: key.algorithm,
            public_key: key.public_key,
            counter: key.counter,
            created_at: now,
            last_used_at: None,
        };
        self.parts.store.add_passkey(passkey.clone(), self.by(&session.actor)).await?;
        Ok(passkey.into())
    }

    /// What the browser is to be asked, to remove one of one's own passkeys.
    ///
    /// # Errors
    /// When there is none.
    pub async fn begin_removing(&self, session: &Session, passkey: Digest) -> Result<Asked, PasskeyError> {
        self.ask(session, &Intent::Remove { passkey }).await
    }

    /// Removes one of one's own passkeys, confirmed with one of them.
    ///
    /// # Errors
    /// When it is not confirmed, or there is no such passkey.
    pub async fn remove(
        &self,
        session: &Session,
        passkey: Digest,
        assertion: &str,
    ) -> Result<PasskeyView, PasskeyError> {
        self.confirm(session, &Intent::Remove { passkey }, assertion).await?;
        self.take_away(&session.actor, &session.actor.person, passkey).await
    }

    /// Removes somebody else's passkey, as an admin.
    ///
    /// # Errors
    /// When the actor is no admin, or there is no such passkey.
    pub async fn remove_of(
        &self,
        actor: &Actor,
        person: &PersonId,
        passkey: Digest,
    ) -> Result<PasskeyView, PasskeyError> {
        if *person == actor.person {
            return Err(PasskeyError::Own);
        }
        require(actor, Right::Admin)?;
        self.take_away(actor, person, passkey).await
    }

    async fn take_away(
        &self,
        actor: &Actor,
        person: &PersonId,
        passkey: Digest,
    ) -> Result<PasskeyView, PasskeyError> {
        Ok(self.parts.store.remove_passkey(person, passkey, self.by(actor)).await?.into())
    }

    /// What the browser is to be asked, to confirm exactly this answer to a request.
    ///
    /// # Errors
    /// When there is no such request, or the person has no passkey.
    pub async fn begin_deciding(
        &self,
        session: &Session,
        id: ApprovalId,
        decision: VoteDecision,
        reason: Option<String>,
    ) -> Result<Asked, PasskeyError> {
        let intent = self.intent(&session.actor, id, decision, reason).await?;
        self.ask(session, &intent).await
    }

    /// Casts a vote with the assurance of a passkey.
    ///
    /// # Errors
    /// When exactly this vote was not confirmed, or does not count.
    pub async fn decide(
        &self,
        session: &Session,
        id: ApprovalId,
        ballot: Ballot,
        assertion: &str,
    ) -> Result<ApprovalView, PasskeyError> {
        let intent = self.intent(&session.actor, id, ballot.decision, ballot.reason.clone()).await?;
        let confirmed = self.confirm(session, &intent, assertion).await?;
        Ok(self.approvals.vote_confirmed(&session.actor, id, ballot, confirmed).await?)
    }

    /// The digest is the approval's own, so a page that shows another one confirms nothing.
    async fn intent(
        &self,
        actor: &Actor,
        approval: ApprovalId,
        decision: VoteDecision,
        reason: Option<String>,
    ) -> Result<Intent, PasskeyError> {
        let digest = self.approvals.get(actor, approval).await?.digest;
        Ok(Intent::Decide { approval, digest, decision: decision.into(), reason })
    }

    async fn ask(&self, session: &Session, intent: &Intent) -> Result<Asked, PasskeyError> {
        let party = self.party()?;
        let known = self.parts.store.passkeys_of(&session.actor.person).await?;
        if known.is_empty() {
            return Err(PasskeyError::None);
        }
        let get = request_options(party, self.begin(session, intent)?, &known);
        Ok(Asked { origin: party.origin().to_owned(), get: Some(get), create: None })
    }

    fn begin(&self, session: &Session, intent: &Intent) -> Result<Digest, NoEntropy> {
        let (nonce, now) = (entropy()?, self.parts.clock.now());
        Ok(self.ceremonies.begin(session.id, &session.actor.person, intent, nonce, now))
    }

    /// Checks that the person has confirmed exactly this with one of their passkeys, and records it.
    async fn confirm(
        &self,
        session: &Session,
        intent: &Intent,
        assertion: &str,
    ) -> Result<Confirmed, PasskeyError> {
        let party = self.party()?;
        let person = &session.actor.person;
        let assertion = Assertion::read(assertion)?;
        let challenge = assertion.challenge(party)?;
        let ceremony = self.ceremonies.take(session.id, person, intent, challenge, self.parts.clock.now())?;
        let known = self.parts.store.passkeys_of(person).await?;
        let passkey = known.iter().find(|one| one.id == assertion.passkey()).ok_or(Unverified::Stranger)?;
        let signed = assertion.verify(party, passkey)?;
        let evidence = json!({"intent": ceremony.evidence(intent), "assertion": signed.evidence});
        let used = PasskeyUse { person: person.clone(), id: passkey.id, counter: signed.counter, evidence };
        let noted = self.parts.store.use_passkey(used, self.by(&session.actor)).await;
        if let Err(CommandError::Refused(PasskeyRefusal::WentBack)) = &noted {
            self.report_copy(&session.actor, passkey, signed.counter).await?;
        }
        noted?;
        Ok(Confirmed(()))
    }

    /// The signature was good and the counter was not: the one thing about passkeys that admins must see.
    async fn report_copy(&self, actor: &Actor, passkey: &Passkey, counter: u32) -> Result<(), StoreError> {
        tracing::warn!(person = %passkey.person, passkey = %passkey.id, "a passkey's counter went back");
        let mut event = EventDraft::new(self.parts.clock.now(), kind::PASSKEY_REFUSED);
        event.actor = Some(actor.audit_name());
        event.body.insert("method".to_owned(), json!(actor.method));
        event.body.insert("passkey".to_owned(), json!(passkey.id));
        event.body.insert("person".to_owned(), json!(passkey.person));
        event.body.insert("counter".to_owned(), json!({"stored": passkey.counter, "given": counter}));
        self.parts.store.record(vec![event]).await.map(drop)
    }

    fn check_may_add(&self, session: &Session) -> Result<(), PasskeyError> {
        require(&session.actor, Right::Vote)?;
        let recent = self.parts.clock.now() < session.signed_in_at.plus(RECENT_SIGN_IN);
        if recent { Ok(()) } else { Err(PasskeyError::SignInAgain) }
    }

    fn party(&self) -> Result<&RelyingParty, PasskeyError> {
        self.parts.relying_party.as_ref().ok_or(PasskeyError::NotHere)
    }

    fn by(&self, actor: &Actor) -> By {
        By::new(actor, self.parts.clock.now())
    }
}
