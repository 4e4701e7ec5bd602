//! Why an operation may not run. Every error while deciding ends here (I6).

use std::fmt;

use countersign_model::{ApprovalId, DecidingPolicy, Digest, EvaluationId, Revision};

use crate::intent::Edited;

/// What kept an operation from running.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// Policy denies it, and no approval would change that.
    #[error("policy denies it")]
    Policy,
    /// The operation cannot be read as one.
    #[error("not an operation that can be decided about: {0}")]
    Malformed(String),
    /// No bundle has been activated yet.
    #[error("no policy has been received from the control plane yet")]
    NoPolicy,
    /// The lease is over.
    #[error("the policy's lease has ended: the control plane has not been heard for too long")]
    LeaseEnded,
    /// The decision could not be recorded.
    #[error("the decision could not be recorded: {0}")]
    Unrecorded(String),
    /// Too many operations run or wait already.
    #[error("too many operations are under way; try again later")]
    Busy,
    /// Approval is needed, and nobody can be asked.
    #[error("approval is needed, but the control plane cannot be reached: {0}")]
    Unreachable(String),
    /// The control plane did not take the request in.
    #[error("approval is needed, but the control plane refused the request: {0}")]
    NotAccepted(String),
    /// The agent has asked people for too much already.
    #[error("approval is needed, but people are not asked: {0}")]
    TooManyRequests(String),
    /// People are still deciding.
    #[error("the approval has not been decided yet")]
    Undecided,
    /// Reviewers refused.
    #[error("refused by a reviewer{}", reason(.0))]
    Refused(Option<String>),
    /// Nobody decided in time (I5). Not a refusal.
    #[error("not decided in time")]
    Expired,
    /// The request was cancelled.
    #[error("the approval request was cancelled{}", reason(.0))]
    Cancelled(Option<String>),
    /// A reviewer changed its arguments: what it has become is to be submitted.
    #[error("a reviewer changed its arguments; what it has become is decided about anew")]
    Edited(Box<Edited>),
    /// It was approved, but not started in time.
    #[error("approved, but not started in time")]
    Lapsed,
    /// The approval was taken back.
    #[error("the approval was revoked{}", reason(.0))]
    Revoked(Option<String>),
    /// The approval no longer holds, because policy or the tool changed.
    #[error("the approval no longer applies{}", reason(.0))]
    Invalidated(Option<String>),
    /// Every use of the approval is used up (I2).
    #[error("the approval has been used already")]
    Used,
    /// The grant does not authorise this operation here and now (I2).
    #[error("the approval does not authorise this operation: {0}")]
    Grant(String),
    /// The grant is a good one, for another operation (I2).
    #[error("the approval is for another operation")]
    OutOfScope,
    /// The use of the grant could not be journalled, so it was not used (I2).
    #[error("the use of the approval could not be journalled: {0}")]
    Journal(String),
}

fn reason(text: &Option<String>) -> String {
    text.as_ref().map(|text| format!(": {text}")).unwrap_or_default()
}

impl Cause {
    /// A stable name for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::Malformed(_) => "malformed",
            Self::NoPolicy => "no_policy",
            Self::LeaseEnded => "lease_ended",
            Self::Unrecorded(_) => "unrecorded",
            Self::Busy => "busy",
            Self::Unreachable(_) => "unreachable",
            Self::NotAccepted(_) => "not_accepted",
            Self::TooManyRequests(_) => "too_many_requests",
            Self::Undecided => "undecided",
            Self::Refused(_) => "refused",
            Self::Expired => "expired",
            Self::Cancelled(_) => "cancelled",
            Self::Edited(_) => "edited",
            Self::Lapsed => "lapsed",
            Self::Revoked(_) => "revoked",
            Self::Invalidated(_) => "invalidated",
            Self::Used => "used",
            Self::Grant(_) => "grant",
            Self::OutOfScope => "out_of_scope",
            Self::Journal(_) => "journal",
        }
    }

    /// Whether the same operation may fare better later without anybody changing anything about it.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::NoPolicy
                | Self::LeaseEnded
                | Self::Unrecorded(_)
                | Self::Busy
                | Self::Undecided
                | Self::TooManyRequests(_)
                | Self::Unreachable(_)
                | Self::Journal(_)
        )
    }
}

/// An operation may not run.
#[derive(Debug, Clone, PartialEq)]
pub struct Denial {
    /// The evaluation that said so.
    pub evaluation: EvaluationId,
    /// What was to be done; `None` when it could not be read.
    pub digest: Option<Digest>,
    /// The approval that was asked for or presented.
    pub approval: Option<ApprovalId>,
    /// Why.
    pub cause: Cause,
    /// The policies that determined it.
    pub policies: Vec<DecidingPolicy>,
    /// The bundle that was in force.
    pub revision: Option<Revision>,
}

impl Denial {
    /// Whether nobody decided in time, which is not a refusal (I5).
    #[must_use]
    pub const fn is_expiry(&self) -> bool {
        matches!(self.cause, Cause::Expired)
    }
}

impl fmt::Display for Denial {
    /// One line for people: the cause, and what the policies say about it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.cause)?;
        for policy in &self.policies {
            match &policy.reason {
                Some(reason) => write!(f, "; {}: {reason}", policy.id)?,
                None => write!(f, "; {}", policy.id)?,
            }
        }
        Ok(())
    }
}
