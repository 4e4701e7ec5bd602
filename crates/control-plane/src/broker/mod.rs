//! The broker: from a sidecar's question to people's answer.
//!
//! The state machine itself runs inside the store's writer, so that votes cannot race and no state is
//! without its event. The broker puts questions and answers to it, and tells whoever has to know: waiting
//! sidecars through the hub, sidecars whose grant is void and reviewers through the outbox.

mod crowd;
mod freeze;
mod spans;
mod submit;
mod timers;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use countersign_approval::{Approval, Effect, GrantClaims, Input, Phase, Status, VoteDecision, Voter};
use countersign_model::{AgentId, ApprovalId, Seconds, SpiffeId, VoteId};
use countersign_store::{
    Applied, ApplyRefusal, ApprovalFilter, Author, By, Change, CommandError, PageError, PageRequest, Store,
    StoreError, SubmitRefusal,
};
use countersign_telemetry::Metrics;
use tokio::sync::Notify;
use tracing::Instrument;

pub(crate) use self::{
    crowd::{Crowd, TooMany},
    freeze::{Circumstances, FreezeError, Requester},
    spans::{deliver as deliver_span, notify as notify_span},
};
use crate::{
    clock::{Clock, NoEntropy, entropy},
    distribution::{Catalogue, Edition, EditionError},
    hub::Hub,
    keys::Keys,
    link::Registry,
    trace::trace_id,
};

/// How many approvals are looked at a time when all of a kind are.
const BATCH: usize = 200;

/// What the broker works with.
pub(crate) struct Broker {
    /// The store.
    pub(crate) store: Arc<dyn Store>,
    /// The time.
    pub(crate) clock: Clock,
    /// Who waits.
    pub(crate) hub: Arc<Hub>,
    /// Who is connected.
    pub(crate) registry: Arc<Registry>,
    /// What policy asks for.
    pub(crate) catalogue: Arc<Catalogue>,
    /// What grants are signed with.
    pub(crate) keys: Arc<Keys>,
    /// The control plane's own id, which issues grants.
    pub(crate) own_id: SpiffeId,
    /// How long a request outlives its requester.
    pub(crate) requester_lease: Seconds,
    /// What is measured.
    pub(crate) metrics: Metrics,
    /// How many requests of each agent wait.
    pub(crate) crowd: Crowd,
    /// Notified when the outbox has something for reviewers.
    pub(crate) outbox: Arc<Notify>,
    /// Notified when an approval's clocks may have changed.
    pub(crate) clocks: Notify,
}

/// Why a submission was not put to people.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SubmitError {
    /// It names a policy revision that there is not.
    #[error(transparent)]
    Edition(#[from] EditionError),
    /// It does not fit policy.
    #[error(transparent)]
    Freeze(#[from] FreezeError),
    /// The store refuses.
    #[error(transparent)]
    Refused(#[from] SubmitRefusal),
    /// The store does not work.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No randomness for its id.
    #[error(transparent)]
    Entropy(#[from] NoEntropy),
    /// The agent asks too much of people.
    #[error("{0}")]
    TooMany(TooMany),
    /// No policy is in force, so none can hold anything.
    #[error("no policy was pushed yet")]
    NoPolicy,
}

impl From<CommandError<SubmitRefusal>> for SubmitError {
    fn from(error: CommandError<SubmitRefusal>) -> Self {
        match error {
            CommandError::Refused(refusal) => Self::Refused(refusal),
            CommandError::Store(error) => Self::Store(error),
        }
    }
}

/// A vote, as it comes to the broker.
#[derive(Debug, Clone)]
pub(crate) struct Ballot {
    /// Who votes.
    pub(crate) voter: Voter,
    /// What they say.
    pub(crate) decision: VoteDecision,
    /// Why.
    pub(crate) reason: Option<String>,
    /// The version that they saw.
    pub(crate) expected_version: Option<u64>,
}

impl Broker {
    /// Casts a vote. Whether it counts is for the approval to say (I3, I4).
    pub(crate) async fn vote(
        &self,
        id: ApprovalId,
        ballot: Ballot,
        author: Author,
    ) -> Result<Approval, CommandError<ApplyRefusal>> {
        let Ballot { voter, decision, reason, expected_version } = ballot;
        let before = self.approval(id).await?;
        let word = match decision {
            VoteDecision::Approve => "approve",
            VoteDecision::Deny => "deny",
        };
        let span = spans::vote(&before, voter.person.as_str(), word);
        let vote_id = entropy().map_err(|error| StoreError::Storage(error.to_string()))?;
        let vote_id = VoteId::new(self.clock.now(), vote_id);
        let input = Input::Vote { id: vote_id, voter, decision, reason };
        let change = Change { id, input, agent: None, expected_version };
        let applied = self.apply(change, author).instrument(span.clone()).await?;
        spans::state(&span, &applied.approval);
        Ok(applied.approval)
    }

    /// Runs the state machine on an approval, and tells whoever has to know.
    pub(crate) async fn apply(
        &self,
        change: Change,
        author: Author,
    ) -> Result<Applied, CommandError<ApplyRefusal>> {
        let mut by = By::new(author, self.clock.now());
        by.trace_id = countersign_telemetry::current_traceparent().as_deref().and_then(trace_id);
        let applied = self.store.apply(change, by).await?;
        self.tell(&applied.approval, &applied.effects);
        Ok(applied)
    }

    /// What the requester is told. The grant is signed from the approval's terms each time: the same
    /// terms always give the same grant, so it need not be stored.
    pub(crate) fn status(&self, approval: &Approval) -> Status {
        let usable = matches!(approval.phase(), Phase::Approved | Phase::Claimed);
        let grant = if usable { self.sign(approval) } else { None };
        approval.status(grant)
    }

    fn sign(&self, approval: &Approval) -> Option<String> {
        let claims = GrantClaims::of(approval, self.own_id.clone())?;
        match claims.sign(&self.keys.grants) {
            Ok(grant) => Some(grant),
            Err(error) => {
                // Without its grant nothing runs: the sidecar goes on waiting until the approval lapses.
                tracing::error!(approval = %approval.request.id, %error, "a grant could not be signed");
                None
            }
        }
    }

    /// Waits until an agent's approval has a version above `known`, or the time is over.
    pub(crate) async fn wait(
        &self,
        agent: AgentId,
        id: ApprovalId,
        known: u64,
        timeout: Duration,
    ) -> Result<Status, CommandError<ApplyRefusal>> {
        let approval = self.wait_for(id, Some(agent), known, timeout).await?;
        Ok(self.status(&approval))
    }

    /// As [`Self::wait`], of any agent when `agent` is `None`.
    pub(crate) async fn wait_for(
        &self,
        id: ApprovalId,
        agent: Option<AgentId>,
        known: u64,
        timeout: Duration,
    ) -> Result<Approval, CommandError<ApplyRefusal>> {
        let deadline = Instant::now() + timeout;
        let mut watch = self.hub.watch(id);
        let mut approval = self.approval(id).await?;
        loop {
            if agent.is_some_and(|agent| approval.request.agent != agent) {
                return Err(CommandError::Refused(ApplyRefusal::Unknown(id)));
            }
            if approval.version > known || approval.phase().is_terminal() {
                return Ok(approval);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match tokio::time::timeout(left, watch.changed()).await {
                Ok(Some(latest)) if latest.version > approval.version => approval = latest,
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return Ok(approval),
            }
        }
    }

    /// An approval that there is.
    pub(crate) async fn approval(&self, id: ApprovalId) -> Result<Approval, CommandError<ApplyRefusal>> {
        let found = self.store.approval(id).await?;
        found.ok_or(CommandError::Refused(ApplyRefusal::Unknown(id)))
    }

    /// Ends every approval that people were asked about under a rule that is no longer in force (I7):
    /// one whose requirement is gone or was redefined. The others stay: their sidecars evaluate the
    /// operation again under the new policy before they run it.
    pub(crate) async fn invalidate_outdated(&self, edition: &Edition) -> Result<(), PageError> {
        for phase in [Phase::Pending, Phase::Approved, Phase::Claimed] {
            let outdated =
                |approval: &Approval| freeze::outdated(approval, |name| edition.bundle.requirement(name));
            let input = |approval: &Approval| {
                let name = outdated(approval)?;
                let why = format!(
                    "policy revision {} no longer has requirement {name} as it was",
                    edition.revision
                );
                Some(Input::Invalidate { why })
            };
            let filter = ApprovalFilter { phase: Some(phase), ..ApprovalFilter::default() };
            self.apply_to_all(filter, self.own_id.to_string().into(), input).await?;
        }
        Ok(())
    }

    /// Ends everything that a revoked agent was waiting for or allowed to do.
    pub(crate) async fn end_all_of(&self, agent: AgentId, author: Author) -> Result<(), PageError> {
        for phase in [Phase::Pending, Phase::Approved, Phase::Claimed] {
            let input = |_: &Approval| {
                Some(match phase {
                    Phase::Pending => {
                        Input::Cancel { why: countersign_approval::CancelReason::RequesterGone }
                    }
                    _ => Input::Revoke {
                        by: author.name.clone(),
                        reason: Some("the agent was revoked".to_owned()),
                    },
                })
            };
            let filter =
                ApprovalFilter { phase: Some(phase), agent: Some(agent), ..ApprovalFilter::default() };
            self.apply_to_all(filter, author.clone(), input).await?;
        }
        Ok(())
    }

    /// Applies an input to every approval that matches and has one.
    async fn apply_to_all(
        &self,
        filter: ApprovalFilter,
        author: Author,
        input: impl Fn(&Approval) -> Option<Input>,
    ) -> Result<(), PageError> {
        let mut page = PageRequest::first(BATCH);
        loop {
            let found = self.store.approvals(filter.clone(), page).await?;
            for approval in &found.items {
                let Some(input) = input(approval) else { continue };
                let id = approval.request.id;
                let change = Change { id, input, agent: None, expected_version: None };
                match self.apply(change, author.clone()).await {
                    Ok(_) => {}
                    // It ended by itself in the meantime, which is as good.
                    Err(CommandError::Refused(refusal)) => {
                        tracing::debug!(approval = %id, %refusal, "already over");
                    }
                    Err(CommandError::Store(error)) => return Err(error.into()),
                }
            }
            match found.next {
                Some(next) => page = PageRequest { limit: BATCH, after: Some(next) },
                None => return Ok(()),
            }
        }
    }

    /// Tells whoever has to know, after the change is durable.
    fn tell(&self, approval: &Approval, effects: &[Effect]) {
        // First whoever waits. A lease that was extended moves a clock, and nothing that anybody could see.
        if effects.iter().any(|effect| !matches!(effect, Effect::WakeAt(_))) {
            self.hub.approval_changed(approval);
        }
        self.crowd.note(approval, effects);
        for effect in effects {
            match effect {
                Effect::IssueGrant => {
                    // Signing once here puts it into the trace, and finds out early if it does not work.
                    let _signed = spans::grant(approval).in_scope(|| self.sign(approval));
                }
                Effect::Notify
                | Effect::Escalate
                | Effect::Remind
                | Effect::UpdateCards
                | Effect::RetireCards
                | Effect::TellRequester => self.outbox.notify_one(),
                Effect::WithdrawGrant => self.registry.withdraw(approval.request.agent),
                Effect::WakeAt(_) => self.clocks.notify_one(),
                Effect::Record(occurrence) => self.measure(approval, *occurrence),
            }
        }
    }

    fn measure(&self, approval: &Approval, occurrence: countersign_approval::Occurrence) {
        use countersign_approval::Occurrence;
        let decided = matches!(
            occurrence,
            Occurrence::Approved | Occurrence::Denied | Occurrence::Expired | Occurrence::Cancelled
        );
        if decided {
            let millis = approval.updated_at.millis_since(approval.request.submitted_at);
            #[expect(clippy::cast_precision_loss, reason = "a span of time in seconds, for a histogram")]
            let seconds = millis as f64 / 1000.0;
            self.metrics.time_to_decide(approval.phase().as_str(), seconds);
        }
    }
}
