//! What the check API remembers between requests: requestable denials, and idempotency keys. Bounded,
//! and only in memory.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use countersign_gate::Held;
use countersign_model::{ApprovalId, Digest, EvaluationId, Seconds, Timestamp};

/// The most idempotency keys that are remembered.
const MAX_KEYS: usize = 4_096;
/// For how long (ARAP §5.1 asks for a day after the task's end; tasks end within hours).
const KEYS_FOR: Seconds = Seconds::new(48 * 3_600);

/// A map that forgets its oldest entries.
#[derive(Debug)]
struct Recent<K, V> {
    limit: usize,
    entries: HashMap<K, V>,
    order: VecDeque<(Timestamp, K)>,
}

impl<K: Copy + Eq + Hash, V> Recent<K, V> {
    fn new(limit: usize) -> Self {
        Self { limit: limit.max(1), entries: HashMap::new(), order: VecDeque::new() }
    }

    /// Adds an entry; keys are never added twice. Forgets what was added before `since`.
    fn add(&mut self, key: K, value: V, now: Timestamp, since: Timestamp) {
        while self.order.len() >= self.limit || self.order.front().is_some_and(|(at, _)| *at < since) {
            let Some((_, oldest)) = self.order.pop_front() else {
                break;
            };
            self.entries.remove(&oldest);
        }
        if self.entries.insert(key, value).is_none() {
            self.order.push_back((now, key));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing below leaves a map half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is known of a denied evaluation.
#[derive(Debug, Clone)]
pub(super) enum Denied {
    /// People can be asked about it until then.
    Requestable { held: Arc<Held>, until: Timestamp },
    /// Nobody can be asked about it.
    Final,
}

/// Denied evaluations, by their id.
#[derive(Debug)]
pub(super) struct Denials {
    requestable_for: Seconds,
    requestable: Mutex<Recent<EvaluationId, (Arc<Held>, Timestamp)>>,
    // Apart from the others, so that a flood of plain denials does not push them out.
    others: Mutex<Recent<EvaluationId, ()>>,
}

impl Denials {
    pub(super) fn new(limit: usize, requestable_for: Seconds) -> Self {
        Self {
            requestable_for,
            requestable: Mutex::new(Recent::new(limit)),
            others: Mutex::new(Recent::new(limit)),
        }
    }

    /// Remembers a held operation. Returns until when people can be asked about it.
    pub(super) fn remember(&self, held: Held, now: Timestamp) -> Timestamp {
        let until = now.plus(self.requestable_for);
        // An expired one is kept as long again, so that its caller learns that it is late, not wrong.
        let since = now.minus(self.requestable_for).minus(self.requestable_for);
        let evaluation = held.evaluation();
        lock(&self.requestable).add(evaluation, (Arc::new(held), until), now, since);
        until
    }

    /// Remembers an evaluation that nobody can be asked about.
    pub(super) fn remember_final(&self, evaluation: EvaluationId, now: Timestamp) {
        lock(&self.others).add(evaluation, (), now, now.minus(self.requestable_for));
    }

    pub(super) fn find(&self, evaluation: EvaluationId) -> Option<Denied> {
        if let Some((held, until)) = lock(&self.requestable).entries.get(&evaluation) {
            return Some(Denied::Requestable { held: Arc::clone(held), until: *until });
        }
        lock(&self.others).entries.contains_key(&evaluation).then_some(Denied::Final)
    }
}

/// Idempotency keys, by their digest: what was submitted with them, and what became of it.
#[derive(Debug)]
pub(super) struct Keys(Mutex<Recent<Digest, (Digest, ApprovalId)>>);

impl Default for Keys {
    fn default() -> Self {
        Self(Mutex::new(Recent::new(MAX_KEYS)))
    }
}

impl Keys {
    pub(super) fn find(&self, key: Digest) -> Option<(Digest, ApprovalId)> {
        lock(&self.0).entries.get(&key).copied()
    }

    pub(super) fn remember(&self, key: Digest, body: Digest, approval: ApprovalId, now: Timestamp) {
        lock(&self.0).add(key, (body, approval), now, now.minus(KEYS_FOR));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_entries_go_first() {
        let mut recent = Recent::new(2);
        let start = Timestamp::from_millis(0);
        for key in 0..5_i64 {
            recent.add(key, key, Timestamp::from_millis(key), start);
        }
        let mut keys: Vec<_> = recent.entries.keys().copied().collect();
        keys.sort_unstable();
        assert_eq!(keys, [3, 4]);
        recent.add(9, 9, Timestamp::from_millis(100), Timestamp::from_millis(4));
        assert!(!recent.entries.contains_key(&3));
    }
}
