//! The value that lets an operation run, and what became of it.
//!
//! A [`Permit`] exists only when the gate has said yes (I1): its fields are private, nothing clones it,
//! and nothing outside this crate makes one. Whoever runs the operation consumes it. An [`Execution`]
//! that is dropped unfinished, because its task was cancelled or panicked, is recorded as an unknown
//! outcome by the housekeeper; the place in its queue is reserved before the permit is made.

use std::{fmt, sync::Arc};

use countersign_model::{ApprovalId, Digest, EvaluationId, Operation, RequirementName, Revision, names};
use countersign_policy::outputs::{Outputs, Ruled};
use tokio::sync::mpsc::OwnedPermit;
use tracing::{Span, error, info_span};

use crate::{
    engine::{Case, Engine},
    intent::{Arguments, Replaced},
    record::{Finished, Kind, Work, record_outcome},
};

/// How an operation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It ran.
    Executed,
    /// The caller was told that it may run it, and enforces that itself.
    HandedOver,
    /// It ran and failed.
    Failed {
        /// How, for people: an exit code, an error.
        detail: String,
    },
    /// It was never started.
    NotStarted,
    /// It may have run; nobody knows.
    Unknown,
}

impl Outcome {
    /// The outcome's name in records and spans.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Executed => "executed",
            Self::HandedOver => "handed_over",
            Self::Failed { .. } => "failed",
            Self::NotStarted => "not_started",
            Self::Unknown => "outcome_unknown",
        }
    }

    pub(crate) const fn kind(&self) -> Kind {
        match self {
            Self::Executed | Self::HandedOver => Kind::Executed,
            Self::Failed { .. } | Self::NotStarted => Kind::Failed,
            Self::Unknown => Kind::OutcomeUnknown,
        }
    }
}

/// What came of an operation, for the record: who has the result can show later that it is the one, and the
/// log does not have to keep it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Produced {
    /// The digest of the result.
    pub digest: Option<Digest>,
    /// What output rules did to it before the agent saw it.
    pub ruled: Option<Ruled>,
}

/// The use of a grant that a permit stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Use {
    /// The approval.
    pub approval: ApprovalId,
    /// The number of the use, from 1.
    pub number: u32,
    /// Until when the grant could be used; what a caller is told that enforces by itself.
    pub not_after: countersign_model::Timestamp,
}

/// Leave to run one operation, once.
#[must_use = "an operation that was permitted and not run is recorded as not started"]
pub struct Permit {
    ticket: Ticket,
}

/// An operation that runs under its permit.
#[must_use = "an execution that is dropped is recorded as an unknown outcome"]
pub struct Execution {
    ticket: Ticket,
    span: Span,
}

/// What permit and execution have in common. Dropping it reports its outcome.
struct Ticket {
    engine: Arc<Engine>,
    place: Option<OwnedPermit<Work>>,
    case: Case,
    met: Vec<RequirementName>,
    used: Option<Use>,
    if_dropped: Outcome,
    produced: Produced,
}

impl Permit {
    /// The only way to make one, on a Cedar allow under the current bundle (I1).
    pub(crate) fn mint(
        engine: Arc<Engine>,
        place: OwnedPermit<Work>,
        case: Case,
        met: Vec<RequirementName>,
        used: Option<Use>,
    ) -> Self {
        let ticket = Ticket {
            engine,
            place: Some(place),
            case,
            met,
            used,
            if_dropped: Outcome::NotStarted,
            produced: Produced::default(),
        };
        Self { ticket }
    }

    /// The evaluation that permitted it.
    #[must_use]
    pub fn evaluation(&self) -> EvaluationId {
        self.ticket.case.evaluation
    }

    /// What is permitted.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.ticket.case.matter.digest()
    }

    /// The operation that is permitted.
    #[must_use]
    pub fn operation(&self) -> &Operation {
        &self.ticket.case.matter.operation
    }

    /// The bundle that permitted it.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.ticket.case.snapshot.revision
    }

    /// The requirements that people have met for it.
    #[must_use]
    pub fn met(&self) -> &[RequirementName] {
        &self.ticket.met
    }

    /// What the agent may not see in what comes of it, by the bundle that permitted it.
    #[must_use]
    pub fn outputs(&self) -> &Outputs {
        self.ticket.case.snapshot.bundle.outputs()
    }

    /// The arguments to carry it out with, if reviewers changed those that it came with.
    #[must_use]
    pub fn edited(&self) -> Option<&Arc<Replaced>> {
        match &self.ticket.case.matter.arguments {
            Arguments::Replaced(replaced) => Some(replaced),
            Arguments::AsGiven | Arguments::Replaceable | Arguments::Resubmittable(_) => None,
        }
    }

    /// The use of the grant that was used up for it.
    #[must_use]
    pub fn used(&self) -> Option<Use> {
        self.ticket.used
    }

    /// Starts the operation.
    pub fn consume(mut self) -> Execution {
        self.ticket.if_dropped = Outcome::Unknown;
        let span = execute_span(&self.ticket.case);
        Execution { ticket: self.ticket, span }
    }

    /// Tells the caller that it may run the operation itself, as a policy decision point does. What
    /// becomes of it is then outside of what this gate can see; the use of a grant ends here.
    pub async fn hand_over(mut self) {
        // As far as this gate can see, the operation runs here and now.
        execute_span(&self.ticket.case).record(names::attribute::OUTCOME, Outcome::HandedOver.as_str());
        if self.ticket.used.is_some() {
            self.ticket.finish(Outcome::HandedOver).await;
        } else {
            // The decision's own record says all there is to say.
            self.ticket.place = None;
        }
    }
}

fn execute_span(case: &Case) -> Span {
    info_span!(
        parent: &case.matter.span,
        names::span::EXECUTE,
        { names::attribute::OUTCOME } = tracing::field::Empty
    )
}

impl Execution {
    /// The evaluation that permitted it.
    #[must_use]
    pub fn evaluation(&self) -> EvaluationId {
        self.ticket.case.evaluation
    }

    /// The operation that runs.
    #[must_use]
    pub fn operation(&self) -> &Operation {
        &self.ticket.case.matter.operation
    }

    /// The use of the grant that was used up for it.
    #[must_use]
    pub fn used(&self) -> Option<Use> {
        self.ticket.used
    }

    /// The `traceparent` for the program that runs, so that its own spans join the trace.
    #[must_use]
    pub fn traceparent(&self) -> Option<String> {
        let own = self.ticket.engine.ports.observer.traceparent(&self.span);
        own.or_else(|| self.ticket.case.matter.trace.clone())
    }

    /// Says how it ended.
    pub async fn finish(self, outcome: Outcome) {
        self.finish_with(outcome, Produced::default()).await;
    }

    /// Says how it ended, and what came of it.
    pub async fn finish_with(mut self, outcome: Outcome, produced: Produced) {
        self.ticket.produced = produced;
        self.span.record(names::attribute::OUTCOME, outcome.as_str());
        self.ticket.finish(outcome).await;
    }
}

impl Ticket {
    /// Records the outcome now. What cannot be recorded now is left to the housekeeper, and so is what
    /// is interrupted halfway: the place in the queue is given back only afterwards.
    async fn finish(&mut self, outcome: Outcome) {
        self.if_dropped = outcome;
        let finished = self.finished();
        match record_outcome(&self.engine.ports, &finished).await {
            Ok(()) => self.place = None,
            Err(problem) => error!(%problem, "an outcome is left to the housekeeper"),
        }
    }

    fn finished(&self) -> Finished {
        Finished {
            case: self.case.clone(),
            used: self.used,
            outcome: self.if_dropped.clone(),
            produced: self.produced.clone(),
            at: self.engine.ports.clock.now(),
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            place.send(Work::Finish(self.finished()));
        }
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Permit({}, {})", self.ticket.case.evaluation, self.ticket.case.matter.digest())
    }
}

impl fmt::Debug for Execution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Execution({}, {})", self.ticket.case.evaluation, self.ticket.case.matter.digest())
    }
}
