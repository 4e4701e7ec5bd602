//! Who may vote, and what a vote does.

use countersign_model::{Requirement, RequirementKind, RequirementName, ReviewerSelector, Timestamp};

use crate::{
    clocks::{limits, over},
    grant::{MetRequirement, definition_digest},
    quorum,
    request::Request,
    state::{Approval, GrantTerms, State},
    transition::{Effect, Occurrence, Refusal},
    vote::{MAX_REASON, Vote, VoteDecision, Voter},
};

/// The requirements that a voter may vote on; a refusal when there is none (I3).
///
/// # Errors
/// Why they may not vote at all, in words for them.
pub fn eligible(request: &Request, voter: &Voter) -> Result<Vec<RequirementName>, Refusal> {
    // What the credential is comes first, and who the person is second: no role outweighs either (I3).
    if voter.agent {
        return Err(Refusal::AgentCredential);
    }
    if voter.machine {
        return Err(Refusal::MachineCredential);
    }
    let fits = |requirement: &&Requirement| may_vote_on(request, requirement, voter);
    let names: Vec<_> = request.requirements.iter().filter(fits).map(|r| r.name.clone()).collect();
    if names.is_empty() { Err(why_not(request, voter)) } else { Ok(names) }
}

fn may_vote_on(request: &Request, requirement: &Requirement, voter: &Voter) -> bool {
    match requirement.kind {
        RequirementKind::Approval => {
            !is_party(request, voter) && voter.reviewer && is_named(requirement, voter)
        }
        RequirementKind::Confirmation => request.confirmer() == Some(&voter.person),
    }
}

/// Whether the operation is the voter's own affair: theirs to confirm at most, never to approve (I3).
fn is_party(request: &Request, voter: &Voter) -> bool {
    is_initiator(request, voter) || request.owner == voter.person
}

fn is_initiator(request: &Request, voter: &Voter) -> bool {
    let initiator = request.submission.provenance.initiator.as_ref();
    initiator.is_some_and(|initiator| initiator.person == voter.person)
}

fn is_named(requirement: &Requirement, voter: &Voter) -> bool {
    requirement.reviewers.iter().any(|selector| match selector {
        ReviewerSelector::Anyone => true,
        ReviewerSelector::Group(group) => {
            voter.groups.iter().any(|one| one == group || one == Voter::EVERY_GROUP)
        }
        ReviewerSelector::User(person) => *person == voter.person,
    })
}

fn why_not(request: &Request, voter: &Voter) -> Refusal {
    if is_initiator(request, voter) {
        return Refusal::Initiator;
    }
    if request.owner == voter.person {
        return Refusal::Owner;
    }
    if !voter.reviewer && request.requirements.iter().any(|r| r.kind == RequirementKind::Approval) {
        return Refusal::NotReviewer;
    }
    let mut reviewers: Vec<_> = request.requirements.iter().flat_map(|r| request.reviewers_of(r)).collect();
    reviewers.sort();
    reviewers.dedup();
    Refusal::NotEligible { reviewers: reviewers.join(", ") }
}

impl Request {
    /// Who may vote on a requirement, in words: its selectors, or the person who may confirm.
    #[must_use]
    pub fn reviewers_of(&self, requirement: &Requirement) -> Vec<String> {
        match requirement.kind {
            RequirementKind::Approval => requirement.reviewers.iter().map(ToString::to_string).collect(),
            RequirementKind::Confirmation => {
                self.confirmer().map(|person| format!("user:{person}")).into_iter().collect()
            }
        }
    }
}

/// A vote that is about to be cast.
pub(crate) struct Ballot<'a> {
    pub(crate) id: countersign_model::VoteId,
    pub(crate) voter: &'a Voter,
    pub(crate) decision: VoteDecision,
    pub(crate) reason: &'a Option<String>,
}

impl Approval {
    pub(crate) fn vote(&mut self, ballot: &Ballot<'_>, now: Timestamp) -> Result<Vec<Effect>, Refusal> {
        let earlier = self.votes.iter().rev().find(|vote| vote.person == ballot.voter.person);
        let is_person = !ballot.voter.machine && !ballot.voter.agent;
        let repeated = |vote: &Vote| vote.decision == ballot.decision && vote.reason == *ballot.reason;
        if is_person && earlier.is_some_and(repeated) {
            return Ok(Vec::new());
        }
        let eligible_for = eligible(&self.request, ballot.voter)?;
        if self.state != State::Pending {
            return Err(self.too_late());
        }
        // While it is pending, an earlier vote was an approval. Turning it into a denial is safe.
        if earlier.is_some() && ballot.decision == VoteDecision::Approve {
            return Err(Refusal::AlreadyVoted);
        }
        if ballot.reason.as_ref().is_some_and(|reason| reason.chars().count() > MAX_REASON) {
            return Err(Refusal::ReasonTooLong);
        }
        self.votes.push(ballot.cast(eligible_for, now));
        let mut effects = vec![Effect::Record(Occurrence::Voted)];
        effects.extend(self.count(ballot, now));
        Ok(effects)
    }

    fn count(&mut self, ballot: &Ballot<'_>, now: Timestamp) -> Vec<Effect> {
        if ballot.decision == VoteDecision::Deny {
            let by = ballot.voter.person.clone();
            self.close(State::Denied { by, reason: ballot.reason.clone() }, now);
            return over(Occurrence::Denied);
        }
        let assignment = quorum::assign(&self.request.requirements, &self.votes);
        if !assignment.complete {
            self.touch(now);
            return vec![Effect::TellRequester, Effect::UpdateCards];
        }
        let (execute_by, not_after, uses) = limits(&self.request.requirements, now);
        let met = self.request.requirements.iter().zip(assignment.by_requirement);
        let met = met.map(|(requirement, by)| MetRequirement {
            name: requirement.name.clone(),
            kind: requirement.kind,
            definition: definition_digest(requirement),
            by,
        });
        self.terms = Some(GrantTerms { approved_at: now, execute_by, not_after, uses, met: met.collect() });
        self.close(State::Approved, now);
        vec![
            Effect::Record(Occurrence::Approved),
            Effect::IssueGrant,
            Effect::TellRequester,
            Effect::RetireCards,
        ]
    }
}

impl Ballot<'_> {
    fn cast(&self, eligible_for: Vec<RequirementName>, at: Timestamp) -> Vote {
        Vote {
            id: self.id,
            person: self.voter.person.clone(),
            decision: self.decision,
            reason: self.reason.clone(),
            at,
            channel: self.voter.channel.clone(),
            method: self.voter.method.clone(),
            eligible_for,
        }
    }
}
