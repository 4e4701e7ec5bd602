//! Which approvals have been asked for, by what was asked, so that retries attach to them.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use countersign_approval::{Phase, Status, Submission};
use countersign_model::{ApprovalId, Digest, RequirementName, Seconds, Timestamp, provenance::Initiator};

use crate::{Intent, engine::Case};

/// What people are asked. Two operations that differ in any of it are two questions: an answer that is
/// given for one initiating human is none for another (I3), nor for a tool that has changed since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Question {
    operation: Digest,
    tool_pin: Option<Digest>,
    initiator: Option<Digest>,
}

impl Question {
    pub(crate) fn of(case: &Case) -> Self {
        let initiator = |initiator: &Initiator| {
            let verified: &[u8] = if initiator.verified { b"verified" } else { b"asserted" };
            Digest::of_parts(&[verified, initiator.person.as_str().as_bytes()])
        };
        let matter = &case.matter;
        let initiator = matter.provenance.initiator.as_ref().map(initiator);
        Self { operation: matter.digest(), tool_pin: matter.tool_pin, initiator }
    }

    /// The question as it is kept.
    pub(crate) fn digest(&self) -> Digest {
        // A part that is not there is written, too, so that no two questions read the same.
        let part =
            |digest: &Option<Digest>| digest.map_or_else(|| "-".to_owned(), |digest| digest.to_string());
        let operation = self.operation.to_string();
        let (tool_pin, initiator) = (part(&self.tool_pin), part(&self.initiator));
        Digest::of_parts(&[operation.as_bytes(), tool_pin.as_bytes(), initiator.as_bytes()])
    }
}

/// What to do for an operation that must be approved.
pub(crate) enum Plan {
    /// A reviewer has refused it, and that still stands.
    Stands(Status),
    /// It is approved.
    Known(ApprovalId),
    /// It is asked about already. People are told that it was asked again, under the key that it has.
    Again(Box<Submission>),
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
    entries: HashMap<Question, Entry>,
    waiters: HashMap<ApprovalId, usize>,
    /// Requests whose last waiter was sent away to come again: his leaving ends nothing.
    staying: HashSet<ApprovalId>,
    /// What reviewers made of a question whose asker may come back with it.
    edits: HashMap<Question, (Arc<Intent>, Timestamp)>,
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
        question: Question,
        submission: impl Fn() -> Submission,
        needed: &[RequirementName],
        now: Timestamp,
    ) -> Option<Plan> {
        let mut state = self.lock();
        let mut replaces = false;
        if let Some(entry) = state.entries.get(&question) {
            replaces = true;
            if let Some(plan) = plan_with(entry, &submission, needed, now) {
                return Some(plan);
            }
        }
        if !replaces && state.entries.len() >= self.limit {
            state.make_room()?;
        }
        let submission = Box::new(submission());
        let entry =
            Entry { submission: submission.clone(), status: None, noted_at: now, refused_until: None };
        state.entries.insert(question, entry);
        Some(Plan::Submit(submission))
    }

    /// Whether something that was asked for the operation still answers it, or will.
    pub(crate) fn answers(&self, question: Question, needed: &[RequirementName], now: Timestamp) -> bool {
        let state = self.lock();
        state.entries.get(&question).is_some_and(|entry| match entry.refused_until {
            Some(until) => now < until,
            None => entry.covers(needed) && entry.is_live(),
        })
    }

    /// Remembers the answer to a plan. Whether it answers the operation: a request that is over does not.
    pub(crate) fn attach(&self, question: Question, status: &Status, now: Timestamp) -> bool {
        let mut state = self.lock();
        if let Some(entry) = state.entries.get_mut(&question) {
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
    pub(crate) fn forget(&self, question: Question, id: ApprovalId) {
        let mut state = self.lock();
        let same = |entry: &Entry| entry.status.as_ref().is_some_and(|known| known.id == id);
        if state.entries.get(&question).is_some_and(same) {
            state.entries.remove(&question);
        }
    }

    /// Remembers what reviewers made of a question.
    pub(crate) fn remember_edit(&self, question: Question, intent: &Arc<Intent>, now: Timestamp) {
        let mut state = self.lock();
        state.edits.retain(|_, (_, until)| now < *until);
        if state.edits.len() >= self.limit {
            // Whoever comes back for any of them is asked about anew.
            state.edits.clear();
        }
        state.edits.insert(question, (Arc::clone(intent), now.plus(self.refusal_stands)));
    }

    /// What reviewers made of a question, while that is neither run nor over.
    pub(crate) fn edit_of(&self, question: Question, now: Timestamp) -> Option<Arc<Intent>> {
        let state = self.lock();
        state.edits.get(&question).filter(|(_, until)| now < *until).map(|(intent, _)| Arc::clone(intent))
    }

    /// What reviewers made of a question has run, or is over.
    pub(crate) fn forget_edit(&self, question: Question) {
        self.lock().edits.remove(&question);
    }

    /// Forgets whatever was asked for an operation.
    pub(crate) fn clear(&self, question: Question) {
        self.lock().entries.remove(&question);
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
fn plan_with(
    entry: &Entry,
    submission: impl FnOnce() -> Submission,
    needed: &[RequirementName],
    now: Timestamp,
) -> Option<Plan> {
    if let (Some(status), Some(until)) = (&entry.status, entry.refused_until) {
        return (now < until).then(|| Plan::Stands(status.clone()));
    }
    if !entry.covers(needed) || !entry.is_live() {
        return None;
    }
    match &entry.status {
        Some(status) if status.phase == Phase::Pending => {
            let again = Submission { key: entry.submission.key.clone(), ..submission() };
            Some(Plan::Again(Box::new(again)))
        }
        Some(status) => Some(Plan::Known(status.id)),
        None => Some(Plan::Submit(entry.submission.clone())),
    }
}

impl State {
    /// Forgets what is over and longest ago. Refusals that still stand go last.
    fn make_room(&mut self) -> Option<()> {
        let over = self.entries.iter().filter(|(_, entry)| !entry.is_live());
        let (question, _) = over.min_by_key(|(_, entry)| (entry.refused_until.is_some(), entry.noted_at))?;
        let question = *question;
        self.entries.remove(&question);
        Some(())
    }
}
