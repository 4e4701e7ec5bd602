//! Ask people, and wait for them.
//!
//! Retries attach to what is already asked: the gate remembers, by what is asked and for whom, the approval
//! that was requested last, and asks again only when that one is over.
//!
//! | what became of the last request        | the same operation again                              |
//! |----------------------------------------|-------------------------------------------------------|
//! | pending, or approved with uses left    | attaches to it                                        |
//! | refused by a reviewer                  | refused likewise, until `refusal_stands` has passed   |
//! | expired, cancelled, lapsed, used, …    | a new request                                         |
//!
//! A new bundle revision does not end a pending request by itself: the operation is evaluated again
//! (I7), and only if policy now says something else than what is being asked is the request taken back.
//!
//! Who asks may have to be answered before people have decided ([`Gate::hold_within`]). The request then
//! stays open although nobody waits for it, so that the same operation attaches to it when it comes again.
//! It runs only then, never by itself.
//!
//! What is remembered does not outlive the process. After a restart the same operation is a new request;
//! the old one is cancelled by the control plane, which misses its requester. Grants of several uses that were used
//! once are kept, for the same operation and for others of their task: see [`covered`].

use std::{collections::BTreeSet, future::Future, sync::Arc, time::Duration};

use countersign_approval::{CancelReason, Phase, Status};
use countersign_model::{ApprovalId, Decision, RequirementName, names};
use tokio::sync::{mpsc::OwnedPermit, watch};
use tracing::{Instrument, Span, field, info_span, warn};

use crate::{
    Answer, Cause, Denial, Gate,
    engine::{Case, Engine},
    ports::BrokerError,
    record::Work,
};

mod covered;
mod edit;
mod held;
mod pending;

pub use held::Held;
pub(crate) use pending::{Pending, Question};

/// How long one question to the control plane may stay open. Shorter than its own limit.
const WAIT: Duration = Duration::from_secs(25);
/// How long to pause when the control plane cannot be reached while something is held.
const RETRY: Duration = Duration::from_millis(500);
/// How often an operation may be asked about anew within one hold, because policy changed or somebody
/// else used the approval up. After that the caller must begin again.
const MAX_ROUNDS: u32 = 8;

/// Why people could not be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HoldError {
    /// Too many operations wait already.
    #[error("too many operations wait for approval; try again later")]
    Busy,
    /// The control plane did not answer as asked.
    #[error(transparent)]
    Broker(#[from] BrokerError),
}

impl From<HoldError> for Cause {
    fn from(error: HoldError) -> Self {
        match error {
            HoldError::Busy => Self::Busy,
            HoldError::Broker(BrokerError::Unreachable(why)) => Self::Unreachable(why),
            HoldError::Broker(BrokerError::Refused(why)) => Self::NotAccepted(why),
            HoldError::Broker(BrokerError::TooMany(why)) => Self::TooManyRequests(why),
            HoldError::Broker(BrokerError::Unknown) => {
                Self::NotAccepted("it knows no such approval".to_owned())
            }
        }
    }
}

impl Gate {
    /// Asks people about a held operation, or attaches to what is asked already.
    ///
    /// # Errors
    /// When they cannot be asked. The operation stays denied.
    pub async fn request(&self, held: &Held) -> Result<Status, HoldError> {
        let span = hold_span(held);
        let trace = self.engine.ports.observer.traceparent(&span);
        let status = self.engine.request(held, trace).instrument(span.clone()).await?;
        span.record(names::attribute::APPROVAL_ID, field::display(status.id));
        span.record(names::attribute::APPROVAL_STATE, status.phase.as_str());
        Ok(status)
    }

    /// Waits until an approval's version is beyond the known one, at most for `timeout`; with a known
    /// version of 0, just asks where it stands.
    ///
    /// # Errors
    /// When the control plane does not answer.
    pub async fn wait(
        &self,
        id: ApprovalId,
        known_version: u64,
        timeout: Duration,
    ) -> Result<Status, BrokerError> {
        let status = self.engine.ports.broker.wait(id, known_version, timeout).await?;
        self.engine.pending.note(&status, self.engine.ports.clock.now());
        Ok(status)
    }

    /// Takes a request back that has not been decided yet.
    ///
    /// # Errors
    /// When the control plane does not do it.
    pub async fn cancel(&self, id: ApprovalId) -> Result<Status, BrokerError> {
        let status = self.engine.ports.broker.cancel(id, CancelReason::Requester).await?;
        self.engine.pending.note(&status, self.engine.ports.clock.now());
        Ok(status)
    }

    /// How many operations wait for people.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.engine.pending.waiting()
    }

    /// Asks, waits, and redeems the grant. `progress` is told of every change. When the returned future
    /// is dropped, the requester counts as gone and the request is cancelled, unless somebody else waits
    /// for the same operation.
    pub async fn hold(&self, held: Held, progress: impl FnMut(&Status) + Send) -> Answer {
        let span = hold_span(&held);
        self.engine.ports.observer.pending(1);
        let counted = Counted(&self.engine);
        let answer = self.engine.hold(held, progress, &span).instrument(span.clone()).await;
        drop(counted);
        answer
    }
}

/// How a wait with an end came out.
#[derive(Debug)]
#[must_use = "an operation that nobody answers hangs"]
pub enum Waited {
    /// It is decided.
    Answered(Answer),
    /// It is not, and who asked waits no longer. The request stays open.
    Pending(Status),
}

impl Gate {
    /// As [`Gate::hold`], but who asks waits no longer than until `end`. The request stays open then, and
    /// the same operation attaches to it when it is held again. When the returned future is dropped
    /// before, the requester counts as gone.
    pub async fn hold_within(
        &self,
        held: Held,
        end: impl Future<Output = ()> + Send,
        mut progress: impl FnMut(&Status) + Send,
    ) -> Waited {
        let (told, mut news) = watch::channel(None);
        let mut hold = std::pin::pin!(self.hold(held, |status: &Status| {
            told.send_replace(Some(status.clone()));
            progress(status);
        }));
        let over = async {
            end.await;
            // What is decided is carried through: a grant that is half used would be lost.
            let is_pending =
                |status: &Option<Status>| status.as_ref().is_some_and(|s| s.phase == Phase::Pending);
            match news.wait_for(is_pending).await {
                Ok(status) => status.clone(),
                Err(_) => None,
            }
        };
        tokio::select! {
            biased;
            answer = &mut hold => Waited::Answered(answer),
            Some(status) = over => {
                self.engine.pending.stay(status.id);
                Waited::Pending(status)
            }
        }
    }
}

/// One operation that waits, as the measurements count it.
struct Counted<'a>(&'a Engine);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.ports.observer.pending(-1);
    }
}

fn hold_span(held: &Held) -> tracing::Span {
    info_span!(
        parent: &held.case.matter.span,
        names::span::HOLD,
        { names::attribute::APPROVAL_ID } = field::Empty,
        { names::attribute::APPROVAL_STATE } = field::Empty,
        { names::attribute::REQUIREMENTS } = join(&held.requirements),
    )
}

fn join(names: &[RequirementName]) -> String {
    names.iter().map(RequirementName::as_str).collect::<Vec<_>>().join(",")
}

/// What a held operation does next.
enum Next {
    /// The hold is over.
    Done(Answer),
    /// Something else must be asked.
    Ask(Held),
}

impl Engine {
    pub(crate) async fn request(&self, held: &Held, trace: Option<String>) -> Result<Status, HoldError> {
        for last in [false, true] {
            if let Some(status) = self.covered(held).await? {
                return Ok(status);
            }
            let now = self.ports.clock.now();
            let entropy = self.ports.entropy.bytes();
            let submission = || held.submission(hex(&entropy), trace.clone());
            let plan = self.pending.plan(held.question(), submission, &held.requirements, now);
            let status = match plan.ok_or(HoldError::Busy)? {
                pending::Plan::Stands(status) => return Ok(status),
                pending::Plan::Known(id) => self.ports.broker.wait(id, 0, WAIT).await,
                pending::Plan::Again(submission) | pending::Plan::Submit(submission) => {
                    self.ports.broker.submit(*submission).await
                }
            };
            let status = match status {
                Err(BrokerError::Unknown) => {
                    self.pending.clear(held.question());
                    continue;
                }
                other => other?,
            };
            let answers = self.pending.attach(held.question(), &status, self.ports.clock.now());
            let may_be_edited = status.cancelled == Some(CancelReason::Superseded) && held.is_replaceable();
            if may_be_edited {
                return Ok(status);
            }
            if answers && self.is_spent(held, &status) {
                self.pending.forget(held.question(), status.id);
            } else if answers || last {
                return Ok(status);
            }
        }
        Err(BrokerError::Unknown.into())
    }

    async fn hold(
        self: &Arc<Self>,
        mut held: Held,
        mut progress: impl FnMut(&Status) + Send,
        span: &Span,
    ) -> Answer {
        let asked = held.question();
        let edited = self.pending.edit_of(asked, self.ports.clock.now());
        if let Some(edited) = edited.filter(|_| held.is_replaceable()) {
            match self.reconsider(&held, &edited).await {
                Answer::Held(other) => held = other,
                answer => {
                    self.pending.forget_edit(asked);
                    return answer;
                }
            }
        }
        let answer = self.hold_out(held, &mut progress, span).await;
        let goes_on =
            |denial: &Denial| denial.cause.is_transient() || matches!(denial.cause, Cause::Refused(_));
        if !matches!(&answer, Answer::Denied(denial) if goes_on(denial)) {
            self.pending.forget_edit(asked);
        }
        answer
    }

    async fn hold_out(
        self: &Arc<Self>,
        mut held: Held,
        progress: &mut (impl FnMut(&Status) + Send),
        span: &Span,
    ) -> Answer {
        for _ in 0..MAX_ROUNDS {
            let Some(place) = self.reserve() else {
                return self.refuse_hold(&held, Cause::Busy, None).await;
            };
            let trace = self.ports.observer.traceparent(span);
            let status = match self.request(&held, trace).await {
                Ok(status) => status,
                Err(error) => return self.refuse_hold(&held, error.into(), None).await,
            };
            span.record(names::attribute::APPROVAL_ID, field::display(status.id));
            let waiter = Waiter::new(self, status.id, place);
            match self.wait_out(held, status, waiter, progress, span).await {
                Next::Done(answer) => return answer,
                Next::Ask(other) => held = other,
            }
        }
        self.refuse_hold(&held, Cause::Busy, None).await
    }

    /// Waits until the approval is decided, or policy says something else than what is asked (I7).
    async fn wait_out(
        self: &Arc<Self>,
        mut held: Held,
        mut status: Status,
        mut waiter: Waiter<'_>,
        progress: &mut (impl FnMut(&Status) + Send),
        span: &Span,
    ) -> Next {
        loop {
            progress(&status);
            span.record(names::attribute::APPROVAL_STATE, status.phase.as_str());
            if status.phase != Phase::Pending {
                waiter.disarm();
                return self.conclude(held, &status).await;
            }
            let changed = self.ports.policy.changed(&held.case.snapshot);
            tokio::select! {
                () = changed => match self.look_again(held, &mut waiter).await {
                    Looked::StillHeld(same) => held = same,
                    Looked::Otherwise(next) => return next,
                },
                next = self.ports.broker.wait(status.id, status.version, WAIT) => match next {
                    Ok(next) => {
                        self.pending.note(&next, self.ports.clock.now());
                        status = next;
                    }
                    Err(BrokerError::Unreachable(why)) => {
                        if self.ports.clock.now() >= status.decide_by {
                            // Nobody answered, and nobody can any more (I5). Dropping the waiter cancels.
                            return Next::Done(self.refuse_hold(&held, Cause::Expired, Some(status.id)).await);
                        }
                        warn!(%why, approval = %status.id, "waiting for the control plane to come back");
                        tokio::time::sleep(RETRY).await;
                    }
                    Err(other) => {
                        let cause = HoldError::from(other).into();
                        return Next::Done(self.refuse_hold(&held, cause, Some(status.id)).await);
                    }
                },
            }
        }
    }

    /// The bundle changed while the operation was held: it is evaluated again under the new one (I7).
    async fn look_again(self: &Arc<Self>, held: Held, waiter: &mut Waiter<'_>) -> Looked {
        let case = match self.open(&held.intent, &held.case.matter.span).await {
            Ok(case) => case,
            Err(denial) => {
                waiter.supersede();
                return Looked::Otherwise(Next::Done(Answer::Denied(denial)));
            }
        };
        let same_operation = case.matter.digest() == held.digest();
        let verdict = self.evaluate(&case, &BTreeSet::new(), true);
        match verdict.decision {
            Decision::Hold { requirements }
                if same_operation && covers(&held.requirements, &requirements) =>
            {
                let case = Case { evaluation: held.case.evaluation, at: held.case.at, ..case };
                Looked::StillHeld(held.under(case))
            }
            Decision::Hold { requirements } => {
                waiter.supersede();
                let next = match self.held(&held.intent, case, verdict.policies, requirements).await {
                    Answer::Held(held) => Next::Ask(held),
                    answer => Next::Done(answer),
                };
                Looked::Otherwise(next)
            }
            Decision::Permit => {
                waiter.supersede();
                Looked::Otherwise(Next::Done(self.permit(case, verdict.policies).await))
            }
            Decision::Deny => {
                waiter.supersede();
                let denial = self.deny(&case, Cause::Policy, verdict.policies, Some(waiter.id)).await;
                Looked::Otherwise(Next::Done(Answer::Denied(denial)))
            }
        }
    }

    /// The approval is decided.
    async fn conclude(self: &Arc<Self>, held: Held, status: &Status) -> Next {
        let Some(cause) = cause_of(status) else {
            return self.use_grant(held, status).await;
        };
        if status.cancelled == Some(CancelReason::Superseded) && held.is_replaceable() {
            return self.superseded(held, status).await;
        }
        if status.cancelled == Some(CancelReason::RequesterGone) {
            // Whoever asked first is gone, or was taken for it. Somebody is here who waits.
            return self.ask_anew(held, status.id).await;
        }
        Next::Done(self.refuse_hold(&held, cause, Some(status.id)).await)
    }

    async fn use_grant(self: &Arc<Self>, held: Held, status: &Status) -> Next {
        let Some(grant) = status.grant.as_deref() else {
            // Approved, and every use is claimed: by another call that waited for the same operation.
            return self.ask_anew(held, status.id).await;
        };
        let case = match self.open(&held.intent, &held.case.matter.span).await {
            Ok(case) => case,
            Err(denial) => return Next::Done(Answer::Denied(denial)),
        };
        match self.redeem_grant(&held.intent, case, status.id, grant).await {
            Answer::Denied(denial) if denial.cause == Cause::Used => self.ask_anew(held, status.id).await,
            Answer::Held(other) => {
                self.pending.forget(held.question(), status.id);
                Next::Ask(other)
            }
            answer => Next::Done(answer),
        }
    }

    async fn ask_anew(self: &Arc<Self>, held: Held, used: ApprovalId) -> Next {
        self.pending.forget(held.question(), used);
        Next::Ask(held)
    }

    async fn refuse_hold(&self, held: &Held, cause: Cause, approval: Option<ApprovalId>) -> Answer {
        Answer::Denied(self.deny(&held.case, cause, held.policies.clone(), approval).await)
    }
}

enum Looked {
    StillHeld(Held),
    Otherwise(Next),
}

/// Whether everything that policy needs now is being asked already.
fn covers(asked: &[RequirementName], needed: &[RequirementName]) -> bool {
    needed.iter().all(|name| asked.contains(name))
}

/// Why an approval that is decided does not let its operation run; `None` if it may.
pub(crate) fn cause_of(status: &Status) -> Option<Cause> {
    let reason = status.reason.clone();
    match status.phase {
        Phase::Approved | Phase::Claimed => None,
        Phase::Pending => Some(Cause::Undecided),
        Phase::Executed | Phase::Failed | Phase::OutcomeUnknown => Some(Cause::Used),
        Phase::Lapsed => Some(Cause::Lapsed),
        Phase::Revoked => Some(Cause::Revoked(reason)),
        Phase::Invalidated => Some(Cause::Invalidated(reason)),
        Phase::Denied => Some(Cause::Refused(reason)),
        Phase::Expired => Some(Cause::Expired),
        Phase::Cancelled => Some(Cause::Cancelled(reason)),
    }
}

/// Somebody who waits for an approval. Dropping the last one cancels the request: the requester is gone.
struct Waiter<'a> {
    engine: &'a Engine,
    id: ApprovalId,
    place: Option<OwnedPermit<Work>>,
    why: CancelReason,
}

impl<'a> Waiter<'a> {
    fn new(engine: &'a Engine, id: ApprovalId, place: OwnedPermit<Work>) -> Self {
        engine.pending.join(id);
        Self { engine, id, place: Some(place), why: CancelReason::RequesterGone }
    }

    /// The approval is decided: there is nothing left to cancel.
    fn disarm(&mut self) {
        self.place = None;
    }

    /// Policy asks for something else now.
    fn supersede(&mut self) {
        self.why = CancelReason::Superseded;
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let last = self.engine.pending.leave(self.id);
        if let (true, Some(place)) = (last, self.place.take()) {
            place.send(Work::Cancel { id: self.id, why: self.why });
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
