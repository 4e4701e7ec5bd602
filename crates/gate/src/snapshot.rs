//! The policy in force, and how long it may be enforced without word from the control plane.

use std::{sync::Arc, time::Duration};

use countersign_model::{Revision, Seconds, Timestamp, signing::Jwks};
use countersign_policy::Bundle;

/// One activated bundle. Immutable: a call in flight finishes under the snapshot that decided it (I7).
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The compiled policies.
    pub bundle: Arc<Bundle>,
    /// Their number.
    pub revision: Revision,
    /// The keys that sign grants.
    pub jwks: Jwks,
    /// When it was activated here.
    pub activated_at: Timestamp,
}

/// How much of a bundle's lease is used up.
///
/// Time is counted by whichever of two clocks has gone further since the last word from the control
/// plane: the wall clock, or the machine's own count of elapsed time. So setting the wall clock back
/// never extends a lease, and neither does a restart, because what was used up is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    length: Seconds,
    heard_at: Timestamp,
    spent_ms: i64,
}

impl Lease {
    /// A lease that starts now, with word from the control plane.
    #[must_use]
    pub const fn renewed(length: Seconds, now: Timestamp) -> Self {
        Self { length, heard_at: now, spent_ms: 0 }
    }

    /// A lease as it was before a restart.
    #[must_use]
    pub const fn resumed(length: Seconds, heard_at: Timestamp, spent_ms: i64) -> Self {
        Self { length, heard_at, spent_ms }
    }

    /// When the control plane was last heard.
    #[must_use]
    pub const fn heard_at(&self) -> Timestamp {
        self.heard_at
    }

    /// How much is used up, given the wall clock and what the machine counted since this value was made.
    #[must_use]
    pub fn spent_ms(&self, now: Timestamp, elapsed: Duration) -> i64 {
        let counted = i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX);
        self.spent_ms.saturating_add(counted).max(now.millis_since(self.heard_at))
    }

    /// Whether the bundle may no longer be enforced (I6, I9).
    #[must_use]
    pub fn has_ended(&self, now: Timestamp, elapsed: Duration) -> bool {
        self.spent_ms(now, elapsed) >= self.length.as_millis()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Seconds = Seconds::new(3_600);
    const START: Timestamp = Timestamp::from_millis(1_000_000_000);

    #[test]
    fn a_lease_ends_after_its_length() {
        let lease = Lease::renewed(HOUR, START);
        assert!(!lease.has_ended(START.plus(Seconds::new(3_599)), Duration::from_secs(3_599)));
        assert!(lease.has_ended(START.plus(HOUR), Duration::from_secs(3_600)));
    }

    #[test]
    fn setting_the_clock_back_does_not_extend_a_lease() {
        let lease = Lease::renewed(HOUR, START);
        assert!(lease.has_ended(START.minus(HOUR), Duration::from_secs(3_600)));
    }

    #[test]
    fn a_restart_with_the_clock_set_back_does_not_extend_a_lease() {
        let before = Lease::renewed(HOUR, START);
        let spent = before.spent_ms(START.plus(Seconds::new(3_000)), Duration::from_secs(3_000));
        let after = Lease::resumed(HOUR, START, spent);
        assert!(!after.has_ended(START, Duration::from_secs(599)));
        assert!(after.has_ended(START, Duration::from_secs(600)));
    }

    #[test]
    fn sleeping_through_a_lease_ends_it_even_if_the_machine_did_not_count() {
        let lease = Lease::renewed(HOUR, START);
        assert!(lease.has_ended(START.plus(HOUR), Duration::ZERO));
    }
}
