//! `/approvals/{id}`: one request, whole.

use axum::extract::{Path, State};
use countersign_model::{ApprovalId, Timestamp};
use maud::{Markup, html};
use serde::Deserialize;

use super::{
    ConsoleState, PageError,
    card::{Origin, byline, cast, decide, requirements, state_tag, why_agent, why_policy},
    forms::{Params, SignedIn},
    inbox::voted,
    layout::{Frame, moment},
    operation::OperationView,
    text::{exact, prose},
};
use crate::{
    identity::Session,
    services::{ApprovalView, VoteDecision},
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
    let id: ApprovalId = id.parse().map_err(|_| PageError::NotFound)?;
    let view = state.services.approvals.get(&session.actor, id).await?;
    let flash = query.done.map(|_| voted(&view, &session, Origin::Page));
    Ok(page(&view, &session, state.identity.now(), flash.as_ref()))
}

/// The page, with what has just happened above it.
pub(crate) fn page(view: &ApprovalView, session: &Session, now: Timestamp, flash: Option<&Markup>) -> Markup {
    let operation = OperationView::new(&view.operation, &view.redacted);
    let title = operation.title();
    let frame = Frame { title: &title, session: Some(session), now, live: true };
    frame.page(&html! {
        p.crumb { a href="/" { "← Inbox" } }
        @if let Some(flash) = flash { (flash) }
        div.columns {
            div data-region="request" { (request(view, &operation, session, now)) }
            aside { div data-region="side" { (side(view)) } }
        }
    })
}

fn request(view: &ApprovalView, operation: &OperationView<'_>, session: &Session, now: Timestamp) -> Markup {
    let pending = view.state == "pending";
    html! {
        div.status {
            (state_tag(&view.state))
            @if let Some(reason) = &view.reason { span.quiet { (prose(reason)) } }
        }
        div.panel.card data-item=(view.id) data-version=(view.version) {
            header {
                (byline(view, pending.then_some(now)))
                h1.what { (operation.headline()) }
            }
            section.stack { (operation.summary()) }
            section.split { (why_policy(view)) (agent_words(view)) }
            @if pending { (decide(view, session, Origin::Page)) }
            section {
                p.label { "The whole operation" }
                (operation.full())
            }
            section {
                details.exact {
                    summary { "The exact text that the digest covers" }
                    p.quiet.small { (redaction_note(view)) }
                    div.command.exact-text { code { (exact(&view.operation_text)) } }
                }
            }
        }
    }
}

fn redaction_note(view: &ApprovalView) -> &'static str {
    if view.redacted.is_empty() {
        "Canonical JSON (RFC 8785). Its SHA-256 is the digest."
    } else {
        "Canonical JSON (RFC 8785), with secrets taken out by the sidecar. The digest covers the form with them."
    }
}

fn agent_words(view: &ApprovalView) -> Markup {
    let provenance = &view.provenance;
    let told =
        [("Prompt", &provenance.prompt), ("Model", &provenance.model), ("Session", &provenance.session)];
    html! {
        div {
            (why_agent(view))
            @if told.iter().any(|(_, text)| text.is_some()) {
                dl.said {
                    @for (label, text) in told {
                        @if let Some(text) = text { dt { (label) } dd { (prose(text)) } }
                    }
                }
            }
        }
    }
}

fn side(view: &ApprovalView) -> Markup {
    html! {
        div.stack {
            section.panel {
                h2 { "Who decides" }
                div.inset { (requirements(&view.requirements)) }
            }
            section.panel {
                h2 { "Timeline" }
                (timeline(view))
            }
            section.panel {
                h2 { "Details" }
                dl.facts.column.inset { (facts(view)) }
            }
        }
    }
}

fn timeline(view: &ApprovalView) -> Markup {
    html! {
        ol.timeline {
            li { (view.agent) " asked" span.when { (moment(view.submitted_at)) } }
            @for vote in &view.votes {
                li.good[vote.decision == VoteDecision::Approve].bad[vote.decision == VoteDecision::Deny] {
                    (cast(vote))
                }
            }
            @match view.state.as_str() {
                "pending" => li { "Waiting for a decision" span.when { "until " (moment(view.decide_by)) } },
                "approved" => li.good {
                    "Approved; not started yet"
                    @if let Some(until) = view.execute_by { span.when { "may start until " (moment(until)) } }
                },
                state => li { (state_tag(state)) span.when { (moment(view.updated_at)) } },
            }
        }
    }
}

fn facts(view: &ApprovalView) -> Markup {
    html! {
        dt { "Agent" } dd { (view.agent) }
        dt { "Owner" } dd { (view.owner) }
        dt { "Seen by" } dd { (exact(&view.interceptor)) }
        dt { "Policy" } dd { "revision " (view.revision) }
        dt { "Digest" } dd { code { (view.digest) } }
        @if let Some(trace) = &view.trace_id { dt { "Trace" } dd { code { (exact(trace)) } } }
        dt { "Request" } dd { code { (view.id) } }
    }
}
