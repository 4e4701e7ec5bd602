//! The parts that make up a request, on the inbox and on its own page.

use countersign_model::{DecidingPolicy, PolicyEffect, Timestamp};
use maud::{Markup, html};

use super::{
    layout::{countdown, csrf, moment},
    operation::OperationView,
    text::{exact, prose},
};
use crate::{
    identity::Session,
    services::{ApprovalView, RequirementView, VoteDecision, VoteView},
};

/// The longest operation that is shown, and can be decided, on the inbox, in bytes. Nobody is to decide
/// on what lies below ten screens of something else, and a flood of large requests is to leave the inbox usable.
const LONGEST_INLINE: usize = 8 * 1024;

/// Where a vote leads back to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The inbox.
    Inbox,
    /// The request's own page.
    Page,
}

impl Origin {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Inbox => "inbox",
            Self::Page => "page",
        }
    }
}

/// A pending request on the inbox.
pub(crate) fn card(view: &ApprovalView, session: &Session, now: Timestamp) -> Markup {
    let operation = OperationView::new(&view.operation, &view.redacted);
    html! {
        li.panel.card data-item=(view.id) data-version=(view.version) {
            header {
                (byline(view, Some(now)))
                h3.what {
                    a href={ "/approvals/" (view.id) } data-key={ "open-" (view.id) } { (operation.headline()) }
                }
            }
            @if view.operation_text.len() > LONGEST_INLINE {
                section { p.quiet { "This operation is too long to be judged from here." } }
            } @else {
                section.stack { (operation.summary()) (operation.rest()) }
            }
            section.split { (why_policy(view)) (why_agent(view)) }
            section.deciding { (requirements(&view.requirements)) (votes(&view.votes)) }
            @if view.operation_text.len() > LONGEST_INLINE {
                p.cannot { a.button href={ "/approvals/" (view.id) } { "Review it on its own page" } }
            } @else {
                (decide(view, session, Origin::Inbox))
            }
        }
    }
}

/// Who wants it, for whom, and how long there is to decide.
pub(crate) fn byline(view: &ApprovalView, pending_at: Option<Timestamp>) -> Markup {
    html! {
        div.byline {
            div.line {
                span { strong { (view.agent) } }
            @if let Some(initiator) = &view.provenance.initiator {
                span {
                    "for " (exact(initiator.person.as_str())) " "
                    @if initiator.verified {
                        span.tag.verified { "verified" }
                    } @else {
                        span.tag.unverified title="The agent says so; nobody vouched for it." { "unverified" }
                    }
                }
            }
            span { "owner " (view.owner) }
            }
            @if let Some(now) = pending_at {
                span.clock { (countdown(view.decide_by, now)) }
            }
        }
    }
}

/// Why policy asks.
pub(crate) fn why_policy(view: &ApprovalView) -> Markup {
    let asking = || view.policies.iter().filter(|policy| policy.effect != PolicyEffect::Permit);
    html! {
        div.because {
            p.label { "Why policy asks" }
            @for policy in asking() { (policy_reason(policy)) }
            @if asking().next().is_none() { p.quiet { "The policy gives no reason." } }
        }
    }
}

fn policy_reason(policy: &DecidingPolicy) -> Markup {
    html! {
        p { (policy.reason.as_deref().unwrap_or("The policy gives no reason.")) }
        p.policy { "Policy " code { (policy.id) } }
    }
}

/// What the agent says about it. None of it is vouched for, and it is shown so.
pub(crate) fn why_agent(view: &ApprovalView) -> Markup {
    html! {
        div {
            p.label { "What the agent says" span.tag.unverified { "unverified" } }
            div.said {
                @match &view.provenance.reason {
                    Some(reason) => p { (prose(reason)) },
                    None => p.quiet { "It gave no reason." },
                }
            }
        }
    }
}

/// What must be met, and how far it is.
pub(crate) fn requirements(requirements: &[RequirementView]) -> Markup {
    html! {
        ul.needs {
            @for requirement in requirements {
                li {
                    strong { (requirement.name) } " "
                    span.quiet { (still_needed(requirement)) }
                    div.meter aria-hidden="true" {
                        @for place in 0..requirement.quorum.min(12) { i.met[place < requirement.approved] {} }
                    }
                }
            }
        }
    }
}

fn still_needed(requirement: &RequirementView) -> String {
    if requirement.kind == "confirmation" {
        return match requirement.approved {
            0 => "the initiating person has to confirm".to_owned(),
            _ => "confirmed".to_owned(),
        };
    }
    let from = requirement.reviewers.iter().map(|reviewer| who(reviewer)).collect::<Vec<_>>().join(" or ");
    format!("{} of {} approvals from {from}", requirement.approved, requirement.quorum)
}

fn who(selector: &str) -> String {
    match selector.split_once(':') {
        Some(("group", group)) => format!("the group {group}"),
        Some(("user", person)) => person.to_owned(),
        _ if selector == "*" => "any reviewer".to_owned(),
        _ => selector.to_owned(),
    }
}

/// The votes so far.
pub(crate) fn votes(votes: &[VoteView]) -> Markup {
    html! {
        @if !votes.is_empty() {
            ul.votes { @for vote in votes { li { (cast(vote)) } } }
        }
    }
}

/// One vote.
pub(crate) fn cast(vote: &VoteView) -> Markup {
    html! {
        (vote.person) " "
        @match vote.decision {
            VoteDecision::Approve => span.tag.good { "approved" },
            VoteDecision::Deny => span.tag.bad { "denied" },
        }
        " " span.quiet.small { (moment(vote.at)) " · " (vote.channel) }
        @if let Some(reason) = &vote.reason { div.reason { (prose(reason)) } }
    }
}

/// The form to decide with, or why this person cannot.
pub(crate) fn decide(view: &ApprovalView, session: &Session, origin: Origin) -> Markup {
    let may = &view.may_vote;
    let cannot = may.reason.as_deref().unwrap_or("You cannot vote on this request.");
    if !may.allowed && !may.may_deny {
        return html! { p.cannot { (cannot) } };
    }
    let field = format!("reason-{}", view.id);
    html! {
        form.decide method="post" action={ "/approvals/" (view.id) "/votes" } {
            (csrf(session))
            input type="hidden" name="from" value=(origin.as_str());
            div.reason {
                label for=(field) { "Reason " span.quiet { "(optional)" } }
                textarea id=(field) name="reason" rows="1" maxlength="2000" data-key=(field) {}
            }
            div.actions {
                button.deny type="submit" name="decision" value="deny" data-key={ "deny-" (view.id) } { "Deny" }
                @if may.allowed {
                    button.approve type="submit" name="decision" value="approve" data-key={ "approve-" (view.id) } {
                        "Approve"
                    }
                }
            }
        }
        @if !may.allowed { p.cannot { (cannot) } }
    }
}

/// Where a request stands, as a label.
pub(crate) fn state_tag(state: &str) -> Markup {
    let (class, words) = match state {
        "pending" => ("tag open", "waiting"),
        "approved" => ("tag good", "approved"),
        "claimed" => ("tag good", "running"),
        "executed" => ("tag good", "approved and executed"),
        "failed" => ("tag bad", "approved, then failed"),
        "outcome_unknown" => ("tag unverified", "approved, outcome unknown"),
        "denied" => ("tag bad", "denied"),
        "expired" => ("tag", "not decided in time"),
        "lapsed" => ("tag", "approved, not used in time"),
        "cancelled" => ("tag", "cancelled"),
        "revoked" => ("tag bad", "taken back"),
        "invalidated" => ("tag", "no longer valid"),
        other => ("tag", other),
    };
    html! { span class=(class) { (words) } }
}
