//! Which sidecars are connected, and how each of them is.
//!
//! One session per agent: a newer one replaces the one before, as after a cut that only one side noticed.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use countersign_model::{AgentId, AgentName, Revision, Seconds, Timestamp};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// What is known of a sidecar that is or was connected since this process started.
#[derive(Debug, Clone, Default)]
pub(crate) struct Liveness {
    /// Whether it is connected now.
    pub(crate) connected: bool,
    /// When it was last heard of.
    pub(crate) last_seen: Timestamp,
    /// The revision that it enforces.
    pub(crate) revision: Option<Revision>,
    /// From when its lease runs, and so until when it may enforce that revision by itself.
    pub(crate) lease_from: Option<Timestamp>,
    /// Events that it has not shipped.
    pub(crate) spool_depth: u64,
    /// Operations that wait at it.
    pub(crate) pending: u32,
    /// Until when its certificate is valid.
    pub(crate) svid_expires_at: Option<Timestamp>,
}

impl Liveness {
    /// The part of it that the store keeps.
    pub(crate) fn stored(&self) -> countersign_store::Liveness {
        countersign_store::Liveness {
            seen_at: self.last_seen,
            revision: self.revision,
            spool_depth: self.spool_depth,
            pending: self.pending,
        }
    }

    /// Until when it may enforce its bundle without hearing from here again.
    pub(crate) fn lease_ends(&self, lease: Seconds) -> Option<Timestamp> {
        self.revision.and(self.lease_from).map(|from| from.plus(lease))
    }
}

struct Slot {
    name: AgentName,
    liveness: Liveness,
    live: Option<Live>,
}

struct Live {
    session: u64,
    withdraw: Arc<Notify>,
    close: CancellationToken,
}

/// Why a session was not taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there are {0} sessions already, which is as many as are taken")]
pub(crate) struct Full(usize);

/// The connected sidecars.
pub(crate) struct Registry {
    slots: Mutex<HashMap<AgentId, Slot>>,
    next_session: AtomicU64,
    most: usize,
}

/// A session's own place in the registry. Dropping it takes the session out.
pub(crate) struct Place {
    registry: Arc<Registry>,
    agent: AgentId,
    session: u64,
    /// Cancelled when the session is to end: replaced, or its agent revoked.
    pub(crate) close: CancellationToken,
    /// Notified when approvals were taken back: the outbox has which.
    pub(crate) withdraw: Arc<Notify>,
}

impl Registry {
    /// A registry for at most `most` sessions.
    pub(crate) fn new(most: usize) -> Self {
        Self { slots: Mutex::default(), next_session: AtomicU64::new(1), most }
    }

    /// Takes a session in, in place of an earlier one of the same agent.
    pub(crate) fn enter(
        self: &Arc<Self>,
        agent: AgentId,
        name: &AgentName,
        mut liveness: Liveness,
    ) -> Result<Place, Full> {
        let session = self.next_session.fetch_add(1, Ordering::Relaxed);
        let withdraw = Arc::new(Notify::new());
        let close = CancellationToken::new();
        let mut slots = self.lock();
        let others = slots.iter().filter(|(id, slot)| **id != agent && slot.live.is_some()).count();
        if others >= self.most {
            return Err(Full(others));
        }
        liveness.connected = true;
        let live = Live { session, withdraw: Arc::clone(&withdraw), close: close.clone() };
        let slot = Slot { name: name.clone(), liveness, live: Some(live) };
        if let Some(Live { close, .. }) = slots.insert(agent, slot).and_then(|before| before.live) {
            close.cancel();
        }
        drop(slots);
        Ok(Place { registry: Arc::clone(self), agent, session, close, withdraw })
    }

    /// What is known of an agent's sidecar.
    pub(crate) fn liveness(&self, agent: AgentId) -> Option<Liveness> {
        self.lock().get(&agent).map(|slot| slot.liveness.clone())
    }

    /// How many sidecars are connected.
    pub(crate) fn connected(&self) -> usize {
        self.lock().values().filter(|slot| slot.live.is_some()).count()
    }

    /// How many connected sidecars enforce a revision.
    pub(crate) fn enforcing(&self, revision: Revision) -> usize {
        let at_it = |slot: &&Slot| slot.live.is_some() && slot.liveness.revision == Some(revision);
        self.lock().values().filter(at_it).count()
    }

    /// What every connected sidecar said last, for the store.
    pub(crate) fn heard(&self) -> Vec<(AgentId, countersign_store::Liveness)> {
        let live = |(id, slot): (&AgentId, &Slot)| slot.live.as_ref().map(|_| (*id, slot.liveness.stored()));
        self.lock().iter().filter_map(live).collect()
    }

    /// Lets an agent's session look for approvals that were taken back, if it is connected.
    pub(crate) fn withdraw(&self, agent: AgentId) {
        if let Some(live) = self.lock().get(&agent).and_then(|slot| slot.live.as_ref()) {
            live.withdraw.notify_one();
        }
    }

    /// Closes an agent's session, if there is one.
    pub(crate) fn close(&self, agent: AgentId) {
        if let Some(live) = self.lock().get(&agent).and_then(|slot| slot.live.as_ref()) {
            live.close.cancel();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<AgentId, Slot>> {
        // Every change to the map is a single call, so a panic elsewhere left it whole.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// What is known of the sidecar, while this is its session.
    pub(crate) fn liveness(&self) -> Option<Liveness> {
        let slots = self.registry.lock();
        slots.get(&self.agent).filter(|slot| slot.is(self.session)).map(|slot| slot.liveness.clone())
    }

    /// Notes what the sidecar said about itself.
    pub(crate) fn note(&self, change: impl FnOnce(&mut Liveness)) {
        let mut slots = self.registry.lock();
        if let Some(slot) = slots.get_mut(&self.agent).filter(|slot| slot.is(self.session)) {
            change(&mut slot.liveness);
        }
    }
}

impl Slot {
    fn is(&self, session: u64) -> bool {
        self.live.as_ref().is_some_and(|live| live.session == session)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut slots = self.registry.lock();
        if let Some(slot) = slots.get_mut(&self.agent).filter(|slot| slot.is(self.session)) {
            slot.live = None;
            slot.liveness.connected = false;
            tracing::debug!(agent = %slot.name, "session ended");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(number: i64) -> AgentId {
        AgentId::new(Timestamp::from_millis(number), [0; 10])
    }

    fn enter(registry: &Arc<Registry>, number: i64) -> Result<Place, Full> {
        registry.enter(agent(number), &"bot".parse().unwrap(), Liveness::default())
    }

    #[test]
    fn a_newer_session_replaces_the_one_before_and_outlives_it() {
        let registry = Arc::new(Registry::new(1));
        let first = enter(&registry, 1).unwrap();
        let second = enter(&registry, 1).unwrap();
        assert!(first.close.is_cancelled() && !second.close.is_cancelled());
        first.note(|liveness| liveness.spool_depth = 7);
        drop(first);
        assert_eq!(registry.connected(), 1);
        assert_eq!(registry.liveness(agent(1)).unwrap().spool_depth, 0);
        drop(second);
        assert_eq!(registry.connected(), 0);
        assert!(!registry.liveness(agent(1)).unwrap().connected);
    }

    #[test]
    fn there_is_a_bound_on_sessions() {
        let registry = Arc::new(Registry::new(1));
        let _first = enter(&registry, 1).unwrap();
        assert_eq!(enter(&registry, 2).err(), Some(Full(1)));
    }
}
