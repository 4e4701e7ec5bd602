//! Breaking the glass: one person approves alone, in an emergency, and somebody else reviews it afterwards.
//!
//! Policy must let them, requirement by requirement, and I3 holds as for every other way to approve. What comes of it is
//! an approval like any other: the sidecar verifies its grant, evaluates policy again, and runs the operation once. The
//! review changes nothing about that; it is open until somebody has done it, however the operation ended.

use countersign_model::{Assurance, PersonId, Requirement, RequirementKind, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    grant::MetRequirement,
    quorum,
    state::{Approval, State},
    transition::{Effect, Occurrence, Refusal},
    vote::{MAX_REASON, Names, VoteDecision, Voter},
    voting::{is_named, is_party, not_eligible, refuse_parties},
};

/// Who approved a request alone, and what became of that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokenGlass {
    /// Who.
    pub by: PersonId,
    /// Why.
    pub reason: String,
    /// When.
    pub at: Timestamp,
    /// Where they were.
    pub channel: String,
    /// How they had signed in.
    pub method: String,
    /// How surely it was them.
    #[serde(default, skip_serializing_if = "Assurance::is_any")]
    pub assurance: Assurance,
    /// What somebody else found; `None` until they have looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub review: Option<GlassReview>,
}

/// What somebody found about what another did alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GlassReview {
    /// Who.
    pub by: PersonId,
    /// What.
    pub comment: String,
    /// When.
    pub at: Timestamp,
    /// Where they were.
    pub channel: String,
    /// How they had signed in.
    pub method: String,
}

impl Approval {
    /// Whether somebody approved it alone, and nobody else has looked at that.
    #[must_use]
    pub fn needs_review(&self) -> bool {
        self.glass.as_ref().is_some_and(|glass| glass.review.is_none())
    }

    pub(crate) fn break_glass(
        &mut self,
        voter: &Voter,
        reason: &str,
        now: Timestamp,
    ) -> Result<Vec<Effect>, Refusal> {
        refuse_parties(&self.request, voter)?;
        let done = |glass: &BrokenGlass| glass.by == voter.person && glass.reason == reason;
        if self.glass.as_ref().is_some_and(done) {
            return Ok(Vec::new());
        }
        if self.state != State::Pending {
            return Err(self.too_late());
        }
        let denied = |vote: &crate::Vote| vote.person == voter.person && vote.decision == VoteDecision::Deny;
        if self.votes.iter().any(denied) || voter.names().spoke_as_another(&self.votes) {
            return Err(Refusal::AlreadyVoted);
        }
        let met = self.met_alone(voter)?;
        check_words(reason)?;
        self.glass = Some(BrokenGlass {
            by: voter.person.clone(),
            reason: reason.to_owned(),
            at: now,
            channel: voter.channel.clone(),
            method: voter.method.clone(),
            assurance: voter.assurance,
            review: None,
        });
        let mut effects = vec![Effect::Record(Occurrence::GlassBroken)];
        effects.extend(self.approve(met, now));
        Ok(effects)
    }

    /// How every requirement is met when the voter meets alone what others have not met. Their own vote, and any
    /// that was cast by their right, no longer counts for the rest (I4).
    fn met_alone(&self, voter: &Voter) -> Result<Vec<MetRequirement>, Refusal> {
        let requirements: Vec<_> = self.request.requirements.iter().collect();
        let others = quorum::assign_without(&requirements, &self.votes, &voter.person);
        let meet = |(requirement, by): (&&Requirement, Vec<PersonId>)| {
            if u32::try_from(by.len()).is_ok_and(|have| have >= requirement.quorum) {
                return Ok(MetRequirement::new(requirement, by));
            }
            may_break(requirement, voter)?;
            Ok(MetRequirement::by_breaking_glass(requirement, voter.person.clone()))
        };
        requirements.iter().zip(others.by_requirement).map(meet).collect()
    }

    pub(crate) fn review_glass(
        &mut self,
        voter: &Voter,
        comment: &str,
        now: Timestamp,
    ) -> Result<Vec<Effect>, Refusal> {
        let glass = self.glass.as_ref().ok_or(Refusal::NothingToReview)?;
        refuse_parties(&self.request, voter)?;
        if voter.names().has(&glass.by) {
            return Err(Refusal::OwnGlass);
        }
        if let Some(review) = &glass.review {
            let repeated = review.by == voter.person && review.comment == comment;
            return if repeated { Ok(Vec::new()) } else { Err(Refusal::AlreadyReviewed(review.by.clone())) };
        }
        if !self.request.requirements.iter().any(|one| self.may_review(one, voter, &glass.by)) {
            return Err(not_eligible(self));
        }
        check_words(comment)?;
        let review = GlassReview {
            by: voter.person.clone(),
            comment: comment.to_owned(),
            at: now,
            channel: voter.channel.clone(),
            method: voter.method.clone(),
        };
        if let Some(glass) = &mut self.glass {
            glass.review = Some(review);
        }
        self.touch(now);
        Ok(vec![Effect::Record(Occurrence::GlassReviewed), Effect::UpdateCards])
    }

    /// Whether somebody could have voted on a requirement, by their own right or by that of somebody who is neither
    /// a party (I3) nor the one to be reviewed.
    fn may_review(&self, requirement: &Requirement, voter: &Voter, breaker: &PersonId) -> bool {
        let named = |names: Names<'_>, groups: &[String]| is_named(self.asked_of(requirement), names, groups);
        let confers = |one: &&crate::Delegator| {
            one.reviewer && !one.names().has(breaker) && !is_party(&self.request, one.names())
        };
        requirement.kind == RequirementKind::Approval
            && (named(voter.names(), &voter.groups)
                || voter.delegators.iter().filter(confers).any(|one| named(one.names(), &one.groups)))
    }
}

/// Whether policy lets somebody meet a requirement alone: by their own name and groups, never as a stand-in, and
/// as surely as any other approval of it.
fn may_break(requirement: &Requirement, voter: &Voter) -> Result<(), Refusal> {
    let is_let = requirement.kind == RequirementKind::Approval
        && is_named(requirement.break_glass.iter(), voter.names(), &voter.groups);
    if !is_let {
        Err(Refusal::NoGlass(requirement.name.clone()))
    } else if voter.assurance < requirement.assurance {
        Err(Refusal::AssuranceTooLow(requirement.assurance))
    } else {
        Ok(())
    }
}

fn check_words(text: &str) -> Result<(), Refusal> {
    if text.chars().count() > MAX_REASON {
        Err(Refusal::ReasonTooLong)
    } else if text.trim().is_empty() {
        Err(Refusal::ReasonMissing)
    } else {
        Ok(())
    }
}
