//! To an identity provider and back; and what it says when somebody signs out there.

use axum::{
    Form, Json,
    extract::{OriginalUri, Path, State, rejection::FormRejection},
    response::{IntoResponse, Redirect, Response},
};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::json;

use super::{
    ConsoleState,
    forms::{From, Params, SignedForm, local_path, step_inside},
    sign_in::{Empty, NextQuery, onward_page, refused, sign_in_page, signed_in, with_cookie},
};
use crate::identity::{Answer, Arrival, LogoutError, OidcError, SignInError, is_cross_site};

/// How a failed sign-in is answered.
pub(super) fn status(error: &OidcError) -> StatusCode {
    match error {
        OidcError::Unknown => StatusCode::NOT_FOUND,
        OidcError::Unreachable(_) => StatusCode::SERVICE_UNAVAILABLE,
        OidcError::NotAsked | OidcError::Mixed | OidcError::Declined | OidcError::Unproven(_) => {
            StatusCode::UNAUTHORIZED
        }
        OidcError::NotVouched { .. }
        | OidcError::NoRole { .. }
        | OidcError::Conflict(_)
        | OidcError::Names(_) => StatusCode::FORBIDDEN,
    }
}

/// Sends the browser to the provider.
pub(crate) async fn depart(
    State(state): State<ConsoleState>,
    Path(provider): Path<String>,
    Params(query): Params<NextQuery>,
) -> Response {
    let next = query.next.unwrap_or_default();
    match state.identity.depart(&provider, local_path(&next).unwrap_or_default()).await {
        Ok(departure) => with_cookie(Redirect::to(&departure.to).into_response(), departure.cookie),
        Err(error) => refused(&error, |problem| sign_in_page(&state, &next, Some(problem))),
    }
}

/// Sends somebody who is signed in to a provider, to show that an account there is theirs, too. A page, because
/// the redirect of a form may not lead elsewhere (`form-action`).
pub(crate) async fn join(
    State(state): State<ConsoleState>,
    Path(provider): Path<String>,
    SignedForm { session, .. }: SignedForm<Empty>,
) -> Response {
    match state.identity.depart_to_join(&session, &provider, "/you").await {
        Ok(departure) => {
            let page = onward_page(
                &state,
                "One more sign-in",
                "Sign in there with the account that is yours, too.",
                &departure.to,
            );
            with_cookie(page.into_response(), departure.cookie)
        }
        Err(error) => refused(&error, |problem| sign_in_page(&state, "/you", Some(problem))),
    }
}

/// Takes the browser back. It comes from elsewhere, so without its strict cookie at first.
pub(crate) async fn arrive(
    State(state): State<ConsoleState>,
    Path(provider): Path<String>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    From(address): From,
    Params(answer): Params<Answer>,
) -> Response {
    if !state.identity.is_departed(&headers) && is_cross_site(&headers) {
        return step_inside(state.identity.now(), &uri);
    }
    let response = match state.identity.arrive(&provider, &headers, &answer, address).await {
        Ok(Arrival { secret: Some(secret), next }) => signed_in(&state, &secret, &next),
        Ok(Arrival { secret: None, next }) => {
            Redirect::to(local_path(&next).unwrap_or("/you")).into_response()
        }
        Err(error) => refused(&error, |problem| sign_in_page(&state, "", Some(problem))),
    };
    with_cookie(response, state.identity.forget_departure())
}

/// What a provider sends when somebody has signed out there (Back-Channel Logout §2.5).
#[derive(Deserialize)]
pub(crate) struct LogoutForm {
    logout_token: String,
}

/// Ends the sessions that the provider says are over. No browser comes here: the token alone proves it.
pub(crate) async fn logout(
    State(state): State<ConsoleState>,
    Path(provider): Path<String>,
    From(address): From,
    form: Result<Form<LogoutForm>, FormRejection>,
) -> Response {
    let Ok(Form(form)) = form else {
        return (StatusCode::BAD_REQUEST, Json(json!({"error": "invalid_request"}))).into_response();
    };
    match state.identity.back_channel_logout(&provider, &form.logout_token, address).await {
        Ok(()) => StatusCode::OK.into_response(),
        Err(LogoutError::Refused) => {
            (StatusCode::BAD_REQUEST, Json(json!({"error": "invalid_request"}))).into_response()
        }
        Err(LogoutError::SignIn(error)) => {
            let status = match error {
                SignInError::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
                SignInError::Oidc(OidcError::Unknown) => StatusCode::NOT_FOUND,
                _ => StatusCode::SERVICE_UNAVAILABLE,
            };
            (status, Json(json!({"error": "temporarily_unavailable"}))).into_response()
        }
    }
}
