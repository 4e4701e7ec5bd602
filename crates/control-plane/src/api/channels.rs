//! `/api/v1/channels`: list, test.

use axum::{Json, extract::State};
use http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{
    ApiState,
    extract::{Caller, JsonBody, PathOf},
    page::PageOf,
    problem::{Problem, ProblemDetails},
};
use crate::services::{ChannelError, ChannelView};

/// Where reviewers are told besides the console, and whether that works.
#[utoipa::path(get, operation_id = "channels_list", path = "/api/v1/channels", tag = "channels",
    responses((status = 200, body = PageOf<ChannelView>), (status = "default", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn list(
    State(state): State<ApiState>,
    Caller(actor): Caller,
) -> Result<Json<PageOf<ChannelView>>, Problem> {
    let items = state.services.channels.list(&actor).await?;
    // One page: how many channels a configuration can have is bounded.
    Ok(Json(PageOf { items, next: None }))
}

/// Where to send a test message.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TestBody {
    /// A room that a route leads to; the first one when left out.
    room: Option<String>,
}

/// Sends a test message, for admins. It is taken by the time this answers.
#[utoipa::path(post, operation_id = "channels_test", path = "/api/v1/channels/{name}/test", tag = "channels", request_body = TestBody,
    params(("name" = String, Path, description = "The channel's name"),
           ("Idempotency-Key" = Option<String>, Header, description = "Makes a retry safe")),
    responses((status = 200, body = ChannelView), (status = 502, body = ProblemDetails, content_type = "application/problem+json"),
              (status = "default", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn test(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    PathOf(name): PathOf<String>,
    JsonBody(body): JsonBody<TestBody>,
) -> Result<Json<ChannelView>, Problem> {
    Ok(Json(state.services.channels.test(&actor, &name, body.room).await?))
}

impl From<ChannelError> for Problem {
    fn from(error: ChannelError) -> Self {
        let detail = error.to_string();
        match error {
            ChannelError::Right(error) => error.into(),
            ChannelError::NotFound(_) => Self::not_found(detail),
            ChannelError::NoRoom | ChannelError::OtherRoom => Self::unprocessable(detail),
            ChannelError::Failed(_) => {
                Self::new(StatusCode::BAD_GATEWAY, "channel_failed", "The channel did not take the message")
                    .detail(detail)
            }
            ChannelError::Store(error) => Self::unavailable(&error),
        }
    }
}
