//! When sessions and tokens were last used. In memory, because it changes with every request: after a
//! restart, a session counts as used at that moment, within its fixed end.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use countersign_model::{Digest, Seconds, Timestamp, TokenId};

/// When sessions and tokens were last used.
#[derive(Debug)]
pub(super) struct Seen {
    idle: Seconds,
    lifetime: Seconds,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    sessions: HashMap<Digest, Timestamp>,
    tokens: HashMap<TokenId, Timestamp>,
}

impl Seen {
    /// Nothing was used yet. A session ends when it was idle for so long, and `lifetime` after its start.
    pub(super) fn new(idle: Seconds, lifetime: Seconds) -> Self {
        Self { idle, lifetime, inner: Mutex::default() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a token is used.
    pub(super) fn token(&self, id: TokenId, now: Timestamp) {
        self.inner().tokens.insert(id, now);
    }

    /// Whether a session that is used now has been idle for too long. If not, it was used now.
    pub(super) fn session_idled(&self, hash: Digest, now: Timestamp) -> bool {
        let mut inner = self.inner();
        let last = inner.sessions.entry(hash).or_insert(now);
        if now >= last.plus(self.idle) {
            return true;
        }
        *last = (*last).max(now);
        false
    }

    /// Forgets a session.
    pub(super) fn forget(&self, hash: &Digest) {
        self.inner().sessions.remove(hash);
    }

    /// Forgets sessions that have ended anyway. Returns the tokens that were used since the last time.
    pub(super) fn tidy(&self, now: Timestamp) -> Vec<(TokenId, Timestamp)> {
        let mut inner = self.inner();
        // A session that has idled is remembered until its fixed end, so that it stays ended.
        inner.sessions.retain(|_, last| now < last.plus(self.lifetime));
        inner.tokens.drain().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_that_idled_stays_ended() {
        let (idle, lifetime) = (Seconds::new(60), Seconds::new(600));
        let seen = Seen::new(idle, lifetime);
        let start = Timestamp::from_millis(1_000_000);
        let hash = Digest::of(b"session");
        assert!(!seen.session_idled(hash, start));
        let late = start.plus(idle);
        assert!(seen.session_idled(hash, late));
        seen.tidy(late);
        assert!(seen.session_idled(hash, late));
    }
}
