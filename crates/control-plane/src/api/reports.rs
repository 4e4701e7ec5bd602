//! `/api/v1/reports`: what the record says about deciding itself.

use axum::{Json, extract::State};
use countersign_model::Timestamp;
use serde::Deserialize;
use utoipa::IntoParams;

use super::{
    ApiState,
    extract::{Caller, QueryOf},
    problem::{Problem, ProblemDetails},
};
use crate::services::AttentionReport;

/// What period to report on.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PeriodQuery {
    /// From when on (RFC 3339); the last thirty days when left out.
    #[param(value_type = Option<String>)]
    since: Option<Timestamp>,
}

/// Where reviewers' attention went: time to decide and approval rate by policy and by reviewer, and what is always
/// approved, with the narrowest exception that would have made asking needless. Nothing is applied.
#[utoipa::path(get, operation_id = "reports_attention", path = "/api/v1/reports/attention", tag = "reports", params(PeriodQuery),
    responses((status = 200, body = AttentionReport), (status = "default", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn attention(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    QueryOf(query): QueryOf<PeriodQuery>,
) -> Result<Json<AttentionReport>, Problem> {
    Ok(Json(state.services.reports.attention(&actor, query.since).await?))
}
