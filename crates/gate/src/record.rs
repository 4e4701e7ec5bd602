//! What the audit log is told, and the housekeeping that tells it even when nobody waits any more.

use std::{fmt, sync::Arc, time::Duration};

use countersign_approval::CancelReason;
use countersign_model::{
    ApprovalId, DecidingPolicy, Digest, EvaluationId, Object, RequirementName, Timestamp,
    redaction::Redaction,
};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tracing::warn;

use crate::{
    Cause, Outcome, Ports, Snapshot,
    engine::Case,
    intent::Matter,
    permit::{Produced, Use},
    ports::{AuditError, BrokerError, Ended, JournalError},
};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
const CANCEL_ATTEMPTS: u32 = 5;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// An operation may run.
    Permitted,
    /// An operation may not run.
    Denied,
    /// An operation may run once people have approved it.
    Held,
    /// An operation ran, or was handed to the caller that runs it.
    Executed,
    /// An operation was started and failed, or was not started after all.
    Failed,
    /// Nobody knows what became of an operation that may have been started.
    OutcomeUnknown,
    /// A grant was used up (I2).
    GrantConsumed,
    /// A grant was presented and refused (I2).
    GrantRefused,
}

impl Kind {
    /// Every kind, for those who translate them.
    pub const ALL: [Self; 8] = [
        Self::Permitted,
        Self::Denied,
        Self::Held,
        Self::Executed,
        Self::Failed,
        Self::OutcomeUnknown,
        Self::GrantConsumed,
        Self::GrantRefused,
    ];

    /// The kind's name in the audit log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Permitted => "operation.permitted",
            Self::Denied => "operation.denied",
            Self::Held => "operation.held",
            Self::Executed => "operation.executed",
            Self::Failed => "operation.failed",
            Self::OutcomeUnknown => "operation.outcome_unknown",
            Self::GrantConsumed => "grant.consumed",
            Self::GrantRefused => "grant.refused",
        }
    }
}

/// One thing for the audit log. It keeps what it is about by reference, so that making one costs
/// little on the way of an operation; the text is made, and redacted (I10), where it is written.
#[derive(Debug, Clone)]
pub struct Record {
    pub(crate) kind: Kind,
    pub(crate) at: Timestamp,
    pub(crate) evaluation: EvaluationId,
    pub(crate) matter: Option<Arc<Matter>>,
    pub(crate) snapshot: Option<Arc<Snapshot>>,
    pub(crate) approval: Option<ApprovalId>,
    pub(crate) trace: Option<String>,
    pub(crate) details: Details,
}

/// What a record says beyond what it is about.
#[derive(Debug, Clone)]
pub(crate) enum Details {
    Decision { policies: Vec<DecidingPolicy>, requirements: Vec<RequirementName>, cause: Option<Cause> },
    Unreadable { interceptor: &'static str, about: String, cause: Cause },
    Grant { refusal: Option<Cause> },
    Outcome { outcome: Outcome, produced: Produced },
}

impl Record {
    /// What happened.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// When.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// The approval that it belongs to.
    #[must_use]
    pub fn approval(&self) -> Option<ApprovalId> {
        self.approval
    }

    /// The operation that it is about.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        self.matter.as_ref().map(|matter| matter.digest())
    }

    /// The trace that it belongs to: 32 hexadecimal digits.
    #[must_use]
    pub fn trace_id(&self) -> Option<String> {
        self.trace.as_deref().and_then(trace_id).map(str::to_owned)
    }

    /// Everything else, without secrets (I10).
    #[must_use]
    pub fn body(&self) -> Object {
        let mut body = Object::new();
        body.insert("evaluation".to_owned(), json!(self.evaluation));
        if let Some(snapshot) = &self.snapshot {
            body.insert("revision".to_owned(), json!(snapshot.revision));
        }
        self.add_details(&mut body);
        // Outcomes and grants refer to the decision's record by its evaluation and digest.
        if let (Some(matter), Details::Decision { .. }) = (&self.matter, &self.details) {
            let fallback = Redaction::default();
            let redaction = self.snapshot.as_ref().map_or(&fallback, |snapshot| snapshot.bundle.redaction());
            matter.describe(redaction, &mut body);
        }
        body
    }

    fn add_details(&self, body: &mut Object) {
        let mut put = |name: &str, value: Value| body.insert(name.to_owned(), value);
        match &self.details {
            Details::Decision { policies, requirements, cause } => {
                put("policies", json!(policies));
                if !requirements.is_empty() {
                    put("requirements", json!(requirements));
                }
                if let Some(cause) = cause {
                    put("cause", json!(cause.code()));
                    put("message", json!(cause.to_string()));
                }
            }
            Details::Unreadable { interceptor, about, cause } => {
                put("interceptor", json!(interceptor));
                put("about", json!(about));
                put("cause", json!(cause.code()));
                put("message", json!(cause.to_string()));
            }
            Details::Grant { refusal } => {
                if let Some(cause) = refusal {
                    put("cause", json!(cause.code()));
                    put("message", json!(cause.to_string()));
                }
            }
            Details::Outcome { outcome, produced } => {
                if let Some(digest) = produced.digest {
                    put("result", json!(digest));
                }
                if let Some(ruled) = &produced.ruled {
                    put("output", json!(ruled));
                }
                put("outcome", json!(outcome.as_str()));
                if let Outcome::Failed { detail } = outcome {
                    put("message", json!(detail));
                }
            }
        }
    }
}

/// The trace id of a `traceparent` (W3C Trace Context §3.2.2).
#[must_use]
pub fn trace_id(traceparent: &str) -> Option<&str> {
    let mut parts = traceparent.split('-');
    let (version, id) = (parts.next()?, parts.next()?);
    let hexadecimal = |text: &str| text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let fits = version.len() == 2 && id.len() == 32 && hexadecimal(id) && id.bytes().any(|b| b != b'0');
    fits.then_some(id)
}

/// Work that must be done although the one who caused it is gone. Its place in the queue is reserved
/// before it can arise, so that it is never lost for lack of room.
#[derive(Debug)]
pub(crate) enum Work {
    Finish(Finished),
    Cancel { id: ApprovalId, why: CancelReason },
}

/// What became of an operation that had a permit.
#[derive(Debug, Clone)]
pub(crate) struct Finished {
    pub(crate) case: Case,
    pub(crate) used: Option<Use>,
    pub(crate) outcome: Outcome,
    pub(crate) produced: Produced,
    pub(crate) at: Timestamp,
}

/// Does the work that was left behind: outcomes of executions whose interceptor died, and cancelled
/// holds. Run it as long as the gate lives; it ends, with everything done, when the gate is dropped.
#[must_use = "without its housekeeper the gate leaves outcomes unrecorded"]
pub struct Housekeeper {
    work: mpsc::Receiver<Work>,
    ports: Ports,
}

impl fmt::Debug for Housekeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Housekeeper")
    }
}

impl Housekeeper {
    pub(crate) fn new(work: mpsc::Receiver<Work>, ports: Ports) -> Self {
        Self { work, ports }
    }

    /// Works until the gate and every permit of it are gone.
    pub async fn run(mut self) {
        while let Some(work) = self.work.recv().await {
            match work {
                Work::Finish(finished) => self.finish(&finished).await,
                Work::Cancel { id, why } => self.cancel(id, why).await,
            }
        }
    }

    /// Never gives up: an outcome that cannot be recorded stays first in the queue, the queue fills, and
    /// the gate then refuses new permits (I6).
    async fn finish(&self, finished: &Finished) {
        let mut pause = FIRST_PAUSE;
        while let Err(problem) = record_outcome(&self.ports, finished).await {
            warn!(%problem, "an outcome could not be recorded yet");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Tries a few times; after that the control plane finds out by itself that the requester is gone.
    async fn cancel(&self, id: ApprovalId, why: CancelReason) {
        let mut pause = FIRST_PAUSE;
        for _ in 0..CANCEL_ATTEMPTS {
            match self.ports.broker.cancel(id, why).await {
                Err(BrokerError::Unreachable(problem)) => {
                    warn!(%problem, approval = %id, "a request could not be cancelled yet");
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                Ok(_) | Err(BrokerError::Refused(_) | BrokerError::TooMany(_) | BrokerError::Unknown) => {
                    return;
                }
            }
        }
    }
}

/// Records what became of an operation, and tells the journal if a grant was used for it.
pub(crate) async fn record_outcome(ports: &Ports, finished: &Finished) -> Result<(), OutcomeError> {
    let Finished { case, used, outcome, produced, at } = finished;
    let record = Record {
        kind: outcome.kind(),
        at: *at,
        evaluation: case.evaluation,
        matter: Some(Arc::clone(&case.matter)),
        snapshot: Some(Arc::clone(&case.snapshot)),
        approval: used.as_ref().map(|used| used.approval),
        trace: case.matter.trace().map(str::to_owned),
        details: Details::Outcome { outcome: outcome.clone(), produced: produced.clone() },
    };
    match used {
        Some(used) => {
            let ended = Ended {
                approval: used.approval,
                use_number: used.number,
                outcome: outcome.clone(),
                at: *at,
                record,
            };
            ports.journal.finish(ended).await?;
        }
        None if *outcome == Outcome::Unknown => ports.audit.commit(record).await?,
        None => ports.audit.enqueue(record)?,
    }
    Ok(())
}

/// Why an outcome could not be recorded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutcomeError {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Audit(#[from] AuditError),
}
