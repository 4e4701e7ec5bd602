//! `/`: what waits for a decision, and what was decided lately.

use std::collections::BTreeSet;

use axum::extract::State;
use countersign_model::{ApprovalId, Timestamp};
use maud::{Markup, html};
use serde::Deserialize;

use super::{
    ConsoleState, PageError,
    card::{Origin, card, state_tag},
    forms::{Params, SignedIn},
    glass,
    layout::{Frame, Place, moment, nothing},
    operation::action,
};
use crate::{
    identity::Session,
    review::{Review, Untrusted},
    services::{ApprovalFilter, PageRequest, Reviewed},
};

/// How many pending requests are shown at once.
const PENDING: usize = 100;
/// How many of the latest decided requests are looked at for those that were decided last.
const RECENT: usize = 30;
/// How many decided requests are shown.
const DECIDED: usize = 12;

/// What the inbox was opened with.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct InboxQuery {
    /// The request that the person has just voted on.
    done: Option<ApprovalId>,
    /// Only what this agent asks.
    #[serde(default)]
    agent: String,
    /// Only what this requirement holds.
    #[serde(default)]
    requirement: String,
    /// Only what the person can decide: set to anything.
    #[serde(default)]
    mine: String,
}

impl InboxQuery {
    fn lets_through(&self, one: &Reviewed) -> bool {
        let review = &one.review;
        (self.agent.is_empty() || review.agent.as_str() == self.agent)
            && (self.requirement.is_empty() || review.needs.iter().any(|need| need.name == self.requirement))
            && (self.mine.is_empty() || is_for_them(one))
    }

    fn is_narrow(&self) -> bool {
        [&self.agent, &self.requirement, &self.mine].iter().any(|field| !field.is_empty())
    }
}

/// Whether the person can do something about it.
fn is_for_them(one: &Reviewed) -> bool {
    let may = &one.may_vote;
    may.allowed || may.may_deny || may.assurance_needed.is_some()
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
    pending.sort_by_key(|one| (!is_for_them(one), one.review.decide_by));
    let choices = filters(&query, &pending);
    let among = pending.len();
    pending.retain(|one| query.lets_through(one));
    let open_reviews = glass::open(&state, &session).await?;
    let recent = recent(&state, &session).await?;
    let done = match query.done {
        Some(id) => state.services.approvals.review(&session.actor, id).await.ok(),
        None => None,
    };
    let reviews = open_reviews.iter().filter(|one| one.may_vote.may_review).count();
    let title = match reviews + pending.iter().filter(|one| is_for_them(one)).count() {
        0 => "Inbox".to_owned(),
        waiting => format!("({waiting}) Inbox"),
    };
    let frame = Frame { title: &title, session: Some(&session), now, live: true };
    Ok(frame.page_in(
        Place::Inbox,
        &html! {
            @if let Some(done) = &done { (voted(&done.review, &session, Origin::Inbox)) }
            div.columns {
                div {
                    div.head {
                        h1 { "Inbox" }
                        span.count data-region="count" { (summary(&pending, more)) }
                    }
                    div data-region="filters" { @if among > 1 || query.is_narrow() { (choices) } }
                    div data-region="reviews" { (glass::section(&open_reviews)) }
                    div data-region="pending" { (waiting(&pending, more, query.is_narrow(), &session, now)) }
                }
                (decided(&recent))
            }
        },
    ))
}

async fn pending(state: &ConsoleState, session: &Session) -> Result<(Vec<Reviewed>, bool), PageError> {
    let filter = ApprovalFilter { state: Some("pending".to_owned()), ..ApprovalFilter::default() };
    let page = PageRequest { limit: Some(PENDING), cursor: None };
    let page = state.services.approvals.reviews(&session.actor, &filter, &page).await?;
    Ok((page.items, page.next.is_some()))
}

async fn recent(state: &ConsoleState, session: &Session) -> Result<Vec<Reviewed>, PageError> {
    let filter = ApprovalFilter { is_decided: true, ..ApprovalFilter::default() };
    let page = PageRequest { limit: Some(RECENT), cursor: None };
    let mut decided = state.services.approvals.reviews(&session.actor, &filter, &page).await?.items;
    decided.sort_by_key(|one| std::cmp::Reverse(one.review.updated_at));
    decided.truncate(DECIDED);
    Ok(decided)
}

fn waiting(pending: &[Reviewed], more: bool, narrow: bool, session: &Session, now: Timestamp) -> Markup {
    let mine = pending.iter().take_while(|one| is_for_them(one)).count();
    let (mine, others) = pending.split_at_checked(mine).unwrap_or((pending, &[]));
    html! {
        @if pending.is_empty() && narrow {
            (nothing("Nothing here matches", "Other requests may wait. Show all to see them."))
        } @else if pending.is_empty() {
            (nothing(
                "Nothing needs a decision",
                "When policy holds an agent’s operation for you or your group, it appears here by itself."
            ))
        }
        @if !mine.is_empty() { (group("Waiting for you", mine, session, now)) }
        @if mine.len() > 1 {
            form.batch id="batch" method="get" action="/batch" {
                button type="submit" { "Decide on the selected together…" }
            }
        }
        @if !others.is_empty() { (group("Waiting for others", others, session, now)) }
        @if !pending.is_empty() { p.quiet.small.keys { "Press " kbd { "?" } " for the keys." } }
        @if more { p.quiet.small { "There are more; these are the newest " (PENDING) "." } }
    }
}

fn summary(pending: &[Reviewed], more: bool) -> String {
    let mine = pending.iter().filter(|one| is_for_them(one)).count();
    match (mine, pending.len() - mine) {
        (0, 0) => "nothing is waiting".to_owned(),
        (mine, 0) => format!("{mine}{} for you", if more { "+" } else { "" }),
        (0, others) => format!("{others} for others"),
        (mine, others) => format!("{mine} for you, {others} for others"),
    }
}

/// What to look at only. The form works without script; with it, a choice is enough.
fn filters(query: &InboxQuery, pending: &[Reviewed]) -> Markup {
    let agents: BTreeSet<&str> = pending.iter().map(|one| one.review.agent.as_str()).collect();
    let needs = pending.iter().flat_map(|one| &one.review.needs);
    let requirements: BTreeSet<&str> = needs.map(|need| need.name.as_str()).collect();
    html! {
        form.filters method="get" action="/" data-auto {
            (choice("agent", "Agent", "All agents", &query.agent, agents))
            (choice("requirement", "Requirement", "All requirements", &query.requirement, requirements))
            label.check {
                input type="checkbox" name="mine" value="1" checked[!query.mine.is_empty()] data-key="mine";
                "Only what I can decide"
            }
            button.small type="submit" { "Show" }
            @if query.is_narrow() { a href="/" { "Show all" } }
        }
    }
}

fn choice(name: &str, label: &str, all: &str, chosen: &str, values: BTreeSet<&str>) -> Markup {
    html! {
        label {
            span.visually-hidden { (label) }
            select name=(name) data-key={ "filter-" (name) } {
                option value="" { (all) }
                @for value in values { option value=(value) selected[value == chosen] { (value) } }
            }
        }
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

fn decided(recent: &[Reviewed]) -> Markup {
    html! {
        aside aria-label="Recently decided" {
            div.panel data-region="recent" {
                h2 { "Recently decided" }
                @if recent.is_empty() {
                    p.quiet.small { "No request was decided yet." }
                } @else {
                    ul.recent { @for one in recent { (past(one)) } }
                    p.all { a href="/history" { "All of them" } }
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
