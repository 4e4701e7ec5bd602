//! `/api/v1/passkeys`. They are added, and used, in the console: it takes a browser.

use axum::{Json, extract::State};
use countersign_model::{Digest, PersonId};
use http::StatusCode;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::{
    ApiState,
    extract::{Caller, JsonBody, PathOf, QueryOf},
    page::PageOf,
    problem::{Problem, ProblemDetails},
};
use crate::services::{PasskeyError, PasskeyView};

/// Whose passkeys.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct OfPerson {
    /// Whose; your own when left out. Somebody else's are for admins to see.
    #[param(value_type = Option<String>)]
    person: Option<PersonId>,
}

/// Your passkeys; anybody's for an admin.
#[utoipa::path(get, operation_id = "passkeys_list", path = "/api/v1/passkeys", tag = "passkeys", params(OfPerson),
    responses((status = 200, body = PageOf<PasskeyView>), (status = "default", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn list(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    QueryOf(of): QueryOf<OfPerson>,
) -> Result<Json<PageOf<PasskeyView>>, Problem> {
    let person = of.person.unwrap_or_else(|| actor.person.clone());
    let items = state.services.passkeys.list(&actor, &person).await?;
    // One page: how many somebody can have is bounded.
    Ok(Json(PageOf { items, next: None }))
}

/// Whose passkey is removed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RemoveBody {
    /// Whose.
    #[schema(value_type = String)]
    person: PersonId,
}

/// Removes a passkey that somebody else has lost; for admins. One's own is removed in the console, with a passkey.
#[utoipa::path(post, operation_id = "passkeys_remove", path = "/api/v1/passkeys/{id}/remove", tag = "passkeys",
    request_body = RemoveBody,
    params(("id" = String, Path, description = "The passkey's id"),
           ("Idempotency-Key" = Option<String>, Header, description = "Makes a retry safe")),
    responses((status = 200, body = PasskeyView), (status = "default", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn remove(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    PathOf(id): PathOf<Digest>,
    JsonBody(body): JsonBody<RemoveBody>,
) -> Result<Json<PasskeyView>, Problem> {
    Ok(Json(state.services.passkeys.remove_of(&actor, &body.person, id).await?))
}

impl From<PasskeyError> for Problem {
    fn from(error: PasskeyError) -> Self {
        let detail = error.to_string();
        match error {
            PasskeyError::Right(missing) => missing.into(),
            PasskeyError::Own => {
                Self::new(StatusCode::FORBIDDEN, "own_passkey", "Not your own from here").detail(detail)
            }
            PasskeyError::Refused(_) => Self::not_found(detail),
            PasskeyError::Approval(error) => error.into(),
            PasskeyError::Store(error) => Self::unavailable(&error),
            PasskeyError::Entropy(error) => Self::internal(&error),
            PasskeyError::NotHere
            | PasskeyError::SignInAgain
            | PasskeyError::None
            | PasskeyError::Name
            | PasskeyError::Unverified(_) => Self::unprocessable(detail),
        }
    }
}
