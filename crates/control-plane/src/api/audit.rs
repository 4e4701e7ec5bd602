//! `/api/v1/audit`: events, checkpoints, proofs, export.

use axum::{
    Json,
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use countersign_model::{ApprovalId, Timestamp};
use http::header;
use serde::Deserialize;
use utoipa::IntoParams;

use super::{
    ApiState,
    extract::{Caller, QueryOf},
    page::{PageOf, page_request},
    problem::{Problem, ProblemDetails},
};
use crate::services::{AuditFilter, CheckpointView, ConsistencyView, EventView, InclusionView};

/// Which events to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct EventsQuery {
    /// Of this kind (`approval.voted`), or of this family when it ends with a dot (`approval.`).
    kind: Option<String>,
    /// About this approval.
    #[param(value_type = Option<String>)]
    approval: Option<ApprovalId>,
    /// Of this trace.
    trace_id: Option<String>,
    /// By this actor.
    actor: Option<String>,
    /// From this source, a SPIFFE ID.
    source: Option<String>,
    /// Not before (RFC 3339).
    #[param(value_type = Option<String>)]
    from: Option<Timestamp>,
    /// Before (RFC 3339).
    #[param(value_type = Option<String>)]
    until: Option<Timestamp>,
    /// `newest` first (the default) or `oldest` first, as for following the log.
    #[serde(default)]
    order: Order,
    /// How many at most (1 to 500).
    limit: Option<usize>,
    /// Where the last page ended: its `next`.
    cursor: Option<String>,
}

/// Which end of the log to start from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
    /// Newest first.
    #[default]
    Newest,
    /// Oldest first.
    Oldest,
}

/// Events that match.
#[utoipa::path(get, operation_id = "audit_events", path = "/api/v1/audit/events", tag = "audit", params(EventsQuery),
    responses((status = 200, body = PageOf<EventView>), (status = "default", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn events(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    QueryOf(query): QueryOf<EventsQuery>,
) -> Result<Json<PageOf<EventView>>, Problem> {
    let page = page_request(query.limit, query.cursor)?;
    let filter = AuditFilter {
        kind: query.kind,
        approval: query.approval,
        trace_id: query.trace_id,
        actor: query.actor,
        source: query.source,
        from: query.from,
        until: query.until,
        ascending: query.order == Order::Oldest,
    };
    Ok(Json(state.services.audit.query(&actor, filter, &page).await?.into()))
}

/// The latest signed head of the ledger: a C2SP signed note and the key that checks it.
#[utoipa::path(get, operation_id = "audit_checkpoint", path = "/api/v1/audit/checkpoint", tag = "audit",
    responses((status = 200, body = CheckpointView), (status = "default", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn checkpoint(
    State(state): State<ApiState>,
    Caller(actor): Caller,
) -> Result<Json<CheckpointView>, Problem> {
    Ok(Json(state.services.audit.checkpoint(&actor).await?))
}

/// Which event, in which tree.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct InclusionQuery {
    /// The event's place, from 0.
    index: u64,
    /// The tree's size; the latest checkpoint's when left out.
    size: Option<u64>,
}

/// Proof that an event is in the ledger (RFC 6962 §2.1.1).
#[utoipa::path(get, operation_id = "audit_inclusion", path = "/api/v1/audit/proofs/inclusion", tag = "audit", params(InclusionQuery),
    responses((status = 200, body = InclusionView), (status = "default", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn inclusion(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    QueryOf(query): QueryOf<InclusionQuery>,
) -> Result<Json<InclusionView>, Problem> {
    Ok(Json(state.services.audit.inclusion(&actor, query.index, query.size).await?))
}

/// Which trees.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ConsistencyQuery {
    /// The smaller tree's size.
    from: u64,
    /// The larger one's; the latest checkpoint's when left out.
    to: Option<u64>,
}

/// Proof that one head of the ledger continues another (RFC 6962 §2.1.2).
#[utoipa::path(get, operation_id = "audit_consistency", path = "/api/v1/audit/proofs/consistency", tag = "audit", params(ConsistencyQuery),
    responses((status = 200, body = ConsistencyView), (status = "default", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn consistency(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    QueryOf(query): QueryOf<ConsistencyQuery>,
) -> Result<Json<ConsistencyView>, Problem> {
    Ok(Json(state.services.audit.consistency(&actor, query.from, query.to).await?))
}

/// The whole ledger as JSON lines, for `countersign audit verify`.
#[utoipa::path(get, operation_id = "audit_export", path = "/api/v1/audit/export", tag = "audit",
    responses((status = 200, content_type = "application/x-ndjson", body = String),
              (status = "default", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn export(
    State(state): State<ApiState>,
    Caller(actor): Caller,
) -> Result<Response, Problem> {
    let stream = state.services.audit.export(&actor).await?;
    let headers = [
        (header::CONTENT_TYPE, "application/x-ndjson"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"countersign-audit.jsonl\""),
    ];
    Ok((headers, Body::from_stream(stream)).into_response())
}
