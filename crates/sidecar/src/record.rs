//! The gate's audit log and grant journal, kept in the spool.

use std::sync::Arc;

use countersign_audit::{EventDraft, kind};
use countersign_gate::{
    Outcome,
    ports::{AuditError, AuditSink, Consumption, Ended, GrantJournal, JournalError, Lasting, Standing},
    record::Record,
};
use countersign_model::{ApprovalId, SpiffeId, Timestamp};
use countersign_spool::{
    AppendError, ConsumeError, Consumption as Consumed, Ending, FinishError, Finished, GrantUse,
    LastingGrant, Spool, SpoolError,
};
use futures::future::BoxFuture;
use serde_json::json;
use tokio::sync::Notify;

/// Writes what the gate says into the spool.
#[derive(Clone)]
pub(crate) struct Recorder {
    spool: Spool,
    actor: Arc<str>,
    reports: Arc<Notify>,
}

impl Recorder {
    /// A recorder for the agent. `reports` is told of every change that the control plane must learn.
    pub(crate) fn new(spool: Spool, agent: &SpiffeId, reports: Arc<Notify>) -> Self {
        Self { spool, actor: agent.to_string().into(), reports }
    }

    /// Says of every use that was under way at the last stop that nobody knows what became of it.
    pub(crate) async fn settle_unfinished(&self, now: Timestamp) -> Result<usize, SpoolError> {
        let unfinished = self.spool.journal().unfinished()?;
        let count = unfinished.len();
        for one in unfinished {
            tracing::warn!(approval = %one.approval, "it is not known what became of an operation");
            let finished = Finished {
                approval: one.approval,
                use_number: one.number,
                ending: Ending::OutcomeUnknown,
                at: now,
                event: Some(self.unknown_outcome(&one, now)),
            };
            match self.spool.journal().finish(finished).await {
                Ok(()) | Err(FinishError::NoSuchUse(_) | FinishError::EndedOtherwise(_)) => {}
                Err(FinishError::Spool(error)) => return Err(error),
            }
        }
        Ok(count)
    }

    fn unknown_outcome(&self, one: &GrantUse, now: Timestamp) -> EventDraft {
        let mut draft = self.draft(now, kind::OPERATION_OUTCOME_UNKNOWN);
        draft.approval = Some(one.approval);
        draft.digest = Some(one.digest);
        draft.body.insert("use_number".to_owned(), json!(one.number));
        draft.body.insert("message".to_owned(), json!("the sidecar stopped while it was under way"));
        draft
    }

    /// A draft of something that this agent did.
    pub(crate) fn draft(&self, at: Timestamp, kind: &'static str) -> EventDraft {
        draft(&self.actor, at, kind)
    }

    fn event(&self, record: &Record) -> EventDraft {
        event(&self.actor, record)
    }
}

fn draft(actor: &str, at: Timestamp, kind: &'static str) -> EventDraft {
    let mut draft = EventDraft::new(at, kind);
    draft.actor = Some(actor.to_owned());
    draft
}

fn event(actor: &str, record: &Record) -> EventDraft {
    let mut draft = draft(actor, record.at(), record.kind().as_str());
    draft.trace_id = record.trace_id();
    draft.approval = record.approval();
    draft.digest = record.digest();
    draft.body = record.body();
    draft
}

impl AuditSink for Recorder {
    fn enqueue(&self, record: Record) -> Result<(), AuditError> {
        let actor = Arc::clone(&self.actor);
        self.spool.enqueue_made_by(move || vec![event(&actor, &record)]).map_err(unrecorded)
    }

    fn commit(&self, record: Record) -> BoxFuture<'_, Result<(), AuditError>> {
        Box::pin(
            async move { self.spool.append(vec![self.event(&record)]).await.map(|_| ()).map_err(unrecorded) },
        )
    }
}

impl GrantJournal for Recorder {
    fn consume(&self, consumption: Consumption) -> BoxFuture<'_, Result<u32, JournalError>> {
        Box::pin(async move {
            let Consumption { approval, digest, granted, uses, charges, lasting, not_after, at, record } =
                consumption;
            let lasting = lasting.map(|Lasting { question, grant }| LastingGrant { question, grant });
            let event = self.event(&record);
            let consumed =
                Consumed { approval, digest, granted, uses, charges, lasting, not_after, at, event };
            let number = self.spool.journal().consume(consumed).await.map_err(unconsumed)?;
            self.reports.notify_one();
            Ok(number)
        })
    }

    fn finish(&self, ended: Ended) -> BoxFuture<'_, Result<(), JournalError>> {
        Box::pin(async move {
            let Ended { approval, use_number, outcome, at, record } = ended;
            let event = Some(self.event(&record));
            let finished = Finished { approval, use_number, ending: ending(&outcome), at, event };
            match self.spool.journal().finish(finished).await {
                Ok(()) => self.reports.notify_one(),
                Err(FinishError::Spool(error)) => return Err(JournalError::Unavailable(error.to_string())),
                // Trying again would not help: the journal knows more than the caller.
                Err(error) => tracing::error!(%approval, use_number, %error, "an outcome does not fit"),
            }
            Ok(())
        })
    }

    fn standing(&self, approval: ApprovalId) -> Standing {
        let journal = self.spool.journal();
        let (used, spent) = journal.used(approval).unwrap_or_else(|error| {
            tracing::error!(%approval, %error, "the grant journal cannot be read");
            (u32::MAX, Vec::new())
        });
        Standing { used, spent, revoked: journal.is_revoked(approval) }
    }

    fn lasting(&self, now: Timestamp) -> Vec<(ApprovalId, Lasting)> {
        let kept = self.spool.journal().lasting(now).unwrap_or_else(|error| {
            tracing::error!(%error, "the grant journal cannot be read, so people are asked again");
            Vec::new()
        });
        let lasting = |LastingGrant { question, grant }| Lasting { question, grant };
        kept.into_iter().map(|(approval, kept)| (approval, lasting(kept))).collect()
    }
}

fn ending(outcome: &Outcome) -> Ending {
    match outcome {
        Outcome::Executed | Outcome::HandedOver => Ending::Executed,
        Outcome::Failed { .. } | Outcome::NotStarted => Ending::Failed,
        Outcome::Unknown => Ending::OutcomeUnknown,
    }
}

fn unrecorded(error: AppendError) -> AuditError {
    match error {
        AppendError::Full(_) => AuditError::Full,
        other => AuditError::Unavailable(other.to_string()),
    }
}

fn unconsumed(error: ConsumeError) -> JournalError {
    match error {
        ConsumeError::UsedUp(_) | ConsumeError::OverBudget => JournalError::Exhausted,
        ConsumeError::Revoked => JournalError::Revoked,
        ConsumeError::Expired(_) => JournalError::Ended,
        other => JournalError::Unavailable(other.to_string()),
    }
}
