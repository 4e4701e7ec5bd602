//! `/api/v1/tokens`, `/api/v1/sign-in-links` and `/api/v1/whoami`.

use std::collections::BTreeSet;

use axum::{Json, extract::State};
use countersign_model::{PersonId, Seconds, TokenId};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    ApiState,
    extract::{Caller, JsonBody, PathOf},
    page::PageOf,
    problem::{Problem, ProblemDetails},
};
use crate::identity::{
    ActorKind, CreatedToken, LINK_LIFETIME, NewToken, Right, Role, SignInError, TokenError, TokenView,
};

/// Who a request is.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct WhoAmI {
    /// The person, or the person who answers for the machine.
    #[schema(value_type = String)]
    pub person: PersonId,
    /// `human` or `machine`.
    pub kind: ActorKind,
    /// The person's roles.
    pub roles: BTreeSet<Role>,
    /// The person's groups; `*` stands for every group.
    pub groups: Vec<String>,
    /// What this request may do.
    pub scopes: BTreeSet<Right>,
    /// How it proved itself.
    pub method: String,
    /// The token that it used.
    #[schema(value_type = Option<String>)]
    pub token: Option<TokenId>,
}

/// Who you are, and what you may do.
#[utoipa::path(get, operation_id = "whoami", path = "/api/v1/whoami", tag = "tokens",
    responses((status = 200, body = WhoAmI), (status = "default", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn whoami(Caller(actor): Caller) -> Json<WhoAmI> {
    Json(WhoAmI {
        scopes: actor.rights().clone(),
        person: actor.person,
        kind: actor.kind,
        roles: actor.roles,
        groups: actor.groups,
        method: actor.method,
        token: actor.token,
    })
}

/// Your tokens, newest first, without their secrets; everybody's for an admin.
#[utoipa::path(get, operation_id = "tokens_list", path = "/api/v1/tokens", tag = "tokens",
    responses((status = 200, body = PageOf<TokenView>), (status = "default", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn list(
    State(state): State<ApiState>,
    Caller(actor): Caller,
) -> Result<Json<PageOf<TokenView>>, Problem> {
    let items = state.identity.tokens(&actor).await?;
    // One page: how many live tokens somebody can have is bounded.
    Ok(Json(PageOf { items, next: None }))
}

/// A new token.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewTokenBody {
    /// What you call it.
    name: String,
    /// `human` for your own use, or `machine` for a program, which can never vote.
    kind: ActorKind,
    /// What it is for; everything that you may do when left out.
    scopes: Option<BTreeSet<Right>>,
    /// How long it lives, for example `30d` or `12h`. 30 days when left out.
    #[schema(value_type = Option<String>)]
    expires_in: Option<Seconds>,
}

/// Makes a token for yourself or a program of yours. It is shown this once.
#[utoipa::path(post, operation_id = "tokens_create", path = "/api/v1/tokens", tag = "tokens", request_body = NewTokenBody,
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes a retry safe")),
    responses((status = 201, body = CreatedToken), (status = "default", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn create(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    JsonBody(body): JsonBody<NewTokenBody>,
) -> Result<(StatusCode, Json<CreatedToken>), Problem> {
    let wish = NewToken { name: body.name, kind: body.kind, scopes: body.scopes, lifetime: body.expires_in };
    Ok((StatusCode::CREATED, Json(state.identity.create_token(&actor, wish).await?)))
}

/// Revokes a token: one of yours, or any for an admin. Sessions that were opened with it end, too.
#[utoipa::path(post, operation_id = "tokens_revoke", path = "/api/v1/tokens/{id}/revoke", tag = "tokens",
    params(("id" = String, Path, description = "The token's id"),
           ("Idempotency-Key" = Option<String>, Header, description = "Makes a retry safe")),
    responses((status = 200, body = TokenView), (status = "default", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn revoke(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    PathOf(id): PathOf<TokenId>,
) -> Result<Json<TokenView>, Problem> {
    Ok(Json(state.identity.revoke_token(&actor, id).await?))
}

/// A link that signs you in to the console once.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct SignInLinkView {
    /// Where it leads, from the console's own address.
    pub path: String,
    /// How many seconds it can be used.
    pub expires_in: u32,
}

/// Makes a link that signs you in to the console, once and within ten minutes. Never for anybody else.
#[utoipa::path(post, operation_id = "tokens_sign_in_link", path = "/api/v1/sign-in-links", tag = "tokens",
    responses((status = 201, body = SignInLinkView), (status = "default", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn sign_in_link(
    State(state): State<ApiState>,
    Caller(actor): Caller,
) -> Result<(StatusCode, Json<SignInLinkView>), Problem> {
    let path = state.identity.sign_in_link(&actor).await?;
    Ok((StatusCode::CREATED, Json(SignInLinkView { path, expires_in: LINK_LIFETIME.get() })))
}

impl From<TokenError> for Problem {
    fn from(error: TokenError) -> Self {
        let detail = error.to_string();
        match error {
            TokenError::Machine => machine(&detail),
            TokenError::Scopes(_) => {
                Self::new(StatusCode::FORBIDDEN, "scope", "You cannot give what you do not have")
                    .detail(detail)
            }
            TokenError::Invalid(_) => Self::unprocessable(detail),
            TokenError::Cursor => Self::bad_request(detail),
            TokenError::TooMany => {
                Self::new(StatusCode::CONFLICT, "too_many_tokens", "You have too many tokens").detail(detail)
            }
            TokenError::NotFound(_) => Self::not_found(detail),
            TokenError::Store(error) => Self::unavailable(&error),
            TokenError::Entropy(error) => Self::internal(&error),
        }
    }
}

impl From<SignInError> for Problem {
    fn from(error: SignInError) -> Self {
        let detail = error.to_string();
        match error {
            SignInError::Machine => machine(&detail),
            SignInError::Refused | SignInError::SignInAgain => Self::unauthenticated(detail),
            SignInError::NoTokens | SignInError::Oidc(_) => Self::unauthenticated(detail),
            SignInError::TooMany(_) => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many", "Too many").detail(detail)
            }
            SignInError::Store(error) => Self::unavailable(&error),
            SignInError::Entropy(error) => Self::internal(&error),
        }
    }
}

fn machine(detail: &str) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "machine_credential", "Machines may not do this").detail(detail)
}
