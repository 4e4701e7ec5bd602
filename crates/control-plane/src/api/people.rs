//! `/api/v1/people`, `/api/v1/accounts` and `/api/v1/sessions`.

use axum::{Json, extract::State};
use countersign_model::{Digest, PersonId};
use http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{
    ApiState,
    extract::{Caller, JsonBody, PathOf},
    page::PageOf,
    problem::{Problem, ProblemDetails},
};
use crate::identity::{AccountError, AccountView, PeopleRefusal, PersonView, SessionError, SessionView};

/// Everybody who has signed in at the console, or is disabled. For admins.
#[utoipa::path(get, operation_id = "people_list", path = "/api/v1/people", tag = "people",
    responses((status = 200, body = PageOf<PersonView>), (status = "default", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn list(
    State(state): State<ApiState>,
    Caller(actor): Caller,
) -> Result<Json<PageOf<PersonView>>, Problem> {
    Ok(Json(PageOf { items: state.identity.people_known(&actor).await?, next: None }))
}

/// Disables a person, whoever vouches for them: their sessions end, and no token or chat account of theirs counts.
#[utoipa::path(post, operation_id = "people_disable", path = "/api/v1/people/{id}/disable", tag = "people",
    params(("id" = String, Path, description = "The person"),
           ("Idempotency-Key" = Option<String>, Header, description = "Makes a retry safe")),
    responses((status = 200, body = PersonView), (status = "default", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn disable(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    PathOf(id): PathOf<PersonId>,
) -> Result<Json<PersonView>, Problem> {
    Ok(Json(state.identity.set_disabled(&actor, id, true).await?))
}

/// Lets a disabled person in again.
#[utoipa::path(post, operation_id = "people_enable", path = "/api/v1/people/{id}/enable", tag = "people",
    params(("id" = String, Path, description = "The person"),
           ("Idempotency-Key" = Option<String>, Header, description = "Makes a retry safe")),
    responses((status = 200, body = PersonView), (status = "default", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn enable(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    PathOf(id): PathOf<PersonId>,
) -> Result<Json<PersonView>, Problem> {
    Ok(Json(state.identity.set_disabled(&actor, id, false).await?))
}

/// Somebody's other name.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NameRequest {
    /// The name that is theirs, too.
    #[schema(value_type = String)]
    name: PersonId,
}

/// Says that a name is another one of this person's, as somebody's address at a second identity provider: what is
/// owned, begun or said by either is theirs, and they have one vote. Sign-ins by that name are this person's then.
#[utoipa::path(post, operation_id = "people_join", path = "/api/v1/people/{id}/join", tag = "people",
    params(("id" = String, Path, description = "The person"),
           ("Idempotency-Key" = Option<String>, Header, description = "Makes a retry safe")),
    request_body = NameRequest,
    responses((status = 200, body = PersonView), (status = "default", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn join(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    PathOf(id): PathOf<PersonId>,
    JsonBody(request): JsonBody<NameRequest>,
) -> Result<Json<PersonView>, Problem> {
    Ok(Json(state.identity.join_names(&actor, request.name, id).await?))
}

/// Says that this name is not the other person's after all.
#[utoipa::path(post, operation_id = "people_part", path = "/api/v1/people/{id}/part", tag = "people",
    params(("id" = String, Path, description = "The name that was joined to another one"),
           ("Idempotency-Key" = Option<String>, Header, description = "Makes a retry safe")),
    responses((status = 200, body = PersonView), (status = "default", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn part(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    PathOf(id): PathOf<PersonId>,
) -> Result<Json<PersonView>, Problem> {
    Ok(Json(state.identity.part_names(&actor, id).await?))
}

/// Your accounts at identity providers and in chats; everybody's for an admin.
#[utoipa::path(get, operation_id = "accounts_list", path = "/api/v1/accounts", tag = "people",
    responses((status = 200, body = PageOf<AccountView>), (status = "default", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn accounts(
    State(state): State<ApiState>,
    Caller(actor): Caller,
) -> Result<Json<PageOf<AccountView>>, Problem> {
    Ok(Json(PageOf { items: state.identity.linked_accounts(&actor).await?, next: None }))
}

/// Unlinks an account: one of yours, or any for an admin. With one at an identity provider, the person's
/// sessions and tokens end as well.
#[utoipa::path(post, operation_id = "accounts_unlink", path = "/api/v1/accounts/{id}/unlink", tag = "people",
    params(("id" = String, Path, description = "The account's id"),
           ("Idempotency-Key" = Option<String>, Header, description = "Makes a retry safe")),
    responses((status = 200, body = AccountView), (status = "default", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn unlink(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    PathOf(id): PathOf<Digest>,
) -> Result<Json<AccountView>, Problem> {
    Ok(Json(state.identity.unlink_account(&actor, id).await?))
}

/// Your open sessions at the console, newest first.
#[utoipa::path(get, operation_id = "sessions_list", path = "/api/v1/sessions", tag = "people",
    responses((status = 200, body = PageOf<SessionView>), (status = "default", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn sessions(
    State(state): State<ApiState>,
    Caller(actor): Caller,
) -> Result<Json<PageOf<SessionView>>, Problem> {
    Ok(Json(PageOf { items: state.identity.sessions(&actor, None).await?, next: None }))
}

/// Ends a session at once: one of yours, or any for an admin.
#[utoipa::path(post, operation_id = "sessions_end", path = "/api/v1/sessions/{id}/end", tag = "people",
    params(("id" = String, Path, description = "The session's id"),
           ("Idempotency-Key" = Option<String>, Header, description = "Makes a retry safe")),
    responses((status = 200, body = SessionView), (status = "default", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn end_session(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    PathOf(id): PathOf<Digest>,
) -> Result<Json<SessionView>, Problem> {
    Ok(Json(state.identity.end_session(&actor, id).await?))
}

impl From<PeopleRefusal> for Problem {
    fn from(error: PeopleRefusal) -> Self {
        let detail = error.to_string();
        match error {
            PeopleRefusal::NotAdmin => {
                Self::new(StatusCode::FORBIDDEN, "forbidden", "You may not do this").detail(detail)
            }
            PeopleRefusal::Yourself => {
                Self::new(StatusCode::CONFLICT, "yourself", "Not to yourself").detail(detail)
            }
            PeopleRefusal::Names(_) => {
                Self::new(StatusCode::CONFLICT, "names", "The names stay as they are").detail(detail)
            }
            PeopleRefusal::Store(error) => Self::unavailable(&error),
        }
    }
}

impl From<AccountError> for Problem {
    fn from(error: AccountError) -> Self {
        match error {
            AccountError::Store(error) => Self::unavailable(&error),
            AccountError::Entropy(error) => Self::internal(&error),
            other => Self::not_found(other.to_string()),
        }
    }
}

impl From<SessionError> for Problem {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::NotFound => Self::not_found(error.to_string()),
            SessionError::Store(error) => Self::unavailable(&error),
        }
    }
}
