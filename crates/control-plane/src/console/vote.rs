//! `POST /approvals/{id}/votes`: the form's approve and deny.

use axum::{
    extract::{Path, State},
    response::{IntoResponse, Redirect, Response},
};
use countersign_model::ApprovalId;
use http::StatusCode;
use maud::html;
use serde::Deserialize;

use super::{ConsoleState, PageError, approval::page, card::Origin, forms::SignedForm};
use crate::{
    api::MAX_REASON,
    identity::Session,
    services::{ApprovalError, Ballot, VoteDecision},
};

/// The form.
#[derive(Debug, Deserialize)]
pub(crate) struct VoteForm {
    decision: VoteDecision,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    from: String,
}

/// Casts a vote and leads back to where it was cast.
pub(crate) async fn cast(
    State(state): State<ConsoleState>,
    Path(id): Path<String>,
    SignedForm { session, form }: SignedForm<VoteForm>,
) -> Result<Response, PageError> {
    let id: ApprovalId = id.parse().map_err(|_| PageError::NotFound)?;
    let reason = form.reason.trim();
    if reason.chars().count() > MAX_REASON {
        return Err(PageError::TooLarge);
    }
    let ballot = Ballot {
        decision: form.decision,
        reason: (!reason.is_empty()).then(|| reason.to_owned()),
        channel: "console".to_owned(),
        // What is asked never changes after it was asked, so a vote is not made stale by another's.
        expected_version: None,
    };
    match state.services.approvals.vote(&session.actor, id, ballot).await {
        Ok(view) if form.from == Origin::Page.as_str() => {
            Ok(Redirect::to(&format!("/approvals/{}?done=1", view.id)).into_response())
        }
        Ok(view) => Ok(Redirect::to(&format!("/?done={}", view.id)).into_response()),
        Err(ApprovalError::Refused { reason, .. }) => refused(&state, &session, id, &reason).await,
        Err(error) => Err(error.into()),
    }
}

/// The request again, with why the vote did not count.
async fn refused(
    state: &ConsoleState,
    session: &Session,
    id: ApprovalId,
    reason: &str,
) -> Result<Response, PageError> {
    let reviewed = state.services.approvals.review(&session.actor, id).await?;
    let flash = html! { div.flash.bad role="alert" { p { "Your vote was not counted: " (reason) } } };
    Ok((StatusCode::CONFLICT, page(&reviewed, session, state.identity.now(), Some(&flash))).into_response())
}
