//! How much each agent asks of people. An agent that asks without end would wear its reviewers out until
//! one of them says yes.
//!
//! Two limits: how many of its requests wait at a time, which follows from the store, and how many it makes
//! within a span, which starts anew with the process. What goes beyond is refused and queued nowhere.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use countersign_approval::{Approval, Effect, Occurrence};
use countersign_model::{AgentId, ApprovalId, Digest, Timestamp};
use tokio::sync::OwnedMutexGuard;

use crate::config::AgentLimits;

/// Why an agent is not heard for now, in words for whoever runs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TooMany {
    /// As many as are allowed wait already.
    Pending(u32),
    /// It has made as many as are allowed within the span.
    Requests(AgentLimits),
}

impl fmt::Display for TooMany {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pending(most) => write!(f, "{most} requests of this agent wait for people already"),
            Self::Requests(AgentLimits { requests, per, .. }) => {
                write!(f, "this agent has asked people {requests} times within {per}; try again later")
            }
        }
    }
}

/// What an agent asks, counted.
#[derive(Debug)]
pub(crate) struct Crowd {
    limits: AgentLimits,
    agents: Mutex<HashMap<AgentId, Queue>>,
}

/// One agent's.
#[derive(Debug, Default)]
struct Queue {
    /// What waits, by what is to run.
    waiting: HashMap<ApprovalId, Digest>,
    /// Until when the requests so far use up what is allowed, in microseconds: each adds its share of the
    /// span, and none may lead further than a whole span ahead of now.
    spoken_for: i64,
    /// How many were refused since the last one that was not.
    refused: u64,
    /// Held by the submission that is looked at: no two of one agent are at a time, or both would be new.
    turn: Arc<tokio::sync::Mutex<()>>,
}

/// What became of a wish to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// It may ask. So many were refused before it.
    Admitted {
        /// How many.
        refused_before: u64,
    },
    /// It may not.
    Refused {
        /// Why.
        why: TooMany,
        /// Whether it is the first one since the last that was admitted.
        is_first: bool,
    },
}

impl Crowd {
    pub(crate) fn new(limits: AgentLimits) -> Self {
        Self { limits, agents: Mutex::default() }
    }

    /// An agent's turn to submit.
    pub(super) async fn turn(&self, agent: AgentId) -> OwnedMutexGuard<()> {
        let turn = Arc::clone(&self.lock().entry(agent).or_default().turn);
        turn.lock_owned().await
    }

    /// What of this operation waits.
    pub(super) fn waiting_for(&self, agent: AgentId, digest: Digest) -> Vec<ApprovalId> {
        let agents = self.lock();
        let waiting = agents.get(&agent).into_iter().flat_map(|queue| &queue.waiting);
        waiting.filter(|(_, asked)| **asked == digest).map(|(id, _)| *id).collect()
    }

    /// Whether one more of this agent's is put to people, which counts it.
    pub(super) fn admit(&self, agent: AgentId, now: Timestamp) -> Admission {
        let mut agents = self.lock();
        let queue = agents.entry(agent).or_default();
        match queue.take(&self.limits, now) {
            Ok(()) => Admission::Admitted { refused_before: std::mem::take(&mut queue.refused) },
            Err(why) => {
                queue.refused += 1;
                Admission::Refused { why, is_first: queue.refused == 1 }
            }
        }
    }

    /// One more waits.
    pub(super) fn add(&self, approval: &Approval) {
        let request = &approval.request;
        let mut agents = self.lock();
        agents.entry(request.agent).or_default().waiting.insert(request.id, request.submission.digest);
    }

    /// Notes what has become of an approval.
    pub(super) fn note(&self, approval: &Approval, effects: &[Effect]) {
        if approval.phase().is_decided() {
            self.remove(approval);
        } else if effects.contains(&Effect::Record(Occurrence::Requested)) {
            self.add(approval);
        }
    }

    fn remove(&self, approval: &Approval) {
        if let Some(queue) = self.lock().get_mut(&approval.request.agent) {
            queue.waiting.remove(&approval.request.id);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<AgentId, Queue>> {
        // Every change to it is complete when the lock is released, even by a panic.
        self.agents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn take(&mut self, limits: &AgentLimits, now: Timestamp) -> Result<(), TooMany> {
        let most = usize::try_from(limits.pending).unwrap_or(usize::MAX);
        if self.waiting.len() >= most {
            return Err(TooMany::Pending(limits.pending));
        }
        let (now, span) = (now.as_millis().saturating_mul(1_000), limits.per.as_millis() * 1_000);
        // A clock that was set back would otherwise refuse for as long as it was set back.
        // It is kept so, or each refusal would begin anew.
        self.spoken_for = self.spoken_for.clamp(now, now.saturating_add(span));
        let after = self.spoken_for.saturating_add(span / i64::from(limits.requests.max(1)));
        if after > now.saturating_add(span) {
            return Err(TooMany::Requests(*limits));
        }
        self.spoken_for = after;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use countersign_model::Seconds;
    use proptest::prelude::*;

    use super::*;

    fn agent() -> AgentId {
        AgentId::from_bytes([1; 16])
    }

    fn crowd(requests: u32, per: u32) -> Crowd {
        Crowd::new(AgentLimits { pending: 1_000_000, requests, per: Seconds::new(per) })
    }

    fn is_admitted(crowd: &Crowd, at: i64) -> bool {
        matches!(crowd.admit(agent(), Timestamp::from_millis(at)), Admission::Admitted { .. })
    }

    #[test]
    fn what_is_used_up_comes_back_evenly() {
        let crowd = crowd(3, 30);
        assert_eq!((0..5).filter(|_| is_admitted(&crowd, 1_000_000)).count(), 3);
        assert!(!is_admitted(&crowd, 1_009_999));
        assert!(is_admitted(&crowd, 1_010_000) && !is_admitted(&crowd, 1_010_000));
        assert_eq!(
            (0..5).filter(|_| is_admitted(&crowd, 9_000_000)).count(),
            3,
            "no more than that piles up"
        );
    }

    #[test]
    fn only_the_first_refusal_of_a_burst_is_one_to_record() {
        let crowd = crowd(1, 10);
        let now = Timestamp::from_millis(1_000_000);
        assert_eq!(crowd.admit(agent(), now), Admission::Admitted { refused_before: 0 });
        let firsts = (0..100)
            .filter(|_| matches!(crowd.admit(agent(), now), Admission::Refused { is_first: true, .. }));
        assert_eq!(firsts.count(), 1);
        let later = now.plus(Seconds::new(10));
        assert_eq!(crowd.admit(agent(), later), Admission::Admitted { refused_before: 100 });
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_shut_an_agent_out() {
        let crowd = crowd(2, 10);
        assert!(is_admitted(&crowd, 900_000_000) && is_admitted(&crowd, 900_000_000));
        assert!(!is_admitted(&crowd, 1_000_000), "nor does it give it more");
        assert!(is_admitted(&crowd, 1_005_000));
    }

    proptest! {
        /// In no span are there more than a burst and what came back meanwhile.
        #[test]
        fn no_span_has_more_than_is_allowed_twice(
            requests in 1_u32..50,
            per in 1_u32..100,
            steps in proptest::collection::vec(0_i64..3_000, 1..300),
        ) {
            let (crowd, span) = (crowd(requests, per), i64::from(per) * 1_000);
            let mut now = 1_000_000;
            let mut admitted = Vec::new();
            for step in steps {
                now += step;
                if is_admitted(&crowd, now) {
                    admitted.push(now);
                }
            }
            for start in &admitted {
                let within = admitted.iter().filter(|at| (*start..*start + span).contains(*at)).count();
                prop_assert!(within <= 2 * requests as usize);
            }
        }
    }
}
