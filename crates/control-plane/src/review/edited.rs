//! What a reviewer made of a request's arguments, instead of voting on it.

use countersign_approval::Edit;
use countersign_model::{ApprovalId, Timestamp};
use serde::Serialize;
use serde_json::Value;

use super::{difference::Difference, people::person, text::Untrusted};

/// What a reviewer made of the arguments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Edited {
    /// Who.
    pub by: Untrusted,
    /// Why.
    pub reason: Option<Untrusted>,
    /// When.
    pub at: Timestamp,
    /// What they changed.
    pub differences: Vec<Difference>,
    /// The request that came of it, if policy holds that one, too, and it is not long ago.
    pub led_to: Option<ApprovalId>,
}

impl Edited {
    pub(super) fn of(edit: &Edit, operation: &Value, led_to: Option<ApprovalId>) -> Self {
        Self {
            by: person(&edit.by),
            reason: edit.reason.as_deref().map(Untrusted::prose),
            at: edit.at,
            differences: Difference::of_changes(operation, &edit.changes),
            led_to,
        }
    }
}
