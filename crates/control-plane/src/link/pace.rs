//! How often a sidecar may ask for what is costly. The transport bounds how many questions there are;
//! some of them are worth many others.

use std::sync::{Mutex, PoisonError};

use countersign_model::Timestamp;

/// Lets something happen once in a while.
#[derive(Debug)]
pub(super) struct Pace {
    least_millis: i64,
    last: Mutex<Option<Timestamp>>,
}

impl Pace {
    /// At most once in so many milliseconds.
    pub(super) fn once_in(least_millis: i64) -> Self {
        Self { least_millis, last: Mutex::new(None) }
    }

    /// Whether it may happen now, which is then noted.
    pub(super) fn allows(&self, now: Timestamp) -> bool {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that was set back must not lock anybody out.
        let since = last.map(|last| now.millis_since(last));
        let allowed = since.is_none_or(|since| since < 0 || since >= self.least_millis);
        if allowed {
            *last = Some(now);
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_happens_once_in_a_while_whatever_the_clock_does() {
        let pace = Pace::once_in(1_000);
        let at = Timestamp::from_millis;
        assert!(pace.allows(at(5_000)));
        assert!(!pace.allows(at(5_999)));
        assert!(pace.allows(at(6_000)));
        assert!(pace.allows(at(1_000)));
    }
}
