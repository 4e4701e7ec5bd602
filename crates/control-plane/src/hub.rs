//! Who waits for what: wakes sidecars that wait for one approval, and tells the console's event streams.
//!
//! The hub holds no state of its own to be believed: whoever is woken reads the store.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Mutex, MutexGuard, PoisonError},
};

use countersign_model::{AgentName, ApprovalId};
use tokio::sync::{broadcast, watch};

use crate::services::Change;

/// How many changes an event stream may fall behind before it has to read anew.
const BACKLOG: usize = 1_024;

/// Wakes those who wait.
#[derive(Debug)]
pub(crate) struct Hub {
    /// `None` once the control plane shuts down.
    changes: Mutex<Option<broadcast::Sender<Change>>>,
    waiting: Mutex<HashMap<ApprovalId, watch::Sender<u64>>>,
}

impl Default for Hub {
    fn default() -> Self {
        let changes = Mutex::new(Some(broadcast::Sender::new(BACKLOG)));
        Self { changes, waiting: Mutex::default() }
    }
}

impl Hub {
    /// Says that an approval has changed: call it after the change is durable.
    pub(crate) fn approval_changed(&self, id: ApprovalId, version: u64, state: &str) {
        if let Some(waiting) = self.lock().get(&id) {
            waiting.send_replace(version);
        }
        self.publish(Change::Approval { id, version, state: state.to_owned() });
    }

    /// Says that an agent has changed.
    pub(crate) fn agent_changed(&self, name: &AgentName) {
        self.publish(Change::Agent { name: name.clone() });
    }

    /// Every change from now on. After [`Self::close`] there are none.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Change> {
        let changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        changes.as_ref().map_or_else(|| broadcast::channel(1).1, broadcast::Sender::subscribe)
    }

    /// Ends every event stream, so that a shutdown does not wait for who reads them.
    pub(crate) fn close(&self) {
        *self.changes.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn publish(&self, change: Change) {
        let changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(changes) = changes.as_ref() {
            // No receiver is no error: nobody looks at the console.
            let _ = changes.send(change);
        }
    }

    /// Changes of one approval from now on. Subscribe first, then read the store, then wait.
    pub(crate) fn watch(&self, id: ApprovalId) -> Watch<'_> {
        let receiver = match self.lock().entry(id) {
            Entry::Occupied(entry) => entry.get().subscribe(),
            Entry::Vacant(entry) => entry.insert(watch::Sender::new(0)).subscribe(),
        };
        Watch { hub: self, id, receiver: Some(receiver) }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ApprovalId, watch::Sender<u64>>> {
        // A panic elsewhere leaves the map whole: every change to it is a single call.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One party's wait for one approval. Dropping it forgets the approval when nobody else waits.
#[derive(Debug)]
pub(crate) struct Watch<'a> {
    hub: &'a Hub,
    id: ApprovalId,
    receiver: Option<watch::Receiver<u64>>,
}

impl Watch<'_> {
    /// Returns at the next change.
    pub(crate) async fn changed(&mut self) {
        if let Some(receiver) = &mut self.receiver {
            // The sender lives in the hub for as long as this watch does.
            let _ = receiver.changed().await;
        }
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        let mut waiting = self.hub.lock();
        self.receiver = None;
        if waiting.get(&self.id).is_some_and(|sender| sender.receiver_count() == 0) {
            waiting.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use countersign_model::Timestamp;

    use super::*;

    fn approval(number: i64) -> ApprovalId {
        ApprovalId::new(Timestamp::from_millis(number), [0; 10])
    }

    #[tokio::test]
    async fn a_waiter_is_woken_by_its_own_approval_only() {
        let hub = Hub::default();
        let (mut first, mut second) = (hub.watch(approval(1)), hub.watch(approval(2)));
        hub.approval_changed(approval(1), 2, "approved");
        first.changed().await;
        assert!(futures::FutureExt::now_or_never(second.changed()).is_none());
    }

    #[tokio::test]
    async fn a_change_between_watching_and_waiting_is_not_missed() {
        let hub = Hub::default();
        let mut watch = hub.watch(approval(1));
        hub.approval_changed(approval(1), 2, "denied");
        watch.changed().await;
    }

    #[tokio::test]
    async fn closing_ends_every_stream() {
        let hub = Hub::default();
        let mut before = hub.subscribe();
        hub.close();
        assert!(before.recv().await.is_err());
        assert!(hub.subscribe().recv().await.is_err());
    }

    #[test]
    fn nothing_is_kept_of_those_who_left() {
        let hub = Hub::default();
        let (first, second) = (hub.watch(approval(1)), hub.watch(approval(1)));
        drop(first);
        assert_eq!(hub.lock().len(), 1);
        drop(second);
        assert!(hub.lock().is_empty());
    }
}
