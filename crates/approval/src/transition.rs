//! The one way from a state to the next, and what the world must be told about it.

use countersign_model::{Assurance, EvaluationId, PersonId, RequirementName, Timestamp, VoteId};
use serde::{Deserialize, Serialize};

use crate::{
    clocks::over,
    edit::{ArgumentChange, EditError, Proposal},
    request::{Request, RequestError},
    state::{Approval, AskedAgain, CancelReason, Outcome, State},
    status::Phase,
    vote::{MAX_REASON, VoteDecision, Voter},
    voting::Ballot,
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
    /// Somebody whom the requirements name for it approves alone, in an emergency.
    BreakGlass {
        /// Who.
        voter: Voter,
        /// Why.
        reason: String,
    },
    /// Somebody else looks at what was approved alone.
    ReviewGlass {
        /// Who.
        voter: Voter,
        /// What they found.
        comment: String,
    },
    /// The request is given up. After the approval and before the first use this takes the grant back.
    /// Who may do so is the caller's to check; it never lets anything run.
    Cancel {
        /// Why.
        why: CancelReason,
    },
    /// A reviewer proposes other arguments instead of voting.
    Edit {
        /// Who.
        voter: Voter,
        /// What they change.
        changes: Vec<ArgumentChange>,
        /// Why.
        reason: Option<String>,
    },
    /// The requester gave a sign of life.
    RequesterHeartbeat,
    /// The requester, or another one of the same agent, asks the very same.
    AskAgain {
        /// The evaluation that asks.
        evaluation: EvaluationId,
    },
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
    /// Tell the reviewers of the open stage that they are asked.
    Notify,
    /// Tell those whom it has escalated to, and those who were asked before.
    Escalate,
    /// Tell the reviewers once more that they are asked.
    Remind,
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
    /// All of the stages before are met.
    StageOpened {
        stage: u32,
    },
    /// More people may vote, because nobody did.
    Escalated {
        /// The place of the requirement in the request.
        requirement: usize,
    },
    /// Somebody approves alone.
    GlassBroken,
    /// Somebody else has looked at that.
    GlassReviewed,
    Approved,
    Denied,
    Expired,
    Cancelled,
    /// A reviewer changed its arguments, which ends it. The new ones are in
    /// [`Approval::edited`](crate::Approval::edited).
    Edited,
    /// Not started in time, or what was left of a grant of several uses was not.
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
    /// Whoever changed the arguments has written part of the operation (I3).
    #[error("you changed the arguments of this operation, so somebody else has to approve it")]
    Editor,
    /// Not a reviewer.
    #[error("you do not have the reviewer role; ask an administrator for it")]
    NotReviewer,
    /// Not one of those whom the requirements name.
    #[error("you are not among the people who can decide about this: {reviewers}")]
    NotEligible {
        /// Who could, as policy names them.
        reviewers: String,
    },
    /// They could, but not from where they are. Denying is possible from anywhere.
    #[error("{}", more_surely(*.0))]
    AssuranceTooLow(Assurance),
    /// Others come first.
    #[error("it is not your turn yet: you are asked in stage {stage}, and stage {open} is not met")]
    NotYetAsked {
        /// The stage that is theirs.
        stage: u32,
        /// The stage that is open.
        open: u32,
    },
    /// A vote on this has to say why.
    #[error("a vote on this request needs a reason; say why, for the others and for the record")]
    ReasonMissing,
    /// Not one of those who may approve alone, or it cannot be approved alone at all.
    #[error("requirement {0} does not let you break the glass")]
    NoGlass(RequirementName),
    /// Nobody approved it alone.
    #[error("nobody broke the glass for this request, so there is nothing to review")]
    NothingToReview,
    /// They would review themselves.
    #[error("you broke the glass for this request, so somebody else has to review it")]
    OwnGlass,
    /// Somebody has done that.
    #[error("{0} has reviewed this already")]
    AlreadyReviewed(PersonId),
    /// They said something else before.
    #[error(
        "you have already voted on this request; an approval can still be turned into a denial, but not otherwise changed"
    )]
    AlreadyVoted,
    /// The vote's reason is too long, or another text is.
    #[error("the reason is longer than {} characters", MAX_REASON)]
    ReasonTooLong,
    /// The arguments are changed by whoever may approve them.
    #[error("arguments can be changed by those who could approve this request, and by nobody else")]
    EditsNotYours,
    /// What forwards the operation cannot put others in their place.
    #[error(
        "the arguments of this operation cannot be changed: what carries it out takes them only as they are"
    )]
    NotEditable,
    /// The changes themselves.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// Only an approval can be taken back.
    #[error("this request is not approved yet; deny or cancel it instead")]
    NotYetApproved,
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

fn more_surely(needed: Assurance) -> &'static str {
    match needed {
        Assurance::Any | Assurance::Console => {
            "this can be approved in the console only: sign in and decide there; a denial is taken here, too"
        }
        Assurance::Passkey => {
            "this can be approved with your passkey only: open it in the console and confirm with your passkey; \
             a denial is taken here, too"
        }
    }
}

fn explained(reason: &Option<String>) -> String {
    reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default()
}

impl Approval {
    /// Opens a request: people are to be asked.
    ///
    /// # Errors
    /// When the request cannot be put to people; see [`Request::check`].
    pub fn open(request: Request) -> Result<(Self, Vec<Effect>), RequestError> {
        request.check()?;
        let submitted_at = request.submitted_at;
        let approval = Self {
            requester_until: submitted_at.plus(request.requester_lease),
            request,
            state: State::Pending,
            votes: Vec::new(),
            terms: None,
            uses: Vec::new(),
            version: 1,
            updated_at: submitted_at,
            asked_again: None,
            prompted: Vec::new(),
            edited: None,
            glass: None,
        };
        let mut effects = vec![Effect::Record(Occurrence::Requested), Effect::Notify];
        effects.extend(approval.wake_at().map(Effect::WakeAt));
        Ok((approval, effects))
    }

    /// The refusal of something that comes too late.
    pub(crate) fn too_late(&self) -> Refusal {
        Refusal::TooLate { phase: self.phase(), reason: self.reason() }
    }
}

/// What an input makes of an approval. A repeated input changes nothing and is no error.
///
/// # Errors
/// When the input is refused. The approval stays as it was, even if a clock has run out meanwhile: that
/// is for [`Input::Tick`] to say.
pub fn transition(
    approval: &Approval,
    input: &Input,
    now: Timestamp,
) -> Result<(Approval, Vec<Effect>), Refusal> {
    let mut next = approval.clone();
    // A claim says when it was made, and is judged by that: a report is not late because the news is.
    let mut effects = if matches!(input, Input::Claim { .. }) { Vec::new() } else { next.settle(now) };
    effects.extend(next.apply(input, now)?);
    if next != *approval || *input == Input::Tick {
        effects.extend(next.wake_at().map(Effect::WakeAt));
    }
    Ok((next, effects))
}

impl Approval {
    fn apply(&mut self, input: &Input, now: Timestamp) -> Result<Vec<Effect>, Refusal> {
        match input {
            Input::Vote { id, voter, decision, reason } => {
                self.vote(&Ballot { id: *id, voter, decision: *decision, reason }, now)
            }
            Input::BreakGlass { voter, reason } => self.break_glass(voter, reason, now),
            Input::ReviewGlass { voter, comment } => self.review_glass(voter, comment, now),
            Input::Cancel { why } => self.cancel(*why, now),
            Input::RequesterHeartbeat => {
                self.extend_lease(now);
                Ok(Vec::new())
            }
            Input::Edit { voter, changes, reason } => self.edit(&Proposal { voter, changes, reason }, now),
            Input::AskAgain { evaluation } => {
                self.ask_again(*evaluation, now);
                Ok(Vec::new())
            }
            Input::Tick => Ok(self.settle_lease(now)),
            Input::Revoke { by, reason } => self.revoke(by, reason.as_deref(), now),
            Input::Invalidate { why } => self.invalidate(why, now),
            Input::Claim { use_number, at } => self.claim(*use_number, *at, now),
            Input::Outcome { use_number, outcome, at } => self.finish(*use_number, *outcome, *at, now),
        }
    }

    /// One more attaches to what is pending. That somebody asks is a sign of life, too.
    fn ask_again(&mut self, evaluation: EvaluationId, now: Timestamp) {
        let is_new = evaluation != self.request.submission.evaluation
            && self.asked_again.is_none_or(|last| last.evaluation != evaluation);
        if self.state == State::Pending && is_new {
            let times = self.asked_again.map_or(0, |last| last.times).saturating_add(1);
            self.asked_again = Some(AskedAgain { times, evaluation, at: now });
        }
        self.extend_lease(now);
    }

    fn cancel(&mut self, why: CancelReason, now: Timestamp) -> Result<Vec<Effect>, Refusal> {
        match &self.state {
            State::Pending => {
                self.close(State::Cancelled { why }, now);
                Ok(over(Occurrence::Cancelled))
            }
            State::Cancelled { .. } => Ok(Vec::new()),
            State::Approved => self.revoke("requester", Some(why.as_str()), now),
            State::Revoked { by, .. } if by == "requester" => Ok(Vec::new()),
            _ => Err(self.too_late()),
        }
    }

    fn revoke(&mut self, by: &str, reason: Option<&str>, now: Timestamp) -> Result<Vec<Effect>, Refusal> {
        if reason.is_some_and(|reason| reason.chars().count() > MAX_REASON) {
            return Err(Refusal::ReasonTooLong);
        }
        match &self.state {
            State::Revoked { .. } => return Ok(Vec::new()),
            State::Pending => return Err(Refusal::NotYetApproved),
            State::Approved => {}
            State::Claimed if self.has_use_left() => {}
            _ => return Err(self.too_late()),
        }
        self.close(State::Revoked { by: by.to_owned(), reason: reason.map(ToOwned::to_owned) }, now);
        Ok(withdrawn(Occurrence::Revoked))
    }

    fn invalidate(&mut self, why: &str, now: Timestamp) -> Result<Vec<Effect>, Refusal> {
        let effects = match &self.state {
            State::Invalidated { .. } => return Ok(Vec::new()),
            State::Pending => over(Occurrence::Invalidated),
            State::Approved => withdrawn(Occurrence::Invalidated),
            State::Claimed if self.has_use_left() => withdrawn(Occurrence::Invalidated),
            _ => return Err(self.too_late()),
        };
        self.close(State::Invalidated { why: why.to_owned() }, now);
        Ok(effects)
    }
}

fn withdrawn(occurrence: Occurrence) -> Vec<Effect> {
    vec![Effect::Record(occurrence), Effect::WithdrawGrant, Effect::TellRequester]
}
