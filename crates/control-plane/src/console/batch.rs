//! `/batch`: several requests decided with one answer, after another look at each. Every request gets a vote
//! of its own, and each vote counts, or not, by the rules of its own request.

use axum::extract::{RawQuery, State};
use countersign_model::ApprovalId;
use maud::{Markup, html};
use serde::Deserialize;

use super::{
    ConsoleState, PageError,
    card::{byline, needs, why_policy},
    forms::{SignedForm, SignedIn},
    layout::{Frame, Place, csrf, nothing},
    operation::{headline, labels, summary},
    text::prose,
};
use crate::{
    api::MAX_REASON,
    identity::Session,
    services::{ApprovalError, BatchedVote, Reviewed, VoteDecision, VoteResult},
};

/// The most requests that are decided at once. More than that nobody looks at.
const MOST: usize = 20;

/// Shows what was selected once more, with the form that decides.
pub(crate) async fn ask(
    State(state): State<ConsoleState>,
    SignedIn(session): SignedIn,
    RawQuery(query): RawQuery,
) -> Result<Markup, PageError> {
    let mut selected = Vec::new();
    for id in ids(&query.unwrap_or_default()) {
        selected.push(state.services.approvals.review(&session.actor, id).await?);
    }
    // What takes a passkey is confirmed one by one: a passkey signs one answer to one request.
    selected.retain(|one| one.may_vote.allowed);
    Ok(framed(
        &state,
        &session,
        &html! {
            p.crumb { a href="/" { "← Inbox" } }
            div.head { h1 { "Decide on " (selected.len()) " requests" } }
            @if selected.is_empty() {
                (nothing("Nothing is selected", "Select requests on the inbox that you can decide. What takes a passkey is decided by itself."))
            } @else {
                ul.stack { @for one in &selected { (item(&state, one)) } }
                (form(&session, &selected))
            }
        },
    ))
}

/// The ids of a query, each once, as far as they are ids.
fn ids(query: &str) -> Vec<ApprovalId> {
    let mut ids: Vec<ApprovalId> = Vec::new();
    for id in query.split('&').filter_map(|field| field.strip_prefix("id=")?.parse().ok()) {
        if ids.len() < MOST && !ids.contains(&id) {
            ids.push(id);
        }
    }
    ids
}

fn item(state: &ConsoleState, one: &Reviewed) -> Markup {
    let review = &one.review;
    html! {
        li.panel.card {
            header {
                (byline(review, Some(state.identity.now())))
                h2.what { a href={ "/approvals/" (review.id) } { (headline(review)) } }
                (labels(&review.target))
            }
            section.stack { (summary(review)) }
            section.split.brief {
                (why_policy(&review.why))
                div { p.label { "Who decides" } (needs(&review.needs)) }
            }
        }
    }
}

fn form(session: &Session, selected: &[Reviewed]) -> Markup {
    let ids: Vec<_> = selected.iter().map(|one| one.review.id.to_string()).collect();
    let needs_reason = selected.iter().any(|one| one.may_vote.needs_reason);
    html! {
        div.panel.card.below {
            form.decide method="post" action="/batch" {
                (csrf(session))
                input type="hidden" name="ids" value=(ids.join(","));
                div.follows { p { "Each of these gets a vote of its own, with the same reason." } }
                div.reason {
                    label for="reason" {
                        "Reason " span.quiet { @if needs_reason { "(required)" } @else { "(optional)" } }
                    }
                    textarea id="reason" name="reason" rows="1" maxlength=(MAX_REASON) required[needs_reason] {}
                }
                div.actions {
                    button.deny type="submit" name="decision" value="deny" { "Deny all" }
                    button.approve type="submit" name="decision" value="approve" { "Approve all" }
                }
            }
        }
    }
}

/// The answer.
#[derive(Deserialize)]
pub(crate) struct BatchForm {
    ids: String,
    decision: VoteDecision,
    #[serde(default)]
    reason: String,
}

/// Casts one vote for each, and says what became of each.
pub(crate) async fn cast(
    State(state): State<ConsoleState>,
    SignedForm { session, form }: SignedForm<BatchForm>,
) -> Result<Markup, PageError> {
    let reason = form.reason.trim().replace("\r\n", "\n");
    if reason.chars().count() > MAX_REASON {
        return Err(PageError::TooLarge);
    }
    let query: Vec<_> = form.ids.split(',').map(|id| format!("id={id}")).collect();
    let vote = |id| BatchedVote {
        id,
        // What is asked never changes after it was asked, so a vote is not made stale by another's.
        version: None,
        decision: form.decision,
        reason: (!reason.is_empty()).then(|| reason.clone()),
    };
    let votes = ids(&query.join("&")).into_iter().map(vote).collect();
    let results = state.services.approvals.vote_on_several(&session.actor, votes, "console").await?;
    let mut outcomes = Vec::new();
    for VoteResult { id, result } in results {
        let problem = match result {
            Ok(_) => None,
            Err(error @ ApprovalError::Store(_)) => return Err(error.into()),
            Err(error) => Some(error.to_string()),
        };
        let review = state.services.approvals.review(&session.actor, id).await.ok();
        outcomes.push((review, problem));
    }
    Ok(framed(
        &state,
        &session,
        &html! {
            p.crumb { a href="/" { "← Inbox" } }
            div.head { h1 { "What became of them" } }
            ul.panel.rows { @for (reviewed, problem) in &outcomes { li { (outcome(reviewed.as_ref(), problem.as_deref())) } } }
        },
    ))
}

fn outcome(reviewed: Option<&Reviewed>, problem: Option<&str>) -> Markup {
    html! {
        div.first {
            @match reviewed {
                Some(one) => a.title href={ "/approvals/" (one.review.id) } { (headline(&one.review)) },
                None => span.title { "A request that is not there" },
            }
            @match (problem, reviewed) {
                (Some(_), _) => span.tag.bad { "not counted" },
                (None, Some(one)) => { span.tag.good { "your vote counted" } span.quiet.small { (one.review.standing.words) } },
                (None, None) => {},
            }
        }
        @if let Some(problem) = problem { p.quiet.small { (prose(problem)) } }
    }
}

fn framed(state: &ConsoleState, session: &Session, content: &Markup) -> Markup {
    let frame =
        Frame { title: "Several at once", session: Some(session), now: state.identity.now(), live: false };
    frame.page_in(Place::Inbox, content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_is_taken_once_and_not_too_many_of_them() {
        let id = |number: u8| ApprovalId::from_bytes([number; 16]);
        let query = format!("id={}&id={}&x=y&id=nothing&id={}", id(1), id(2), id(1));
        assert_eq!(ids(&query), [id(1), id(2)]);
        let many: Vec<_> = (0..40).map(|number| format!("id={}", id(number))).collect();
        assert_eq!(ids(&many.join("&")).len(), MOST);
        assert!(ids("").is_empty());
    }
}
