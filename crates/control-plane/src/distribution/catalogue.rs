//! The policy revisions that are in use, compiled: the one in force, and those that sidecars still name.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use countersign_model::Revision;
use tokio::sync::watch;

use super::Edition;

/// How many compiled revisions are kept beside the one in force.
const KEPT: usize = 8;

/// The editions in memory. The store has all of them.
#[derive(Debug)]
pub(crate) struct Catalogue {
    active: watch::Sender<Option<Arc<Edition>>>,
    kept: Mutex<BTreeMap<Revision, Arc<Edition>>>,
}

impl Default for Catalogue {
    fn default() -> Self {
        Self { active: watch::Sender::new(None), kept: Mutex::default() }
    }
}

impl Catalogue {
    /// The edition in force.
    pub(crate) fn active(&self) -> Option<Arc<Edition>> {
        self.active.borrow().clone()
    }

    /// The edition in force, and every later one.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Option<Arc<Edition>>> {
        self.active.subscribe()
    }

    /// Puts an edition in force, unless a later one is already: two pushes may get here in either order.
    pub(crate) fn activate(&self, edition: Arc<Edition>) {
        self.keep(Arc::clone(&edition));
        self.active.send_if_modified(|active| {
            let newer = active.as_ref().is_none_or(|active| active.revision < edition.revision);
            if newer {
                *active = Some(edition);
            }
            newer
        });
    }

    /// An edition that is in memory.
    pub(crate) fn get(&self, revision: Revision) -> Option<Arc<Edition>> {
        let active = self.active().filter(|active| active.revision == revision);
        active.or_else(|| self.lock().get(&revision).cloned())
    }

    /// Keeps an edition that was loaded from the store, and forgets the oldest if there are too many.
    pub(crate) fn keep(&self, edition: Arc<Edition>) {
        let mut kept = self.lock();
        kept.insert(edition.revision, edition);
        while kept.len() > KEPT {
            kept.pop_first();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Revision, Arc<Edition>>> {
        // Each change is a single call, so a panic elsewhere left the map whole.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
