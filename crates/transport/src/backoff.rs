//! When to try again: exponential, with full jitter, so that ten thousand sidecars do not come back at
//! the same moment.

use std::time::Duration;

/// How long to wait between attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The longest wait before the second attempt; it doubles with each one.
    pub first: Duration,
    /// The longest wait of all.
    pub most: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Duration::from_millis(200), most: Duration::from_secs(30) }
    }
}

impl Backoff {
    /// The wait after so many failures in a row (0 is the first), for a random number: anything from
    /// nothing to the bound, evenly.
    #[must_use]
    pub fn wait(&self, failures: u32, random: u64) -> Duration {
        let bound = self.first.saturating_mul(1_u32.checked_shl(failures).unwrap_or(u32::MAX)).min(self.most);
        let nanos = u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX);
        let share = (u128::from(random) * (u128::from(nanos) + 1)) >> 64;
        Duration::from_nanos(u64::try_from(share).unwrap_or(nanos))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_grows_to_its_bound_and_is_spread_over_all_of_it() {
        let backoff = Backoff { first: Duration::from_millis(100), most: Duration::from_secs(5) };
        assert_eq!(backoff.wait(0, u64::MAX), Duration::from_millis(100));
        assert_eq!(backoff.wait(3, u64::MAX), Duration::from_millis(800));
        assert_eq!(backoff.wait(3, u64::MAX / 2), Duration::from_millis(400) - Duration::from_nanos(0));
        for failures in [6, 31, 32, 1_000, u32::MAX] {
            assert_eq!(backoff.wait(failures, u64::MAX), Duration::from_secs(5));
            assert_eq!(backoff.wait(failures, 0), Duration::ZERO);
        }
    }
}
