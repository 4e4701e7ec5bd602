//! `/api/v1/approvals`: list, show, wait, vote, cancel, revoke.

use std::{collections::BTreeMap, time::Duration};

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use countersign_approval::ArgumentChange;
use countersign_model::{AgentName, ApprovalId, PersonId, Timestamp};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::{
    ApiState,
    etag::{self, Precondition},
    extract::{Caller, JsonBody, PathOf, QueryOf},
    page::{PageOf, page_request},
    problem::{Problem, ProblemDetails},
};
use crate::services::{ApprovalFilter, ApprovalView, Ballot, Proposal, Reviewed, VoteDecision};

/// The longest reason that a vote, a cancellation or a revocation can carry, in characters.
pub(crate) const MAX_REASON: usize = 2_000;
/// The longest text to search for, in characters.
pub(crate) const MAX_SEARCH: usize = 200;
/// How long `wait` waits when it is not told, and at most, in seconds.
const DEFAULT_WAIT: u32 = 25;
const MAX_WAIT: u32 = 60;

/// Which approvals to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListQuery {
    /// Only those in this state, for example `pending`.
    state: Option<String>,
    /// Only those of this agent.
    #[param(value_type = Option<String>)]
    agent: Option<AgentName>,
    /// Only those with a vote of this person.
    #[param(value_type = Option<String>)]
    reviewer: Option<PersonId>,
    /// Only those with this text in what is asked, what the agent says or what people said (1 to 200 characters).
    text: Option<String>,
    /// Only those that were submitted then or later.
    #[param(value_type = Option<String>)]
    from: Option<Timestamp>,
    /// Only those that were submitted before.
    #[param(value_type = Option<String>)]
    until: Option<Timestamp>,
    /// Only those that somebody approved alone by breaking the glass, and nobody else has reviewed.
    #[serde(default)]
    needs_review: bool,
    /// How many at most (1 to 500).
    limit: Option<usize>,
    /// Where the last page ended: its `next`.
    cursor: Option<String>,
}

/// Approvals, newest first.
#[utoipa::path(get, operation_id = "approvals_list", path = "/api/v1/approvals", tag = "approvals", params(ListQuery),
    responses((status = 200, body = PageOf<ApprovalView>), (status = "default", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn list(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    QueryOf(query): QueryOf<ListQuery>,
) -> Result<Json<PageOf<ApprovalView>>, Problem> {
    if query.text.as_ref().is_some_and(|text| text.is_empty() || text.chars().count() > MAX_SEARCH) {
        return Err(Problem::bad_request(format!("a text to search for has 1 to {MAX_SEARCH} characters")));
    }
    let ListQuery { state: phase, agent, reviewer, text, from, until, needs_review, limit, cursor } = query;
    let is_decided = false;
    let filter =
        ApprovalFilter { state: phase, agent, is_decided, reviewer, text, from, until, needs_review };
    let page = page_request(limit, cursor)?;
    Ok(Json(state.services.approvals.list(&actor, &filter, &page).await?.into()))
}

/// One approval, with its ETag. `If-None-Match` answers 304 when nothing has changed.
#[utoipa::path(get, operation_id = "approvals_show", path = "/api/v1/approvals/{id}", tag = "approvals",
    params(("id" = String, Path, description = "The approval"),
           ("If-None-Match" = Option<String>, Header, description = "The ETag that you have")),
    responses((status = 200, body = ApprovalView), (status = 304, description = "Not modified"),
              (status = "default", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn show(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    PathOf(id): PathOf<ApprovalId>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let view = state.services.approvals.get(&actor, id).await?;
    if etag::matches_none(&headers, view.version)? {
        return Ok(with_etag(StatusCode::NOT_MODIFIED.into_response(), view.version));
    }
    Ok(tagged(StatusCode::OK, view))
}

/// One approval as a reviewer sees it, in any channel: in words, with what others wrote made safe to be shown.
#[utoipa::path(get, operation_id = "approvals_review", path = "/api/v1/approvals/{id}/review", tag = "approvals",
    params(("id" = String, Path, description = "The approval")),
    responses((status = 200, body = serde_json::Value), (status = "default", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn review(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    PathOf(id): PathOf<ApprovalId>,
) -> Result<Json<Reviewed>, Problem> {
    Ok(Json(state.services.approvals.review(&actor, id).await?))
}

/// How long to wait for a change.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct WaitQuery {
    /// The version that you have. Answers as soon as there is a later one; at once when it is left out.
    #[serde(default)]
    version: u64,
    /// How many seconds to wait at most (1 to 60; 25 when left out).
    timeout: Option<u32>,
}

/// One approval, as soon as it is later than the version that you have or the time is over.
#[utoipa::path(get, operation_id = "approvals_wait", path = "/api/v1/approvals/{id}/wait", tag = "approvals",
    params(("id" = String, Path, description = "The approval"), WaitQuery),
    responses((status = 200, body = ApprovalView), (status = "default", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn wait(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    PathOf(id): PathOf<ApprovalId>,
    QueryOf(query): QueryOf<WaitQuery>,
) -> Result<Response, Problem> {
    let _place = state.waiters.enter()?;
    let seconds = query.timeout.unwrap_or(DEFAULT_WAIT).clamp(1, MAX_WAIT);
    let timeout = Duration::from_secs(seconds.into());
    let approvals = &state.services.approvals;
    let view = tokio::select! {
        view = approvals.wait(&actor, id, query.version, timeout) => view?,
        () = state.stop.cancelled() => approvals.get(&actor, id).await?,
    };
    Ok(tagged(StatusCode::OK, view))
}

/// A vote.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct VoteBody {
    /// `approve` or `deny`.
    decision: VoteDecision,
    /// Why, for the others and for the record.
    reason: Option<String>,
}

/// Votes. `If-Match` makes sure that you vote on what you saw (412 otherwise).
#[utoipa::path(post, operation_id = "approvals_vote", path = "/api/v1/approvals/{id}/votes", tag = "approvals", request_body = VoteBody,
    params(("id" = String, Path, description = "The approval"),
           ("If-Match" = Option<String>, Header, description = "The ETag of what you saw"),
           ("Idempotency-Key" = Option<String>, Header, description = "Makes a retry safe")),
    responses((status = 201, body = ApprovalView), (status = 403, body = ProblemDetails, content_type = "application/problem+json"), (status = 409, body = ProblemDetails, content_type = "application/problem+json"),
              (status = 412, body = ProblemDetails, content_type = "application/problem+json"), (status = "default", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn vote(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    PathOf(id): PathOf<ApprovalId>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<VoteBody>,
) -> Result<Response, Problem> {
    let expected_version = expected_version(&headers)?;
    let reason = bounded_reason(body.reason)?;
    let ballot = Ballot { decision: body.decision, reason, channel: "api".to_owned(), expected_version };
    let view = state.services.approvals.vote(&actor, id, ballot).await?;
    Ok(tagged(StatusCode::CREATED, view))
}

/// Other arguments.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EditBody {
    /// The new values, by JSON Pointers below `/action/properties`; of what a hook has seen, `/context/hook/line`
    /// and those below `/context/hook/input`.
    #[schema(value_type = Object)]
    changes: BTreeMap<String, serde_json::Value>,
    /// Why, for the agent, the others and the record.
    reason: Option<String>,
}

/// Changes arguments instead of voting: the request is closed, and policy decides anew about what came of it.
/// For those who could approve it; whoever changes them has no vote on the result.
#[utoipa::path(post, operation_id = "approvals_edit", path = "/api/v1/approvals/{id}/edit", tag = "approvals", request_body = EditBody,
    params(("id" = String, Path, description = "The approval"),
           ("If-Match" = Option<String>, Header, description = "The ETag of what you saw"),
           ("Idempotency-Key" = Option<String>, Header, description = "Makes a retry safe")),
    responses((status = 200, body = ApprovalView), (status = 403, body = ProblemDetails, content_type = "application/problem+json"), (status = 409, body = ProblemDetails, content_type = "application/problem+json"),
              (status = 412, body = ProblemDetails, content_type = "application/problem+json"), (status = "default", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn edit(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    PathOf(id): PathOf<ApprovalId>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<EditBody>,
) -> Result<Response, Problem> {
    let expected_version = match etag::precondition(&headers)? {
        Precondition::None => None,
        Precondition::Version(version) => Some(version),
    };
    let change = |(pointer, value)| ArgumentChange { pointer, value };
    let proposal = Proposal {
        changes: body.changes.into_iter().map(change).collect(),
        reason: bounded_reason(body.reason)?,
        channel: "api".to_owned(),
        expected_version,
    };
    Ok(tagged(StatusCode::OK, state.services.approvals.edit(&actor, id, proposal).await?))
}

/// Why something is ended.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReasonBody {
    /// Why, for the others and for the record.
    pub(crate) reason: Option<String>,
}

/// Cancels a pending approval: for the agent's owner and for admins.
#[utoipa::path(post, operation_id = "approvals_cancel", path = "/api/v1/approvals/{id}/cancel", tag = "approvals",
    params(("id" = String, Path, description = "The approval"),
           ("Idempotency-Key" = Option<String>, Header, description = "Makes a retry safe")),
    responses((status = 200, body = ApprovalView), (status = "default", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn cancel(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    PathOf(id): PathOf<ApprovalId>,
) -> Result<Response, Problem> {
    Ok(tagged(StatusCode::OK, state.services.approvals.cancel(&actor, id).await?))
}

/// Takes an approval back before it is used: for the agent's owner, those who approved, and admins.
#[utoipa::path(post, operation_id = "approvals_revoke", path = "/api/v1/approvals/{id}/revoke", tag = "approvals", request_body = ReasonBody,
    params(("id" = String, Path, description = "The approval"),
           ("Idempotency-Key" = Option<String>, Header, description = "Makes a retry safe")),
    responses((status = 200, body = ApprovalView), (status = "default", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn revoke(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    PathOf(id): PathOf<ApprovalId>,
    JsonBody(body): JsonBody<ReasonBody>,
) -> Result<Response, Problem> {
    let reason = bounded_reason(body.reason)?;
    Ok(tagged(StatusCode::OK, state.services.approvals.revoke(&actor, id, reason).await?))
}

/// The version that a caller saw, if they say so.
pub(super) fn expected_version(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    Ok(match etag::precondition(headers)? {
        Precondition::None => None,
        Precondition::Version(version) => Some(version),
    })
}

/// A reason without blank edges; `None` when nothing is left.
pub(crate) fn bounded_reason(reason: Option<String>) -> Result<Option<String>, Problem> {
    let Some(reason) = reason else { return Ok(None) };
    let reason = reason.trim();
    if reason.chars().count() > MAX_REASON {
        return Err(Problem::unprocessable(format!("a reason has at most {MAX_REASON} characters")));
    }
    Ok((!reason.is_empty()).then(|| reason.to_owned()))
}

pub(super) fn tagged(status: StatusCode, view: ApprovalView) -> Response {
    let version = view.version;
    with_etag((status, Json(view)).into_response(), version)
}

fn with_etag(mut response: Response, version: u64) -> Response {
    if let Ok(value) = HeaderValue::from_str(&etag::of(version)) {
        response.headers_mut().insert(header::ETAG, value);
    }
    // Who asks decides what `may_vote` says.
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("authorization, cookie"));
    response
}
