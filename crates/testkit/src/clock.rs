//! A clock that stands still until it is told to move.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use countersign_model::{Seconds, Timestamp};

/// A clock for tests. Clones show the same time.
#[derive(Debug, Clone)]
pub struct FakeClock(Arc<AtomicI64>);

impl Default for FakeClock {
    /// Noon of the first of March 2026, UTC.
    fn default() -> Self {
        Self::at(Timestamp::from_millis(1_772_366_400_000))
    }
}

impl FakeClock {
    /// A clock that shows the given time.
    #[must_use]
    pub fn at(now: Timestamp) -> Self {
        Self(Arc::new(AtomicI64::new(now.as_millis())))
    }

    /// The time that it shows.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }

    /// Moves it forward.
    pub fn advance(&self, span: Seconds) {
        self.0.fetch_add(span.as_millis(), Ordering::SeqCst);
    }

    /// Sets it, backwards if need be (a skewed clock).
    pub fn set(&self, now: Timestamp) {
        self.0.store(now.as_millis(), Ordering::SeqCst);
    }
}
