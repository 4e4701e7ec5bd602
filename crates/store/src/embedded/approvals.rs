//! Approvals: load, transition, save, effects and events, in one transaction.

use async_trait::async_trait;
use countersign_approval::{Approval, Effect, Occurrence, Request, RequestError, transition::transition};
use countersign_model::{AgentId, ApprovalId, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    EmbeddedStore, approval_events,
    codec::Record,
    layout::{self, APPROVALS, Bytes, SUBMISSIONS, TIMERS, submission_key, timer_key},
    lookup::Lookup,
    outbox::OutboxRow,
    work::Work,
};
use crate::{
    Agent, AgentState, Applied, ApplyRefusal, ApprovalFilter, ApprovalStore, By, Change, CommandError, Lane,
    Page, PageError, PageRequest, StoreError, SubmitRefusal, Submitted, Telling,
};

/// An approval as it is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ApprovalRow {
    pub(super) approval: Approval,
    /// When it is to be woken: its row in the timers.
    pub(super) wake: Option<Timestamp>,
}

impl Record for ApprovalRow {
    const TABLE: Bytes = APPROVALS;
}

fn approval_for_key(lookup: &impl Lookup, agent: AgentId, key: &str) -> Result<Option<Approval>, StoreError> {
    let Some(id) = lookup.bytes(SUBMISSIONS, &submission_key(agent, key))? else { return Ok(None) };
    Ok(lookup.get::<ApprovalRow>(&id)?.map(|row| row.approval))
}

fn submit(work: &mut Work<'_>, request: Request, by: &By) -> Result<Submitted, CommandError<SubmitRefusal>> {
    let refused = CommandError::Refused;
    if let Some(approval) = approval_for_key(work, request.agent, &request.submission.key)? {
        if approval.request.submission.digest != request.submission.digest {
            return Err(refused(SubmitRefusal::KeyTaken(approval.request.id)));
        }
        return Ok(Submitted { approval, is_new: false, effects: Vec::new() });
    }
    let agent: Option<Agent> = work.get(&request.agent.to_bytes())?;
    let agent = agent.filter(|agent| agent.state == AgentState::Enrolled && agent.name == request.agent_name);
    let agent = agent.ok_or(refused(SubmitRefusal::NotEnrolled))?;
    if agent.owner != request.owner {
        // Whoever is frozen into the request as its owner cannot vote on it (I3).
        return Err(refused(SubmitRefusal::Request(RequestError::Bounds("owner"))));
    }
    let key = submission_key(request.agent, &request.submission.key);
    let (approval, effects) = Approval::open(request).map_err(|error| refused(error.into()))?;
    work.insert(SUBMISSIONS, &key, &approval.request.id.to_bytes())?;
    save(work, &approval, None)?;
    carry_out(work, &approval, &effects, by)?;
    Ok(Submitted { approval, is_new: true, effects })
}

fn apply(work: &mut Work<'_>, change: &Change, by: &By) -> Result<Applied, CommandError<ApplyRefusal>> {
    let refused = CommandError::Refused;
    let row: Option<ApprovalRow> = work.get(&change.id.to_bytes())?;
    let row = row.filter(|row| change.agent.is_none_or(|agent| agent == row.approval.request.agent));
    let row = row.ok_or(refused(ApplyRefusal::Unknown(change.id)))?;
    let current = row.approval.version;
    if change.expected_version.is_some_and(|expected| expected != current) {
        return Err(refused(ApplyRefusal::Changed { current }));
    }
    let (approval, effects) =
        transition(&row.approval, &change.input, by.at).map_err(|refusal| refused(refusal.into()))?;
    if approval != row.approval {
        save(work, &approval, row.wake)?;
    }
    carry_out(work, &approval, &effects, by)?;
    Ok(Applied { approval, effects })
}

/// Saves an approval and moves its timer.
fn save(work: &mut Work<'_>, approval: &Approval, old_wake: Option<Timestamp>) -> Result<(), StoreError> {
    let id = approval.request.id;
    let wake = approval.wake_at();
    if wake != old_wake {
        if let Some(old) = old_wake {
            work.remove(TIMERS, &timer_key(old, id))?;
        }
        if let Some(new) = wake {
            work.insert(TIMERS, &timer_key(new, id), &[])?;
        }
    }
    work.put(&id.to_bytes(), &ApprovalRow { approval: approval.clone(), wake })
}

/// Puts what is to be recorded into the ledger, and what is to be told into the outbox.
fn carry_out(
    work: &mut Work<'_>,
    approval: &Approval,
    effects: &[Effect],
    by: &By,
) -> Result<(), StoreError> {
    let is_card = |effect: &Effect| {
        matches!(effect, Effect::Notify | Effect::Escalate | Effect::UpdateCards | Effect::RetireCards)
    };
    if effects.contains(&Effect::TellRequester) && !effects.iter().any(is_card) {
        // Whatever the requester is told, those who were asked can see: that it ran, that it was revoked.
        post(work, approval, Lane::Channels, Telling::UpdateCards, by)?;
    }
    for effect in effects {
        match effect {
            Effect::Record(occurrence) => record(work, approval, *occurrence, by)?,
            Effect::IssueGrant => work.record(approval_events::grant_issued(approval, by))?,
            Effect::Notify => post(work, approval, Lane::Channels, Telling::Notify, by)?,
            Effect::Escalate => post(work, approval, Lane::Channels, Telling::Escalate, by)?,
            Effect::Remind => post(work, approval, Lane::Channels, Telling::Remind, by)?,
            Effect::UpdateCards => post(work, approval, Lane::Channels, Telling::UpdateCards, by)?,
            Effect::RetireCards => post(work, approval, Lane::Channels, Telling::RetireCards, by)?,
            Effect::WithdrawGrant => {
                let lane = Lane::Sidecar(approval.request.agent);
                post(work, approval, lane, Telling::WithdrawGrant, by)?;
            }
            // The requester asks for itself, and the timer was saved with the approval.
            Effect::TellRequester | Effect::WakeAt(_) => {}
        }
    }
    Ok(())
}

fn record(
    work: &mut Work<'_>,
    approval: &Approval,
    occurrence: Occurrence,
    by: &By,
) -> Result<(), StoreError> {
    work.record(approval_events::occurred(approval, occurrence, by))
}

fn post(
    work: &mut Work<'_>,
    approval: &Approval,
    lane: Lane,
    telling: Telling,
    by: &By,
) -> Result<(), StoreError> {
    work.post(lane, &OutboxRow { telling, approval: approval.request.id, at: by.at })
}

#[async_trait]
impl ApprovalStore for EmbeddedStore {
    async fn submit_approval(
        &self,
        request: Request,
        by: By,
    ) -> Result<Submitted, CommandError<SubmitRefusal>> {
        self.writer.run(move |work| submit(work, request, &by)).await
    }

    async fn apply(&self, change: Change, by: By) -> Result<Applied, CommandError<ApplyRefusal>> {
        self.writer.run(move |work| apply(work, &change, &by)).await
    }

    async fn approval(&self, id: ApprovalId) -> Result<Option<Approval>, StoreError> {
        self.read(move |view| Ok(view.get::<ApprovalRow>(&id.to_bytes())?.map(|row| row.approval))).await
    }

    async fn approval_for_key(&self, agent: AgentId, key: &str) -> Result<Option<Approval>, StoreError> {
        let key = key.to_owned();
        self.read(move |view| approval_for_key(view, agent, &key)).await
    }

    async fn approvals(
        &self,
        filter: ApprovalFilter,
        page: PageRequest,
    ) -> Result<Page<Approval>, PageError> {
        self.read(move |view| {
            let page = view.page(&page, true, |row: &ApprovalRow| filter.lets_through(&row.approval))?;
            Ok(Page { items: page.items.into_iter().map(|row| row.approval).collect(), next: page.next })
        })
        .await
    }

    async fn due_approvals(&self, now: Timestamp, limit: usize) -> Result<Vec<ApprovalId>, StoreError> {
        self.read(move |view| {
            let timers = view.prefixed(TIMERS, &[], limit)?;
            let due = timers.iter().filter(|(key, _)| layout::time_of(key).is_some_and(|at| at <= now));
            Ok(due.filter_map(|(key, _)| key.last_chunk().map(|id| ApprovalId::from_bytes(*id))).collect())
        })
        .await
    }

    async fn next_wake(&self) -> Result<Option<Timestamp>, StoreError> {
        self.read(|view| {
            let timers = view.prefixed(TIMERS, &[], 1)?;
            Ok(timers.first().and_then(|(key, _)| layout::time_of(key)))
        })
        .await
    }
}
