//! An approval: the frozen request, what people said, what was made of it, and where it stands.

use countersign_model::{EvaluationId, PersonId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    asking::Prompted, edit::Edit, glass::BrokenGlass, grant::MetRequirement, request::Request,
    task::GrantScope, vote::Vote,
};

/// An approval request from its submission to its end. JSON only, as [`Request`] is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// What was asked. Never changes.
    pub request: Request,
    /// Where it stands.
    pub state: State,
    /// What people said, in order.
    pub votes: Vec<Vote>,
    /// What was granted: set once, when it is approved, and kept for the record.
    pub terms: Option<GrantTerms>,
    /// Every use that was claimed, in order of claiming.
    pub uses: Vec<Use>,
    /// Grows with every change that somebody can see; the ETag.
    pub version: u64,
    /// When [`Self::version`] last changed.
    pub updated_at: Timestamp,
    /// Until when the requester counts as alive without another sign of life.
    pub requester_until: Timestamp,
    /// The times that the same was asked again instead of opening another request. They change no
    /// [`Self::version`]: an agent that repeats itself must not make a reviewer's vote out of date.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_again: Option<AskedAgain>,
    /// How far people have been prompted, where that is more than having been asked at the start.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prompted: Vec<Prompted>,
    /// What a reviewer made of its arguments, if that is how it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edited: Option<Edit>,
    /// Who approved it alone in an emergency, and who reviewed that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub glass: Option<BrokenGlass>,
}

/// How often the same was asked while it was pending, after the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskedAgain {
    /// How often.
    pub times: u32,
    /// The evaluation that asked last. A submission that is sent twice is one.
    pub evaluation: EvaluationId,
    /// When it asked.
    pub at: Timestamp,
}

/// Where an approval stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// People are asked.
    Pending,
    /// Every requirement is met; nothing was started yet.
    Approved,
    /// At least one use was started, and the grant is not at its end.
    Claimed,
    /// Every use that was started went well. The end.
    Executed,
    /// A use failed, and none is unknown. The end.
    Failed,
    /// Of a use it is not known whether it took place. The end.
    OutcomeUnknown,
    /// Approved, but not started in time. The end.
    Lapsed,
    /// Taken back. The end.
    Revoked {
        /// By whom.
        by: String,
        /// Why.
        reason: Option<String>,
    },
    /// No longer what people were asked: policy or the tool changed. The end.
    Invalidated {
        /// What changed.
        why: String,
    },
    /// An eligible person said no. The end.
    Denied {
        /// Who.
        by: PersonId,
        /// Why.
        reason: Option<String>,
    },
    /// Not decided in time, which is not a refusal (I5). The end.
    Expired,
    /// Given up before it was decided. The end.
    Cancelled {
        /// Why.
        why: CancelReason,
    },
}

/// Why a request was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CancelReason {
    /// The requester took it back.
    Requester,
    /// The requester went away.
    RequesterGone,
    /// Another request took its place.
    Superseded,
}

impl CancelReason {
    /// The reason, in words.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requester => "the requester took it back",
            Self::RequesterGone => "the requester went away",
            Self::Superseded => "another request took its place",
        }
    }
}

/// What was granted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantTerms {
    /// When the last requirement was met.
    pub approved_at: Timestamp,
    /// Until when the first use must have started.
    pub execute_by: Timestamp,
    /// Until when any use must have started.
    pub not_after: Timestamp,
    /// How many uses there are.
    pub uses: u32,
    /// The requirements, and by whom each was met.
    pub met: Vec<MetRequirement>,
    /// What it covers beyond the operation that was approved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<GrantScope>,
}

/// One use of a grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Use {
    /// Its number, from 1 to the grant's uses.
    pub number: u32,
    /// When the sidecar claimed it, before it forwarded the operation (I2).
    pub claimed_at: Timestamp,
    /// How it ended; `None` while it runs.
    pub outcome: Option<Outcome>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

/// How a use ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It ran.
    Executed,
    /// It ran and failed, or could not be run.
    Failed,
    /// Nobody knows, as after a crash between claim and report.
    OutcomeUnknown,
}
