//! `/passkeys`: one's own passkeys; and what the script asks before it runs a ceremony.
//!
//! Forms whose button has `data-passkey` are sent by the script (`passkey.js`): it asks that address what the
//! browser is to be asked, and sends the form with what the browser answered.

use axum::{
    Json,
    extract::{Path, State},
    response::{IntoResponse, Redirect, Response},
};
use countersign_model::{ApprovalId, Digest, Timestamp};
use http::StatusCode;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::json;

use super::{
    ConsoleState, PageError,
    forms::{SignedForm, SignedIn},
    layout::{Frame, csrf, moment},
    sign_in::Empty,
    text::exact,
    vote::VoteForm,
};
use crate::{
    identity::Session,
    services::{Asked, PasskeyError, PasskeyView},
};

/// The page.
pub(crate) async fn show(
    State(state): State<ConsoleState>,
    SignedIn(session): SignedIn,
) -> Result<Markup, PageError> {
    page(&state, &session, None).await
}

async fn page(state: &ConsoleState, session: &Session, problem: Option<&str>) -> Result<Markup, PageError> {
    let passkeys = state.services.passkeys.list(&session.actor, &session.actor.person).await?;
    Ok(markup(&passkeys, session, state.identity.now(), problem))
}

fn markup(passkeys: &[PasskeyView], session: &Session, now: Timestamp, problem: Option<&str>) -> Markup {
    let frame = Frame { title: "Passkeys", session: Some(session), now, live: false };
    frame.page(&html! {
        p.crumb { a href="/" { "← Inbox" } }
        section.panel.pad.narrow {
            h1 { "Passkeys" }
            p.quiet {
                "Some requests are approved with a passkey only: your device checks that it is you, and signs \
                 exactly the answer that you give."
            }
            @if let Some(problem) = problem { div.flash.bad role="alert" { p { (problem) } } }
            @if passkeys.is_empty() {
                p { "You have none yet." }
            } @else {
                ul.passkeys { @for passkey in passkeys { li { (one(passkey, session)) } } }
            }
            (add(passkeys.is_empty(), session))
        }
    })
}

fn one(passkey: &PasskeyView, session: &Session) -> Markup {
    let path = format!("/passkeys/{}", passkey.id);
    html! {
        form.form method="post" action={ (path) "/remove" } {
            (csrf(session))
            strong { (exact(&passkey.name)) }
            p.quiet.small {
                "added " (moment(passkey.created_at))
                @if let Some(at) = passkey.last_used_at { ", last used " (moment(at)) }
            }
            button.plain type="submit" data-passkey={ (path) "/challenge" }
                aria-label={ "Remove " (passkey.name) } { "Remove" }
            (status())
        }
    }
}

fn add(first: bool, session: &Session) -> Markup {
    html! {
        form.form method="post" action="/passkeys" {
            h2 { "Add a passkey" }
            (csrf(session))
            div {
                label for="name" { "Name" }
                input type="text" id="name" name="name" required maxlength="64" placeholder="Laptop, phone, security key"
                    autocomplete="off";
            }
            p.help {
                "It takes a sign-in within the last five minutes"
                @if !first { ", and a passkey that you have" }
                "."
            }
            button.primary type="submit" data-passkey="/passkeys/challenge" { "Add a passkey" }
            (status())
            noscript { p { "This needs JavaScript, since only a script can ask your device." } }
        }
    }
}

/// Where the script says what it waits for, and what went wrong.
pub(crate) fn status() -> Markup {
    html! { p.passkey-status role="status" data-passkey-status {} }
}

/// The address in which a passkey is named.
fn id(text: &str) -> Result<Digest, PageError> {
    text.parse().map_err(|_| PageError::NotFound)
}

/// What the browser is to be asked, or in words why nothing is.
pub(crate) struct Challenge(Result<Asked, PasskeyError>);

impl IntoResponse for Challenge {
    fn into_response(self) -> Response {
        match self.0 {
            Ok(asked) => Json(asked).into_response(),
            Err(PasskeyError::Store(error)) => PageError::Unavailable(error).into_response(),
            Err(error) => (StatusCode::CONFLICT, Json(json!({"problem": error.to_string()}))).into_response(),
        }
    }
}

/// `POST /passkeys/challenge`
pub(crate) async fn challenge_to_add(
    State(state): State<ConsoleState>,
    SignedForm { session, .. }: SignedForm<NameForm>,
) -> Challenge {
    Challenge(state.services.passkeys.begin_adding(&session).await)
}

/// `POST /passkeys/{id}/challenge`
pub(crate) async fn challenge_to_remove(
    State(state): State<ConsoleState>,
    Path(passkey): Path<String>,
    SignedForm { session, .. }: SignedForm<Empty>,
) -> Result<Challenge, PageError> {
    Ok(Challenge(state.services.passkeys.begin_removing(&session, id(&passkey)?).await))
}

/// `POST /approvals/{id}/challenge`
pub(crate) async fn challenge_to_decide(
    State(state): State<ConsoleState>,
    Path(approval): Path<String>,
    SignedForm { session, form }: SignedForm<VoteForm>,
) -> Result<Challenge, PageError> {
    let approval: ApprovalId = approval.parse().map_err(|_| PageError::NotFound)?;
    let reason = form.reason()?;
    let asked = state.services.passkeys.begin_deciding(&session, approval, form.decision, reason).await;
    Ok(Challenge(asked))
}

/// What a new passkey is to be called.
#[derive(Deserialize)]
pub(crate) struct NameForm {
    name: String,
    /// What the browser answered to `create`.
    #[serde(default)]
    registration: String,
    /// What it answered to `get`.
    #[serde(default)]
    assertion: String,
}

/// `POST /passkeys`
pub(crate) async fn add_one(
    State(state): State<ConsoleState>,
    SignedForm { session, form }: SignedForm<NameForm>,
) -> Result<Response, PageError> {
    let passkeys = &state.services.passkeys;
    let added = passkeys.add(&session, &form.name, &form.registration, &form.assertion).await;
    done(&state, &session, added).await
}

/// A confirmation alone.
#[derive(Deserialize)]
pub(crate) struct AssertionForm {
    #[serde(default)]
    assertion: String,
}

/// `POST /passkeys/{id}/remove`
pub(crate) async fn remove(
    State(state): State<ConsoleState>,
    Path(passkey): Path<String>,
    SignedForm { session, form }: SignedForm<AssertionForm>,
) -> Result<Response, PageError> {
    let removed = state.services.passkeys.remove(&session, id(&passkey)?, &form.assertion).await;
    done(&state, &session, removed).await
}

async fn done(
    state: &ConsoleState,
    session: &Session,
    outcome: Result<PasskeyView, PasskeyError>,
) -> Result<Response, PageError> {
    match outcome {
        Ok(_) => Ok(Redirect::to("/passkeys").into_response()),
        Err(PasskeyError::Store(error)) => Err(PageError::Unavailable(error)),
        Err(error) => {
            let page = page(state, session, Some(&error.to_string())).await?;
            Ok((StatusCode::CONFLICT, page).into_response())
        }
    }
}

impl From<PasskeyError> for PageError {
    fn from(error: PasskeyError) -> Self {
        match error {
            PasskeyError::Right(missing) => Self::Forbidden(missing.to_string()),
            PasskeyError::Approval(error) => error.into(),
            PasskeyError::Store(error) => Self::Unavailable(error),
            other => Self::BadForm(other.to_string()),
        }
    }
}
