//! How many requests of each agent wait for people. An agent that asks without end would wear its
//! reviewers out until one of them says yes.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use countersign_approval::{Approval, Effect, Occurrence};
use countersign_model::AgentId;

/// The most requests of one agent that wait at a time.
pub(crate) const MOST_PENDING: usize = 1_000;

/// Counts what waits. Follows from the store: counted at the start, kept with every change.
#[derive(Debug, Default)]
pub(crate) struct Crowd(Mutex<HashMap<AgentId, usize>>);

impl Crowd {
    /// Whether one more of this agent's may wait.
    pub(super) fn has_room(&self, agent: AgentId) -> bool {
        self.lock().get(&agent).is_none_or(|waiting| *waiting < MOST_PENDING)
    }

    /// One more waits.
    pub(super) fn add(&self, agent: AgentId) {
        *self.lock().entry(agent).or_default() += 1;
    }

    /// Notes what has become of an approval.
    pub(super) fn note(&self, approval: &Approval, effects: &[Effect]) {
        let agent = approval.request.agent;
        for effect in effects {
            match effect {
                Effect::Record(Occurrence::Requested) => self.add(agent),
                Effect::Record(occurrence) if left_the_queue(approval, *occurrence) => self.remove(agent),
                _ => {}
            }
        }
    }

    fn remove(&self, agent: AgentId) {
        let mut waiting = self.lock();
        if let Some(count) = waiting.get_mut(&agent) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                waiting.remove(&agent);
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<AgentId, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn left_the_queue(approval: &Approval, occurrence: Occurrence) -> bool {
    match occurrence {
        Occurrence::Approved | Occurrence::Denied | Occurrence::Expired | Occurrence::Cancelled => true,
        // It can happen to an approved one, too, which had left before.
        Occurrence::Invalidated => approval.terms.is_none(),
        _ => false,
    }
}
