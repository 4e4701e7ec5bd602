//! Signing in and out.

use axum::{
    extract::State,
    response::{IntoResponse, Redirect, Response},
};
use countersign_model::PersonId;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use maud::{Markup, html};
use serde::Deserialize;

use super::{
    ConsoleState, PageError,
    forms::{From, OwnForm, Params, SignedForm, form_encoded, local_path, session},
    layout::{Frame, brand},
};
use crate::identity::{Secret, SignInError};

/// Where to go after the sign-in.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct NextQuery {
    pub(super) next: Option<String>,
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
    Ok(sign_in_page(&state, &next, None).into_response())
}

/// The ways to sign in: a button for each identity provider, and a token where that is taken.
pub(super) fn sign_in_page(state: &ConsoleState, next: &str, problem: Option<&str>) -> Markup {
    let frame = Frame { title: "Sign in", session: None, now: state.identity.now(), live: false };
    let providers = state.identity.providers();
    let next = local_path(next);
    frame.page(&html! {
        section.panel.pad.narrow.signin {
            (brand())
            h1 { "Sign in to review" }
            @if let Some(problem) = problem {
                div.form { div.flash.bad role="alert" id="problem" { p { (problem) } } }
            }
            @if !providers.is_empty() {
                nav.form aria-label="Identity providers" {
                    @for provider in &providers {
                        a.button.primary href={ "/sign-in/oidc/" (provider.id) (next_query(next)) } {
                            "Sign in with " (provider.name)
                        }
                    }
                }
            }
            @if state.identity.takes_tokens() { (token_form(next, providers.is_empty())) }
        }
    })
}

fn next_query(next: Option<&str>) -> String {
    next.map(|next| format!("?next={}", form_encoded(next))).unwrap_or_default()
}

fn token_form(next: Option<&str>, focus: bool) -> Markup {
    html! {
        form.form method="post" action="/sign-in" {
            @if let Some(next) = next { input type="hidden" name="next" value=(next); }
            div {
                label for="token" { "Personal token" }
                input type="password" id="token" name="token" required autofocus[focus] autocomplete="current-password"
                    spellcheck="false" aria-describedby="token-help";
            }
            p.help id="token-help" {
                "It starts with " code { "cs_" } ". Whoever set this installation up has yours; "
                code { "countersign tokens create" } " makes another."
            }
            button.primary[focus] type="submit" { "Sign in" @if !focus { " with a token" } }
        }
    }
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
        Err(error) => refused(&error, |problem| sign_in_page(&state, &form.next, Some(problem))),
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
                p.help { "A sign-in link works once, within ten minutes. Ask for another, or sign in another way." }
                a.button href="/sign-in" { "Sign in another way" }
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
    let mut farewell = None;
    if let Some(secret) = state.identity.cookie().read(&headers) {
        let ended = state.identity.sign_out_everywhere(&session.actor, &secret).await;
        farewell = ended.map_err(|error| PageError::Unavailable(error.to_string()))?;
    }
    let response = match farewell {
        Some(address) => {
            let words = "Your identity provider is asked to sign you out as well.";
            onward_page(&state, "You are signed out here", words, &address).into_response()
        }
        None => Redirect::to("/sign-in").into_response(),
    };
    Ok(with_cookie(response, state.identity.cookie().clear()))
}

/// Goes on to the identity provider. A page, because the redirect of a form may not lead elsewhere (`form-action`).
pub(super) fn onward_page(state: &ConsoleState, title: &str, words: &str, address: &str) -> Markup {
    let frame = Frame { title, session: None, now: state.identity.now(), live: false };
    frame.page(&html! {
        meta http-equiv="refresh" content={ "0; url=" (address) };
        section.panel.pad.narrow.signin {
            (brand())
            h1 { (title) }
            div.form {
                p.help { (words) }
                a.button href=(address) { "Go on to the identity provider" }
            }
        }
    })
}

pub(super) fn signed_in(state: &ConsoleState, secret: &Secret, next: &str) -> Response {
    let response = Redirect::to(local_path(next).unwrap_or("/")).into_response();
    with_cookie(response, state.identity.cookie().set(secret))
}

pub(super) fn with_cookie(mut response: Response, cookie: Option<HeaderValue>) -> Response {
    if let Some(cookie) = cookie {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

pub(super) fn refused(error: &SignInError, page: impl FnOnce(&str) -> Markup) -> Response {
    let (status, retry) = match error {
        SignInError::TooMany(wait) => (StatusCode::TOO_MANY_REQUESTS, Some(wait.retry_after.get())),
        SignInError::Refused | SignInError::SignInAgain => (StatusCode::UNAUTHORIZED, None),
        SignInError::Machine | SignInError::NoTokens => (StatusCode::FORBIDDEN, None),
        SignInError::Oidc(error) => (super::oidc::status(error), None),
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
