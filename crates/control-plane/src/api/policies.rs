//! `/api/v1/policy`: validate, push, history, show, roll back.

use std::collections::BTreeMap;

use axum::{Json, extract::State};
use countersign_model::Revision;
use http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{
    ApiState,
    approvals::bounded_reason,
    extract::{Caller, JsonBody, PathOf, QueryOf},
    page::{PageOf, PageQuery},
    problem::{Problem, ProblemDetails},
};
use crate::services::{PushPolicy, RevisionDetail, RevisionView, Validation};

/// The largest body that a bundle can come in: 16 MiB of files, and what JSON adds to them.
pub(crate) const MAX_BUNDLE_BODY: usize = 24 * 1024 * 1024;

/// A bundle, as it lies in its directory.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BundleBody {
    /// Relative paths and the files' texts.
    files: BTreeMap<String, String>,
    /// Why, for the history.
    note: Option<String>,
}

impl TryFrom<BundleBody> for PushPolicy {
    type Error = Problem;

    fn try_from(body: BundleBody) -> Result<Self, Problem> {
        let files = body.files.into_iter().map(|(path, text)| (path, text.into_bytes())).collect();
        Ok(Self { files, note: bounded_reason(body.note)? })
    }
}

/// Validates a bundle and runs its own tests. Changes nothing.
#[utoipa::path(post, operation_id = "policies_validate", path = "/api/v1/policy/validate", tag = "policy", request_body = BundleBody,
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes a retry safe")),
    responses((status = 200, body = Validation), (status = "default", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn validate(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    JsonBody(body): JsonBody<BundleBody>,
) -> Result<Json<Validation>, Problem> {
    Ok(Json(state.services.policies.validate(&actor, body.try_into()?).await?))
}

/// Validates, tests, stores, signs and activates a bundle as the next revision.
#[utoipa::path(post, operation_id = "policies_push", path = "/api/v1/policy/revisions", tag = "policy", request_body = BundleBody,
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes a retry safe")),
    responses((status = 201, body = RevisionView), (status = 422, body = ProblemDetails, content_type = "application/problem+json"), (status = "default", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn push(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    JsonBody(body): JsonBody<BundleBody>,
) -> Result<(StatusCode, Json<RevisionView>), Problem> {
    let view = state.services.policies.push(&actor, body.try_into()?).await?;
    Ok((StatusCode::CREATED, Json(view)))
}

/// Revisions, newest first.
#[utoipa::path(get, operation_id = "policies_history", path = "/api/v1/policy/revisions", tag = "policy", params(PageQuery),
    responses((status = 200, body = PageOf<RevisionView>), (status = "default", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn history(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    QueryOf(query): QueryOf<PageQuery>,
) -> Result<Json<PageOf<RevisionView>>, Problem> {
    Ok(Json(state.services.policies.history(&actor, &query.request()?).await?.into()))
}

/// One revision with its files: a number, or `active`.
#[utoipa::path(get, operation_id = "policies_show", path = "/api/v1/policy/revisions/{revision}", tag = "policy",
    params(("revision" = String, Path, description = "A revision's number, or `active`")),
    responses((status = 200, body = RevisionDetail), (status = "default", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn show(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    PathOf(revision): PathOf<String>,
) -> Result<Json<RevisionDetail>, Problem> {
    let revision = if revision == "active" { None } else { Some(number(&revision)?) };
    Ok(Json(state.services.policies.show(&actor, revision).await?))
}

/// Why a policy is rolled back.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RollbackBody {
    /// Why, for the history.
    note: Option<String>,
}

/// Brings the files of an earlier revision back, as the next revision.
#[utoipa::path(post, operation_id = "policies_rollback", path = "/api/v1/policy/revisions/{revision}/rollback", tag = "policy",
    request_body = RollbackBody,
    params(("revision" = String, Path, description = "The revision to bring back"),
           ("Idempotency-Key" = Option<String>, Header, description = "Makes a retry safe")),
    responses((status = 201, body = RevisionView), (status = "default", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn rollback(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    PathOf(revision): PathOf<String>,
    JsonBody(body): JsonBody<RollbackBody>,
) -> Result<(StatusCode, Json<RevisionView>), Problem> {
    let note = bounded_reason(body.note)?;
    let view = state.services.policies.rollback(&actor, number(&revision)?, note).await?;
    Ok((StatusCode::CREATED, Json(view)))
}

fn number(text: &str) -> Result<Revision, Problem> {
    let number = text.parse().map_err(|_| Problem::not_found("a revision is a number, or `active`"))?;
    Ok(Revision(number))
}
