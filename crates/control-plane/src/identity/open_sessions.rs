//! The sessions that a person has open, for them to look at and to end.

use countersign_model::{Digest, PersonId, Timestamp};
use countersign_store::{By, CommandError, PageError, PageRequest, StoreError};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Actor, ActorKind, Identity, Right, Secret};

/// A session at the console that is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct SessionView {
    /// What it is called by; nobody can use the session by it.
    #[schema(value_type = String)]
    pub id: Digest,
    /// Whose it is.
    #[schema(value_type = String)]
    pub person: PersonId,
    /// How it was opened.
    pub method: String,
    /// When it was opened.
    #[schema(value_type = String)]
    pub created_at: Timestamp,
    /// When it ends at the latest.
    #[schema(value_type = String)]
    pub expires_at: Timestamp,
    /// Whether it is the one that asks.
    pub current: bool,
}

impl From<countersign_store::Session> for SessionView {
    fn from(session: countersign_store::Session) -> Self {
        Self {
            id: id_of(&session.hash),
            person: session.person,
            method: session.method,
            created_at: session.created_at,
            expires_at: session.expires_at,
            current: false,
        }
    }
}

/// Why a session was not ended.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// There is no such session, or it is somebody else's.
    #[error("there is no such session")]
    NotFound,
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<PageError> for SessionError {
    fn from(error: PageError) -> Self {
        match error {
            PageError::Store(error) => Self::Store(error),
            PageError::Cursor(error) => Self::Store(StoreError::Damaged(error.to_string())),
        }
    }
}

impl Identity {
    /// The actor's own open sessions, newest first. `current` is the secret of the one that asks.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn sessions(
        &self,
        actor: &Actor,
        current: Option<&Secret>,
    ) -> Result<Vec<SessionView>, SessionError> {
        let current = current.map(Secret::hash);
        let own = self.open_sessions().await?.into_iter().filter(|session| session.person == actor.person);
        let mut views: Vec<_> = own
            .map(|session| SessionView {
                current: current == Some(session.hash),
                ..SessionView::from(session)
            })
            .collect();
        views.sort_by_key(|view| std::cmp::Reverse(view.created_at));
        Ok(views)
    }

    /// Ends a session at once: one's own, or any for an admin.
    ///
    /// # Errors
    /// When there is no such session for this actor.
    pub async fn end_session(&self, actor: &Actor, id: Digest) -> Result<SessionView, SessionError> {
        let mut open = self.open_sessions().await?.into_iter();
        let session = open.find(|session| id_of(&session.hash) == id).ok_or(SessionError::NotFound)?;
        let own = session.person == actor.person && actor.kind == ActorKind::Human;
        if !own && !actor.may(Right::Admin) {
            return Err(SessionError::NotFound);
        }
        self.0.seen.forget(&session.hash);
        match self.0.people.end_session(session.hash, By::new(actor, self.now())).await {
            Ok(()) => Ok(session.into()),
            Err(CommandError::Refused(_)) => Err(SessionError::NotFound),
            Err(CommandError::Store(error)) => Err(error.into()),
        }
    }

    /// Every session that has not run out.
    async fn open_sessions(&self) -> Result<Vec<countersign_store::Session>, SessionError> {
        let now = self.now();
        let mut sessions = Vec::new();
        let mut page = PageRequest::first(PageRequest::MAX);
        loop {
            let found = self.0.people.sessions(page).await?;
            sessions.extend(found.items.into_iter().filter(|session| now < session.expires_at));
            let Some(next) = found.next else { return Ok(sessions) };
            page = PageRequest { limit: PageRequest::MAX, after: Some(next) };
        }
    }
}

/// What a session is called by: it follows from the stored hash, and neither that nor the secret from it.
fn id_of(hash: &Digest) -> Digest {
    Digest::of_parts(&[b"session id\0", hash.as_bytes()])
}
