//! What the console shows when something did not work.

use axum::response::{IntoResponse, Response};
use countersign_model::Timestamp;
use http::{HeaderValue, StatusCode, header};
use maud::{Markup, html};

use super::layout::{Frame, check_mark};
use crate::services::ApprovalError;

/// A page that could not be shown, or a form that could not be taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PageError {
    /// There is no such page.
    #[error("There is nothing here")]
    NotFound,
    /// Not for this person.
    #[error("You may not see this")]
    Forbidden(String),
    /// The form was not sent by one of our pages.
    #[error("This form has run out")]
    Forged,
    /// The form makes no sense.
    #[error("That did not work")]
    BadForm(String),
    /// The path is there, but not for this method.
    #[error("That is not how this page works")]
    Method,
    /// The form is too large.
    #[error("That is too long")]
    TooLarge,
    /// The store cannot answer.
    #[error("The control plane cannot answer now")]
    Unavailable(String),
}

impl PageError {
    fn status(&self) -> StatusCode {
        match self {
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Forbidden(_) | Self::Forged => StatusCode::FORBIDDEN,
            Self::BadForm(_) => StatusCode::BAD_REQUEST,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// What to tell the person.
    pub(crate) fn explanation(&self) -> &str {
        match self {
            Self::NotFound => "The page does not exist, or the request that it showed is gone.",
            Self::Forbidden(why) | Self::BadForm(why) => why,
            Self::Forged => {
                "It was not sent by a page of your present session, so nothing was done. Go back to the inbox \
                 and try again from there."
            }
            Self::Method => "Nothing was done.",
            Self::TooLarge => "A reason has at most 2,000 characters. Nothing was done.",
            Self::Unavailable(_) => "Nothing was changed. Try again in a moment.",
        }
    }
}

impl From<ApprovalError> for PageError {
    fn from(error: ApprovalError) -> Self {
        match error {
            ApprovalError::NotFound(_) => Self::NotFound,
            ApprovalError::Right(missing) => Self::Forbidden(missing.to_string()),
            ApprovalError::Store(error) => Self::Unavailable(error),
            other @ (ApprovalError::Stale { .. }
            | ApprovalError::Refused { .. }
            | ApprovalError::Query(_)) => Self::BadForm(other.to_string()),
        }
    }
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        if let Self::Unavailable(error) = &self {
            tracing::error!(%error, "the store did not answer the console");
        }
        let title = self.to_string();
        // Nothing on an error page counts down, so the time does not matter.
        let frame = Frame { title: &title, session: None, now: Timestamp::default(), live: false };
        let mut response = (self.status(), frame.page(&card(&title, self.explanation()))).into_response();
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

fn card(title: &str, explanation: &str) -> Markup {
    html! {
        section.panel.pad.narrow.signin {
            div.empty {
                (check_mark())
                h1 { (title) }
                p { (explanation) }
            }
            p { a.button href="/" { "Go to the inbox" } }
        }
    }
}
