//! `/api/v1/agents` and `/api/v1/join-tokens`.

use axum::{Json, extract::State};
use countersign_model::{AgentName, JoinTokenId, PersonId};
use http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{
    ApiState,
    approvals::{ReasonBody, bounded_reason},
    extract::{Caller, JsonBody, PathOf, QueryOf},
    page::{PageOf, PageQuery},
    problem::{Problem, ProblemDetails},
};
use crate::services::{AddAgent, AddedAgent, AgentView, JoinTokenView};

/// Agents, by name.
#[utoipa::path(get, operation_id = "agents_list", path = "/api/v1/agents", tag = "agents", params(PageQuery),
    responses((status = 200, body = PageOf<AgentView>), (status = "default", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn list(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    QueryOf(query): QueryOf<PageQuery>,
) -> Result<Json<PageOf<AgentView>>, Problem> {
    Ok(Json(state.services.agents.list(&actor, &query.request()?).await?.into()))
}

/// A new agent.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AddAgentBody {
    /// Its name: a DNS label.
    #[schema(value_type = String, pattern = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
    name: AgentName,
    /// The person who answers for it. That person never votes on what it does.
    #[schema(value_type = String)]
    owner: PersonId,
}

/// Adds an agent and makes its first join token, which is shown this once.
#[utoipa::path(post, operation_id = "agents_add", path = "/api/v1/agents", tag = "agents", request_body = AddAgentBody,
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes a retry safe")),
    responses((status = 201, body = AddedAgent), (status = 409, body = ProblemDetails, content_type = "application/problem+json"), (status = "default", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn add(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    JsonBody(body): JsonBody<AddAgentBody>,
) -> Result<(StatusCode, Json<AddedAgent>), Problem> {
    let wish = AddAgent { name: body.name, owner: body.owner };
    Ok((StatusCode::CREATED, Json(state.services.agents.add(&actor, wish).await?)))
}

/// One agent.
#[utoipa::path(get, operation_id = "agents_show", path = "/api/v1/agents/{name}", tag = "agents",
    params(("name" = String, Path, description = "The agent")),
    responses((status = 200, body = AgentView), (status = "default", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn show(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    PathOf(name): PathOf<AgentName>,
) -> Result<Json<AgentView>, Problem> {
    Ok(Json(state.services.agents.show(&actor, &name).await?))
}

/// Revokes an agent for good. Its link is closed at once.
#[utoipa::path(post, operation_id = "agents_revoke", path = "/api/v1/agents/{name}/revoke", tag = "agents", request_body = ReasonBody,
    params(("name" = String, Path, description = "The agent"),
           ("Idempotency-Key" = Option<String>, Header, description = "Makes a retry safe")),
    responses((status = 200, body = AgentView), (status = "default", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn revoke(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    PathOf(name): PathOf<AgentName>,
    JsonBody(body): JsonBody<ReasonBody>,
) -> Result<Json<AgentView>, Problem> {
    let reason = bounded_reason(body.reason)?;
    Ok(Json(state.services.agents.revoke(&actor, &name, reason).await?))
}

/// Makes another join token for an agent, to enrol its sidecar anew. It is shown this once.
#[utoipa::path(post, operation_id = "agents_new_join_token", path = "/api/v1/agents/{name}/join-tokens", tag = "agents",
    params(("name" = String, Path, description = "The agent"),
           ("Idempotency-Key" = Option<String>, Header, description = "Makes a retry safe")),
    responses((status = 201, body = AddedAgent), (status = "default", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn new_join_token(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    PathOf(name): PathOf<AgentName>,
) -> Result<(StatusCode, Json<AddedAgent>), Problem> {
    Ok((StatusCode::CREATED, Json(state.services.agents.new_join_token(&actor, &name).await?)))
}

/// Join tokens, newest first, without their secrets.
#[utoipa::path(get, operation_id = "agents_join_tokens", path = "/api/v1/join-tokens", tag = "agents", params(PageQuery),
    responses((status = 200, body = PageOf<JoinTokenView>), (status = "default", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn join_tokens(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    QueryOf(query): QueryOf<PageQuery>,
) -> Result<Json<PageOf<JoinTokenView>>, Problem> {
    Ok(Json(state.services.agents.join_tokens(&actor, &query.request()?).await?.into()))
}

/// Withdraws a join token that was not used.
#[utoipa::path(post, operation_id = "agents_revoke_join_token", path = "/api/v1/join-tokens/{id}/revoke", tag = "agents",
    params(("id" = String, Path, description = "The join token"),
           ("Idempotency-Key" = Option<String>, Header, description = "Makes a retry safe")),
    responses((status = 200, body = JoinTokenView), (status = "default", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn revoke_join_token(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    PathOf(id): PathOf<JoinTokenId>,
) -> Result<Json<JoinTokenView>, Problem> {
    Ok(Json(state.services.agents.revoke_join_token(&actor, id).await?))
}
