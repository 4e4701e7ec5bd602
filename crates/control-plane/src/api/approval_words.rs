//! `/api/v1/approvals`: several votes at once, breaking the glass and reviewing that, comments.

use std::collections::BTreeSet;

use axum::{Json, extract::State, response::Response};
use countersign_model::ApprovalId;
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    ApiState,
    approvals::{MAX_REASON, bounded_reason, expected_version, tagged},
    extract::{Caller, JsonBody, PathOf},
    page::PageOf,
    problem::{Problem, ProblemDetails},
};
use crate::services::{ApprovalView, BatchedVote, CommentView, VoteDecision, VoteResult};

/// How many votes can be cast at once.
const MOST_VOTES: usize = 50;

/// One of several votes.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BatchedVoteBody {
    /// The approval.
    #[schema(value_type = String)]
    id: ApprovalId,
    /// The version that you saw. The vote is not taken when there is a later one.
    version: u64,
    /// `approve` or `deny`.
    decision: VoteDecision,
    /// Why, for the others and for the record.
    reason: Option<String>,
}

/// Several votes.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct VotesBody {
    /// At most 50, each on another approval.
    #[schema(min_items = 1, max_items = 50)]
    votes: Vec<BatchedVoteBody>,
}

/// What became of one of several votes.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct VoteResultView {
    /// The approval.
    #[schema(value_type = String)]
    id: ApprovalId,
    /// Whether the vote was taken.
    taken: bool,
    /// The approval's state after it.
    state: Option<String>,
    /// The approval's version after it.
    version: Option<u64>,
    /// Why it was not taken.
    problem: Option<ProblemDetails>,
}

/// What became of several votes, in their order.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct VoteResults {
    /// One for each.
    results: Vec<VoteResultView>,
}

impl From<VoteResult> for VoteResultView {
    fn from(VoteResult { id, result }: VoteResult) -> Self {
        match result {
            Ok(view) => {
                Self { id, taken: true, state: Some(view.state), version: Some(view.version), problem: None }
            }
            Err(error) => {
                let problem = Some(Problem::from(error).into_details());
                Self { id, taken: false, state: None, version: None, problem }
            }
        }
    }
}

/// Votes on several approvals at once. Each is a vote of its own, with its own result.
#[utoipa::path(post, operation_id = "approvals_vote_on_several", path = "/api/v1/approvals/votes", tag = "approvals", request_body = VotesBody,
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes a retry safe")),
    responses((status = 200, body = VoteResults), (status = "default", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn vote_on_several(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    JsonBody(body): JsonBody<VotesBody>,
) -> Result<Json<VoteResults>, Problem> {
    let ids: BTreeSet<_> = body.votes.iter().map(|vote| vote.id).collect();
    if !(1..=MOST_VOTES).contains(&body.votes.len()) || ids.len() != body.votes.len() {
        return Err(Problem::unprocessable("cast from 1 to 50 votes at once, each on another approval"));
    }
    let vote = |vote: BatchedVoteBody| -> Result<BatchedVote, Problem> {
        let BatchedVoteBody { id, version, decision, reason } = vote;
        Ok(BatchedVote { id, version: Some(version), decision, reason: bounded_reason(reason)? })
    };
    let votes = body.votes.into_iter().map(vote).collect::<Result<_, _>>()?;
    let results = state.services.approvals.vote_on_several(&actor, votes, "api").await?;
    Ok(Json(VoteResults { results: results.into_iter().map(VoteResultView::from).collect() }))
}

/// Words that must be there.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct GlassBody {
    /// Why it cannot wait for the others, for them and for the record.
    reason: String,
}

/// Approves alone, in an emergency: for those whom the requirements name for it. Somebody else has to review it afterwards.
#[utoipa::path(post, operation_id = "approvals_break_glass", path = "/api/v1/approvals/{id}/break-glass", tag = "approvals", request_body = GlassBody,
    params(("id" = String, Path, description = "The approval"),
           ("If-Match" = Option<String>, Header, description = "The ETag of what you saw"),
           ("Idempotency-Key" = Option<String>, Header, description = "Makes a retry safe")),
    responses((status = 201, body = ApprovalView), (status = "default", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn break_glass(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    PathOf(id): PathOf<ApprovalId>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<GlassBody>,
) -> Result<Response, Problem> {
    let version = expected_version(&headers)?;
    let reason = bounded_reason(Some(body.reason))?.unwrap_or_default();
    let view = state.services.approvals.break_glass(&actor, id, reason, "api", version).await?;
    Ok(tagged(StatusCode::CREATED, view))
}

/// What somebody says about an approval.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CommentBody {
    /// What, for the others and for the record.
    comment: String,
}

/// Reviews what somebody else approved alone.
#[utoipa::path(post, operation_id = "approvals_review_glass", path = "/api/v1/approvals/{id}/glass-reviews", tag = "approvals", request_body = CommentBody,
    params(("id" = String, Path, description = "The approval"),
           ("Idempotency-Key" = Option<String>, Header, description = "Makes a retry safe")),
    responses((status = 201, body = ApprovalView), (status = "default", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn review_glass(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    PathOf(id): PathOf<ApprovalId>,
    JsonBody(body): JsonBody<CommentBody>,
) -> Result<Response, Problem> {
    let comment = bounded_reason(Some(body.comment))?.unwrap_or_default();
    let view = state.services.approvals.review_glass(&actor, id, comment, "api").await?;
    Ok(tagged(StatusCode::CREATED, view))
}

/// Says something about an approval. It counts for nothing.
#[utoipa::path(post, operation_id = "approvals_comment", path = "/api/v1/approvals/{id}/comments", tag = "approvals", request_body = CommentBody,
    params(("id" = String, Path, description = "The approval"),
           ("Idempotency-Key" = Option<String>, Header, description = "Makes a retry safe")),
    responses((status = 201, body = CommentView), (status = "default", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn comment(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    PathOf(id): PathOf<ApprovalId>,
    JsonBody(body): JsonBody<CommentBody>,
) -> Result<(StatusCode, Json<CommentView>), Problem> {
    let text = bounded_reason(Some(body.comment))?;
    let text = text
        .ok_or_else(|| Problem::unprocessable(format!("a comment has from 1 to {MAX_REASON} characters")))?;
    Ok((StatusCode::CREATED, Json(state.services.approvals.comment(&actor, id, text, "api").await?)))
}

/// What was said about an approval, oldest first.
#[utoipa::path(get, operation_id = "approvals_comments", path = "/api/v1/approvals/{id}/comments", tag = "approvals",
    params(("id" = String, Path, description = "The approval")),
    responses((status = 200, body = PageOf<CommentView>), (status = "default", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn comments(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    PathOf(id): PathOf<ApprovalId>,
) -> Result<Json<PageOf<CommentView>>, Problem> {
    let items = state.services.approvals.comments(&actor, id).await?;
    // One page: how many are kept is bounded.
    Ok(Json(PageOf { items, next: None }))
}
