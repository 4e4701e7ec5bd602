//! What is under way in a session of the revisions that have sessions. A session's id is the server's; it
//! is no proof of anything, it only tells streams apart.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use http::{HeaderMap, HeaderName};

use crate::{
    local::wire::OutcomeReport,
    mcp::{
        agreed::Agreed,
        envelope::Id,
        lane::{Lane, LaneError},
        revision::Revision,
        ruling::Asked,
    },
};

/// The header that names a session.
pub(super) const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");

/// The most sessions of one server that are remembered. The one that was used longest ago goes first.
const MAX_SESSIONS: usize = 4_096;
/// For how long an answer may come on another stream than the one that broke off.
const RESUMABLE_FOR: Duration = Duration::from_secs(5 * 60);

/// What is under way.
#[derive(Debug, Default)]
pub(super) struct Session {
    /// What the client asks the server.
    pub(super) calls: Lane<OutcomeReport>,
    /// What the server asks the client.
    pub(super) asks: Lane<OutcomeReport>,
    /// What the two have agreed on.
    pub(super) agreed: OnceLock<Agreed>,
    /// What was forwarded and is not answered yet, by its id: a client takes an answer from whichever stream
    /// it comes on, so whichever it is, the same is done about it.
    asked: Mutex<HashMap<Id, Asked>>,
}

impl Session {
    /// The revision that was agreed on; what a server without memory is to assume (2025-11-25), if none was.
    pub(super) fn revision(&self) -> Revision {
        self.agreed.get().map_or(Revision::March2025, |agreed| agreed.revision)
    }

    /// A request was forwarded.
    pub(super) fn note(&self, asked: &Asked) {
        self.lock_asked().insert(asked.call.id.clone(), asked.clone());
    }

    /// What was asked under an id.
    pub(super) fn asked(&self, id: &Id) -> Option<Asked> {
        self.lock_asked().get(id).cloned()
    }

    /// It was answered, or is not waited for any longer. Whether it was waited for.
    pub(super) fn forget(&self, id: &Id) -> bool {
        self.lock_asked().remove(id).is_some()
    }

    /// Whether an answer that may come on any stream has to be kept whole.
    pub(super) fn may_change(&self) -> bool {
        self.lock_asked().values().any(Asked::may_change)
    }

    fn lock_asked(&self) -> MutexGuard<'_, HashMap<Id, Asked>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sessions of one server.
#[derive(Debug, Default)]
pub(super) struct Sessions(Mutex<HashMap<String, Known>>);

#[derive(Debug)]
struct Known {
    session: Arc<Session>,
    used: Instant,
}

impl Sessions {
    /// The session that a request belongs to. One without an id shares its session with all of those: an
    /// answer to a server without sessions can come from anywhere.
    pub(super) fn of(&self, headers: &HeaderMap) -> Arc<Session> {
        self.named(id_of(headers).unwrap_or_default())
    }

    fn named(&self, id: &str) -> Arc<Session> {
        let mut known = self.lock();
        if known.len() >= MAX_SESSIONS && !known.contains_key(id) {
            make_room(&mut known);
        }
        let entry = known
            .entry(id.to_owned())
            .or_insert_with(|| Known { session: Arc::default(), used: Instant::now() });
        entry.used = Instant::now();
        Arc::clone(&entry.session)
    }

    /// The server has begun a session.
    pub(super) fn begun(&self, id: &str, agreed: Agreed) {
        let _ = self.named(id).agreed.set(agreed);
    }

    /// A session is over: what waits in it is withdrawn, what runs in it has an unknown outcome.
    pub(super) fn ended(&self, headers: &HeaderMap) {
        let ended = id_of(headers).and_then(|id| self.lock().remove(id));
        if let Some(Known { session, .. }) = ended {
            session.calls.abandon();
            session.asks.abandon();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn make_room(known: &mut HashMap<String, Known>) {
    let oldest = known.iter().min_by_key(|(_, known)| known.used).map(|(id, _)| id.clone());
    if let Some(id) = oldest {
        known.remove(&id);
    }
}

/// The session's id, if there is exactly one.
pub(super) fn id_of(headers: &HeaderMap) -> Option<&str> {
    let mut given = headers.get_all(SESSION_ID).iter();
    match (given.next(), given.next()) {
        (Some(id), None) => id.to_str().ok(),
        _ => None,
    }
}

/// A request's place in its session. It is given up with the value, so that whoever is dropped halfway
/// leaves nothing behind: what is held is withdrawn, what runs has an unknown outcome.
pub(super) struct Place {
    session: Arc<Session>,
    id: Option<Id>,
}

impl Place {
    /// Takes a place for a request. The receiver resolves when the client withdraws it.
    pub(super) fn take(
        session: &Arc<Session>,
        id: &Id,
    ) -> Result<(Self, tokio::sync::oneshot::Receiver<()>), LaneError> {
        let withdrawn = session.calls.open(id)?;
        Ok((Self { session: Arc::clone(session), id: Some(id.clone()) }, withdrawn))
    }

    /// The stream has ended before the answer, which may still come on another one.
    pub(super) fn leave_resumable(mut self) {
        let Some(id) = self.id.take() else { return };
        let session = Arc::downgrade(&self.session);
        tokio::spawn(async move {
            tokio::time::sleep(RESUMABLE_FOR).await;
            if let Some(session) = session.upgrade() {
                // One that was answered has given its id back, and another may have it now.
                if session.forget(&id) {
                    session.calls.close(&id);
                }
            }
        });
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(id) = &self.id {
            self.session.calls.close(id);
            self.session.forget(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(id: &str) -> HeaderMap {
        HeaderMap::from_iter([(SESSION_ID, HeaderValue::from_str(id).unwrap())])
    }

    #[test]
    fn a_session_is_one_until_it_ends() {
        let sessions = Sessions::default();
        let first = sessions.of(&headers("a"));
        assert!(Arc::ptr_eq(&first, &sessions.of(&headers("a"))));
        assert!(!Arc::ptr_eq(&first, &sessions.of(&headers("b"))));
        sessions.ended(&headers("a"));
        assert!(!Arc::ptr_eq(&first, &sessions.of(&headers("a"))));
    }

    #[test]
    fn sessions_are_bounded() {
        let sessions = Sessions::default();
        for number in 0..MAX_SESSIONS + 10 {
            sessions.named(&number.to_string());
        }
        assert_eq!(sessions.lock().len(), MAX_SESSIONS);
    }
}
