//! Taking back what was approved, as far as it is not used.

use axum::{
    extract::{Path, State},
    response::{IntoResponse, Redirect, Response},
};
use maud::{Markup, html};
use serde::Deserialize;

use super::{
    ConsoleState, PageError,
    approval::{refused, request_id},
    forms::{SignedForm, SignedIn},
    layout::{Frame, csrf},
    operation::headline,
};
use crate::{api::MAX_REASON, services::ApprovalError};

/// Asks once more.
pub(crate) async fn ask(
    State(state): State<ConsoleState>,
    SignedIn(session): SignedIn,
    Path(id): Path<String>,
) -> Result<Markup, PageError> {
    let reviewed = state.services.approvals.review(&session.actor, request_id(&id)?).await?;
    if !reviewed.may_vote.may_revoke {
        let why = "What was approved is taken back by those who decided it, the agent’s owner or an admin, and only \
                   as far as it is not used. Nothing was done.";
        return Err(PageError::Forbidden(why.to_owned()));
    }
    let review = &reviewed.review;
    let frame =
        Frame { title: "Take it back", session: Some(&session), now: state.identity.now(), live: false };
    Ok(frame.page(&html! {
        p.crumb { a href={ "/approvals/" (review.id) } { "← The request" } }
        section.panel.pad.medium {
            h1 { "Take the approval back?" }
            p.what { (headline(review)) }
            p.gap {
                strong { (review.agent) } " may not do this any more, from within a second. What runs already goes on. "
                "The approval is not given back: the agent would have to ask anew."
            }
            form.form method="post" action={ "/approvals/" (review.id) "/revoke" } {
                (csrf(&session))
                div {
                    label for="reason" { "Reason " span.quiet { "(optional)" } }
                    textarea id="reason" name="reason" rows="2" maxlength=(MAX_REASON) {}
                }
                div.actions {
                    button.danger type="submit" { "Take it back" }
                    a.button href={ "/approvals/" (review.id) } { "Leave it" }
                }
            }
        }
    }))
}

/// Why it is taken back.
#[derive(Deserialize)]
pub(crate) struct RevokeForm {
    #[serde(default)]
    reason: String,
}

/// Takes it back.
pub(crate) async fn revoke(
    State(state): State<ConsoleState>,
    Path(id): Path<String>,
    SignedForm { session, form }: SignedForm<RevokeForm>,
) -> Result<Response, PageError> {
    let id = request_id(&id)?;
    let reason = Some(form.reason.trim().replace("\r\n", "\n")).filter(|reason| !reason.is_empty());
    match state.services.approvals.revoke(&session.actor, id, reason).await {
        Ok(_) => Ok(Redirect::to(&format!("/approvals/{id}")).into_response()),
        Err(ApprovalError::Refused { reason, .. }) => {
            refused(&state, &session, id, &format!("Nothing was done: {reason}")).await
        }
        Err(error) => Err(error.into()),
    }
}
