//! What callers are told when a request is wrong: a text for AuthZEN, problem details for ARAP.

use axum::response::{IntoResponse, Response};
use countersign_gate::ports::BrokerError;
use http::{HeaderValue, StatusCode, header};
use serde_json::json;

/// A request that AuthZEN answers with an error (§10.1.2): a status and a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rejection {
    pub(super) status: StatusCode,
    pub(super) message: String,
}

impl Rejection {
    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, message: message.into() }
    }
}

impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        (self.status, self.message).into_response()
    }
}

/// A request that ARAP answers with a problem (§9, RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    kind: &'static str,
    title: &'static str,
    status: StatusCode,
    detail: String,
}

macro_rules! problems {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $status:ident, $title:literal;)*) => {
        impl Problem {
            $($(#[$doc])* pub(super) fn $name(detail: impl Into<String>) -> Self {
                Self {
                    kind: concat!("urn:openid:authzen:access-request:error:", $code),
                    title: $title,
                    status: StatusCode::$status,
                    detail: detail.into(),
                }
            })*
        }
    };
}

problems! {
    /// The denial is none that people can be asked about.
    not_requestable = "not_requestable", BAD_REQUEST, "Access is not requestable";
    /// Too late to ask about it.
    expired_denial = "expired_denial", GONE, "The denial has expired";
    /// Not what was denied.
    invalid_denial_binding = "invalid_denial_binding", BAD_REQUEST, "The request does not match the denial";
    /// The key of another request.
    duplicate_request = "duplicate_request", CONFLICT, "The idempotency key belongs to another request";
    /// No such task.
    unknown_task = "unknown_task", NOT_FOUND, "There is no such task";
    /// Too late, or too early, for that.
    invalid_task_state = "invalid_task_state", CONFLICT, "The task is not in a state for that";
}

impl Problem {
    fn general(status: StatusCode, title: &'static str, detail: impl Into<String>) -> Self {
        Self { kind: "about:blank", title, status, detail: detail.into() }
    }

    /// Not even a request.
    pub(super) fn malformed(detail: impl Into<String>) -> Self {
        Self::general(StatusCode::BAD_REQUEST, "Bad Request", detail)
    }

    /// People cannot be asked right now.
    pub(super) fn unavailable(detail: impl Into<String>) -> Self {
        Self::general(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable", detail)
    }

    /// The control plane does not want it.
    pub(super) fn refused(detail: impl Into<String>) -> Self {
        Self::general(StatusCode::UNPROCESSABLE_ENTITY, "Unprocessable Content", detail)
    }
}

impl From<Rejection> for Problem {
    fn from(rejection: Rejection) -> Self {
        let title = rejection.status.canonical_reason().unwrap_or("Error");
        Self::general(rejection.status, title, rejection.message)
    }
}

impl From<BrokerError> for Problem {
    fn from(error: BrokerError) -> Self {
        match error {
            BrokerError::Unreachable(_) => Self::unavailable(error.to_string()),
            BrokerError::Refused(why) => Self::refused(why),
            BrokerError::TooMany(why) => {
                Self::general(StatusCode::TOO_MANY_REQUESTS, "Too Many Requests", why)
            }
            BrokerError::Unknown => {
                Self::unknown_task("no approval request of that id belongs to this sidecar")
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = json!({
            "type": self.kind,
            "title": self.title,
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        let problem = HeaderValue::from_static("application/problem+json");
        let mut response = (self.status, [(header::CONTENT_TYPE, problem)], body.to_string()).into_response();
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        }
        response
    }
}
