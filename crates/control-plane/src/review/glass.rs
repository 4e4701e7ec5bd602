//! What somebody approved alone, in an emergency, and what another found about it.

use countersign_approval::BrokenGlass;
use countersign_model::Timestamp;
use serde::Serialize;

use super::{people::person, text::Untrusted};

/// Who approved alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Glass {
    /// Who.
    pub by: Untrusted,
    /// Why it could not wait.
    pub reason: Untrusted,
    /// When.
    pub at: Timestamp,
    /// What somebody else found; `None` until they have looked.
    pub review: Option<GlassReview>,
}

/// What somebody found about what another did alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GlassReview {
    /// Who.
    pub by: Untrusted,
    /// What.
    pub comment: Untrusted,
    /// When.
    pub at: Timestamp,
}

impl Glass {
    pub(super) fn of(glass: &BrokenGlass) -> Self {
        let review = |review: &countersign_approval::GlassReview| GlassReview {
            by: person(&review.by),
            comment: Untrusted::prose(&review.comment),
            at: review.at,
        };
        Self {
            by: person(&glass.by),
            reason: Untrusted::prose(&glass.reason),
            at: glass.at,
            review: glass.review.as_ref().map(review),
        }
    }
}
