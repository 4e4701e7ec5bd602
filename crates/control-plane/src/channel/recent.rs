//! What was taken in lately: the same message a second time is not taken again.
//!
//! This keeps work and noise away, nothing else: a vote that is taken in twice counts once anyhow (I4).

use std::{
    collections::{HashSet, VecDeque},
    sync::{Mutex, PoisonError},
};

use countersign_model::{Digest, Seconds, Timestamp};

/// How long a message is remembered.
const SPAN: Seconds = Seconds::new(3_600);
/// How many are remembered at most; beyond that the oldest are forgotten.
const MOST: usize = 100_000;

/// Remembers messages by their digest.
#[derive(Debug, Default)]
pub(crate) struct Recent(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    known: HashSet<Digest>,
    order: VecDeque<(Timestamp, Digest)>,
}

impl Recent {
    /// Whether this message is new. From now on it is known.
    pub(crate) fn is_new(&self, message: &[u8], now: Timestamp) -> bool {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.forget(now);
        let digest = Digest::of(message);
        let is_new = inner.known.insert(digest);
        if is_new {
            inner.order.push_back((now, digest));
        }
        is_new
    }
}

impl Inner {
    fn forget(&mut self, now: Timestamp) {
        while let Some((at, digest)) = self.order.front().copied() {
            if self.order.len() < MOST && now < at.plus(SPAN) {
                return;
            }
            self.order.pop_front();
            self.known.remove(&digest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_known_for_an_hour() {
        let recent = Recent::default();
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1_000);
        assert!(recent.is_new(b"a", at(0)));
        assert!(recent.is_new(b"b", at(10)));
        assert!(!recent.is_new(b"a", at(3_599)));
        assert!(recent.is_new(b"a", at(3_600)));
        assert!(!recent.is_new(b"b", at(3_600)));
    }

    #[test]
    fn a_flood_makes_it_forget_the_oldest() {
        let recent = Recent::default();
        let now = Timestamp::from_millis(0);
        for number in 0..=MOST {
            assert!(recent.is_new(&number.to_le_bytes(), now));
        }
        assert!(!recent.is_new(&MOST.to_le_bytes(), now));
        assert!(recent.is_new(&0_usize.to_le_bytes(), now));
    }
}
