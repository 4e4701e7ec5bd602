//! How people are asked: stage by stage, and what their silence leads to.
//!
//! The stage that is open follows from the votes alone. What cannot follow from them is kept in [`Prompted`]: since
//! when a later stage is open, whether a requirement has escalated, how often its reviewers were reminded. Nothing
//! in here approves (I5): an escalation lets more people vote, a reminder tells the same people once more.

use std::collections::BTreeSet;

use countersign_model::{Requirement, RequirementName, Seconds, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    quorum,
    state::Approval,
    transition::{Effect, Occurrence},
};

/// How far the reviewers of a requirement have been asked. There is none for a requirement of the first stage
/// that nothing has happened to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prompted {
    /// The requirement.
    pub requirement: RequirementName,
    /// When its stage opened.
    pub since: Timestamp,
    /// When it escalated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escalated_at: Option<Timestamp>,
    /// How often its reviewers were reminded.
    #[serde(default)]
    pub reminders: u32,
}

/// What silence leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Prompt {
    Escalate,
    Remind,
}

impl Approval {
    /// The stage that people are asked about: the lowest that is not met, or the last when all are.
    #[must_use]
    pub fn open_stage(&self) -> u32 {
        let requirements = &self.request.requirements;
        let stages: BTreeSet<u32> = requirements.iter().map(|requirement| requirement.stage).collect();
        let is_met = |stage: u32| {
            let so_far = requirements.iter().filter(|requirement| requirement.stage <= stage);
            quorum::assign(&so_far.collect::<Vec<_>>(), &self.votes).complete
        };
        let last = stages.last().copied().unwrap_or(1);
        stages.into_iter().find(|stage| *stage == last || !is_met(*stage)).unwrap_or(last)
    }

    /// Whether a requirement's stage is open, so that its reviewers are asked and may vote.
    #[must_use]
    pub fn is_open(&self, requirement: &Requirement) -> bool {
        requirement.stage <= self.open_stage()
    }

    /// The requirements whose reviewers are asked: those of the open stage and all before it.
    #[must_use]
    pub fn asked_for(&self) -> Vec<RequirementName> {
        let open = self.request.requirements.iter().filter(|requirement| self.is_open(requirement));
        open.map(|requirement| requirement.name.clone()).collect()
    }

    /// When a requirement escalated; `None` when it has not.
    #[must_use]
    pub fn escalated_at(&self, name: &RequirementName) -> Option<Timestamp> {
        self.prompted(name)?.escalated_at
    }

    /// When a requirement that is asked about escalates if it is not met by then; `None` when it does not, or has.
    #[must_use]
    pub fn escalates_at(&self, requirement: &Requirement) -> Option<Timestamp> {
        let escalation = requirement.escalate.as_ref().filter(|_| self.is_open(requirement))?;
        let is_due = self.escalated_at(&requirement.name).is_none();
        is_due.then(|| self.asked_since(requirement).plus(escalation.after))
    }

    fn prompted(&self, name: &RequirementName) -> Option<&Prompted> {
        self.prompted.iter().find(|prompted| prompted.requirement == *name)
    }

    fn asked_since(&self, requirement: &Requirement) -> Timestamp {
        self.prompted(&requirement.name).map_or(self.request.submitted_at, |prompted| prompted.since)
    }

    /// Asks the reviewers of every stage that a vote has opened.
    pub(crate) fn open_stages(&mut self, before: u32, now: Timestamp) -> Vec<Effect> {
        let stage = self.open_stage();
        if stage <= before {
            return Vec::new();
        }
        let opened = self.request.requirements.iter().filter(|one| (before + 1..=stage).contains(&one.stage));
        for name in opened.map(|requirement| requirement.name.clone()).collect::<Vec<_>>() {
            self.note(&name, now, |_| {});
        }
        vec![Effect::Record(Occurrence::StageOpened { stage }), Effect::Notify]
    }

    /// The next moment at which silence leads to something.
    pub(crate) fn next_prompt(&self) -> Option<Timestamp> {
        self.prompts().into_iter().map(|(at, ..)| at).min()
    }

    /// Does what silence has led to by now.
    pub(crate) fn prompt(&mut self, now: Timestamp) -> Vec<Effect> {
        let mut effects = Vec::new();
        let mut told = BTreeSet::new();
        for (_, index, prompt) in self.prompts().into_iter().filter(|(at, ..)| *at <= now) {
            match prompt {
                Prompt::Escalate => {
                    self.escalate(index, now);
                    effects.push(Effect::Record(Occurrence::Escalated { requirement: index }));
                }
                Prompt::Remind => self.note_reminder(index, now),
            }
            told.insert(prompt == Prompt::Escalate);
        }
        if told.contains(&true) {
            self.touch(now);
            effects.extend([Effect::Escalate, Effect::TellRequester]);
        }
        if told.contains(&false) {
            effects.push(Effect::Remind);
        }
        effects
    }

    /// Everything that silence leads to, each with the index of its requirement.
    fn prompts(&self) -> Vec<(Timestamp, usize, Prompt)> {
        let requirements = &self.request.requirements;
        if requirements.iter().all(|one| one.escalate.is_none() && one.remind_every.is_none()) {
            return Vec::new();
        }
        let progress = self.progress();
        let unmet = requirements.iter().enumerate().zip(&progress).filter(|(_, far)| far.have < far.need);
        let waiting = unmet.map(|(one, _)| one).filter(|(_, requirement)| self.is_open(requirement));
        waiting.flat_map(|(index, requirement)| self.prompts_of(index, requirement)).collect()
    }

    fn prompts_of(
        &self,
        index: usize,
        requirement: &Requirement,
    ) -> impl Iterator<Item = (Timestamp, usize, Prompt)> {
        let escalate = self.escalates_at(requirement).map(|at| (at, index, Prompt::Escalate));
        let reminders = self.prompted(&requirement.name).map_or(0, |prompted| prompted.reminders);
        let every = requirement.remind_every.filter(|_| reminders < Requirement::MAX_REMINDERS);
        let next = every.map(|every| self.asked_since(requirement).plus(times(every, reminders + 1)));
        escalate.into_iter().chain(next.map(|at| (at, index, Prompt::Remind)))
    }

    fn escalate(&mut self, index: usize, now: Timestamp) {
        let Some(requirement) = self.request.requirements.get(index) else { return };
        let (name, since) = (requirement.name.clone(), self.request.submitted_at);
        self.note(&name, since, |prompted| prompted.escalated_at = Some(now));
    }

    /// Counts every reminder that has come due, of which one is given: after an absence of the control plane
    /// people are not told five times.
    fn note_reminder(&mut self, index: usize, now: Timestamp) {
        let Some(requirement) = self.request.requirements.get(index) else { return };
        let (name, every) = (requirement.name.clone(), requirement.remind_every.unwrap_or_default());
        self.note(&name, self.request.submitted_at, |prompted| {
            let is_due = |count: u32| prompted.since.plus(times(every, count)) <= now;
            let due =
                (prompted.reminders + 1..=Requirement::MAX_REMINDERS).take_while(|count| is_due(*count));
            prompted.reminders = due.last().unwrap_or(prompted.reminders);
        });
    }

    fn note(&mut self, name: &RequirementName, since: Timestamp, change: impl FnOnce(&mut Prompted)) {
        if !self.prompted.iter().any(|prompted| prompted.requirement == *name) {
            let requirement = name.clone();
            self.prompted.push(Prompted { requirement, since, escalated_at: None, reminders: 0 });
        }
        if let Some(prompted) = self.prompted.iter_mut().find(|prompted| prompted.requirement == *name) {
            change(prompted);
        }
    }
}

fn times(span: Seconds, count: u32) -> Seconds {
    Seconds::new(span.get().saturating_mul(count))
}
