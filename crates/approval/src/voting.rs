//! Who may vote, and what a vote does.

use std::collections::BTreeSet;

use countersign_model::{
    Assurance, PersonId, ReasonRule, Requirement, RequirementKind, RequirementName, ReviewerSelector,
    Timestamp,
};

use crate::{
    clocks::over,
    grant::MetRequirement,
    quorum::{self, Assignment},
    request::Request,
    state::{Approval, GrantTerms, State},
    transition::{Effect, Occurrence, Refusal},
    vote::{DelegatedRight, Delegator, MAX_REASON, Names, Vote, VoteDecision, Voter},
};

/// The requirements that a voter's answer counts for; a refusal when there is none (I3). Refusing is safe,
/// so a denial is taken however surely it is theirs; an approval counts only where that is enough.
///
/// # Errors
/// Why their answer does not count at all, in words for them.
pub fn eligible(
    approval: &Approval,
    voter: &Voter,
    decision: VoteDecision,
) -> Result<Vec<RequirementName>, Refusal> {
    let open = open_to(approval, voter)?;
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
pub fn wanting(approval: &Approval, voter: &Voter) -> Option<Assurance> {
    let open = open_to(approval, voter).ok()?;
    let most = open.iter().map(|r| r.assurance).max()?;
    (most > voter.assurance).then_some(most)
}

/// The requirements that a voter may vote on now, if only surely enough.
fn open_to<'a>(approval: &'a Approval, voter: &Voter) -> Result<Vec<&'a Requirement>, Refusal> {
    // What the credential is comes first, and who the person is second: no role outweighs either (I3).
    if voter.agent {
        return Err(Refusal::AgentCredential);
    }
    if voter.machine {
        return Err(Refusal::MachineCredential);
    }
    let fits = |requirement: &&Requirement| may_vote_on(approval, requirement, voter);
    let theirs: Vec<_> = approval.request.requirements.iter().filter(fits).collect();
    let stage = theirs.iter().map(|requirement| requirement.stage).min();
    let stage = stage.ok_or_else(|| why_not(approval, voter))?;
    let open = approval.open_stage();
    if stage > open {
        return Err(Refusal::NotYetAsked { stage, open });
    }
    Ok(theirs.into_iter().filter(|requirement| requirement.stage <= open).collect())
}

fn may_vote_on(approval: &Approval, requirement: &Requirement, voter: &Voter) -> bool {
    let request = &approval.request;
    match requirement.kind {
        RequirementKind::Approval => {
            let may = voter.reviewer && !is_party(request, voter.names());
            may && (has_right(approval, requirement, voter)
                || delegator(approval, requirement, voter).is_some())
        }
        RequirementKind::Confirmation => {
            request.confirmer().is_some_and(|confirmer| voter.names().has(confirmer))
        }
    }
}

/// Whether the voter's own groups and name make them one of those who are asked.
fn has_right(approval: &Approval, requirement: &Requirement, voter: &Voter) -> bool {
    is_named(approval.asked_of(requirement), voter.names(), &voter.groups)
}

/// Whose right the voter would use as their stand-in: of several, one that nobody has used yet. A party of the
/// operation has no right that they could hand on (I3), and what was handed on is not handed on again.
fn delegator<'a>(approval: &Approval, requirement: &Requirement, voter: &'a Voter) -> Option<&'a PersonId> {
    let confers = |one: &&Delegator| {
        one.reviewer
            && one.assurance >= requirement.assurance
            && !is_party(&approval.request, one.names())
            && !one.names().spoke_as_another(&approval.votes)
            && is_named(approval.asked_of(requirement), one.names(), &one.groups)
    };
    let is_free = |one: &&Delegator| !approval.is_used(&one.person, &voter.person);
    let conferring = || voter.delegators.iter().filter(confers);
    conferring().find(is_free).or_else(|| conferring().next()).map(|one| &one.person)
}

/// Whether the operation is somebody's own affair, by whatever name: theirs to confirm at most, never to approve (I3).
pub(crate) fn is_party(request: &Request, names: Names<'_>) -> bool {
    is_initiator(request, names) || names.has(&request.owner) || is_editor(request, names)
}

fn is_initiator(request: &Request, names: Names<'_>) -> bool {
    let initiator = request.submission.provenance.initiator.as_ref();
    initiator.is_some_and(|initiator| names.has(&initiator.person))
}

fn is_editor(request: &Request, names: Names<'_>) -> bool {
    request.edited_by.iter().any(|editor| names.has(editor))
}

pub(crate) fn is_named<'a>(
    mut asked: impl Iterator<Item = &'a ReviewerSelector>,
    names: Names<'_>,
    groups: &[String],
) -> bool {
    asked.any(|selector| match selector {
        ReviewerSelector::Anyone => true,
        ReviewerSelector::Group(group) => groups.iter().any(|one| one == group || one == Voter::EVERY_GROUP),
        ReviewerSelector::User(named) => names.has(named),
    })
}

/// Why somebody may not decide about this, whatever their groups are: what the credential is comes first, and who
/// the person is second, so that no role outweighs either (I3).
pub(crate) fn refuse_parties(request: &Request, voter: &Voter) -> Result<(), Refusal> {
    if voter.agent {
        Err(Refusal::AgentCredential)
    } else if voter.machine {
        Err(Refusal::MachineCredential)
    } else if is_initiator(request, voter.names()) {
        Err(Refusal::Initiator)
    } else if voter.names().has(&request.owner) {
        Err(Refusal::Owner)
    } else if is_editor(request, voter.names()) {
        Err(Refusal::Editor)
    } else if !voter.reviewer {
        Err(Refusal::NotReviewer)
    } else {
        Ok(())
    }
}

fn why_not(approval: &Approval, voter: &Voter) -> Refusal {
    let request = &approval.request;
    match refuse_parties(request, voter) {
        Err(Refusal::NotReviewer)
            if !request.requirements.iter().any(|r| r.kind == RequirementKind::Approval) => {}
        Err(refusal) => return refusal,
        Ok(()) => {}
    }
    not_eligible(approval)
}

pub(crate) fn not_eligible(approval: &Approval) -> Refusal {
    let request = &approval.request;
    let mut reviewers: Vec<_> = request.requirements.iter().flat_map(|r| approval.reviewers_of(r)).collect();
    reviewers.sort();
    reviewers.dedup();
    Refusal::NotEligible { reviewers: reviewers.join(", ") }
}

impl Approval {
    /// Who may vote on a requirement by now, in words: its selectors, or the person who may confirm.
    #[must_use]
    pub fn reviewers_of(&self, requirement: &Requirement) -> Vec<String> {
        match requirement.kind {
            RequirementKind::Approval => self.asked_of(requirement).map(ToString::to_string).collect(),
            RequirementKind::Confirmation => {
                self.request.confirmer().map(|person| format!("user:{person}")).into_iter().collect()
            }
        }
    }

    /// Who is asked about an approval by now: its reviewers, and once it has escalated those others.
    pub(crate) fn asked_of<'a>(
        &self,
        requirement: &'a Requirement,
    ) -> impl Iterator<Item = &'a ReviewerSelector> {
        let others = requirement.escalate.as_ref().filter(|_| self.escalated_at(&requirement.name).is_some());
        requirement.reviewers.iter().chain(others.into_iter().flat_map(|escalation| &escalation.to))
    }

    /// Who counts for what, of all who have voted.
    pub(crate) fn assignment(&self) -> Assignment {
        quorum::assign(&self.request.requirements.iter().collect::<Vec<_>>(), &self.votes)
    }

    /// By how many distinct people's rights a requirement was denied: a stand-in and the one they stand in for
    /// count once.
    #[must_use]
    pub fn denials(&self, name: &RequirementName) -> usize {
        let denials = self.votes.iter().filter(|vote| vote.decision == VoteDecision::Deny);
        let denials = denials.filter(|vote| vote.eligible_for.contains(name));
        denials.map(|vote| vote.right_of(name)).collect::<BTreeSet<_>>().len()
    }

    /// Whether a person's right was used, by themselves or by another stand-in than this one.
    fn is_used(&self, right: &PersonId, stand_in: &PersonId) -> bool {
        let uses = |vote: &Vote| vote.delegated.iter().any(|delegated| delegated.from == *right);
        self.votes.iter().any(|vote| vote.person == *right || (vote.person != *stand_in && uses(vote)))
    }

    /// For which of these requirements the voter stands in for somebody, and for whom.
    fn delegated(&self, voter: &Voter, names: &[RequirementName]) -> Vec<DelegatedRight> {
        let named = self.request.requirements.iter().filter(|one| names.contains(&one.name));
        let foreign =
            named.filter(|one| one.kind == RequirementKind::Approval && !has_right(self, one, voter));
        let delegated = foreign.filter_map(|one| {
            let from = delegator(self, one, voter)?.clone();
            Some(DelegatedRight { requirement: one.name.clone(), from })
        });
        delegated.collect()
    }

    /// Whether a requirement has as many denials as end the request.
    fn is_refused(&self) -> bool {
        self.request.requirements.iter().any(|requirement| {
            let needed = usize::try_from(requirement.deny_threshold).unwrap_or(usize::MAX);
            self.denials(&requirement.name) >= needed
        })
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
        let eligible_for = eligible(self, ballot.voter, ballot.decision)?;
        if self.state != State::Pending {
            return Err(self.too_late());
        }
        // A denial stands, whether or not more are needed to end the request. An earlier approval can be turned
        // into one, which is safe; giving it more surely takes the earlier one's place where it counts for more
        // than that did.
        let adds =
            |vote: &Vote| surer(vote) && eligible_for.iter().any(|name| !vote.eligible_for.contains(name));
        let may_follow = |vote: &Vote| match (vote.decision, ballot.decision) {
            (VoteDecision::Approve, VoteDecision::Deny) => true,
            (VoteDecision::Approve, VoteDecision::Approve) => adds(vote),
            (VoteDecision::Deny, _) => false,
        };
        let is_second = ballot.voter.names().spoke_as_another(&self.votes);
        if is_second || earlier.is_some_and(|vote| !may_follow(vote)) {
            return Err(Refusal::AlreadyVoted);
        }
        self.check_reason(ballot.reason.as_deref(), &eligible_for)?;
        let stage = self.open_stage();
        let delegated = self.delegated(ballot.voter, &eligible_for);
        self.votes.push(ballot.cast(eligible_for, delegated, now));
        let mut effects = vec![Effect::Record(Occurrence::Voted)];
        effects.extend(self.count(ballot, stage, now));
        Ok(effects)
    }

    fn check_reason(&self, reason: Option<&str>, eligible_for: &[RequirementName]) -> Result<(), Refusal> {
        if reason.is_some_and(|reason| reason.chars().count() > MAX_REASON) {
            return Err(Refusal::ReasonTooLong);
        }
        let asks = |one: &Requirement| one.reason == ReasonRule::Required && eligible_for.contains(&one.name);
        let is_asked_for = self.request.requirements.iter().any(asks);
        let is_given = reason.is_some_and(|reason| !reason.trim().is_empty());
        if is_asked_for && !is_given { Err(Refusal::ReasonMissing) } else { Ok(()) }
    }

    /// What the vote that was just cast makes of the request. `stage` was open before it.
    fn count(&mut self, ballot: &Ballot<'_>, stage: u32, now: Timestamp) -> Vec<Effect> {
        if ballot.decision == VoteDecision::Deny && self.is_refused() {
            let by = ballot.voter.person.clone();
            self.close(State::Denied { by, reason: ballot.reason.clone() }, now);
            return over(Occurrence::Denied);
        }
        let assignment = self.assignment();
        if !assignment.complete {
            self.touch(now);
            let mut effects = vec![Effect::TellRequester, Effect::UpdateCards];
            effects.extend(self.open_stages(stage, now));
            return effects;
        }
        let met = self.request.requirements.iter().zip(assignment.by_requirement);
        let met = met.map(|(requirement, by)| MetRequirement::new(requirement, by));
        self.approve(met.collect(), now)
    }

    /// Approves the request: every requirement is met.
    pub(crate) fn approve(&mut self, met: Vec<MetRequirement>, now: Timestamp) -> Vec<Effect> {
        self.terms = Some(GrantTerms::of(&self.request, met, now));
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
    fn cast(
        &self,
        eligible_for: Vec<RequirementName>,
        delegated: Vec<DelegatedRight>,
        at: Timestamp,
    ) -> Vote {
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
            delegated,
        }
    }
}
