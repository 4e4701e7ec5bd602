//! Errors as RFC 9457 problem details. Every error of the API leaves through here.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;

use crate::services::{
    AgentError, ApprovalError, AuditError, MissingRight, PolicyError, ReportError, Validation,
};

/// An error as the API answers it (RFC 9457).
#[derive(Debug, Clone)]
pub struct Problem(Box<Answer>);

#[derive(Debug, Clone)]
struct Answer {
    status: StatusCode,
    headers: Vec<(HeaderName, HeaderValue)>,
    details: ProblemDetails,
}

/// An RFC 9457 problem.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemDetails {
    /// Identifies the kind of problem: `urn:countersign:problem:` and the `code`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What kind of problem it is, in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The kind of problem as one stable word.
    pub code: String,
    /// The version that the approval is at, when a precondition failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current_version: Option<u64>,
    /// Everything that is wrong with a bundle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation: Option<Validation>,
}

impl Problem {
    /// A problem of that kind.
    #[must_use]
    pub fn new(status: StatusCode, code: &str, title: &str) -> Self {
        let details = ProblemDetails {
            kind: format!("urn:countersign:problem:{code}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: None,
            code: code.to_owned(),
            current_version: None,
            validation: None,
        };
        Self(Box::new(Answer { status, headers: Vec::new(), details }))
    }

    /// The same problem, saying what happened this time.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.0.details.detail = Some(detail.into());
        self
    }

    /// The same problem, answered with that header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }

    /// The problem as one of several things that an answer tells.
    pub(super) fn into_details(self) -> ProblemDetails {
        self.0.details
    }

    /// Nobody is signed in (401).
    #[must_use]
    pub fn unauthenticated(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", "Authentication is required")
            .detail(detail)
            .header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"countersign\""))
    }

    /// The request is malformed (400).
    #[must_use]
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", "The request is malformed").detail(detail)
    }

    /// There is no such thing (404).
    #[must_use]
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "There is no such resource").detail(detail)
    }

    /// The request is well formed, but asks for something impossible (422).
    #[must_use]
    pub fn unprocessable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", "The request asks for something impossible")
            .detail(detail)
    }

    /// Something failed here. What it was goes to the log and not to the caller.
    #[must_use]
    pub fn internal(error: &dyn std::fmt::Display) -> Self {
        tracing::error!(%error, "a request failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Something failed here")
            .detail("It was logged. Try again, and tell an administrator if it goes on.")
    }

    /// The store cannot answer now (503).
    #[must_use]
    pub fn unavailable(error: &dyn std::fmt::Display) -> Self {
        tracing::error!(%error, "the store did not answer a request");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "The control plane cannot answer now")
            .detail("Nothing was changed. Try again in a moment.")
            .header(header::RETRY_AFTER, HeaderValue::from_static("1"))
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Answer { status, headers, details } = *self.0;
        let mut response = (status, Json(details)).into_response();
        let own = response.headers_mut();
        own.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        own.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        for (name, value) in headers {
            own.insert(name, value);
        }
        response
    }
}

impl From<MissingRight> for Problem {
    fn from(error: MissingRight) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "You may not do this").detail(error.to_string())
    }
}

impl From<ApprovalError> for Problem {
    fn from(error: ApprovalError) -> Self {
        match error {
            ApprovalError::Right(missing) => missing.into(),
            ApprovalError::NotFound(_) => Self::not_found(error.to_string()),
            ApprovalError::Stale { current } => {
                let title = "It changed since you looked";
                let mut problem = Self::new(StatusCode::PRECONDITION_FAILED, "stale", title);
                problem.0.details.current_version = Some(current);
                problem.detail(error.to_string())
            }
            ApprovalError::Refused { code, reason } => refusal(&code).detail(reason),
            ApprovalError::Query(detail) => Self::bad_request(detail),
            ApprovalError::Store(error) => Self::unavailable(&error),
        }
    }
}

/// The approval's own rules refused something: by who asked (403), or by how far it has come (409).
fn refusal(code: &str) -> Problem {
    let (status, title) = match code {
        "self_approval" => (StatusCode::FORBIDDEN, "Nobody approves their own request"),
        "machine_credential" => (StatusCode::FORBIDDEN, "Machines cannot vote"),
        "agent_credential" => (StatusCode::FORBIDDEN, "Agents cannot vote"),
        "not_a_reviewer" | "not_eligible" => {
            (StatusCode::FORBIDDEN, "You are not a reviewer of this request")
        }
        "assurance_too_low" => (StatusCode::FORBIDDEN, "This cannot be approved from here"),
        "too_many_comments" => (StatusCode::CONFLICT, "Enough was said"),
        "glass_not_yours" => (StatusCode::FORBIDDEN, "You may not approve this alone"),
        "own_glass" => (StatusCode::FORBIDDEN, "Nobody reviews what they did alone"),
        "already_reviewed" => (StatusCode::CONFLICT, "It is reviewed already"),
        "nothing_to_review" => (StatusCode::CONFLICT, "There is nothing to review"),
        "not_yet_asked" => (StatusCode::CONFLICT, "It is not your turn yet"),
        "reason_missing" => (StatusCode::UNPROCESSABLE_ENTITY, "A reason is needed"),
        "not_an_edit" => (StatusCode::UNPROCESSABLE_ENTITY, "These arguments cannot be changed like that"),
        "not_editable" => (StatusCode::CONFLICT, "Its arguments cannot be changed"),
        "already_voted" => (StatusCode::CONFLICT, "You have voted already"),
        "expired" | "too_late" => (StatusCode::CONFLICT, "The time to decide is over"),
        "not_pending" | "already_decided" => (StatusCode::CONFLICT, "It is decided already"),
        _ => (StatusCode::CONFLICT, "The approval's rules refuse this"),
    };
    Problem::new(status, code, title)
}

impl From<ReportError> for Problem {
    fn from(error: ReportError) -> Self {
        match error {
            ReportError::Right(missing) => missing.into(),
            ReportError::Store(error) => Self::unavailable(&error),
        }
    }
}

impl From<AgentError> for Problem {
    fn from(error: AgentError) -> Self {
        let detail = error.to_string();
        match error {
            AgentError::Right(missing) => missing.into(),
            AgentError::NotFound(_) | AgentError::NoSuchToken(_) => Self::not_found(detail),
            AgentError::Exists(_) => {
                Self::new(StatusCode::CONFLICT, "agent_exists", "The name is taken").detail(detail)
            }
            AgentError::Revoked(_) => {
                Self::new(StatusCode::CONFLICT, "agent_revoked", "The agent is revoked").detail(detail)
            }
            AgentError::TokenUsed(_) => {
                Self::new(StatusCode::CONFLICT, "join_token_used", "The join token was used").detail(detail)
            }
            AgentError::Cursor => Self::bad_request(detail),
            AgentError::Store(error) => Self::unavailable(&error),
        }
    }
}

impl From<PolicyError> for Problem {
    fn from(error: PolicyError) -> Self {
        let detail = error.to_string();
        match error {
            PolicyError::Right(missing) => missing.into(),
            PolicyError::Invalid(validation) => {
                let title = "The bundle was refused";
                let mut problem = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "bundle_refused", title);
                problem.0.details.validation = Some(validation);
                problem.detail(detail)
            }
            PolicyError::NotFound(_) => Self::not_found(detail),
            PolicyError::Cursor => Self::bad_request(detail),
            PolicyError::Store(error) => Self::unavailable(&error),
        }
    }
}

impl From<AuditError> for Problem {
    fn from(error: AuditError) -> Self {
        let detail = error.to_string();
        match error {
            AuditError::Right(missing) => missing.into(),
            AuditError::OutOfRange { .. } | AuditError::NoCheckpoint => Self::not_found(detail),
            AuditError::Cursor => Self::bad_request(detail),
            AuditError::Store(error) => Self::unavailable(&error),
        }
    }
}
