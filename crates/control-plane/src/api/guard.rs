//! What stands before every route: who may pass, and how much they may send.

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{Method, StatusCode};

use super::{
    ApiState,
    idempotency::{self, Answers},
    problem::Problem,
};
use crate::identity::{Actor, AuthError, Credential, Right};

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anybody, without a credential.
    Open,
    /// Whoever has one of these rights.
    AnyOf(&'static [Right]),
}

/// What a guard goes by.
#[derive(Debug, Clone)]
pub(super) struct Gate {
    /// What the handlers work with.
    pub(super) state: ApiState,
    /// One of these rights is enough.
    pub(super) rights: &'static [Right],
    /// Whether the route's answer can be kept.
    pub(super) answers: Answers,
}

/// Lets a request pass, with its [`Actor`] and [`Credential`] for the handler, or refuses it.
pub(super) async fn guard(
    State(Gate { state, rights, answers }): State<Gate>,
    mut request: Request,
    next: Next,
) -> Response {
    let reading = matches!(*request.method(), Method::GET | Method::HEAD);
    let credential = Credential::for_api(request.headers(), reading, state.identity.cookie());
    match admit(&state, rights, credential).await {
        Ok((actor, credential)) => {
            request.extensions_mut().insert(actor.clone());
            request.extensions_mut().insert(credential);
            if request.method() == Method::POST {
                return idempotency::run(state, &actor, answers, request, next).await;
            }
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}

async fn admit(
    state: &ApiState,
    rights: &[Right],
    credential: Option<Credential>,
) -> Result<(Actor, Credential), Problem> {
    let credential = credential.ok_or_else(|| Problem::unauthenticated("send a bearer token"))?;
    let actor = state.identity.authenticate(&credential).await?;
    if rights.iter().any(|right| actor.may(*right)) {
        return Ok((actor, credential));
    }
    Err(forbidden(&actor, rights))
}

fn forbidden(actor: &Actor, rights: &[Right]) -> Problem {
    // A machine is told that it is one, not that it should ask for a role: it can never vote (I3).
    if rights == [Right::Vote] && actor.kind == crate::identity::ActorKind::Machine {
        return Problem::new(StatusCode::FORBIDDEN, "machine_credential", "Machines cannot vote")
            .detail("a machine credential cannot vote; sign in as a person");
    }
    let names: Vec<_> = rights.iter().map(|right| right.as_str()).collect();
    Problem::new(StatusCode::FORBIDDEN, "forbidden", "You may not do this")
        .detail(format!("it takes the right to {}", names.join(" or ")))
}

impl From<AuthError> for Problem {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::Refused | AuthError::Unlinked | AuthError::SignInAgain => {
                Self::unauthenticated(error.to_string())
            }
            AuthError::Store(error) => Self::unavailable(&error),
        }
    }
}
