//! `/approvals/{id}`: one request, whole.

use axum::{
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use countersign_model::{ApprovalId, Timestamp};
use http::StatusCode;
use maud::{Markup, html};
use serde::Deserialize;

use super::{
    ConsoleState, PageError,
    card::{Origin, also_said, byline, decide, needs, past, state_tag, why_agent, why_policy},
    comments,
    forms::{Params, SignedIn},
    glass,
    inbox::voted,
    layout::{Frame, moment},
    operation::{difference, headline, labels, summary, whole},
    text::shown,
};
use crate::{
    identity::Session,
    review::{Edited, Review, Step, Tone},
    services::{CommentView, MayVote, Reviewed},
};

/// What the page was opened with.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct ApprovalQuery {
    /// Set when the person has just voted here.
    done: Option<String>,
}

/// One request.
pub(crate) async fn show(
    State(state): State<ConsoleState>,
    SignedIn(session): SignedIn,
    Path(id): Path<String>,
    Params(query): Params<ApprovalQuery>,
) -> Result<Markup, PageError> {
    let id = request_id(&id)?;
    let reviewed = state.services.approvals.review(&session.actor, id).await?;
    let comments = state.services.approvals.comments(&session.actor, id).await?;
    let flash = query.done.map(|_| voted(&reviewed.review, &session, Origin::Page));
    Ok(page(&state, &reviewed, &comments, &session, flash.as_ref()))
}

/// The request that an address names.
pub(crate) fn request_id(text: &str) -> Result<ApprovalId, PageError> {
    text.parse().map_err(|_| PageError::NotFound)
}

/// The request again, with what was not done to it and why.
pub(crate) async fn refused(
    state: &ConsoleState,
    session: &Session,
    id: ApprovalId,
    why: &str,
) -> Result<Response, PageError> {
    let reviewed = state.services.approvals.review(&session.actor, id).await?;
    let comments = state.services.approvals.comments(&session.actor, id).await?;
    let flash = html! { div.flash.bad role="alert" { p { (why) } } };
    let page = page(state, &reviewed, &comments, session, Some(&flash));
    Ok((StatusCode::CONFLICT, page).into_response())
}

/// The page, with what has just happened above it.
fn page(
    state: &ConsoleState,
    reviewed: &Reviewed,
    comments: &[CommentView],
    session: &Session,
    flash: Option<&Markup>,
) -> Markup {
    let review = &reviewed.review;
    let now = state.identity.now();
    let trace = review.trace_id.as_deref().map(|id| (id, state.services.settings.trace_address(id)));
    let title = review.headline.one_line();
    let frame = Frame { title: &title, session: Some(session), now, live: true };
    frame.page(&html! {
        p.crumb { a href="/" { "← Inbox" } }
        @if let Some(flash) = flash { (flash) }
        div.columns {
            div.stack {
                div data-region="request" { (request(reviewed, session, now)) }
                (comments::panel(comments, review, session))
            }
            aside { div data-region="side" { (side(review, trace.as_ref())) } }
        }
    })
}

fn request(reviewed: &Reviewed, session: &Session, now: Timestamp) -> Markup {
    let review = &reviewed.review;
    let pending = is_pending(review);
    html! {
        div.status {
            (state_tag(&review.standing))
            @if let Some(ended) = &review.ended { span.quiet { (shown(ended)) } }
        }
        @if let Some(glass) = &review.glass {
            div data-item={ "glass-" (review.id) } data-version=(review.version) {
                (glass::panel(glass, reviewed, session))
            }
        }
        @if let Some(edited) = &review.edited { (changed(edited)) }
        @if let Some(earlier) = review.follows { (follows(review, earlier)) }
        div.panel.card data-item=(review.id) data-version=(review.version) {
            header {
                (byline(review, pending.then_some(now)))
                h1.what { (headline(review)) }
                (labels(&review.target))
            }
            section.stack { (summary(review)) }
            section.split { (why_policy(&review.why)) div { (why_agent(review)) (also_said(review)) } }
            @if pending { (decide(reviewed, session, Origin::Page)) }
            (other_ways(review, &reviewed.may_vote))
            section.stack {
                details.exact {
                    summary { "The whole operation, part by part" }
                    (whole(&review.whole))
                }
                details.exact {
                    summary { "The exact text that the digest covers" }
                    p.quiet.small { (redaction_note(review)) }
                    div.command.exact-text tabindex="0" role="group" aria-label="Canonical JSON" {
                        code { (shown(&review.whole.text)) }
                    }
                }
            }
        }
    }
}

/// What else this person could do about it, each on a page of its own.
fn other_ways(review: &Review, may: &MayVote) -> Markup {
    let ways = [
        (may.may_edit, "edit", "Change the arguments…"),
        (may.may_break_glass, "break-glass", "Break the glass…"),
        (may.may_revoke, "revoke", "Take the approval back…"),
    ];
    html! {
        @if ways.iter().any(|(may, ..)| *may) {
            nav.ways aria-label="What else you can do" {
                @for (_, path, name) in ways.iter().filter(|(may, ..)| *may) {
                    a href={ "/approvals/" (review.id) "/" (path) } { (name) }
                }
            }
        }
    }
}

/// What a reviewer made of it.
fn changed(edited: &Edited) -> Markup {
    html! {
        section.panel.aside-note {
            h2 { "A reviewer changed the arguments" }
            div.inset.stack {
                p {
                    strong { (shown(&edited.by)) } " " span.quiet.small { (moment(edited.at)) }
                    @if let Some(reason) = &edited.reason { ": " (shown(reason)) }
                }
                @for one in &edited.differences { (difference(one)) }
                @match edited.led_to {
                    Some(id) => p { a href={ "/approvals/" (id) } { "The request that came of it" } },
                    None => p.quiet.small { "Earlier votes are void. Policy decides anew; a request that comes of it is shown here." },
                }
            }
        }
    }
}

/// What it was before a reviewer changed it.
fn follows(review: &Review, earlier: ApprovalId) -> Markup {
    html! {
        div.flash.note {
            p {
                @for by in &review.edited_by { strong { (shown(by)) } " " }
                "changed the arguments of " a href={ "/approvals/" (earlier) } { "an earlier request" }
                " into these, and has no vote on them."
            }
        }
    }
}

fn is_pending(review: &Review) -> bool {
    review.consequence.is_some()
}

fn redaction_note(review: &Review) -> &'static str {
    if review.is_redacted {
        "Canonical JSON (RFC 8785), with secrets taken out by the sidecar. The digest covers the form with them."
    } else {
        "Canonical JSON (RFC 8785). Its SHA-256 is the digest."
    }
}

fn side(review: &Review, trace: Option<&Trace<'_>>) -> Markup {
    html! {
        div.stack {
            section.panel {
                h2 { "Who decides" }
                div.inset { (needs(&review.needs)) }
            }
            section.panel {
                h2 { "Before this" }
                div.inset { (past(review)) }
            }
            section.panel {
                h2 { "Timeline" }
                (timeline(review))
            }
            section.panel {
                h2 { "Details" }
                dl.facts.column.inset { (facts(review, trace)) }
            }
        }
    }
}

fn timeline(review: &Review) -> Markup {
    html! {
        ol.timeline {
            @for step in &review.timeline { (self::step(step)) }
            @match (review.standing.state, review.execute_by) {
                ("pending", _) => li.open { "Waiting for a decision" span.when { "until " (moment(review.decide_by)) } },
                ("approved", Some(until)) => li.open { "Not started yet" span.when { "may start until " (moment(until)) } },
                _ => {}
            }
        }
    }
}

fn step(step: &Step) -> Markup {
    html! {
        li.good[step.tone == Tone::Good].bad[step.tone == Tone::Bad] {
            @if let Some(who) = &step.who { strong { (shown(who)) } " " }
            (step.what)
            @if let Some(reason) = &step.reason { div.reason { (shown(reason)) } }
            span.when { (moment(step.at)) }
        }
    }
}

/// A trace's id, and where it can be looked at.
type Trace<'a> = (&'a str, Option<String>);

fn facts(review: &Review, trace: Option<&Trace<'_>>) -> Markup {
    html! {
        dt { "Agent" } dd { a href={ "/agents/" (review.agent) } { (review.agent) } }
        dt { "Owner" } dd { (shown(&review.owner)) }
        dt { "Seen by" } dd { (shown(&review.interceptor)) }
        dt { "Policy" } dd { a href={ "/policies/" (review.revision) } { "revision " (review.revision) } }
        dt { "Digest" } dd { code { (review.digest) } }
        @if let Some((id, address)) = trace {
            dt { "Trace" }
            dd {
                @match address {
                    Some(address) => a href=(address) rel="noreferrer" { code { (id) } },
                    None => code { (id) },
                }
            }
        }
        dt { "Request" } dd { code { (review.id) } }
    }
}
