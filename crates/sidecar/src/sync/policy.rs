//! The bundle in force, and for how long it may be enforced.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use arc_swap::ArcSwapOption;
use countersign_gate::{
    Lease, Snapshot,
    ports::{NoPolicy, PolicySource},
};
use countersign_model::{Revision, Seconds, Timestamp};
use futures::future::BoxFuture;
use tokio::sync::watch;

/// More than any lease.
const ALL_SPENT: i64 = i64::MAX / 2;

/// The policy in force. The snapshot is swapped whole (I7); the lease runs beside it (I9).
pub(crate) struct Policy {
    in_force: ArcSwapOption<InForce>,
    contact: Mutex<Contact>,
    changed: watch::Sender<()>,
}

struct InForce {
    snapshot: Arc<Snapshot>,
    lease: Seconds,
}

/// The last word from the control plane.
#[derive(Debug, Clone, Copy)]
struct Contact {
    heard_at: Timestamp,
    /// What was used up of the lease at [`Self::since`].
    spent_ms: i64,
    since: Instant,
}

impl Policy {
    /// No policy yet. `heard_at` and `spent_ms` are what was kept of the last contact.
    pub(crate) fn new(heard_at: Option<Timestamp>, spent_ms: i64) -> Self {
        let spent_ms = if heard_at.is_some() { spent_ms } else { ALL_SPENT };
        let heard_at = heard_at.unwrap_or(Timestamp::from_millis(0));
        let contact = Contact { heard_at, spent_ms, since: Instant::now() };
        Self {
            in_force: ArcSwapOption::empty(),
            contact: Mutex::new(contact),
            changed: watch::Sender::new(()),
        }
    }

    /// Puts a bundle in force. Calls in flight finish under the one before (I7).
    pub(crate) fn activate(&self, snapshot: Snapshot, lease: Seconds) {
        self.in_force.store(Some(Arc::new(InForce { snapshot: Arc::new(snapshot), lease })));
        self.changed.send_replace(());
    }

    /// The bundle in force, whether or not its lease has ended.
    pub(crate) fn snapshot(&self) -> Option<Arc<Snapshot>> {
        self.in_force.load().as_ref().map(|in_force| Arc::clone(&in_force.snapshot))
    }

    /// The revision in force.
    pub(crate) fn revision(&self) -> Option<Revision> {
        self.snapshot().map(|snapshot| snapshot.revision)
    }

    /// The control plane was heard: the lease starts anew.
    pub(crate) fn contacted(&self, at: Timestamp) {
        *self.contact() = Contact { heard_at: at, spent_ms: 0, since: Instant::now() };
    }

    /// The control plane wants no more operations of this agent: nothing is left of the lease.
    pub(crate) fn end_lease(&self) {
        self.contact().spent_ms = ALL_SPENT;
    }

    /// How many milliseconds of the lease are used up.
    pub(crate) fn spent_ms(&self, now: Timestamp) -> i64 {
        let contact = *self.contact();
        // The length does not matter for what is used up.
        Lease::resumed(Seconds::new(0), contact.heard_at, contact.spent_ms)
            .spent_ms(now, contact.since.elapsed())
    }

    /// Resolves once a bundle is in force, if there is none yet.
    pub(crate) async fn some(&self) {
        let mut changes = self.changed.subscribe();
        while self.in_force.load().is_none() && changes.changed().await.is_ok() {}
    }

    fn contact(&self) -> MutexGuard<'_, Contact> {
        // It is plain data, whole at any time.
        self.contact.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PolicySource for Policy {
    fn current(&self, now: Timestamp) -> Result<Arc<Snapshot>, NoPolicy> {
        let in_force = self.in_force.load();
        let InForce { snapshot, lease } = &**in_force.as_ref().ok_or(NoPolicy::Missing)?;
        let contact = *self.contact();
        let lease = Lease::resumed(*lease, contact.heard_at, contact.spent_ms);
        if lease.has_ended(now, contact.since.elapsed()) {
            return Err(NoPolicy::LeaseEnded(Arc::clone(snapshot)));
        }
        Ok(Arc::clone(snapshot))
    }

    fn changed(&self, than: &Arc<Snapshot>) -> BoxFuture<'_, ()> {
        let than = Arc::clone(than);
        let mut changes = self.changed.subscribe();
        Box::pin(async move {
            let same = |now: Option<Arc<Snapshot>>| now.is_none_or(|now| Arc::ptr_eq(&now, &than));
            while same(self.snapshot()) {
                if changes.changed().await.is_err() {
                    // The sender lives as long as this does.
                    return std::future::pending().await;
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use countersign_model::signing::Jwks;
    use countersign_policy::Bundle;

    use super::*;

    const START: Timestamp = Timestamp::from_millis(1_000_000_000);
    const HOUR: Seconds = Seconds::new(3_600);

    fn snapshot(revision: u64) -> Snapshot {
        Snapshot {
            bundle: Arc::new(Bundle::load(&countersign_policy::Template::Starter.files()).unwrap()),
            revision: Revision(revision),
            jwks: Jwks::default(),
            activated_at: START,
        }
    }

    #[test]
    fn without_a_bundle_there_is_no_policy() {
        assert!(matches!(Policy::new(None, 0).current(START), Err(NoPolicy::Missing)));
    }

    #[test]
    fn a_bundle_is_enforced_until_its_lease_ends() {
        let policy = Policy::new(None, 0);
        policy.activate(snapshot(1), HOUR);
        assert!(matches!(policy.current(START), Err(NoPolicy::LeaseEnded(_))), "never heard of");
        policy.contacted(START);
        assert_eq!(policy.current(START).unwrap().revision, Revision(1));
        assert!(matches!(policy.current(START.plus(HOUR)), Err(NoPolicy::LeaseEnded(_))));
        policy.contacted(START.plus(HOUR));
        assert!(policy.current(START.plus(HOUR)).is_ok());
        policy.end_lease();
        assert!(matches!(policy.current(START.plus(HOUR)), Err(NoPolicy::LeaseEnded(_))));
    }

    #[test]
    fn a_restart_with_the_clock_set_back_gives_nothing_of_the_lease_back() {
        let before = Policy::new(Some(START), 0);
        let spent = before.spent_ms(START.plus(Seconds::new(3_000)));
        let after = Policy::new(Some(START), spent);
        after.activate(snapshot(1), HOUR);
        assert!(after.current(START).is_ok());
        assert!(after.spent_ms(START.minus(HOUR)) >= 3_000_000);
        assert!(after.current(START.plus(HOUR)).is_err());
        let exhausted = Policy::new(Some(START), HOUR.as_millis());
        exhausted.activate(snapshot(1), HOUR);
        assert!(exhausted.current(START.minus(HOUR)).is_err());
    }

    #[tokio::test]
    async fn a_change_of_bundle_is_noticed_even_if_it_came_before_the_waiting() {
        let policy = Policy::new(Some(START), 0);
        policy.activate(snapshot(1), HOUR);
        let first = policy.snapshot().unwrap();
        let waiting = policy.changed(&first);
        policy.activate(snapshot(2), HOUR);
        waiting.await;
        policy.changed(&first).await;
        assert_eq!(policy.revision(), Some(Revision(2)));
    }
}
