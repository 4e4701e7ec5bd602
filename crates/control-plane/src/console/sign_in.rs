//! Signing in and out.

use axum::{
    extract::State,
    response::{IntoResponse, Redirect, Response},
};
use countersign_model::{PersonId, Timestamp};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use maud::{Markup, html};
use serde::Deserialize;

use super::{
    ConsoleState, PageError,
    forms::{From, OwnForm, Params, SignedForm, local_path, session},
    layout::{Frame, brand},
};
use crate::identity::{Secret, SignInError};

/// Where to go after the sign-in.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct NextQuery {
    next: Option<String>,
}

/// The sign-in page.
pub(crate) async fn page(
    State(state): State<ConsoleState>,
    headers: HeaderMap,
    Params(query): Params<NextQuery>,
) -> Result<Response, PageError> {
    let next = query.next.unwrap_or_default();
    if session(&headers, &state).await?.is_some() {
        return Ok(Redirect::to(local_path(&next).unwrap_or("/")).into_response());
    }
    Ok(token_page(state.identity.now(), &next, None).into_response())
}

fn token_page(now: Timestamp, next: &str, problem: Option<&str>) -> Markup {
    let frame = Frame { title: "Sign in", session: None, now, live: false };
    frame.page(&html! {
        section.panel.pad.narrow.signin {
            (brand())
            h1 { "Sign in to review" }
            form.form method="post" action="/sign-in" {
                @if let Some(problem) = problem {
                    div.flash.bad role="alert" id="problem" { p { (problem) } }
                }
                @if let Some(next) = local_path(next) { input type="hidden" name="next" value=(next); }
                div {
                    label for="token" { "Personal token" }
                    input type="password" id="token" name="token" required autofocus autocomplete="current-password"
                        spellcheck="false" aria-describedby="token-help";
                }
                p.help id="token-help" {
                    "It starts with " code { "cs_" } ". Whoever set this installation up has yours; "
                    code { "countersign tokens create" } " makes another."
                }
                button.primary type="submit" { "Sign in" }
            }
        }
    })
}

/// What the sign-in page sends.
#[derive(Deserialize)]
pub(crate) struct TokenForm {
    token: String,
    #[serde(default)]
    next: String,
}

/// Signs in with a personal token.
pub(crate) async fn with_token(
    State(state): State<ConsoleState>,
    From(address): From,
    OwnForm(form): OwnForm<TokenForm>,
) -> Response {
    match state.identity.sign_in_with_token(&form.token, address).await {
        Ok(secret) => signed_in(&state, &secret, &form.next),
        Err(error) => refused(&error, |problem| token_page(state.identity.now(), &form.next, Some(problem))),
    }
}

/// A sign-in link's secret.
#[derive(Default, Deserialize)]
pub(crate) struct LinkForm {
    #[serde(default)]
    secret: String,
}

/// What a sign-in link opens: a button. Opening it uses nothing up, so that a previewer of links does
/// no harm; pressing the button does.
pub(crate) async fn link_page(
    State(state): State<ConsoleState>,
    From(address): From,
    Params(link): Params<LinkForm>,
) -> Response {
    match state.identity.look_at_link(&link.secret, address).await {
        Ok(person) => button_page(&state, &person, &link.secret).into_response(),
        Err(error) => refused(&error, |problem| spent_page(&state, problem)),
    }
}

fn button_page(state: &ConsoleState, person: &PersonId, secret: &str) -> Markup {
    let frame = Frame { title: "Sign in", session: None, now: state.identity.now(), live: false };
    frame.page(&html! {
        section.panel.pad.narrow.signin {
            (brand())
            h1 { "Sign in as " (person) }
            form.form method="post" action="/sign-in/link" {
                input type="hidden" name="secret" value=(secret);
                p.help { "This link works once. Do not go on if you are somebody else." }
                button.primary type="submit" autofocus { "Sign in" }
            }
        }
    })
}

fn spent_page(state: &ConsoleState, problem: &str) -> Markup {
    let frame = Frame { title: "Sign in", session: None, now: state.identity.now(), live: false };
    frame.page(&html! {
        section.panel.pad.narrow.signin {
            (brand())
            h1 { "This link does not work" }
            div.form {
                div.flash.bad role="alert" { p { (problem) } }
                p.help { "A sign-in link works once, within ten minutes. Ask for another, or use your token." }
                a.button href="/sign-in" { "Sign in with a token" }
            }
        }
    })
}

/// Signs in with a sign-in link, and uses it up.
pub(crate) async fn with_link(
    State(state): State<ConsoleState>,
    From(address): From,
    OwnForm(form): OwnForm<LinkForm>,
) -> Response {
    match state.identity.sign_in_with_link(&form.secret, address).await {
        Ok(secret) => signed_in(&state, &secret, "/"),
        Err(error) => refused(&error, |problem| spent_page(&state, problem)),
    }
}

/// Nothing but the proof that the form is ours.
#[derive(Deserialize)]
pub(crate) struct Empty {}

/// Signs out.
pub(crate) async fn out(
    State(state): State<ConsoleState>,
    headers: HeaderMap,
    SignedForm { session, .. }: SignedForm<Empty>,
) -> Result<Response, PageError> {
    if let Some(secret) = state.identity.cookie().read(&headers) {
        let ended = state.identity.sign_out(&session.actor, &secret).await;
        ended.map_err(|error| PageError::Unavailable(error.to_string()))?;
    }
    Ok(with_cookie(Redirect::to("/sign-in").into_response(), state.identity.cookie().clear()))
}

fn signed_in(state: &ConsoleState, secret: &Secret, next: &str) -> Response {
    let response = Redirect::to(local_path(next).unwrap_or("/")).into_response();
    with_cookie(response, state.identity.cookie().set(secret))
}

fn with_cookie(mut response: Response, cookie: Option<HeaderValue>) -> Response {
    if let Some(cookie) = cookie {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

fn refused(error: &SignInError, page: impl FnOnce(&str) -> Markup) -> Response {
    let (status, retry) = match error {
        SignInError::TooMany(wait) => (StatusCode::TOO_MANY_REQUESTS, Some(wait.retry_after.get())),
        SignInError::Refused | SignInError::SignInAgain => (StatusCode::UNAUTHORIZED, None),
        SignInError::Machine => (StatusCode::FORBIDDEN, None),
        SignInError::Store(_) | SignInError::Entropy(_) => {
            return PageError::Unavailable(error.to_string()).into_response();
        }
    };
    let mut text = error.to_string();
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    let mut response = (status, page(&format!("{text}."))).into_response();
    if let Some(seconds) = retry {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}
