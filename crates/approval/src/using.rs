//! What a sidecar reports about the uses of a grant (I2).
//!
//! The sidecar is the one who consumes a grant, durably and offline; what arrives here is its report,
//! at times long after. So a use that was claimed in time is recorded even when the control plane has
//! ended the approval in the meantime. The ended state stays: nothing revives it.

use countersign_model::Timestamp;

use crate::{
    state::{Approval, Outcome, State, Use},
    transition::{Effect, Occurrence, Refusal},
};

impl Approval {
    pub(crate) fn claim(
        &mut self,
        use_number: u32,
        at: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<Effect>, Refusal> {
        let terms = self.terms.as_ref().ok_or_else(|| Refusal::NotApproved(self.phase()))?;
        if !(1..=terms.uses).contains(&use_number) {
            return Err(Refusal::NoSuchUse { use_number, uses: terms.uses });
        }
        if let Some(earlier) = self.uses.iter().find(|one| one.number == use_number) {
            let repeated = earlier.claimed_at == at;
            return if repeated { Ok(Vec::new()) } else { Err(Refusal::UseTaken(use_number)) };
        }
        let limit = if use_number == 1 { terms.execute_by } else { terms.not_after };
        if at >= limit {
            return Err(Refusal::ClaimedOutOfTime { use_number, at, limit });
        }
        self.uses.push(Use { number: use_number, claimed_at: at, outcome: None, finished_at: None });
        if self.state == State::Approved {
            self.state = State::Claimed;
        }
        self.touch(now);
        Ok(vec![Effect::Record(Occurrence::Claimed { use_number }), Effect::TellRequester])
    }

    pub(crate) fn finish(
        &mut self,
        use_number: u32,
        outcome: Outcome,
        at: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<Effect>, Refusal> {
        if self.terms.is_none() {
            return Err(Refusal::NotApproved(self.phase()));
        }
        let claimed = self.uses.iter_mut().find(|one| one.number == use_number);
        let claimed = claimed.ok_or(Refusal::NotClaimed(use_number))?;
        match claimed.outcome {
            Some(known) if known == outcome => return Ok(Vec::new()),
            Some(_) => return Err(Refusal::OutcomeKnown(use_number)),
            None => {
                claimed.outcome = Some(outcome);
                claimed.finished_at = Some(at);
            }
        }
        self.touch(now);
        let mut effects = vec![Effect::Record(Occurrence::Finished { use_number, outcome })];
        let ended = self.settle(now);
        effects.extend(if ended.is_empty() { vec![Effect::TellRequester] } else { ended });
        Ok(effects)
    }

    /// Whether a use could still be claimed, as far as is known here.
    pub(crate) fn has_use_left(&self) -> bool {
        let uses = self.terms.as_ref().map_or(0, |terms| terms.uses);
        self.uses.len() < usize::try_from(uses).unwrap_or(usize::MAX)
    }
}
