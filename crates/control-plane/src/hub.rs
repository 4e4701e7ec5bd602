//! Who waits for what: tells sidecars that wait for one approval what has become of it, and the console's
//! event streams that something has changed.
//!
//! The hub holds no state of its own to be believed. Whoever waits is told what is durable, so that the way
//! from a vote to the sidecar does not lead through the store once more; whoever comes later reads the store.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Mutex, MutexGuard, PoisonError},
};

use countersign_approval::Approval;
use countersign_model::{AgentName, ApprovalId};
use tokio::sync::{broadcast, watch};

use crate::services::Change;

/// How many changes an event stream may fall behind before it has to read anew.
const BACKLOG: usize = 1_024;

/// An approval as it is now, once it has changed since somebody waits.
type Latest = watch::Sender<Option<Approval>>;

/// Wakes those who wait.
#[derive(Debug)]
pub(crate) struct Hub {
    /// `None` once the control plane shuts down.
    changes: Mutex<Option<broadcast::Sender<Change>>>,
    waiting: Mutex<HashMap<ApprovalId, Latest>>,
}

impl Default for Hub {
    fn default() -> Self {
        let changes = Mutex::new(Some(broadcast::Sender::new(BACKLOG)));
        Self { changes, waiting: Mutex::default() }
    }
}

impl Hub {
    /// Says that an approval has changed: call it after the change is durable.
    pub(crate) fn approval_changed(&self, approval: &Approval) {
        let (id, version) = (approval.request.id, approval.version);
        if let Some(waiting) = self.lock().get(&id) {
            // Of two changes that come at once the earlier one may be told later: it is old by then.
            waiting.send_if_modified(|latest| {
                let is_news = latest.as_ref().is_none_or(|latest| latest.version < version);
                if is_news {
                    *latest = Some(approval.clone());
                }
                is_news
            });
        }
        self.publish(Change::Approval { id, version, state: approval.phase().as_str().to_owned() });
    }

    /// Says that an agent has changed.
    pub(crate) fn agent_changed(&self, name: &AgentName) {
        self.publish(Change::Agent { name: name.clone() });
    }

    /// Says that a channel began or ceased to work.
    pub(crate) fn channel_changed(&self, name: &str) {
        self.publish(Change::Channel { name: name.to_owned() });
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
            Entry::Vacant(entry) => entry.insert(watch::Sender::new(None)).subscribe(),
        };
        Watch { hub: self, id, receiver: Some(receiver) }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ApprovalId, Latest>> {
        // A panic elsewhere leaves the map whole: every change to it is a single call.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One party's wait for one approval. Dropping it forgets the approval when nobody else waits.
#[derive(Debug)]
pub(crate) struct Watch<'a> {
    hub: &'a Hub,
    id: ApprovalId,
    receiver: Option<watch::Receiver<Option<Approval>>>,
}

impl Watch<'_> {
    /// Returns at the next change, with what the approval is then.
    pub(crate) async fn changed(&mut self) -> Option<Approval> {
        let receiver = self.receiver.as_mut()?;
        // The sender lives in the hub for as long as this watch does.
        receiver.changed().await.ok()?;
        receiver.borrow_and_update().clone()
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
    use countersign_approval::{Request, State, Submission};
    use countersign_model::{
        AgentId, Digest, EvaluationId, Provenance, Requirement, ReviewerSelector, Revision, Seconds,
        SpiffeId, Timestamp,
    };

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_772_366_400_000);

    fn id(number: u8) -> ApprovalId {
        ApprovalId::from_bytes([number; 16])
    }

    /// An approval in a version of it.
    fn approval(number: u8, version: u64) -> Approval {
        let requirement = Requirement::new("one".parse().unwrap(), vec![ReviewerSelector::Anyone]);
        let submission = Submission {
            key: "key".to_owned(),
            evaluation: EvaluationId::from_bytes([1; 16]),
            digest: Digest::of(b"{}"),
            operation: "{}".to_owned(),
            redacted: Vec::new(),
            provenance: Provenance::default(),
            interceptor: "exec".to_owned(),
            policies: Vec::new(),
            requirements: vec![requirement.name.clone()],
            revision: Revision(1),
            tool_pin: None,
            trace: None,
            substitutable: false,
            follows: None,
        };
        let request = Request {
            id: id(number),
            submission,
            agent: AgentId::from_bytes([1; 16]),
            agent_name: "bot".parse().unwrap(),
            audience: SpiffeId::agent("example.org".parse().unwrap(), "bot".parse().unwrap()),
            owner: "owner@example.com".parse().unwrap(),
            requirements: vec![requirement],
            requester_lease: Seconds::new(60),
            submitted_at: NOW,
            edited_by: Vec::new(),
            labels: Vec::new(),
        };
        let (approval, _) = Approval::open(request).unwrap();
        Approval { version, state: State::Approved, ..approval }
    }

    #[tokio::test]
    async fn a_waiter_is_told_of_its_own_approval_only() {
        let hub = Hub::default();
        let (mut first, mut second) = (hub.watch(id(1)), hub.watch(id(2)));
        hub.approval_changed(&approval(1, 2));
        assert_eq!(first.changed().await, Some(approval(1, 2)));
        assert!(futures::FutureExt::now_or_never(second.changed()).is_none());
    }

    #[tokio::test]
    async fn a_change_between_watching_and_waiting_is_not_missed_and_an_old_one_is_no_news() {
        let hub = Hub::default();
        let mut watch = hub.watch(id(1));
        hub.approval_changed(&approval(1, 3));
        hub.approval_changed(&approval(1, 2));
        assert_eq!(watch.changed().await, Some(approval(1, 3)));
        assert!(futures::FutureExt::now_or_never(watch.changed()).is_none());
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
        let (first, second) = (hub.watch(id(1)), hub.watch(id(1)));
        drop(first);
        assert_eq!(hub.lock().len(), 1);
        drop(second);
        assert!(hub.lock().is_empty());
    }
}
