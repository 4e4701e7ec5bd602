//! The one way from a state to the next, and what the world must be told about it.

use countersign_model::{Timestamp, VoteId};
use serde::{Deserialize, Serialize};

use crate::{
    state::{CancelReason, Outcome},
    status::Phase,
    vote::{VoteDecision, Voter},
};

/// Something that happens to an approval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Somebody votes.
    Vote {
        /// The id that the vote gets if it is accepted.
        id: VoteId,
        /// Who.
        voter: Voter,
        /// What they say.
        decision: VoteDecision,
        /// Why.
        reason: Option<String>,
    },
    /// The request is given up. After the approval and before the first use this takes the grant back.
    /// Who may do so is the caller's to check; it never lets anything run.
    Cancel {
        /// Why.
        why: CancelReason,
    },
    /// The requester gave a sign of life.
    RequesterHeartbeat,
    /// Time has passed.
    Tick,
    /// Somebody takes the approval back. Who may do so is the caller's to check.
    Revoke {
        /// Who.
        by: String,
        /// Why.
        reason: Option<String>,
    },
    /// Policy or the tool changed, so that people would be approving something else.
    Invalidate {
        /// What changed.
        why: String,
    },
    /// The sidecar says that it consumed a use, before forwarding the operation (I2).
    Claim {
        /// Which use, from 1.
        use_number: u32,
        /// When, by the sidecar's journal. The report may come long after.
        at: Timestamp,
    },
    /// The sidecar says how a use ended.
    Outcome {
        /// Which use.
        use_number: u32,
        /// How.
        outcome: Outcome,
        /// When.
        at: Timestamp,
    },
}

/// What the world must be told after a transition. Carried out by the caller, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Write this to the audit log, in the same transaction as the new state.
    Record(Occurrence),
    /// Tell the reviewers that they are asked.
    Notify,
    /// Update what the reviewers see: a vote was counted.
    UpdateCards,
    /// Take the request off the reviewers' screens: it is decided, or gone.
    RetireCards,
    /// Sign a grant for [`Approval::terms`](crate::Approval::terms).
    IssueGrant,
    /// Tell the sidecar that its grant is void.
    WithdrawGrant,
    /// Answer the waiting requester.
    TellRequester,
    /// Send [`Input::Tick`] at that time. Replaces any earlier wake-up of this approval.
    WakeAt(Timestamp),
}

/// What happened, for the audit log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is what its name says")]
pub enum Occurrence {
    Requested,
    /// The last of [`Approval::votes`](crate::Approval::votes).
    Voted,
    Approved,
    Denied,
    Expired,
    Cancelled,
    Lapsed,
    Revoked,
    Invalidated,
    /// A use was claimed.
    Claimed {
        use_number: u32,
    },
    /// A use ended.
    Finished {
        use_number: u32,
        outcome: Outcome,
    },
}

/// Why an input was refused. Nothing has changed. Each text is for the person who caused it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A machine cannot vote (I3).
    #[error("a machine credential cannot vote; sign in as a person")]
    MachineCredential,
    /// An agent cannot vote (I3).
    #[error("an agent cannot vote on operations")]
    AgentCredential,
    /// The initiating human cannot approve their own agent's operation (I3).
    #[error("this operation is carried out for you, so somebody else has to decide about it")]
    Initiator,
    /// The owner cannot approve their own agent's operation (I3).
    #[error("you own this agent, so somebody else has to decide about its operations")]
    Owner,
    /// Not a reviewer.
    #[error("you do not have the reviewer role; ask an administrator for it")]
    NotReviewer,
    /// Not one of those whom the requirements name.
    #[error("you are not among the people who can decide about this: {reviewers}")]
    NotEligible {
        /// Who could, as policy names them.
        reviewers: String,
    },
    /// They said something else before.
    #[error(
        "you have already voted on this request; an approval can still be turned into a denial, but not otherwise changed"
    )]
    AlreadyVoted,
    /// The vote's reason is too long, or another text is.
    #[error("the reason is longer than {} characters", crate::vote::MAX_REASON)]
    ReasonTooLong,
    /// It is over, or too far on for this.
    #[error("this request is already {phase}{}", explained(.reason))]
    TooLate {
        /// Where it stands.
        phase: Phase,
        /// Why.
        reason: Option<String>,
    },
    /// Claimed or finished without an approval.
    #[error("this request was not approved, it is {0}; nothing may run on it")]
    NotApproved(Phase),
    /// A use beyond the grant (I2).
    #[error("use {use_number} does not exist: the grant is for {uses}")]
    NoSuchUse {
        /// The use that was named.
        use_number: u32,
        /// How many there are.
        uses: u32,
    },
    /// A use that was claimed at another time before (I2).
    #[error("use {0} was already claimed")]
    UseTaken(u32),
    /// A use outside the grant's time (I2).
    #[error("use {use_number} was claimed at {at}, but it had to start before {limit}")]
    ClaimedOutOfTime {
        /// The use.
        use_number: u32,
        /// When it was claimed.
        at: Timestamp,
        /// The end of the time for it.
        limit: Timestamp,
    },
    /// An outcome of a use that was never claimed.
    #[error("use {0} was never claimed")]
    NotClaimed(u32),
    /// Another outcome was reported before.
    #[error("use {0} already has another outcome")]
    OutcomeKnown(u32),
}

fn explained(reason: &Option<String>) -> String {
    reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default()
}
