//! How often somebody may fail to sign in.
//!
//! Secrets cannot be guessed, so this is not what keeps them safe: it keeps a flood of guesses from
//! filling the audit log and the disk.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
};

use countersign_model::{Seconds, Timestamp};

/// Failures that one address may have within [`WINDOW`].
pub(super) const PER_ADDRESS: u32 = 10;
/// Failures that all addresses together may have within [`WINDOW`].
pub(super) const ALTOGETHER: u32 = 200;
/// The window that failures are counted in.
pub(super) const WINDOW: Seconds = Seconds::new(60);

/// The caller has failed too often and must wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many failed sign-ins; try again in {} s", .retry_after.get())]
pub struct TooManyFailures {
    /// How long to wait.
    pub retry_after: Seconds,
}

/// Counts failures in fixed windows. What it holds is bounded by [`ALTOGETHER`].
#[derive(Debug, Default)]
pub(super) struct FailureLimiter {
    window: Mutex<Window>,
}

#[derive(Debug, Default)]
struct Window {
    started: Timestamp,
    altogether: u32,
    by_address: HashMap<Option<IpAddr>, u32>,
}

impl FailureLimiter {
    /// Whether that address may try now.
    ///
    /// # Errors
    /// When it, or everybody together, has failed too often in this window.
    pub(super) fn check(&self, address: Option<IpAddr>, now: Timestamp) -> Result<(), TooManyFailures> {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        window.roll(now);
        let failed = window.by_address.get(&address).copied().unwrap_or(0);
        if failed < PER_ADDRESS && window.altogether < ALTOGETHER {
            return Ok(());
        }
        let left = window.started.plus(WINDOW).millis_since(now).max(1_000) / 1_000;
        Err(TooManyFailures { retry_after: Seconds::new(u32::try_from(left).unwrap_or(WINDOW.get())) })
    }

    /// Counts a failure.
    pub(super) fn failed(&self, address: Option<IpAddr>, now: Timestamp) {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        window.roll(now);
        window.altogether = window.altogether.saturating_add(1);
        let count = window.by_address.entry(address).or_default();
        *count = count.saturating_add(1);
    }
}

impl Window {
    fn roll(&mut self, now: Timestamp) {
        let age = now.millis_since(self.started);
        // A clock that was set back starts a new window, too: otherwise nobody could sign in until it catches up.
        if age >= WINDOW.as_millis() || age < 0 {
            *self = Self { started: now, ..Self::default() };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_is_stopped_and_others_are_not_until_the_window_ends() {
        let limiter = FailureLimiter::default();
        let now = Timestamp::from_millis(1_000_000);
        let (here, there) = (Some([192, 0, 2, 1].into()), Some([192, 0, 2, 2].into()));
        for _ in 0..PER_ADDRESS {
            limiter.check(here, now).unwrap();
            limiter.failed(here, now);
        }
        assert_eq!(limiter.check(here, now).unwrap_err().retry_after, WINDOW);
        limiter.check(there, now).unwrap();
        limiter.check(here, now.plus(WINDOW)).unwrap();
    }

    #[test]
    fn many_addresses_are_stopped_together() {
        let limiter = FailureLimiter::default();
        let now = Timestamp::from_millis(1_000_000);
        for n in 0..ALTOGETHER {
            limiter.failed(Some(IpAddr::from(n.to_be_bytes())), now);
        }
        assert!(limiter.check(Some([203, 0, 113, 9].into()), now).is_err());
    }

    #[test]
    fn a_clock_that_was_set_back_locks_nobody_out() {
        let limiter = FailureLimiter::default();
        let now = Timestamp::from_millis(1_000_000);
        for _ in 0..PER_ADDRESS {
            limiter.failed(None, now);
        }
        limiter.check(None, Timestamp::from_millis(10)).unwrap();
    }
}
