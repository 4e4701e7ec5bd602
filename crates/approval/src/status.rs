//! What an approval looks like from outside: to the requester, and in lists.

use std::fmt;

use countersign_model::{ApprovalId, RequirementKind, RequirementName, Timestamp};
use serde::{Deserialize, Serialize};

use crate::state::CancelReason;

/// A state by its name alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is the state of that name, which is documented there")]
pub enum Phase {
    Pending,
    Approved,
    Claimed,
    Executed,
    Failed,
    OutcomeUnknown,
    Lapsed,
    Revoked,
    Invalidated,
    Denied,
    Expired,
    Cancelled,
}

impl Phase {
    /// Every phase, in the order of the diagram.
    pub const ALL: [Self; 12] = [
        Self::Pending,
        Self::Approved,
        Self::Claimed,
        Self::Executed,
        Self::Failed,
        Self::OutcomeUnknown,
        Self::Lapsed,
        Self::Revoked,
        Self::Invalidated,
        Self::Denied,
        Self::Expired,
        Self::Cancelled,
    ];

    /// The name, as JSON and people see it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Claimed => "claimed",
            Self::Executed => "executed",
            Self::Failed => "failed",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::Lapsed => "lapsed",
            Self::Revoked => "revoked",
            Self::Invalidated => "invalidated",
            Self::Denied => "denied",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether nothing comes after it.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        !matches!(self, Self::Pending | Self::Approved | Self::Claimed)
    }

    /// Whether people have decided, or can no longer decide.
    #[must_use]
    pub const fn is_decided(self) -> bool {
        !matches!(self, Self::Pending)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How far one requirement is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The requirement.
    pub requirement: RequirementName,
    /// Whose word it asks for.
    pub kind: RequirementKind,
    /// How many people have approved it so far, each counted for one requirement only (I4).
    pub have: u32,
    /// How many it needs.
    pub need: u32,
    /// Who may vote, as policy names them (`group:sre`, `user:…`, `*`, or the person who may confirm).
    pub reviewers: Vec<String>,
}

/// What the requester is told. Fit for any serde codec.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The approval.
    pub id: ApprovalId,
    /// Its version; a waiting requester names the last one it knows.
    pub version: u64,
    /// Where it stands.
    pub phase: Phase,
    /// Why it was cancelled, when it was.
    pub cancelled: Option<CancelReason>,
    /// The signed grant, while the approval is one to be used.
    pub grant: Option<String>,
    /// Why it stands where it stands, in words for a person.
    pub reason: Option<String>,
    /// Until when people can decide.
    pub decide_by: Timestamp,
    /// Until when the first use must have started, once approved.
    pub execute_by: Option<Timestamp>,
    /// How far each requirement is.
    pub progress: Vec<Progress>,
}
