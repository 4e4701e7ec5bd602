//! The parts that make up a request, on the inbox and on its own page.

use countersign_model::Timestamp;
use maud::{Markup, html};

use super::{
    layout::{countdown, csrf, moment},
    operation::{headline, labels, summary, whole},
    passkeys,
    text::{prose, shown},
};
use crate::{
    identity::Session,
    review::{Cast, Need, Review, Standing, Tone, Untrusted, Why},
    services::Reviewed,
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
pub(crate) fn card(reviewed: &Reviewed, session: &Session, now: Timestamp) -> Markup {
    let review = &reviewed.review;
    let is_long = review.whole.length > LONGEST_INLINE;
    html! {
        li.panel.card data-item=(review.id) data-version=(review.version) {
            header {
                (byline(review, Some(now)))
                h3.what { a href={ "/approvals/" (review.id) } data-key={ "open-" (review.id) } { (headline(review)) } }
                (labels(&review.target))
                @if !is_long && reviewed.may_vote.allowed { (select(review)) }
            }
            @if is_long {
                section { p.quiet { "This operation is too long to be judged from here." } }
            } @else {
                section.stack { (summary(review)) (rest(review)) }
            }
            section.split { (why_policy(&review.why)) (why_agent(review)) }
            section.split.brief {
                div { p.label { "Who decides" } (needs(&review.needs)) (votes(&review.votes)) }
                div { p.label { "Before this" } p { (review.before_words()) } }
            }
            @if is_long {
                p.cannot { a.button href={ "/approvals/" (review.id) } { "Review it on its own page" } }
            } @else {
                (decide(reviewed, session, Origin::Inbox))
            }
        }
    }
}

/// Takes the request among those that are decided together ([`super::batch`]).
fn select(review: &Review) -> Markup {
    html! {
        label.check.small.select {
            input type="checkbox" name="id" value=(review.id) form="batch" data-key={ "select-" (review.id) };
            "Select"
            span.visually-hidden { " " (review.headline.one_line()) }
        }
    }
}

/// Everything that the summary may leave out, folded away.
fn rest(review: &Review) -> Markup {
    html! { details.fold { summary { "The whole operation" } (whole(&review.whole)) } }
}

/// Who wants it, for whom, and how long there is to decide.
pub(crate) fn byline(review: &Review, pending_at: Option<Timestamp>) -> Markup {
    html! {
        div.byline {
            div.line {
                span { strong { (review.agent) } }
                @if let Some(initiator) = &review.initiator {
                    span {
                        "for " (shown(&initiator.person)) " "
                        @if initiator.is_verified {
                            span.tag.verified { "verified" }
                        } @else {
                            span.tag.unverified title="The agent says so; nobody vouched for it." { "unverified" }
                        }
                    }
                }
                span { "owner " (shown(&review.owner)) }
            }
            @if let Some(now) = pending_at {
                span.clock { (countdown(review.decide_by, now)) }
            }
        }
    }
}

/// Why policy asks.
pub(crate) fn why_policy(why: &[Why]) -> Markup {
    html! {
        div.because {
            p.label { "Why policy asks" }
            @for why in why {
                @match &why.reason { Some(reason) => p { (shown(reason)) }, None => p { (NO_REASON) } }
                p.policy { "Policy " code { (shown(&why.policy)) } }
            }
            @if why.is_empty() { p.quiet { (NO_REASON) } }
        }
    }
}

const NO_REASON: &str = "The policy gives no reason.";

/// What the agent says about it. None of it is vouched for, and it is shown so.
pub(crate) fn why_agent(review: &Review) -> Markup {
    html! {
        div {
            p.label { "What the agent says" span.tag.unverified { "unverified" } }
            div.said {
                @match &review.said.reason {
                    Some(reason) => p { (shown(reason)) },
                    None => p.quiet { "It gave no reason." },
                }
            }
        }
    }
}

/// Everything else that the agent says.
pub(crate) fn also_said(review: &Review) -> Markup {
    let said = &review.said;
    let told: [(&str, &Option<Untrusted>); 3] =
        [("Prompt", &said.prompt), ("Model", &said.model), ("Session", &said.session)];
    html! {
        @if told.iter().any(|(_, text)| text.is_some()) {
            dl.said {
                @for (label, text) in told {
                    @if let Some(text) = text { dt { (label) } dd { (shown(text)) } }
                }
            }
        }
    }
}

/// What must be met, and how far it is.
pub(crate) fn needs(needs: &[Need]) -> Markup {
    html! {
        ul.needs {
            @for need in needs {
                li.later[!need.is_open] {
                    strong { (need.name) } " "
                    span.quiet { (need.words) }
                    div.meter aria-hidden="true" {
                        @for place in 0..need.quorum.min(12) { i.met[place < need.have] {} }
                    }
                }
            }
        }
    }
}

/// The votes so far.
fn votes(votes: &[Cast]) -> Markup {
    html! {
        @if !votes.is_empty() {
            ul.votes { @for vote in votes { li { (cast(vote)) } } }
        }
    }
}

/// One vote.
pub(crate) fn cast(vote: &Cast) -> Markup {
    html! {
        (shown(&vote.person)) " "
        @if vote.approved { span.tag.good { "approved" } } @else { span.tag.bad { "denied" } }
        " " span.quiet.small {
            (moment(vote.at)) " · " (vote.channel)
            @if vote.with_passkey { " · passkey" }
        }
        @if let Some(reason) = &vote.reason { div.reason { (shown(reason)) } }
    }
}

/// What the agent did lately, and how often the same was asked before.
pub(crate) fn past(review: &Review) -> Markup {
    html! {
        div.past {
            p { (review.before_words()) }
            @if let Some(words) = review.activity_words() { p.quiet { (words) } }
            @if !review.recent.is_empty() {
                ul.lately {
                    @for recent in &review.recent {
                        li {
                            a href={ "/approvals/" (recent.id) } { bdi.verbatim { (recent.headline) } }
                            " " (state_tag(&recent.standing))
                        }
                    }
                }
            }
        }
    }
}

/// The form to decide with, or why this person cannot.
pub(crate) fn decide(reviewed: &Reviewed, session: &Session, origin: Origin) -> Markup {
    let (review, may_vote) = (&reviewed.review, &reviewed.may_vote);
    let cannot = may_vote.reason.as_deref().unwrap_or("You cannot vote on this request.");
    let with_passkey = may_vote.assurance_needed.as_deref() == Some("passkey");
    if !may_vote.allowed && !may_vote.may_deny {
        return html! { p.cannot { (prose(cannot)) } };
    }
    let field = format!("reason-{}", review.id);
    let follows = format!("follows-{}", review.id);
    html! {
        form.decide method="post" action={ "/approvals/" (review.id) "/votes" } {
            (csrf(session))
            input type="hidden" name="from" value=(origin.as_str());
            @if let Some(consequence) = &review.consequence {
                div.follows id=(follows) { p { (consequence.approve) } p { (consequence.deny) } }
            }
            div.reason {
                label for=(field) {
                    "Reason " span.quiet { @if may_vote.needs_reason { "(required)" } @else { "(optional)" } }
                }
                textarea id=(field) name="reason" rows="1" maxlength="2000" data-key=(field)
                    required[may_vote.needs_reason] {}
            }
            div.actions {
                button.deny type="submit" name="decision" value="deny" data-key={ "deny-" (review.id) }
                    aria-describedby=(follows) { "Deny" }
                @if may_vote.allowed {
                    button.approve type="submit" name="decision" value="approve"
                        data-key={ "approve-" (review.id) } aria-describedby=(follows) { "Approve" }
                }
                @if with_passkey {
                    button.approve type="submit" name="decision" value="approve" data-key={ "approve-" (review.id) }
                        aria-describedby=(follows) data-passkey={ "/approvals/" (review.id) "/challenge" } { "Approve with passkey" }
                }
            }
            @if with_passkey { (passkeys::status()) }
        }
        @if with_passkey {
            p.cannot.small { "It takes your passkey. " a href="/passkeys" { "Your passkeys" } }
        } @else if !may_vote.allowed { p.cannot { (prose(cannot)) } }
    }
}

/// Where a request stands, as a label.
pub(crate) fn state_tag(standing: &Standing) -> Markup {
    let class = match standing.tone {
        Tone::Open => "tag open",
        Tone::Good => "tag good",
        Tone::Bad => "tag bad",
        Tone::Doubtful => "tag unverified",
        Tone::Neutral => "tag",
    };
    html! { span class=(class) { (standing.words) } }
}
