//! Linking an account in a chat to whoever is signed in.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use maud::{Markup, html};
use serde::Deserialize;

use super::{
    ConsoleState, PageError,
    forms::{Params, SignedForm, SignedIn},
    layout::{Frame, csrf},
};
use crate::identity::{AccountError, AccountKind, AccountLink, Session};

/// An account link's secret.
#[derive(Default, Deserialize)]
pub(crate) struct LinkForm {
    #[serde(default)]
    secret: String,
}

/// What an account link opens: whose account it is, and a button.
pub(crate) async fn link_page(
    State(state): State<ConsoleState>,
    SignedIn(session): SignedIn,
    Params(form): Params<LinkForm>,
) -> Result<Response, PageError> {
    match state.identity.look_at_account_link(&session, &form.secret).await {
        Ok(link) => Ok(framed(&state, &session, "Link an account", &question(&session, &link, &form.secret))
            .into_response()),
        Err(error) => refused(&state, &session, &error),
    }
}

/// Links the account.
pub(crate) async fn link(
    State(state): State<ConsoleState>,
    SignedForm { session, form }: SignedForm<LinkForm>,
) -> Result<Response, PageError> {
    match state.identity.complete_link(&session, &form.secret).await {
        Ok(account) => {
            let content = html! {
                h1 { "Linked" }
                p { bdi { (account.label) } " now votes as " strong { (account.person) } ". You can go back." }
                a.button href="/" { "Open the inbox" }
            };
            Ok(framed(&state, &session, "Linked", &content).into_response())
        }
        Err(error) => refused(&state, &session, &error),
    }
}

/// Says whose account it is before it becomes somebody's: the link may have been passed on by whoever has it.
fn question(session: &Session, link: &AccountLink, secret: &str) -> Markup {
    let (place, realm) = match link.account.kind {
        AccountKind::Slack => ("Slack", "team"),
        AccountKind::Teams => ("Microsoft Teams", "tenant"),
        AccountKind::Oidc => ("your identity provider", "issuer"),
    };
    html! {
        h1 { "Is this your account?" }
        dl.facts {
            dt { "Account" } dd { bdi { (link.label) } }
            dt { "In" } dd { (place) ", " (realm) " " bdi { (link.account.realm) } }
            dt { "User" } dd { bdi { (link.account.subject) } }
        }
        p {
            "Whoever holds this account will vote as " strong { (session.actor.person) }
            ". Go on only if you asked for this link yourself, just now."
        }
        form.form method="post" action="/accounts/link" {
            (csrf(session))
            input type="hidden" name="secret" value=(secret);
            button.primary type="submit" { "Link this account" }
            a.button href="/" { "It is not mine" }
        }
    }
}

fn refused(state: &ConsoleState, session: &Session, error: &AccountError) -> Result<Response, PageError> {
    if let AccountError::Store(_) | AccountError::Entropy(_) = error {
        return Err(PageError::Unavailable(error.to_string()));
    }
    let content = html! {
        h1 { "Not linked" }
        div.flash.bad role="alert" { p { "The account was not linked: " (error) "." } }
        a.button href="/" { "Open the inbox" }
    };
    Ok((StatusCode::CONFLICT, framed(state, session, "Not linked", &content)).into_response())
}

fn framed(state: &ConsoleState, session: &Session, title: &str, content: &Markup) -> Markup {
    let frame = Frame { title, session: Some(session), now: state.identity.now(), live: false };
    frame.page(&html! { section.panel.pad.narrow { (content) } })
}
