//! What has happened to a request, in order, as every channel tells it.

use countersign_approval::{Approval, BrokenGlass, Edit, Outcome, Phase, State, VoteDecision};
use countersign_model::{Assurance, PersonId, Timestamp};
use serde::Serialize;

use super::{
    people::{Standing, Tone, person},
    text::Untrusted,
};

/// Something that has happened, or is to come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// When.
    pub at: Timestamp,
    /// Who did it, if that is a person.
    pub who: Option<Untrusted>,
    /// What, in words that may follow a name.
    pub what: String,
    /// What they said about it.
    pub reason: Option<Untrusted>,
    /// How it is meant.
    pub tone: Tone,
}

impl Step {
    fn new(at: Timestamp, what: impl Into<String>, tone: Tone) -> Self {
        Self { at, who: None, what: what.into(), reason: None, tone }
    }
}

/// Everything that has happened, oldest first.
pub(super) fn timeline(approval: &Approval) -> Vec<Step> {
    let mut steps = vec![asked(approval)];
    steps.extend(approval.prompted.iter().filter_map(|prompted| {
        let what = format!("{} is asked of more people", prompted.requirement);
        Some(Step::new(prompted.escalated_at?, what, Tone::Neutral))
    }));
    steps.extend(approval.votes.iter().map(voted));
    steps.extend(approval.glass.iter().flat_map(alone));
    steps.extend(approval.edited.iter().map(edited));
    if let Some(terms) = &approval.terms {
        steps.push(Step::new(terms.approved_at, "Everything that is needed is there: approved", Tone::Good));
    }
    for one in &approval.uses {
        steps.push(Step::new(one.claimed_at, nth("It was started", one.number), Tone::Good));
        if let (Some(outcome), Some(at)) = (one.outcome, one.finished_at) {
            steps.push(finished(outcome, at, one.number));
        }
    }
    steps.extend(ended(approval));
    steps.sort_by_key(|step| step.at);
    steps
}

fn asked(approval: &Approval) -> Step {
    let request = &approval.request;
    let what = match approval.asked() {
        1 => format!("{} asked", request.agent_name),
        times => format!("{} asked, {times} times so far", request.agent_name),
    };
    Step::new(request.submitted_at, what, Tone::Neutral)
}

fn voted(vote: &countersign_approval::Vote) -> Step {
    let (word, tone) = match vote.decision {
        VoteDecision::Approve => ("approved", Tone::Good),
        VoteDecision::Deny => ("denied", Tone::Bad),
    };
    let passkey = if vote.assurance == Assurance::Passkey { " with a passkey" } else { "" };
    Step {
        who: Some(person(&vote.person)),
        reason: vote.reason.as_deref().map(Untrusted::prose),
        ..Step::new(vote.at, format!("{word}{passkey}, by {}", vote.channel), tone)
    }
}

/// Somebody approved alone, and somebody else has looked at that.
fn alone(glass: &BrokenGlass) -> Vec<Step> {
    let by = |who: &PersonId, said: &str, step: Step| Step {
        who: Some(person(who)),
        reason: Some(Untrusted::prose(said)),
        ..step
    };
    let what = format!("broke the glass and approved alone, by {}", glass.channel);
    let mut steps = vec![by(&glass.by, &glass.reason, Step::new(glass.at, what, Tone::Bad))];
    steps.extend(glass.review.iter().map(|review| {
        let what = format!("reviewed that, by {}", review.channel);
        by(&review.by, &review.comment, Step::new(review.at, what, Tone::Good))
    }));
    steps
}

fn edited(edit: &Edit) -> Step {
    Step {
        who: Some(person(&edit.by)),
        reason: edit.reason.as_deref().map(Untrusted::prose),
        ..Step::new(edit.at, format!("changed the arguments, by {}", edit.channel), Tone::Neutral)
    }
}

fn finished(outcome: Outcome, at: Timestamp, number: u32) -> Step {
    let (what, tone) = match outcome {
        Outcome::Executed => ("It was executed", Tone::Good),
        Outcome::Failed => ("It failed", Tone::Bad),
        Outcome::OutcomeUnknown => ("Nobody knows whether it ran", Tone::Doubtful),
    };
    Step::new(at, nth(what, number), tone)
}

/// Of the first use nothing needs to be said.
fn nth(what: &str, number: u32) -> String {
    if number == 1 { what.to_owned() } else { format!("{what} (use {number})") }
}

/// The end, where nothing else has told of it.
fn ended(approval: &Approval) -> Option<Step> {
    let told = matches!(
        approval.state,
        State::Pending
            | State::Approved
            | State::Claimed
            | State::Denied { .. }
            | State::Executed
            | State::Failed
    );
    if told || approval.phase() == Phase::OutcomeUnknown {
        return None;
    }
    let standing = Standing::of(approval.phase());
    let mut what = standing.words.to_owned();
    if let Some(first) = what.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    let reason = approval.reason().as_deref().map(Untrusted::prose);
    Some(Step { reason, ..Step::new(approval.updated_at, what, standing.tone) })
}
