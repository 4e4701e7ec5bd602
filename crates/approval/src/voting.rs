//! Who may vote, and what a vote does.

use countersign_model::{
    Assurance, Requirement, RequirementKind, RequirementName, ReviewerSelector, Timestamp,
};

use crate::{
    clocks::{limits, over},
    grant::{MetRequirement, definition_digest},
    quorum,
    request::Request,
    state::{Approval, GrantTerms, State},
    transition::{Effect, Occurrence, Refusal},
    vote::{MAX_REASON, Vote, VoteDecision, Voter},
};

/// The requirements that a voter's answer counts for; a refusal when there is none (I3). Refusing is safe,
/// so a denial is taken however surely it is theirs; an approval counts only where that is enough.
///
/// # Errors
/// Why their answer does not count at all, in words for them.
pub fn eligible(
    request: &Request,
    voter: &Voter,
    decision: VoteDecision,
) -> Result<Vec<RequirementName>, Refusal> {
    let open = open_to(request, voter)?;
    let is_sure = |r: &&&Requirement| decision == VoteDecision::Deny || r.assurance <= voter.assurance;
    let names: Vec<_> = open.iter().filter(is_sure).map(|r| r.name.clone()).collect();
    match open.iter().map(|r| r.assurance).min() {
        Some(least) if names.is_empty() => Err(Refusal::AssuranceTooLow(least)),
        _ => Ok(names),
    }
}

/// The assurance with which an approval of this voter would count for everything that they may vote on;
/// `None` when theirs is enough for that, or when they may not vote at all.
#[must_use]
pub fn wanting(request: &Request, voter: &Voter) -> Option<Assurance> {
    let open = open_to(request, voter).ok()?;
    let most = open.iter().map(|r| r.assurance).max()?;
    (most > voter.assurance).then_some(most)
}

/// The requirements that a voter may vote on, if only surely enough.
fn open_to<'a>(request: &'a Request, voter: &Voter) -> Result<Vec<&'a Requirement>, Refusal> {
    // What the credential is comes first, and who the person is second: no role outweighs either (I3).
    if voter.agent {
        return Err(Refusal::AgentCredential);
    }
    if voter.machine {
        return Err(Refusal::MachineCredential);
    }
    let fits = |requirement: &&Requirement| may_vote_on(request, requirement, voter);
    let open: Vec<_> = request.requirements.iter().filter(fits).collect();
    if open.is_empty() { Err(why_not(request, voter)) } else { Ok(open) }
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
        let surer = |vote: &Vote| vote.assurance < ballot.voter.assurance;
        let repeated =
            |vote: &Vote| vote.decision == ballot.decision && vote.reason == *ballot.reason && !surer(vote);
        if is_person && earlier.is_some_and(repeated) {
            return Ok(Vec::new());
        }
        let eligible_for = eligible(&self.request, ballot.voter, ballot.decision)?;
        if self.state != State::Pending {
            return Err(self.too_late());
        }
        // While it is pending, an earlier vote was an approval. Turning it into a denial is safe, and giving
        // it more surely takes the earlier one's place where it counts for more than that did.
        let adds =
            |vote: &Vote| surer(vote) && eligible_for.iter().any(|name| !vote.eligible_for.contains(name));
        if ballot.decision == VoteDecision::Approve && earlier.is_some_and(|vote| !adds(vote)) {
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
            assurance: self.voter.assurance,
            eligible_for,
        }
    }
}
