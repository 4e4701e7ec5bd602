//! `/settings`: what this control plane was started with, and how it is. Nothing can be changed here: settings
//! are files, and files have a history.

use axum::extract::State;
use maud::{Markup, html};

use super::{
    ConsoleState, PageError,
    forms::SignedIn,
    layout::{Frame, Place},
    text::exact,
};
use crate::services::{Readiness, SettingsGroup};

/// The page.
pub(crate) async fn show(
    State(state): State<ConsoleState>,
    SignedIn(session): SignedIn,
) -> Result<Markup, PageError> {
    let overview = state.services.settings.overview(&session.actor);
    let overview = overview.map_err(|missing| PageError::Forbidden(missing.to_string()))?;
    let readiness = state.services.status.readiness().await;
    let frame = Frame { title: "Settings", session: Some(&session), now: state.identity.now(), live: false };
    Ok(frame.page_in(
        Place::Settings,
        &html! {
            div.head { h1 { "Settings" } span.count { "read-only; set in the configuration file" } }
            div.groups {
                (condition(&readiness))
                @for group in &overview.groups { (settings(group)) }
            }
        },
    ))
}

fn condition(readiness: &Readiness) -> Markup {
    html! {
        section.panel {
            h2 { "Condition" }
            dl.facts.inset {
                dt { "Control plane" }
                dd {
                    @if readiness.ready { span.tag.good { "ready" } } @else { span.tag.bad { "not ready" } }
                    @for problem in &readiness.problems { p { (problem) } }
                }
                dt { "Version" } dd { (env!("CARGO_PKG_VERSION")) }
                dt { "Policy" }
                dd {
                    @match readiness.revision {
                        Some(revision) => a href={ "/policies/" (revision) } { "revision " (revision) },
                        None => "none yet",
                    }
                }
                dt { "Agents connected" } dd { (readiness.agents_connected) }
                dt { "Events in the ledger" } dd { (readiness.ledger_size) }
                dt { "Not indexed yet" } dd { (readiness.ledger_lag) }
            }
        }
    }
}

fn settings(group: &SettingsGroup) -> Markup {
    html! {
        section.panel {
            h2 { (exact(&group.title)) }
            dl.facts.inset {
                @for (name, value) in &group.settings { dt { code { (name) } } dd { (exact(value)) } }
            }
        }
    }
}
