//! What an approval looks like from outside: to the requester, and in lists.

use std::fmt;

use countersign_model::{ApprovalId, RequirementKind, RequirementName, Timestamp};
use serde::{Deserialize, Serialize};

use crate::state::{Approval, CancelReason, Outcome, State};

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

impl Approval {
    /// The state by its name alone.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self.state {
            State::Pending => Phase::Pending,
            State::Approved => Phase::Approved,
            State::Claimed => Phase::Claimed,
            State::Executed => Phase::Executed,
            State::Failed => Phase::Failed,
            State::OutcomeUnknown => Phase::OutcomeUnknown,
            State::Lapsed => Phase::Lapsed,
            State::Revoked { .. } => Phase::Revoked,
            State::Invalidated { .. } => Phase::Invalidated,
            State::Denied { .. } => Phase::Denied,
            State::Expired => Phase::Expired,
            State::Cancelled { .. } => Phase::Cancelled,
        }
    }

    /// How often it was asked, the first time included.
    #[must_use]
    pub fn asked(&self) -> u32 {
        self.asked_again.map_or(0, |again| again.times).saturating_add(1)
    }

    /// How far each requirement is, each person counted once over all of them (I4).
    #[must_use]
    pub fn progress(&self) -> Vec<Progress> {
        let requirements = &self.request.requirements;
        let assignment = self.assignment();
        let together = requirements.iter().zip(&assignment.by_requirement);
        let progress = together.map(|(requirement, people)| Progress {
            requirement: requirement.name.clone(),
            kind: requirement.kind,
            have: u32::try_from(people.len()).unwrap_or(u32::MAX),
            need: requirement.quorum,
            reviewers: self.reviewers_of(requirement),
        });
        progress.collect()
    }

    /// What the requester is told; `grant` is the signed grant of an approval that can still be used.
    #[must_use]
    pub fn status(&self, grant: Option<String>) -> Status {
        let cancelled = match self.state {
            State::Cancelled { why } => Some(why),
            _ => None,
        };
        let usable = matches!(self.state, State::Approved | State::Claimed);
        Status {
            id: self.request.id,
            version: self.version,
            phase: self.phase(),
            cancelled,
            grant: grant.filter(|_| usable),
            reason: self.reason(),
            decide_by: self.request.decide_by(),
            execute_by: self.terms.as_ref().map(|terms| terms.execute_by),
            progress: self.progress(),
        }
    }

    /// Why it stands where it stands, in words for a person.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        let because = |reason: &Option<String>| match reason {
            Some(reason) if !reason.is_empty() => format!(": {reason}"),
            _ => String::new(),
        };
        let reason = match &self.state {
            State::Pending | State::Approved | State::Claimed | State::Executed => return None,
            State::Failed => "the operation was started and failed".to_owned(),
            State::OutcomeUnknown => "it is not known whether the operation ran".to_owned(),
            State::Lapsed => "it was approved but not started in time".to_owned(),
            State::Revoked { by, reason } => format!("revoked by {by}{}", because(reason)),
            State::Invalidated { why } => why.clone(),
            State::Denied { by, reason } => format!("denied by {by}{}", because(reason)),
            State::Expired => "nobody decided in time; this is not a refusal".to_owned(),
            State::Cancelled { why } => match &self.edited {
                Some(edit) => format!("{} changed its arguments{}", edit.by, because(&edit.reason)),
                None => why.as_str().to_owned(),
            },
        };
        Some(reason + &self.reported_uses())
    }

    /// A sidecar that was cut off may have used its grant before the control plane ended the approval.
    fn reported_uses(&self) -> String {
        let ended_unused = matches!(self.phase(), Phase::Lapsed | Phase::Revoked | Phase::Invalidated);
        if !ended_unused || self.uses.is_empty() {
            return String::new();
        }
        let ran = self.uses.iter().filter(|one| one.outcome == Some(Outcome::Executed)).count();
        format!("; its sidecar reports {} uses from before, {ran} of them executed", self.uses.len())
    }
}
