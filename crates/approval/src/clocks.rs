//! The clocks: time to decide, time to start, time of the grant, and the requester's lease.
//!
//! None of them leads to an approval (I5). They end what waits, or have more people asked.

use countersign_model::{GrantShape, Requirement, Timestamp};

use crate::{
    grant::MetRequirement,
    request::Request,
    state::{Approval, CancelReason, GrantTerms, Outcome, State},
    task::GrantScope,
    transition::{Effect, Occurrence},
};

impl Approval {
    /// When the next clock runs out; `None` when no time changes anything any more.
    #[must_use]
    pub fn wake_at(&self) -> Option<Timestamp> {
        match (&self.state, &self.terms) {
            (State::Pending, _) => {
                let end = self.request.decide_by().min(self.requester_until);
                Some(self.next_prompt().map_or(end, |prompt| prompt.min(end)))
            }
            (State::Approved, Some(terms)) => Some(terms.execute_by),
            (State::Claimed, Some(terms)) if !self.has_open_use() => Some(terms.not_after),
            _ => None,
        }
    }

    pub(crate) fn has_open_use(&self) -> bool {
        self.uses.iter().any(|one| one.outcome.is_none())
    }

    /// Does what time has led to, as far as the clocks of decision and grant go: ends what is over, and
    /// prompts people.
    pub(crate) fn settle(&mut self, now: Timestamp) -> Vec<Effect> {
        match (&self.state, &self.terms) {
            (State::Pending, _) if now >= self.request.decide_by() => {
                self.close(State::Expired, now);
                over(Occurrence::Expired)
            }
            (State::Pending, _) => self.prompt(now),
            (State::Approved, Some(terms)) if now >= terms.execute_by => {
                self.close(State::Lapsed, now);
                vec![Effect::Record(Occurrence::Lapsed), Effect::TellRequester]
            }
            (State::Claimed, Some(terms)) if self.grant_is_spent(terms, now) => {
                // The last use's own report says the rest; otherwise it is the clock that ends the grant.
                let lapsed = self.has_use_left().then_some(Effect::Record(Occurrence::Lapsed));
                let end = self.summary();
                self.close(end, now);
                lapsed.into_iter().chain([Effect::TellRequester]).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Cancels a request whose requester gave no sign of life for the length of its lease. Only a tick
    /// asks this: whatever else comes in shows that somebody is still there to use the answer.
    pub(crate) fn settle_lease(&mut self, now: Timestamp) -> Vec<Effect> {
        if self.state != State::Pending || now < self.requester_until {
            return Vec::new();
        }
        self.close(State::Cancelled { why: CancelReason::RequesterGone }, now);
        over(Occurrence::Cancelled)
    }

    /// Extends the requester's lease. Less than a quarter of it is not worth a write.
    pub(crate) fn extend_lease(&mut self, now: Timestamp) {
        let lease = self.request.requester_lease;
        let until = now.plus(lease);
        if self.state == State::Pending && until.millis_since(self.requester_until) >= lease.as_millis() / 4 {
            self.requester_until = until;
        }
    }

    fn grant_is_spent(&self, terms: &GrantTerms, now: Timestamp) -> bool {
        !self.has_open_use() && (!self.has_use_left() || now >= terms.not_after)
    }

    /// What became of all uses together: the worst that is known.
    fn summary(&self) -> State {
        match self.uses.iter().filter_map(|one| one.outcome).max() {
            Some(Outcome::Executed) => State::Executed,
            Some(Outcome::Failed) => State::Failed,
            Some(Outcome::OutcomeUnknown) | None => State::OutcomeUnknown,
        }
    }

    pub(crate) fn close(&mut self, state: State, now: Timestamp) {
        self.state = state;
        self.touch(now);
    }

    pub(crate) fn touch(&mut self, now: Timestamp) {
        self.version += 1;
        self.updated_at = now;
    }
}

/// What follows when a pending request ends without an approval.
pub(crate) fn over(occurrence: Occurrence) -> Vec<Effect> {
    vec![Effect::Record(occurrence), Effect::TellRequester, Effect::RetireCards]
}

impl GrantTerms {
    /// The narrowest times, number of uses and scope that all requirements agree to.
    pub(crate) fn of(request: &Request, met: Vec<MetRequirement>, approved_at: Timestamp) -> Self {
        // What one person approves alone runs once, whatever more people could have granted.
        let alone = met.iter().any(|met| met.break_glass);
        let scope = GrantScope::of(request).filter(|_| !alone);
        let shape = |requirement: &Requirement| match &requirement.grant {
            GrantShape::Uses { uses, within } => (*uses, *within),
            GrantShape::Window(within) => (GrantShape::MAX_USES, *within),
            GrantShape::Task(task) if scope.is_some() => (task.count, task.within),
            GrantShape::Once | GrantShape::Task(_) => (1, requirement.execute_within),
        };
        let requirements = &request.requirements;
        let uses = requirements.iter().map(|requirement| shape(requirement).0).min().unwrap_or_default();
        let within = requirements.iter().map(|requirement| shape(requirement).1).min();
        let execute = requirements.iter().map(|requirement| requirement.execute_within).min();
        let not_after = approved_at.plus(within.unwrap_or_default());
        let execute_by = approved_at.plus(execute.unwrap_or_default()).min(not_after);
        let uses = if alone { uses.min(1) } else { uses };
        Self { approved_at, execute_by, not_after, uses, met, scope }
    }
}
