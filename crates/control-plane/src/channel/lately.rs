//! What a chat said of its users a moment ago, so that it is not asked at every click.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use countersign_model::{Seconds, Timestamp};

/// How long an answer about a user holds.
const FRESH: Seconds = Seconds::new(60);
/// How many answers are kept at most.
const MOST: usize = 10_000;

/// Remembers answers for a minute.
#[derive(Debug)]
pub(crate) struct Lately<T>(Mutex<HashMap<String, (Timestamp, T)>>);

impl<T> Default for Lately<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone> Lately<T> {
    /// What was said of a user, if that still holds.
    pub(crate) fn known(&self, user: &str, now: Timestamp) -> Option<T> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(user).filter(|(at, _)| is_fresh(*at, now)).map(|(_, said)| said.clone())
    }

    /// Remembers what is said of a user.
    pub(crate) fn remember(&self, user: &str, said: T, now: Timestamp) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, (at, _)| is_fresh(*at, now));
        if known.len() < MOST {
            known.insert(user.to_owned(), (now, said));
        }
    }
}

/// Whether an answer still holds. A clock that went back makes none last longer.
fn is_fresh(at: Timestamp, now: Timestamp) -> bool {
    (0..FRESH.as_millis()).contains(&now.millis_since(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_holds_for_a_minute() {
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1_000);
        let lately = Lately::default();
        lately.remember("U1", "one", at(100));
        assert_eq!(lately.known("U1", at(159)), Some("one"));
        assert_eq!(lately.known("U1", at(160)), None);
        assert_eq!(lately.known("U1", at(99)), None);
        assert_eq!(lately.known("U2", at(100)), None);
    }
}
