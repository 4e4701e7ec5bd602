//! `POST /approvals/{id}/votes`: the form's approve and deny.

use axum::{
    extract::{Path, State},
    response::{IntoResponse, Redirect, Response},
};
use countersign_model::ApprovalId;
use serde::Deserialize;

use super::{
    ConsoleState, PageError,
    approval::{refused, request_id},
    card::Origin,
    forms::SignedForm,
};
use crate::{
    api::MAX_REASON,
    identity::Session,
    services::{ApprovalError, Ballot, PasskeyError, VoteDecision},
};

/// The form.
#[derive(Debug, Deserialize)]
pub(crate) struct VoteForm {
    pub(crate) decision: VoteDecision,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    from: String,
    /// What the browser answered when it asked for the person's passkey.
    #[serde(default)]
    assertion: String,
}

impl VoteForm {
    /// The reason, as it is kept and as a passkey signs it: browsers send its line ends in two ways.
    pub(crate) fn reason(&self) -> Result<Option<String>, PageError> {
        let reason = self.reason.trim().replace("\r\n", "\n");
        if reason.chars().count() > MAX_REASON {
            return Err(PageError::TooLarge);
        }
        Ok((!reason.is_empty()).then_some(reason))
    }
}

/// Casts a vote and leads back to where it was cast.
pub(crate) async fn cast(
    State(state): State<ConsoleState>,
    Path(id): Path<String>,
    SignedForm { session, form }: SignedForm<VoteForm>,
) -> Result<Response, PageError> {
    let id = request_id(&id)?;
    let ballot = Ballot {
        decision: form.decision,
        reason: form.reason()?,
        channel: "console".to_owned(),
        // What is asked never changes after it was asked, so a vote is not made stale by another's.
        expected_version: None,
    };
    let voted = if form.assertion.is_empty() {
        state.services.approvals.vote(&session.actor, id, ballot).await.map_err(PasskeyError::from)
    } else {
        state.services.passkeys.decide(&session, id, ballot, &form.assertion).await
    };
    match voted {
        Ok(view) if form.from == Origin::Page.as_str() => {
            Ok(Redirect::to(&format!("/approvals/{}?done=1", view.id)).into_response())
        }
        Ok(view) => Ok(Redirect::to(&format!("/?done={}", view.id)).into_response()),
        Err(PasskeyError::Approval(ApprovalError::Refused { reason, .. })) => {
            not_counted(&state, &session, id, &reason).await
        }
        Err(error @ (PasskeyError::Approval(_) | PasskeyError::Store(_))) => Err(error.into()),
        Err(error) => not_counted(&state, &session, id, &error.to_string()).await,
    }
}

/// The request again, with why the vote did not count.
async fn not_counted(
    state: &ConsoleState,
    session: &Session,
    id: ApprovalId,
    reason: &str,
) -> Result<Response, PageError> {
    refused(state, session, id, &format!("Your vote was not counted: {reason}")).await
}
