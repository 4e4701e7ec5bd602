//! `/approvals/{id}`: one request, whole.

use axum::extract::{Path, State};
use countersign_model::{ApprovalId, Timestamp};
use maud::{Markup, html};
use serde::Deserialize;

use super::{
    ConsoleState, PageError,
    card::{Origin, also_said, byline, cast, decide, needs, past, state_tag, why_agent, why_policy},
    forms::{Params, SignedIn},
    inbox::voted,
    layout::{Frame, moment},
    operation::{headline, summary, whole},
    text::{exact, shown},
};
use crate::{identity::Session, review::Review, services::Reviewed};

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
    let id: ApprovalId = id.parse().map_err(|_| PageError::NotFound)?;
    let reviewed = state.services.approvals.review(&session.actor, id).await?;
    let flash = query.done.map(|_| voted(&reviewed.review, &session, Origin::Page));
    Ok(page(&reviewed, &session, state.identity.now(), flash.as_ref()))
}

/// The page, with what has just happened above it.
pub(crate) fn page(reviewed: &Reviewed, session: &Session, now: Timestamp, flash: Option<&Markup>) -> Markup {
    let review = &reviewed.review;
    let title = review.headline.one_line();
    let frame = Frame { title: &title, session: Some(session), now, live: true };
    frame.page(&html! {
        p.crumb { a href="/" { "← Inbox" } }
        @if let Some(flash) = flash { (flash) }
        div.columns {
            div data-region="request" { (request(reviewed, session, now)) }
            aside { div data-region="side" { (side(review)) } }
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
        div.panel.card data-item=(review.id) data-version=(review.version) {
            header {
                (byline(review, pending.then_some(now)))
                h1.what { (headline(review)) }
            }
            section.stack { (summary(review)) }
            section.split { (why_policy(&review.why)) div { (why_agent(review)) (also_said(review)) } }
            section { (past(review)) }
            @if pending { (decide(reviewed, session, Origin::Page)) }
            section {
                p.label { "The whole operation" }
                (whole(&review.whole))
            }
            section {
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

fn side(review: &Review) -> Markup {
    html! {
        div.stack {
            section.panel {
                h2 { "Who decides" }
                div.inset { (needs(&review.needs)) }
            }
            section.panel {
                h2 { "Timeline" }
                (timeline(review))
            }
            section.panel {
                h2 { "Details" }
                dl.facts.column.inset { (facts(review)) }
            }
        }
    }
}

fn timeline(review: &Review) -> Markup {
    html! {
        ol.timeline {
            li { (review.agent) " asked" span.when { (moment(review.submitted_at)) } }
            @for vote in &review.votes {
                li.good[vote.approved].bad[!vote.approved] { (cast(vote)) }
            }
            @match review.standing.state {
                "pending" => li { "Waiting for a decision" span.when { "until " (moment(review.decide_by)) } },
                "approved" => li.good {
                    "Approved; not started yet"
                    @if let Some(until) = review.execute_by { span.when { "may start until " (moment(until)) } }
                },
                _ => li { (state_tag(&review.standing)) span.when { (moment(review.updated_at)) } },
            }
        }
    }
}

fn facts(review: &Review) -> Markup {
    html! {
        dt { "Agent" } dd { (review.agent) }
        dt { "Owner" } dd { (shown(&review.owner)) }
        dt { "Seen by" } dd { (shown(&review.interceptor)) }
        dt { "Policy" } dd { "revision " (review.revision) }
        dt { "Digest" } dd { code { (review.digest) } }
        @if let Some(trace) = &review.trace_id { dt { "Trace" } dd { code { (exact(trace)) } } }
        dt { "Request" } dd { code { (review.id) } }
    }
}
