//! An approval as people see it: made from the same canonical form that the digest binds (I12).

use approval::{
    Approval, Effect, GrantScope, Input, Phase, Progress, Refusal, Voter, transition, voting::wanting,
};
use countersign_approval as approval;
use countersign_model::{Assurance, GrantShape, ReasonRule, Requirement, RequirementKind, Timestamp, VoteId};

use super::approvals::{
    ApprovalView, DelegatedView, EscalationView, GlassReviewView, GlassView, GrantView, MayVote,
    RequirementView, VoteDecision, VoteView,
};
use crate::{
    identity::{Actor, ActorKind, Right, Role},
    trace::trace_id,
};

impl ApprovalView {
    /// The approval as `actor` sees it now.
    pub(super) fn of(approval: &Approval, actor: &Actor, now: Timestamp) -> Self {
        let request = &approval.request;
        let submission = &request.submission;
        let operation = serde_json::from_str(&submission.operation).unwrap_or_default();
        Self {
            id: request.id,
            version: approval.version,
            state: approval.phase().to_string(),
            reason: approval.reason(),
            agent: request.agent_name.clone(),
            owner: request.owner.clone(),
            interceptor: submission.interceptor.clone(),
            operation,
            operation_text: submission.operation.clone(),
            redacted: submission.redacted.clone(),
            digest: submission.digest,
            provenance: submission.provenance.clone(),
            policies: submission.policies.clone(),
            revision: submission.revision.0,
            requirements: requirements(approval),
            votes: approval.votes.iter().map(vote_view).collect(),
            submitted_at: request.submitted_at,
            editable: submission.substitutable && approval.phase() == Phase::Pending,
            edited: approval.edited.as_ref().map(Into::into),
            follows: submission.follows,
            asked: approval.asked(),
            decide_by: request.decide_by(),
            grant: approval.terms.as_ref().map(|terms| GrantView {
                uses: terms.uses,
                used: u32::try_from(approval.uses.len()).unwrap_or(u32::MAX),
                not_after: terms.not_after,
            }),
            execute_by: approval.terms.as_ref().map(|terms| terms.execute_by),
            updated_at: approval.updated_at,
            trace_id: submission.trace.as_deref().and_then(trace_id),
            glass: approval.glass.as_ref().map(glass_view),
            needs_review: approval.needs_review(),
            may_vote: may_vote(approval, actor, now),
        }
    }
}

fn requirements(approval: &Approval) -> Vec<RequirementView> {
    let progress = approval.progress();
    let have = |requirement: &Requirement| {
        let found = progress.iter().find(|one: &&Progress| one.requirement == requirement.name);
        found.map_or((0, Vec::new()), |one| (one.have, one.reviewers.clone()))
    };
    let view = |requirement: &Requirement| {
        let (approved, reviewers) = have(requirement);
        RequirementView {
            name: requirement.name.to_string(),
            kind: kind_name(requirement.kind).to_owned(),
            reviewers,
            quorum: requirement.quorum,
            approved,
            assurance: requirement.assurance.as_str().to_owned(),
            stage: requirement.stage,
            is_open: approval.is_open(requirement),
            deny_threshold: requirement.deny_threshold,
            denied: u32::try_from(approval.denials(&requirement.name)).unwrap_or(u32::MAX),
            needs_reason: requirement.reason == ReasonRule::Required,
            escalation: escalation(approval, requirement),
            grant: grant_words(approval, requirement),
            break_glass: requirement.break_glass.iter().map(ToString::to_string).collect(),
        }
    };
    approval.request.requirements.iter().map(view).collect()
}

/// What a requirement's grant lets run, of this operation.
fn grant_words(approval: &Approval, requirement: &Requirement) -> String {
    match &requirement.grant {
        GrantShape::Task(_) if GrantScope::of(&approval.request).is_none() => {
            "once, because it is outside of the task that could be granted".to_owned()
        }
        grant => grant.to_string(),
    }
}

fn escalation(approval: &Approval, requirement: &Requirement) -> Option<EscalationView> {
    let planned = requirement.escalate.as_ref()?;
    Some(EscalationView {
        to: planned.to.iter().map(ToString::to_string).collect(),
        at: approval.escalates_at(requirement),
        escalated_at: approval.escalated_at(&requirement.name),
    })
}

fn kind_name(kind: RequirementKind) -> &'static str {
    match kind {
        RequirementKind::Approval => "approval",
        RequirementKind::Confirmation => "confirmation",
    }
}

fn vote_view(vote: &approval::Vote) -> VoteView {
    VoteView {
        person: vote.person.clone(),
        decision: match vote.decision {
            approval::VoteDecision::Approve => VoteDecision::Approve,
            approval::VoteDecision::Deny => VoteDecision::Deny,
        },
        reason: vote.reason.clone(),
        channel: vote.channel.clone(),
        assurance: vote.assurance.as_str().to_owned(),
        at: vote.at,
        delegated: vote.delegated.iter().map(delegated_view).collect(),
    }
}

fn delegated_view(delegated: &approval::DelegatedRight) -> DelegatedView {
    DelegatedView { requirement: delegated.requirement.to_string(), from: delegated.from.clone() }
}

fn glass_view(glass: &approval::BrokenGlass) -> GlassView {
    let review = |review: &approval::GlassReview| GlassReviewView {
        by: review.by.clone(),
        comment: review.comment.clone(),
        at: review.at,
    };
    GlassView {
        by: glass.by.clone(),
        reason: glass.reason.clone(),
        at: glass.at,
        review: glass.review.as_ref().map(review),
    }
}

/// The actor as a voter. Whether they are eligible is for the approval to say.
pub(super) fn voter(actor: &Actor, channel: &str) -> Voter {
    Voter {
        person: actor.person.clone(),
        also: actor.also.clone(),
        groups: actor.groups.clone(),
        reviewer: actor.roles.contains(&Role::Reviewer),
        machine: actor.kind == ActorKind::Machine,
        agent: false,
        channel: channel.to_owned(),
        method: actor.method.clone(),
        assurance: actor.assurance(),
        delegators: actor.delegators.clone(),
    }
}

/// Asks the state machine itself, so that what is offered and what is taken cannot differ.
pub(super) fn may_vote(approval: &Approval, actor: &Actor, now: Timestamp) -> MayVote {
    let may_revoke = may_revoke(approval, actor, now);
    if !actor.may(Right::Vote) {
        let reason = Some("this credential cannot vote".to_owned());
        return MayVote { reason, may_revoke, ..MayVote::default() };
    }
    let present = voter(actor, "console");
    let trial = |assurance, decision| {
        let voter = Voter { assurance, ..present.clone() };
        let vote = Input::Vote { id: VoteId::from_bytes([0; 16]), voter, decision, reason: None };
        match transition(approval, &vote, now) {
            // Nothing else is in the way: it is the last thing that is looked at.
            Err(Refusal::ReasonMissing) => Ok(true),
            tried => tried.map(|_| false),
        }
    };
    let approves = trial(present.assurance, approval::VoteDecision::Approve);
    let denies = trial(present.assurance, approval::VoteDecision::Deny);
    let needs_reason = matches!(approves, Ok(true)) || matches!(denies, Ok(true));
    let refusal = approves.err();
    let tried = |input: Input| transition(approval, &input, now).is_ok();
    let (voter, reason) = (present.clone(), "?".to_owned());
    let may_break_glass = approval.glass.is_none() && tried(Input::BreakGlass { voter, reason });
    let (voter, comment) = (present.clone(), "?".to_owned());
    let may_review = approval.needs_review() && tried(Input::ReviewGlass { voter, comment });
    let no_changes = Input::Edit { voter: present.clone(), changes: Vec::new(), reason: None };
    // The changes themselves are the last thing that is looked at.
    let may_edit = matches!(transition(approval, &no_changes, now), Err(Refusal::Edit(_)));
    let helps = |more: &Assurance| trial(*more, approval::VoteDecision::Approve).is_ok();
    MayVote {
        allowed: refusal.is_none(),
        reason: refusal.map(|refusal| refusal.to_string()),
        may_deny: denies.is_ok(),
        needs_reason,
        may_break_glass,
        may_review,
        may_edit,
        may_revoke,
        assurance_needed: wanting(approval, &present).filter(helps).map(|more| more.as_str().to_owned()),
    }
}

fn may_revoke(approval: &Approval, actor: &Actor, now: Timestamp) -> bool {
    let input = Input::Revoke { by: actor.audit_name(), reason: None };
    let would_end = |(_, effects): (Approval, Vec<Effect>)| effects.contains(&Effect::WithdrawGrant);
    (has_a_say(approval, actor) || actor.may(Right::Admin))
        && transition(approval, &input, now).is_ok_and(would_end)
}

/// Whether what was approved is the actor's to take back, admin or not: it is their agent, or it was their answer.
pub(super) fn has_a_say(approval: &Approval, actor: &Actor) -> bool {
    actor.is(&approval.request.owner)
        || approval.votes.iter().any(|vote| actor.is(&vote.person))
        || approval.glass.as_ref().is_some_and(|glass| actor.is(&glass.by))
}

/// A stable word for a refusal, as the API gives it.
pub(super) fn refusal_code(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::MachineCredential => "machine_credential",
        Refusal::AgentCredential => "agent_credential",
        Refusal::Initiator | Refusal::Owner | Refusal::Editor => "self_approval",
        Refusal::EditsNotYours => "not_eligible",
        Refusal::NotEditable => "not_editable",
        Refusal::Edit(_) => "not_an_edit",
        Refusal::NotReviewer => "not_a_reviewer",
        Refusal::NotEligible { .. } => "not_eligible",
        Refusal::AssuranceTooLow(_) => "assurance_too_low",
        Refusal::AlreadyVoted => "already_voted",
        Refusal::NotYetAsked { .. } => "not_yet_asked",
        Refusal::NoGlass(_) => "glass_not_yours",
        Refusal::NothingToReview => "nothing_to_review",
        Refusal::OwnGlass => "own_glass",
        Refusal::AlreadyReviewed(_) => "already_reviewed",
        Refusal::ReasonMissing => "reason_missing",
        Refusal::ReasonTooLong => "reason_too_long",
        Refusal::TooLate { phase: Phase::Expired, .. } => "expired",
        Refusal::TooLate { .. } => "already_decided",
        Refusal::NotApproved(_) | Refusal::NotYetApproved => "not_approved",
        Refusal::NoSuchUse { .. }
        | Refusal::UseTaken(_)
        | Refusal::ClaimedOutOfTime { .. }
        | Refusal::NotClaimed(_)
        | Refusal::OutcomeKnown(_) => "not_usable",
    }
}
