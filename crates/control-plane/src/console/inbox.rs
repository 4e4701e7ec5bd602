//! `/`: what waits for a decision, and what was decided lately.

use axum::extract::State;
use countersign_model::{ApprovalId, Timestamp};
use maud::{Markup, html};
use serde::Deserialize;

use super::{
    ConsoleState, PageError,
    card::{Origin, card, state_tag},
    forms::{Params, SignedIn},
    layout::{Frame, check_mark, moment},
    operation::action,
};
use crate::{
    identity::Session,
    review::{Review, Untrusted},
    services::{ApprovalFilter, PageRequest, Reviewed},
};

/// How many pending requests are shown at once.
const PENDING: usize = 100;
/// How many of the latest requests are looked at for those that are decided.
const RECENT: usize = 30;
/// How many decided requests are shown.
const DECIDED: usize = 12;

/// What the inbox was opened with.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct InboxQuery {
    /// The request that the person has just voted on.
    done: Option<ApprovalId>,
}

/// The inbox.
pub(crate) async fn show(
    State(state): State<ConsoleState>,
    SignedIn(session): SignedIn,
    Params(query): Params<InboxQuery>,
) -> Result<Markup, PageError> {
    let now = state.identity.now();
    let (mut pending, more) = pending(&state, &session).await?;
    // What this person can decide comes first, and what runs out soonest before that.
    pending.sort_by_key(|one| (!one.may_vote.allowed, one.review.decide_by));
    let recent = recent(&state, &session).await?;
    let done = match query.done {
        Some(id) => state.services.approvals.review(&session.actor, id).await.ok(),
        None => None,
    };
    let title = match pending.iter().filter(|view| view.may_vote.allowed).count() {
        0 => "Inbox".to_owned(),
        waiting => format!("({waiting}) Inbox"),
    };
    let frame = Frame { title: &title, session: Some(&session), now, live: true };
    Ok(frame.page(&html! {
        @if let Some(done) = &done { (voted(&done.review, &session, Origin::Inbox)) }
        div.columns {
            div { (waiting(&pending, more, &session, now)) }
            (decided(&recent))
        }
    }))
}

async fn pending(state: &ConsoleState, session: &Session) -> Result<(Vec<Reviewed>, bool), PageError> {
    let filter = ApprovalFilter { state: Some("pending".to_owned()), agent: None };
    let page = PageRequest { limit: Some(PENDING), cursor: None };
    let page = state.services.approvals.reviews(&session.actor, &filter, &page).await?;
    Ok((page.items, page.next.is_some()))
}

async fn recent(state: &ConsoleState, session: &Session) -> Result<Vec<Reviewed>, PageError> {
    let page = PageRequest { limit: Some(RECENT), cursor: None };
    let page = state.services.approvals.reviews(&session.actor, &ApprovalFilter::default(), &page).await?;
    let is_decided = |one: &Reviewed| one.review.standing.state != "pending";
    let mut decided: Vec<_> = page.items.into_iter().filter(is_decided).collect();
    decided.sort_by_key(|one| std::cmp::Reverse(one.review.updated_at));
    decided.truncate(DECIDED);
    Ok(decided)
}

fn waiting(pending: &[Reviewed], more: bool, session: &Session, now: Timestamp) -> Markup {
    let mine = pending.iter().take_while(|view| view.may_vote.allowed).count();
    let (mine, others) = pending.split_at_checked(mine).unwrap_or((pending, &[]));
    html! {
        div data-region="pending" {
            div.head {
                h1 { "Inbox" }
                span.count { (summary(mine.len(), others.len(), more)) }
            }
            @if pending.is_empty() { (nothing()) }
            @if !mine.is_empty() { (group("Waiting for you", mine, session, now)) }
            @if !others.is_empty() { (group("Waiting for others", others, session, now)) }
            @if !pending.is_empty() {
                p.quiet.small.keys { "Press " kbd { "?" } " for the keys." }
            }
            @if more { p.quiet.small { "There are more; these are the newest " (PENDING) "." } }
        }
    }
}

fn summary(mine: usize, others: usize, more: bool) -> String {
    match (mine, others) {
        (0, 0) => "nothing is waiting".to_owned(),
        (mine, 0) => format!("{mine}{} for you", if more { "+" } else { "" }),
        (0, others) => format!("{others} for others"),
        (mine, others) => format!("{mine} for you, {others} for others"),
    }
}

fn group(title: &str, views: &[Reviewed], session: &Session, now: Timestamp) -> Markup {
    html! {
        section.group {
            h2 { (title) }
            ul.stack { @for view in views { (card(view, session, now)) } }
        }
    }
}

fn nothing() -> Markup {
    html! {
        div.panel.empty {
            (check_mark())
            h2 { "Nothing needs a decision" }
            p { "When policy holds an agent’s operation for you or your group, it appears here by itself." }
        }
    }
}

fn decided(recent: &[Reviewed]) -> Markup {
    html! {
        aside aria-label="Recently decided" {
            div.panel data-region="recent" {
                h2 { "Recently decided" }
                @if recent.is_empty() {
                    p.quiet.small { "No request was decided yet." }
                } @else {
                    ul.recent { @for view in recent { (past(view)) } }
                }
            }
        }
    }
}

fn past(one: &Reviewed) -> Markup {
    let review = &one.review;
    html! {
        li {
            a href={ "/approvals/" (review.id) } {
                span.title { (action(&review.headline)) }
                span.line { (review.agent) (moment(review.updated_at)) }
                span.line { (state_tag(&review.standing)) }
            }
        }
    }
}

/// What became of the vote that was just cast: told from the request itself, not from the address.
pub(crate) fn voted(review: &Review, session: &Session, origin: Origin) -> Markup {
    let person = Untrusted::exact(session.actor.person.as_str());
    let Some(vote) = review.votes.iter().rev().find(|vote| vote.person == person) else {
        return html! {};
    };
    let (class, verb) =
        if vote.approved { ("flash good", "You approved") } else { ("flash bad", "You denied") };
    let missing: u32 = review.needs.iter().map(|need| need.quorum.saturating_sub(need.have)).sum();
    html! {
        div class=(class) role="status" {
            p {
                (verb) " " strong { (action(&review.headline)) } " by " (review.agent) ". "
                @if review.consequence.is_some() {
                    (missing) @if missing == 1 { " more approval is" } @else { " more approvals are" } " needed."
                }
                @if origin == Origin::Inbox {
                    " " a href={ "/approvals/" (review.id) } { "Open the request" }
                }
            }
        }
    }
}
