//! Which approvals have been asked for, by digest, so that retries attach to them.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use countersign_approval::{Phase, Status, Submission};
use countersign_model::{ApprovalId, Digest, RequirementName, Seconds, Timestamp};

/// What to do for an operation that must be approved.
pub(crate) enum Plan {
    /// A reviewer has refused it, and that still stands.
    Stands(Status),
    /// It is asked about already, or is approved.
    Known(ApprovalId),
    /// It must be submitted: for the first time, or again, because no answer came back.
    Submit(Box<Submission>),
}

/// The approvals that were asked for last. Bounded.
pub(crate) struct Pending {
    limit: usize,
    refusal_stands: Seconds,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    entries: HashMap<Digest, Entry>,
    waiters: HashMap<ApprovalId, usize>,
    /// Requests whose last waiter was sent away to come again: his leaving ends nothing.
    staying: HashSet<ApprovalId>,
}

struct Entry {
    submission: Box<Submission>,
    status: Option<Status>,
    noted_at: Timestamp,
    refused_until: Option<Timestamp>,
}

impl Entry {
    fn covers(&self, needed: &[RequirementName]) -> bool {
        needed.iter().all(|name| self.submission.requirements.contains(name))
    }

    /// Whether asking again would ask the same people the same thing twice.
    fn is_live(&self) -> bool {
        self.status.as_ref().is_none_or(is_live)
    }

    fn note(&mut self, status: &Status, now: Timestamp, refusal_stands: Seconds) {
        if status.phase == Phase::Denied && self.refused_until.is_none() {
            self.refused_until = Some(now.plus(refusal_stands));
        }
        self.noted_at = now;
        self.status = Some(status.clone());
    }
}

fn is_live(status: &Status) -> bool {
    match status.phase {
        Phase::Pending => true,
        Phase::Approved | Phase::Claimed => status.grant.is_some(),
        _ => false,
    }
}

impl Pending {
    pub(crate) fn new(limit: usize, refusal_stands: Seconds) -> Self {
        Self { limit, refusal_stands, state: Mutex::default() }
    }

    /// What to do for an operation that needs these requirements. `None` when too many are remembered
    /// that are not over.
    pub(crate) fn plan(
        &self,
        digest: Digest,
        submission: impl FnOnce() -> Submission,
        needed: &[RequirementName],
        now: Timestamp,
    ) -> Option<Plan> {
        let mut state = self.lock();
        let mut replaces = false;
        if let Some(entry) = state.entries.get(&digest) {
            replaces = true;
            if let Some(plan) = plan_with(entry, needed, now) {
                return Some(plan);
            }
        }
        if !replaces && state.entries.len() >= self.limit {
            state.make_room()?;
        }
        let submission = Box::new(submission());
        let entry =
            Entry { submission: submission.clone(), status: None, noted_at: now, refused_until: None };
        state.entries.insert(digest, entry);
        Some(Plan::Submit(submission))
    }

    /// Remembers the answer to a plan. Whether it answers the operation: a request that is over does not.
    pub(crate) fn attach(&self, digest: Digest, status: &Status, now: Timestamp) -> bool {
        let mut state = self.lock();
        if let Some(entry) = state.entries.get_mut(&digest) {
            entry.note(status, now, self.refusal_stands);
        }
        is_live(status) || status.phase == Phase::Denied
    }

    /// Remembers where an approval stands.
    pub(crate) fn note(&self, status: &Status, now: Timestamp) {
        let mut state = self.lock();
        let of_it = |entry: &&mut Entry| entry.status.as_ref().is_some_and(|known| known.id == status.id);
        if let Some(entry) = state.entries.values_mut().find(of_it) {
            entry.note(status, now, self.refusal_stands);
        }
    }

    /// Forgets an approval, so that the next attempt asks anew.
    pub(crate) fn forget(&self, digest: Digest, id: ApprovalId) {
        let mut state = self.lock();
        let same = |entry: &Entry| entry.status.as_ref().is_some_and(|known| known.id == id);
        if state.entries.get(&digest).is_some_and(same) {
            state.entries.remove(&digest);
        }
    }

    /// Forgets whatever was asked for an operation.
    pub(crate) fn clear(&self, digest: Digest) {
        self.lock().entries.remove(&digest);
    }

    /// One more waits for an approval.
    pub(crate) fn join(&self, id: ApprovalId) {
        let mut state = self.lock();
        state.staying.remove(&id);
        *state.waiters.entry(id).or_default() += 1;
    }

    /// Who waits for it is told to come again: it stays open when he leaves.
    pub(crate) fn stay(&self, id: ApprovalId) {
        self.lock().staying.insert(id);
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        self.lock().waiters.values().sum()
    }

    /// One less waits for it. Whether that was the last one.
    pub(crate) fn leave(&self, id: ApprovalId) -> bool {
        let mut state = self.lock();
        let Some(count) = state.waiters.get_mut(&id) else {
            return false;
        };
        *count = count.saturating_sub(1);
        if *count > 0 {
            return false;
        }
        state.waiters.remove(&id);
        !state.staying.remove(&id)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change below is complete when the lock is released, even by a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an entry answers to the same operation; `None` when it must be asked anew.
fn plan_with(entry: &Entry, needed: &[RequirementName], now: Timestamp) -> Option<Plan> {
    if let (Some(status), Some(until)) = (&entry.status, entry.refused_until) {
        return (now < until).then(|| Plan::Stands(status.clone()));
    }
    if !entry.covers(needed) || !entry.is_live() {
        return None;
    }
    match &entry.status {
        Some(status) => Some(Plan::Known(status.id)),
        None => Some(Plan::Submit(entry.submission.clone())),
    }
}

impl State {
    /// Forgets what is over and longest ago. Refusals that still stand go last.
    fn make_room(&mut self) -> Option<()> {
        let over = self.entries.iter().filter(|(_, entry)| !entry.is_live());
        let (digest, _) = over.min_by_key(|(_, entry)| (entry.refused_until.is_some(), entry.noted_at))?;
        let digest = *digest;
        self.entries.remove(&digest);
        Some(())
    }
}
