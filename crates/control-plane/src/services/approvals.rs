//! Approvals: list, show, vote, cancel, revoke, follow.

use std::{sync::Arc, time::Duration};

use countersign_approval::{Approval, CancelReason, Input, Phase, Voter};
use countersign_model::{
    AgentName, ApprovalId, Assurance, DecidingPolicy, Digest, PersonId, Provenance, Timestamp,
};
use countersign_store::{ApplyRefusal, CommandError, CursorError, PageError, StoreError};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;
use utoipa::ToSchema;

use super::{
    EditView, MissingRight, Page, PageRequest, Parts,
    approval_view::{has_a_say, refusal_code, voter},
    passkeys::Confirmed,
    require,
};
use crate::{
    broker,
    identity::{Actor, Right},
};

/// Which approvals are wanted; everything that is set must match.
#[derive(Debug, Clone, Default)]
pub struct ApprovalFilter {
    /// In this state: `pending`, `approved`, `denied`, ….
    pub state: Option<String>,
    /// Of this agent.
    pub agent: Option<AgentName>,
    /// Decided, or over: whatever but pending.
    pub is_decided: bool,
    /// With a vote of this person.
    pub reviewer: Option<PersonId>,
    /// With this text in what is asked, what the agent says or what people said, regardless of case.
    pub text: Option<String>,
    /// Submitted then or later.
    pub from: Option<Timestamp>,
    /// Submitted before.
    pub until: Option<Timestamp>,
    /// Only those that somebody approved alone, and nobody else has reviewed.
    pub needs_review: bool,
}

/// One requirement of an approval, as frozen into it, and how far it is met.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct RequirementView {
    /// Its name.
    pub name: String,
    /// `approval` or `confirmation`.
    pub kind: String,
    /// Who may vote: `group:…`, `user:…` or `*`.
    pub reviewers: Vec<String>,
    /// How many distinct people must approve.
    pub quorum: u32,
    /// How many did.
    pub approved: u32,
    /// How surely an approval has to be the person's own: `any`, `console` (not in a chat, not with a
    /// token) or `passkey` (in the console, with a passkey).
    pub assurance: String,
    /// How often, and for how long, what is approved may run, in words.
    pub grant: String,
    /// When it is asked for: those of a lower stage must be met before.
    pub stage: u32,
    /// Whether its stage is open, so that its reviewers may vote.
    pub is_open: bool,
    /// How many distinct people must deny to end the request.
    pub deny_threshold: u32,
    /// How many did.
    pub denied: u32,
    /// Whether a vote on it must say why.
    pub needs_reason: bool,
    /// Who else may vote when it is not met for some time.
    pub escalation: Option<EscalationView>,
    /// Who may approve alone in an emergency: `group:…`, `user:…` or `*`.
    pub break_glass: Vec<String>,
}

/// Who else may vote on a requirement when it is not met for some time.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct EscalationView {
    /// Who: `group:…`, `user:…` or `*`.
    pub to: Vec<String>,
    /// When they may, if it is not met by then and its stage is open.
    #[schema(value_type = Option<String>)]
    pub at: Option<Timestamp>,
    /// Since when they may.
    #[schema(value_type = Option<String>)]
    pub escalated_at: Option<Timestamp>,
}

/// What an approval lets run, and how much of that is used up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct GrantView {
    /// How many uses it has at most.
    pub uses: u32,
    /// How many its sidecar has reported.
    pub used: u32,
    /// Until when any use must have started.
    #[schema(value_type = String)]
    pub not_after: Timestamp,
}

/// One person's vote.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct VoteView {
    /// Who.
    #[schema(value_type = String)]
    pub person: PersonId,
    /// `approve` or `deny`.
    pub decision: VoteDecision,
    /// Why.
    pub reason: Option<String>,
    /// Through which channel.
    pub channel: String,
    /// How surely it was theirs: `any`, `console` or `passkey`.
    pub assurance: String,
    /// When.
    #[schema(value_type = String)]
    pub at: Timestamp,
    /// What they voted on as somebody's stand-in.
    pub delegated: Vec<DelegatedView>,
}

/// An approval as people see it. What it shows is what the digest binds (I12).
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ApprovalView {
    /// Its id.
    #[schema(value_type = String)]
    pub id: ApprovalId,
    /// Grows with every change; the ETag.
    pub version: u64,
    /// `pending`, `approved`, `denied`, `expired`, `cancelled`, `lapsed`, `revoked`, `invalidated`,
    /// `claimed`, `executed`, `failed` or `outcome_unknown`.
    pub state: String,
    /// Why it ended as it did, when there is more to say than the state does.
    pub reason: Option<String>,
    /// The agent.
    #[schema(value_type = String)]
    pub agent: AgentName,
    /// Who answers for the agent, and so never votes here (I3).
    #[schema(value_type = String)]
    pub owner: PersonId,
    /// The interceptor that saw the operation.
    pub interceptor: String,
    /// The operation's canonical form, with its secrets redacted (I10).
    #[schema(value_type = Object)]
    pub operation: serde_json::Value,
    /// The same as the exact text.
    pub operation_text: String,
    /// JSON Pointers of what was redacted.
    pub redacted: Vec<String>,
    /// SHA-256 over the unredacted canonical form.
    #[schema(value_type = String)]
    pub digest: Digest,
    /// Why and where it comes from: the agent's own word, but for a verified initiator.
    #[schema(value_type = Object)]
    pub provenance: Provenance,
    /// The policies that hold it, with their reasons.
    #[schema(value_type = Vec<Object>)]
    pub policies: Vec<DecidingPolicy>,
    /// The policy revision that held it.
    pub revision: u64,
    /// What must be met.
    pub requirements: Vec<RequirementView>,
    /// The votes so far.
    pub votes: Vec<VoteView>,
    /// When it was submitted.
    #[schema(value_type = String)]
    pub submitted_at: Timestamp,
    /// Whether its arguments can be changed, by those who could approve it.
    pub editable: bool,
    /// What a reviewer made of the arguments, which ended it.
    pub edited: Option<EditView>,
    /// The approval whose arguments were changed into these.
    #[schema(value_type = Option<String>)]
    pub follows: Option<ApprovalId>,
    /// How often it was asked: the same again, while it is pending, is no other request.
    pub asked: u32,
    /// Until when it can be decided.
    #[schema(value_type = String)]
    pub decide_by: Timestamp,
    /// What was granted, once it is approved.
    pub grant: Option<GrantView>,
    /// Until when execution may start, once approved.
    #[schema(value_type = Option<String>)]
    pub execute_by: Option<Timestamp>,
    /// When it last changed.
    #[schema(value_type = String)]
    pub updated_at: Timestamp,
    /// The trace that tells its story.
    pub trace_id: Option<String>,
    /// Who approved it alone in an emergency, and who reviewed that.
    pub glass: Option<GlassView>,
    /// Whether nobody has reviewed yet what was approved alone.
    pub needs_review: bool,
    /// Whether the person who asks could vote now, and if not, why not.
    pub may_vote: MayVote,
}

/// What somebody approved alone, by breaking the glass.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct GlassView {
    /// Who.
    #[schema(value_type = String)]
    pub by: PersonId,
    /// Why.
    pub reason: String,
    /// When.
    #[schema(value_type = String)]
    pub at: Timestamp,
    /// What somebody else found, once they have looked.
    pub review: Option<GlassReviewView>,
}

/// What somebody found about what another approved alone.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct GlassReviewView {
    /// Who.
    #[schema(value_type = String)]
    pub by: PersonId,
    /// What.
    pub comment: String,
    /// When.
    #[schema(value_type = String)]
    pub at: Timestamp,
}

/// A requirement that somebody voted on as a stand-in.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct DelegatedView {
    /// The requirement.
    pub requirement: String,
    /// By whose right.
    #[schema(value_type = String)]
    pub from: PersonId,
}

/// Whether somebody's vote would count.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct MayVote {
    /// Whether their approval would, from where they are.
    pub allowed: bool,
    /// Why it would not.
    pub reason: Option<String>,
    /// Whether their denial would. It may where an approval does not: refusing is safe.
    pub may_deny: bool,
    /// Whether their vote has to say why.
    pub needs_reason: bool,
    /// Whether they could approve it alone, with a reason, by breaking the glass.
    pub may_break_glass: bool,
    /// Whether they could review what somebody else approved alone.
    pub may_review: bool,
    /// Whether they could change its arguments, instead of voting on them.
    pub may_edit: bool,
    /// Whether they could take back what was approved, as far as it is not used.
    pub may_revoke: bool,
    /// What their approval would count with for all that is asked of them, where it does not from where they
    /// are: `console` or `passkey`.
    pub assurance_needed: Option<String>,
}

/// A person's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum VoteDecision {
    /// It may run.
    Approve,
    /// It may not.
    Deny,
}

impl From<VoteDecision> for countersign_approval::VoteDecision {
    fn from(decision: VoteDecision) -> Self {
        match decision {
            VoteDecision::Approve => Self::Approve,
            VoteDecision::Deny => Self::Deny,
        }
    }
}

/// A vote as it comes in.
#[derive(Debug, Clone)]
pub struct Ballot {
    /// The answer.
    pub decision: VoteDecision,
    /// Why.
    pub reason: Option<String>,
    /// Through which channel it came: `api`, `console`.
    pub channel: String,
    /// The version that the voter saw (`If-Match`); any when `None`.
    pub expected_version: Option<u64>,
}

/// Something that the console and event streams want to know of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum Change {
    /// An approval is new or has changed.
    Approval {
        /// Which.
        id: ApprovalId,
        /// Its version now.
        version: u64,
        /// Its state now.
        state: String,
    },
    /// An agent is new, has connected, has gone, was revoked or has taken up a revision.
    Agent {
        /// Which.
        name: AgentName,
    },
    /// A channel began or ceased to work.
    Channel {
        /// Which.
        name: String,
    },
}

/// Why something about an approval was not done.
#[derive(Debug, thiserror::Error)]
pub enum ApprovalError {
    /// The actor may not.
    #[error(transparent)]
    Right(#[from] MissingRight),
    /// There is no such approval.
    #[error("there is no approval {0}")]
    NotFound(ApprovalId),
    /// It changed since the caller looked.
    #[error("the approval is at version {current} by now")]
    Stale {
        /// Its version now.
        current: u64,
    },
    /// The rules of the approval refuse it: not eligible, self-approval, decided already, too late.
    #[error("{reason}")]
    Refused {
        /// A stable word for the kind of refusal: `not_eligible`, `self_approval`, `not_pending`, ….
        code: String,
        /// What to tell the person.
        reason: String,
    },
    /// The filter or cursor is not one of ours.
    #[error("{0}")]
    Query(String),
    /// The store cannot answer. The text is for the log, not for the caller.
    #[error("the store cannot answer: {0}")]
    Store(String),
}

impl From<StoreError> for ApprovalError {
    fn from(error: StoreError) -> Self {
        Self::Store(error.to_string())
    }
}

impl From<CursorError> for ApprovalError {
    fn from(error: CursorError) -> Self {
        Self::Query(error.to_string())
    }
}

impl From<PageError> for ApprovalError {
    fn from(error: PageError) -> Self {
        match error {
            PageError::Cursor(error) => error.into(),
            PageError::Store(error) => error.into(),
        }
    }
}

impl From<CommandError<ApplyRefusal>> for ApprovalError {
    fn from(error: CommandError<ApplyRefusal>) -> Self {
        match error {
            CommandError::Refused(ApplyRefusal::Unknown(id)) => Self::NotFound(id),
            CommandError::Refused(ApplyRefusal::Changed { current }) => Self::Stale { current },
            CommandError::Refused(ApplyRefusal::Refused(refusal)) => {
                Self::Refused { code: refusal_code(&refusal).to_owned(), reason: refusal.to_string() }
            }
            CommandError::Store(error) => error.into(),
        }
    }
}

/// Manages approvals.
#[derive(Debug, Clone)]
pub struct Approvals {
    pub(super) parts: Arc<Parts>,
}

impl Approvals {
    pub(super) fn new(parts: Arc<Parts>) -> Self {
        Self { parts }
    }

    /// Approvals that match, newest first.
    ///
    /// # Errors
    /// When the filter or cursor is not one of ours.
    pub async fn list(
        &self,
        actor: &Actor,
        filter: &ApprovalFilter,
        page: &PageRequest,
    ) -> Result<Page<ApprovalView>, ApprovalError> {
        let found = self.find(actor, filter, page).await?;
        Ok(Page::of(found, |approval| self.view(approval, actor)))
    }

    /// Approvals that match, newest first, as they are stored.
    pub(super) async fn find(
        &self,
        actor: &Actor,
        filter: &ApprovalFilter,
        page: &PageRequest,
    ) -> Result<countersign_store::Page<Approval>, ApprovalError> {
        require(actor, Right::Read)?;
        let phase = filter.state.as_deref().map(phase).transpose()?;
        let agent = match &filter.agent {
            None => None,
            Some(name) => match self.parts.store.agent_by_name(name).await? {
                Some(agent) => Some(agent.id),
                None => return Ok(countersign_store::Page { items: Vec::new(), next: None }),
            },
        };
        let filter = countersign_store::ApprovalFilter {
            phase,
            agent,
            is_decided: filter.is_decided,
            voter: filter.reviewer.clone(),
            text: filter.text.clone(),
            from: filter.from,
            until: filter.until,
            needs_review: filter.needs_review,
        };
        Ok(self.parts.store.approvals(filter, page.to_store()?).await?)
    }

    /// One approval.
    ///
    /// # Errors
    /// When there is none of that id.
    pub async fn get(&self, actor: &Actor, id: ApprovalId) -> Result<ApprovalView, ApprovalError> {
        require(actor, Right::Read)?;
        Ok(self.view(&self.parts.broker.approval(id).await?, actor))
    }

    /// Casts the actor's vote. Whether it counts is for the approval's own rules to say (I3, I4).
    ///
    /// # Errors
    /// When the actor may not vote here, or the approval is decided or has changed.
    pub async fn vote(
        &self,
        actor: &Actor,
        id: ApprovalId,
        ballot: Ballot,
    ) -> Result<ApprovalView, ApprovalError> {
        let voter = voter(actor, &ballot.channel);
        self.cast(actor, id, voter, ballot).await
    }

    /// Casts a vote that the actor has confirmed with their passkey.
    pub(super) async fn vote_confirmed(
        &self,
        actor: &Actor,
        id: ApprovalId,
        ballot: Ballot,
        _confirmed: Confirmed,
    ) -> Result<ApprovalView, ApprovalError> {
        let mut voter = voter(actor, &ballot.channel);
        voter.assurance = Assurance::Passkey;
        voter.method.push_str("+passkey");
        self.cast(actor, id, voter, ballot).await
    }

    async fn cast(
        &self,
        actor: &Actor,
        id: ApprovalId,
        voter: Voter,
        ballot: Ballot,
    ) -> Result<ApprovalView, ApprovalError> {
        require(actor, Right::Vote)?;
        let ballot = broker::Ballot {
            voter,
            decision: ballot.decision.into(),
            reason: ballot.reason,
            expected_version: ballot.expected_version,
        };
        let approval = self.parts.broker.vote(id, ballot, actor.into()).await?;
        Ok(self.view(&approval, actor))
    }

    /// Cancels a pending approval: its agent's owner, or an admin.
    ///
    /// # Errors
    /// When the actor may not, or it is no longer pending.
    pub async fn cancel(&self, actor: &Actor, id: ApprovalId) -> Result<ApprovalView, ApprovalError> {
        require(actor, Right::Read)?;
        let approval = self.parts.broker.approval(id).await?;
        if approval.request.owner != actor.person {
            require(actor, Right::Admin)?;
        }
        self.apply(actor, id, Input::Cancel { why: CancelReason::Requester }).await
    }

    /// Takes an approval back before it is executed: its agent's owner, one who approved it, or an admin.
    ///
    /// # Errors
    /// When the actor may not, or it is not approved.
    pub async fn revoke(
        &self,
        actor: &Actor,
        id: ApprovalId,
        reason: Option<String>,
    ) -> Result<ApprovalView, ApprovalError> {
        require(actor, Right::Read)?;
        if !has_a_say(&self.parts.broker.approval(id).await?, actor) {
            require(actor, Right::Admin)?;
        }
        self.apply(actor, id, Input::Revoke { by: actor.audit_name(), reason }).await
    }

    async fn apply(
        &self,
        actor: &Actor,
        id: ApprovalId,
        input: Input,
    ) -> Result<ApprovalView, ApprovalError> {
        let change = countersign_store::Change { id, input, agent: None, expected_version: None };
        let applied = self.parts.broker.apply(change, actor.into()).await?;
        Ok(self.view(&applied.approval, actor))
    }

    /// Waits until the approval's version is greater than `known`, or the time is over; then as [`Self::get`].
    ///
    /// # Errors
    /// When there is none of that id.
    pub async fn wait(
        &self,
        actor: &Actor,
        id: ApprovalId,
        known: u64,
        timeout: Duration,
    ) -> Result<ApprovalView, ApprovalError> {
        require(actor, Right::Read)?;
        let approval = self.parts.broker.wait_for(id, None, known, timeout).await?;
        Ok(self.view(&approval, actor))
    }

    /// Everything that changes from now on. A receiver that falls behind is told how much it missed
    /// and should read anew.
    ///
    /// # Errors
    /// When the actor may not read.
    pub fn subscribe(&self, actor: &Actor) -> Result<broadcast::Receiver<Change>, ApprovalError> {
        require(actor, Right::Read)?;
        Ok(self.parts.hub.subscribe())
    }

    pub(super) fn view(&self, approval: &Approval, actor: &Actor) -> ApprovalView {
        ApprovalView::of(approval, actor, self.parts.clock.now())
    }
}

fn phase(text: &str) -> Result<Phase, ApprovalError> {
    let known = Phase::ALL.into_iter().find(|phase| phase.as_str() == text);
    known.ok_or_else(|| {
        let names: Vec<_> = Phase::ALL.iter().map(|phase| phase.as_str()).collect();
        ApprovalError::Query(format!("{text:?} is not a state; there are {}", names.join(", ")))
    })
}
