//! `/you`: a person's own sessions, tokens and linked accounts, to look at and to end.

use std::collections::BTreeSet;

use axum::{
    extract::{Path, State},
    response::{IntoResponse, Redirect, Response},
};
use countersign_model::{Digest, Seconds};
use http::{HeaderMap, StatusCode};
use maud::{Markup, html};
use serde::Deserialize;

use super::{
    ConsoleState, PageError, delegations,
    forms::{SignedForm, SignedIn},
    layout::{Frame, Place, csrf, moment},
    sign_in::Empty,
    text::exact,
};
use crate::identity::{
    AccountError, AccountView, ActorKind, CreatedToken, NewToken, ProviderButton, Right, Session,
    SessionError, SessionView, TokenError, TokenView,
};

const DAY: u32 = 86_400;

/// The page.
pub(crate) async fn show(
    State(state): State<ConsoleState>,
    headers: HeaderMap,
    SignedIn(session): SignedIn,
) -> Result<Markup, PageError> {
    page(&state, &headers, &session, None).await
}

/// The page, with what did not work above it.
pub(crate) async fn page(
    state: &ConsoleState,
    headers: &HeaderMap,
    session: &Session,
    problem: Option<&str>,
) -> Result<Markup, PageError> {
    let (identity, actor) = (&state.identity, &session.actor);
    let current = identity.cookie().read(headers);
    let sessions = identity.sessions(actor, current.as_ref()).await?;
    let mut tokens = identity.tokens(actor).await?;
    // An admin's list has everybody's; this page is about one's own.
    tokens.retain(|token| token.owner == actor.person && token.revoked_at.is_none());
    let accounts = identity.linked_accounts(actor).await?;
    let delegations = delegations::own(state, session).await?;
    Ok(framed(
        state,
        session,
        "You",
        &html! {
            div.head { h1 { "You" } span.count { (exact(actor.person.as_str())) } }
            @if let Some(problem) = problem { div.flash.bad role="alert" { p { (problem) } } }
            div.groups {
                (standing(session))
                (sessions_panel(&sessions, session))
                (delegations::panel(&delegations, session, identity.now()))
                (accounts_panel(&accounts, &identity.providers(), session))
                (tokens_panel(&tokens, session))
            }
        },
    ))
}

fn standing(session: &Session) -> Markup {
    let words = |words: Vec<String>| if words.is_empty() { "none".to_owned() } else { words.join(", ") };
    let actor = &session.actor;
    html! {
        section.panel {
            h2 { "Who you are here" }
            dl.facts.inset {
                dt { "Roles" } dd { (words(actor.roles.iter().map(|role| role.to_string().replace('_', " ")).collect())) }
                @if !actor.also.is_empty() {
                    dt { "Also known as" }
                    dd { (exact(&words(actor.also.iter().map(ToString::to_string).collect()))) }
                }
                dt { "Groups" } dd { (exact(&words(actor.groups.clone()))) }
                dt { "Signed in by" } dd { (exact(&actor.method)) }
                dt { "Passkeys" } dd { a href="/passkeys" { "Look after your passkeys" } }
            }
        }
    }
}

/// A form with nothing but a button.
pub(crate) fn button(session: &Session, path: &str, name: &str, label: &str) -> Markup {
    html! {
        form method="post" action=(path) {
            (csrf(session))
            button.small type="submit" aria-label=(label) { (name) }
        }
    }
}

fn sessions_panel(sessions: &[SessionView], session: &Session) -> Markup {
    html! {
        section.panel {
            h2 { "Sessions" }
            ul.rows {
                @for one in sessions {
                    li {
                        div.first {
                            span {
                                "Since " (moment(one.created_at))
                                @if one.current { " " span.tag.good { "this one" } }
                            }
                            @if !one.current {
                                (button(session, &format!("/you/sessions/{}/end", one.id), "End", "End this session"))
                            }
                        }
                        div.second.quiet.small { span { (exact(&one.method)) } span { "until " (moment(one.expires_at)) } }
                    }
                }
            }
        }
    }
}

fn accounts_panel(accounts: &[AccountView], providers: &[ProviderButton], session: &Session) -> Markup {
    html! {
        section.panel {
            h2 { "Linked accounts" }
            @if accounts.is_empty() {
                p.quiet { "None. A chat asks you to link your account when you first decide there." }
            }
            ul.rows {
                @for one in accounts {
                    li {
                        div.first {
                            span { (exact(&one.label)) " " span.quiet { (one.kind) } }
                            (button(session, &format!("/you/accounts/{}/unlink", one.id), "Unlink", "Unlink this account"))
                        }
                        div.second.quiet.small { span { (exact(&one.realm)) } span { "since " (moment(one.linked_at)) } }
                    }
                }
            }
            @for one in providers {
                form.inset method="post" action={ "/you/join/" (one.id) } {
                    (csrf(session))
                    button.small type="submit" { "I also sign in with " (one.name) }
                }
            }
        }
    }
}

fn tokens_panel(tokens: &[TokenView], session: &Session) -> Markup {
    html! {
        section.panel {
            h2 { "Tokens" }
            @if tokens.is_empty() { p.quiet { "None. Programs and the command line use them." } }
            ul.rows { @for token in tokens { li { (token_row(token, session)) } } }
            form.form.inset method="post" action="/you/tokens" {
                (csrf(session))
                div {
                    label for="name" { "Name of a new token" }
                    input type="text" id="name" name="name" required maxlength="64" autocomplete="off";
                }
                div {
                    label for="kind" { "For" }
                    select id="kind" name="kind" {
                        option value="machine" { "a program: it reads, and never votes" }
                        option value="human" { "myself, on the command line" }
                    }
                }
                div {
                    label for="days" { "Days" }
                    input type="number" id="days" name="days" min="1" max="365" value="30" required;
                }
                button type="submit" { "Make a token" }
            }
        }
    }
}

fn token_row(token: &TokenView, session: &Session) -> Markup {
    let scopes: Vec<_> = token.scopes.iter().map(ToString::to_string).collect();
    html! {
        div.first {
            span { (exact(&token.name)) " " span.quiet { (token.kind) ": " (scopes.join(", ")) } }
            (button(session, &format!("/you/tokens/{}/revoke", token.id), "Revoke", "Revoke this token"))
        }
        div.second.quiet.small {
            @match token.last_used_at { Some(at) => span { "used " (moment(at)) }, None => span { "never used" } }
            @if let Some(at) = token.expires_at { span { "until " (moment(at)) } }
        }
    }
}

/// Ends another session of one's own.
pub(crate) async fn end_session(
    State(state): State<ConsoleState>,
    Path(id): Path<String>,
    SignedForm { session, .. }: SignedForm<Empty>,
) -> Result<Redirect, PageError> {
    state.identity.end_session(&session.actor, digest(&id)?).await?;
    Ok(Redirect::to("/you"))
}

/// Unlinks an account of one's own.
pub(crate) async fn unlink(
    State(state): State<ConsoleState>,
    Path(id): Path<String>,
    SignedForm { session, .. }: SignedForm<Empty>,
) -> Result<Redirect, PageError> {
    state.identity.unlink_account(&session.actor, digest(&id)?).await.map_err(|error| match error {
        AccountError::NotFound => PageError::NotFound,
        other => PageError::Unavailable(other.to_string()),
    })?;
    Ok(Redirect::to("/you"))
}

/// Revokes a token.
pub(crate) async fn revoke_token(
    State(state): State<ConsoleState>,
    Path(id): Path<String>,
    SignedForm { session, .. }: SignedForm<Empty>,
) -> Result<Redirect, PageError> {
    let id = id.parse().map_err(|_| PageError::NotFound)?;
    state.identity.revoke_token(&session.actor, id).await?;
    Ok(Redirect::to("/you"))
}

/// A new token, as the form sends it.
#[derive(Deserialize)]
pub(crate) struct TokenWish {
    name: String,
    kind: ActorKind,
    days: String,
}

/// Makes a token. The answer is the only page that ever shows it.
pub(crate) async fn create_token(
    State(state): State<ConsoleState>,
    headers: HeaderMap,
    SignedForm { session, form }: SignedForm<TokenWish>,
) -> Result<Response, PageError> {
    let scopes = match form.kind {
        ActorKind::Machine => Some(BTreeSet::from([Right::Read])),
        ActorKind::Human => None,
    };
    let days: u32 =
        form.days.trim().parse().map_err(|_| PageError::BadForm("Days are a number.".to_owned()))?;
    let lifetime = Some(Seconds::new(days.saturating_mul(DAY)));
    let wish = NewToken { name: form.name, kind: form.kind, scopes, lifetime };
    match state.identity.create_token(&session.actor, wish).await {
        Ok(created) => Ok(token_page(&state, &session, &created).into_response()),
        Err(error @ (TokenError::Invalid(_) | TokenError::TooMany | TokenError::Scopes(_))) => {
            let page = page(&state, &headers, &session, Some(&error.to_string())).await?;
            Ok((StatusCode::BAD_REQUEST, page).into_response())
        }
        Err(error) => Err(error.into()),
    }
}

fn token_page(state: &ConsoleState, session: &Session, created: &CreatedToken) -> Markup {
    framed(
        state,
        session,
        "Token",
        &html! {
            p.crumb { a href="/you" { "← You" } }
            section.panel.pad {
                h1 { "Token " (exact(&created.view.name)) }
                p.gap { "This is the only time that it is shown." }
                div.command tabindex="0" role="group" aria-label="Token" { code { (created.token) } }
            }
        },
    )
}

fn digest(text: &str) -> Result<Digest, PageError> {
    text.parse().map_err(|_| PageError::NotFound)
}

fn framed(state: &ConsoleState, session: &Session, title: &str, content: &Markup) -> Markup {
    let frame = Frame { title, session: Some(session), now: state.identity.now(), live: false };
    frame.page_in(Place::You, content)
}

impl From<SessionError> for PageError {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::NotFound => Self::NotFound,
            SessionError::Store(error) => Self::Unavailable(error.to_string()),
        }
    }
}

impl From<AccountError> for PageError {
    fn from(error: AccountError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl From<TokenError> for PageError {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::NotFound(_) => Self::NotFound,
            TokenError::Store(_) | TokenError::Entropy(_) => Self::Unavailable(error.to_string()),
            other => Self::BadForm(other.to_string()),
        }
    }
}
