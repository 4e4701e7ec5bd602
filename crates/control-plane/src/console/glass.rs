//! Breaking the glass, asked for twice, and the review of it by somebody else.

use axum::{
    extract::{Path, State},
    response::{IntoResponse, Redirect, Response},
};
use http::StatusCode;
use maud::{Markup, html};
use serde::Deserialize;

use super::{
    ConsoleState, PageError,
    approval::{refused, request_id},
    card::byline,
    comments::required_words,
    forms::{SignedForm, SignedIn},
    layout::{Frame, csrf, moment},
    operation::{action, headline, labels, summary},
    text::{prose, shown},
};
use crate::{
    api::MAX_REASON,
    identity::Session,
    review::{Glass, Review},
    services::{ApprovalError, ApprovalFilter, PageRequest, Reviewed},
};

/// How many that wait for a review are shown on the inbox.
const MOST_OPEN: usize = 50;

/// Asks for the reason.
pub(crate) async fn ask(
    State(state): State<ConsoleState>,
    SignedIn(session): SignedIn,
    Path(id): Path<String>,
) -> Result<Markup, PageError> {
    let reviewed = breakable(&state, &session, &id).await?;
    Ok(framed(&state, &session, &reviewed.review, &reason_form(&reviewed.review, &session, None)))
}

/// The request, for those who may break the glass for it.
async fn breakable(state: &ConsoleState, session: &Session, id: &str) -> Result<Reviewed, PageError> {
    let reviewed = state.services.approvals.review(&session.actor, request_id(id)?).await?;
    if reviewed.may_vote.may_break_glass {
        return Ok(reviewed);
    }
    let why = "Policy names nobody, or others than you, to approve this alone; or it no longer waits for a decision. \
               Nothing was done.";
    Err(PageError::Forbidden(why.to_owned()))
}

fn reason_form(review: &Review, session: &Session, problem: Option<&str>) -> Markup {
    html! {
        h1 { "Break the glass?" }
        @if let Some(problem) = problem { div.flash.bad role="alert" { p { (problem) } } }
        p.gap { "This is for an emergency in which nobody else can be reached. You would approve alone what policy "
            "wants others to approve, and it runs as soon as you have." }
        form.form method="post" action={ "/approvals/" (review.id) "/break-glass" } {
            (csrf(session))
            div {
                label for="reason" { "Why it cannot wait " span.quiet { "(required)" } }
                textarea id="reason" name="reason" rows="3" maxlength=(MAX_REASON) required {}
            }
            p.help { "It stands on record under your name, and stays open until somebody else has reviewed it." }
            div.actions {
                button.deny type="submit" { "Go on…" }
                a.button href={ "/approvals/" (review.id) } { "Leave it to the others" }
            }
        }
    }
}

/// Why, and whether that was asked twice.
#[derive(Deserialize)]
pub(crate) struct GlassForm {
    reason: String,
    #[serde(default)]
    confirmed: String,
}

/// Asks once more in plain words, and then approves.
pub(crate) async fn send(
    State(state): State<ConsoleState>,
    Path(id): Path<String>,
    SignedForm { session, form }: SignedForm<GlassForm>,
) -> Result<Response, PageError> {
    let reviewed = breakable(&state, &session, &id).await?;
    let review = &reviewed.review;
    let reason = match required_words(&form.reason, "A reason") {
        Ok(reason) => reason,
        Err(problem) => {
            let problem = problem.explanation().to_owned();
            let page = framed(&state, &session, review, &reason_form(review, &session, Some(&problem)));
            return Ok((StatusCode::BAD_REQUEST, page).into_response());
        }
    };
    if form.confirmed.is_empty() {
        let page = framed(&state, &session, review, &confirmation(review, &session, &reason));
        return Ok(page.into_response());
    }
    let broken =
        state.services.approvals.break_glass(&session.actor, review.id, reason, "console", None).await;
    match broken {
        Ok(view) => Ok(Redirect::to(&format!("/approvals/{}", view.id)).into_response()),
        Err(ApprovalError::Refused { reason, .. }) => {
            refused(&state, &session, review.id, &format!("Nothing was done: {reason}")).await
        }
        Err(error) => Err(error.into()),
    }
}

fn confirmation(review: &Review, session: &Session, reason: &str) -> Markup {
    html! {
        h1 { "Approve this alone, now?" }
        div.gap.stack {
            p {
                "If you say yes, " strong { (review.agent) } " may do this at once: "
                strong.what-inline { (action(&review.headline)) } ". Nobody else will have looked at it before it runs, and "
                "what has run cannot be taken back here."
            }
            p { "Everybody who was asked learns that you did it, and why:" }
            blockquote.quoted { (prose(reason)) }
            p { "Somebody else then has to review it. You cannot do that yourself." }
        }
        form.form method="post" action={ "/approvals/" (review.id) "/break-glass" } {
            (csrf(session))
            input type="hidden" name="reason" value=(reason);
            input type="hidden" name="confirmed" value="yes";
            div.actions {
                button.danger type="submit" { "Yes, break the glass" }
                a.button href={ "/approvals/" (review.id) } { "No, leave it to the others" }
            }
        }
    }
}

fn framed(state: &ConsoleState, session: &Session, review: &Review, question: &Markup) -> Markup {
    let now = state.identity.now();
    let frame = Frame { title: "Break the glass", session: Some(session), now, live: false };
    frame.page(&html! {
        p.crumb { a href={ "/approvals/" (review.id) } { "← The request" } }
        section.panel.pad.grave { (question) }
        section.panel.card.below {
            header {
                (byline(review, Some(now)))
                h2.what { (headline(review)) }
                (labels(&review.target))
            }
            section.stack { (summary(review)) }
        }
    })
}

/// What somebody approved alone, and the form to review it with, on the request's page.
pub(crate) fn panel(glass: &Glass, reviewed: &Reviewed, session: &Session) -> Markup {
    html! {
        section.panel.glass aria-labelledby="glass-title" {
            h2.first id="glass-title" {
                span { "Approved alone, by breaking the glass" }
                (state_tag(glass))
            }
            div.inset.stack {
                (said(&glass.by, glass.at))
                blockquote.quoted { (shown(&glass.reason)) }
                @if let Some(review) = &glass.review {
                    p.label { "The review" }
                    (said(&review.by, review.at))
                    blockquote.quoted { (shown(&review.comment)) }
                } @else if reviewed.may_vote.may_review {
                    (review_form(&reviewed.review, session))
                } @else {
                    p.quiet { "Somebody else of those who are asked has to review it." }
                }
            }
        }
    }
}

fn said(by: &crate::review::Untrusted, at: countersign_model::Timestamp) -> Markup {
    html! { p { strong { (shown(by)) } " " span.quiet.small { (moment(at)) } } }
}

fn state_tag(glass: &Glass) -> Markup {
    if glass.review.is_some() {
        html! { span.tag.good { "reviewed" } }
    } else {
        html! { span.tag.bad { "waits for a review" } }
    }
}

fn review_form(review: &Review, session: &Session) -> Markup {
    html! {
        form.form method="post" action={ "/approvals/" (review.id) "/glass-review" } {
            (csrf(session))
            div {
                label for="finding" { "What you find " span.quiet { "(required)" } }
                textarea id="finding" name="comment" rows="2" maxlength=(MAX_REASON) required
                    aria-describedby="finding-help" {}
                p.help id="finding-help" {
                    "Was it an emergency, and was this the right thing to do? It cannot be undone here; this is for the record."
                }
            }
            div { button.primary type="submit" { "Close the review" } }
        }
    }
}

/// What somebody found.
#[derive(Deserialize)]
pub(crate) struct FindingForm {
    comment: String,
}

/// Reviews what somebody else approved alone.
pub(crate) async fn review(
    State(state): State<ConsoleState>,
    Path(id): Path<String>,
    SignedForm { session, form }: SignedForm<FindingForm>,
) -> Result<Response, PageError> {
    let id = request_id(&id)?;
    let comment = required_words(&form.comment, "A review")?;
    match state.services.approvals.review_glass(&session.actor, id, comment, "console").await {
        Ok(_) => Ok(Redirect::to(&format!("/approvals/{id}")).into_response()),
        Err(ApprovalError::Refused { reason, .. }) => {
            refused(&state, &session, id, &format!("Nothing was done: {reason}")).await
        }
        Err(error) => Err(error.into()),
    }
}

/// What waits for a review, those that this person can review first.
pub(crate) async fn open(state: &ConsoleState, session: &Session) -> Result<Vec<Reviewed>, PageError> {
    let filter = ApprovalFilter { needs_review: true, ..ApprovalFilter::default() };
    let page = PageRequest { limit: Some(MOST_OPEN), cursor: None };
    let mut open = state.services.approvals.reviews(&session.actor, &filter, &page).await?.items;
    open.sort_by_key(|one| !one.may_vote.may_review);
    Ok(open)
}

/// The inbox's section of them; nothing when there are none.
pub(crate) fn section(open: &[Reviewed]) -> Markup {
    html! {
        @if !open.is_empty() {
            section.group {
                h2 { "Break-glass, waiting for review" }
                ul.panel.rows { @for one in open { li { (row(one)) } } }
            }
        }
    }
}

fn row(one: &Reviewed) -> Markup {
    let review = &one.review;
    html! {
        div.first {
            a.title href={ "/approvals/" (review.id) } { (headline(review)) }
            @if one.may_vote.may_review { span.tag.bad { "review it" } } @else { span.tag { "for others" } }
        }
        @if let Some(glass) = &review.glass {
            div.second.quiet.small {
                span { (shown(&glass.by)) " broke the glass" }
                span { (moment(glass.at)) }
                span { (review.agent) }
            }
            p.words.small { (shown(&glass.reason)) }
        }
    }
}
