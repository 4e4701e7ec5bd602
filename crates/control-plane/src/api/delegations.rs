//! `/api/v1/delegations`: who stands in for whom.

use axum::{Json, extract::State};
use countersign_model::{DelegationId, PersonId, Timestamp};
use http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{
    ApiState,
    extract::{Caller, JsonBody, PathOf},
    page::PageOf,
    problem::{Problem, ProblemDetails},
};
use crate::identity::{DelegationError, DelegationView, NewDelegation};

/// The delegations that you gave or were given, newest first; everybody's for an admin.
#[utoipa::path(get, operation_id = "delegations_list", path = "/api/v1/delegations", tag = "delegations",
    responses((status = 200, body = PageOf<DelegationView>), (status = "default", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn list(
    State(state): State<ApiState>,
    Caller(actor): Caller,
) -> Result<Json<PageOf<DelegationView>>, Problem> {
    let items = state.identity.delegations(&actor).await?;
    // One page: how many stand-ins somebody can have named is bounded.
    Ok(Json(PageOf { items, next: None }))
}

/// A new stand-in.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewDelegationBody {
    /// Who shall stand in for you.
    #[schema(value_type = String)]
    stand_in: PersonId,
    /// From when; from now on when left out.
    #[schema(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
    /// Until when: at most 30 days later.
    #[schema(value_type = String, format = DateTime)]
    until: Timestamp,
    /// Why, for the record.
    reason: String,
}

/// Names somebody who may vote by your right for a time. They vote as themselves, and the two of you count once.
#[utoipa::path(post, operation_id = "delegations_create", path = "/api/v1/delegations", tag = "delegations", request_body = NewDelegationBody,
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes a retry safe")),
    responses((status = 201, body = DelegationView), (status = "default", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn create(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    JsonBody(body): JsonBody<NewDelegationBody>,
) -> Result<(StatusCode, Json<DelegationView>), Problem> {
    let NewDelegationBody { stand_in, from, until, reason } = body;
    let wish = NewDelegation { stand_in, from, until, reason };
    Ok((StatusCode::CREATED, Json(state.identity.create_delegation(&actor, wish).await?)))
}

/// Takes a stand-in back: one whom you named, or yourself as somebody's; any for an admin.
#[utoipa::path(post, operation_id = "delegations_revoke", path = "/api/v1/delegations/{id}/revoke", tag = "delegations",
    params(("id" = String, Path, description = "The delegation's id"),
           ("Idempotency-Key" = Option<String>, Header, description = "Makes a retry safe")),
    responses((status = 200, body = DelegationView), (status = "default", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn revoke(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    PathOf(id): PathOf<DelegationId>,
) -> Result<Json<DelegationView>, Problem> {
    Ok(Json(state.identity.revoke_delegation(&actor, id).await?))
}

impl From<DelegationError> for Problem {
    fn from(error: DelegationError) -> Self {
        match error {
            DelegationError::NotAVoter => {
                Self::new(StatusCode::FORBIDDEN, "forbidden", "You may not do this").detail(error.to_string())
            }
            DelegationError::Invalid(_) | DelegationError::UnknownStandIn(_) => {
                Self::unprocessable(error.to_string())
            }
            DelegationError::TooMany(_) => {
                Self::new(StatusCode::CONFLICT, "too_many_delegations", "You have named enough stand-ins")
                    .detail(error.to_string())
            }
            DelegationError::NotFound(_) => Self::not_found(error.to_string()),
            DelegationError::Store(error) => Self::unavailable(&error),
            DelegationError::Entropy(error) => Self::internal(&error),
        }
    }
}
