//! `/api/v1/approvals/{id}/outline`.

use axum::{Json, extract::State};
use countersign_model::ApprovalId;

use super::{
    ApiState,
    extract::{Caller, PathOf},
    problem::{Problem, ProblemDetails},
};
use crate::services::Outline;

/// The same view label by label, in the words of every channel, for whoever renders it without a layout of their own.
#[utoipa::path(get, operation_id = "approvals_outline", path = "/api/v1/approvals/{id}/outline", tag = "approvals",
    params(("id" = String, Path, description = "The approval")),
    responses((status = 200, body = Outline), (status = "default", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn outline(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    PathOf(id): PathOf<ApprovalId>,
) -> Result<Json<Outline>, Problem> {
    Ok(Json(state.services.approvals.outline(&actor, id).await?))
}
