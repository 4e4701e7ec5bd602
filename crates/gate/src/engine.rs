//! The gate itself: its ports, its settings, and what every way through it shares.

use std::{fmt, sync::Arc};

use countersign_model::{
    AgentName, ApprovalId, DecidingPolicy, EvaluationId, Seconds, SpiffeId, Subject, Timestamp,
};
use tokio::sync::mpsc::{self, OwnedPermit};

use crate::{
    Cause, Denial, Intent, Interceptor, Snapshot,
    hold::Pending,
    intent::{Matter, agent_subject},
    ports::{ApprovalBroker, AuditError, AuditSink, Clock, Entropy, GrantJournal, Observer, PolicySource},
    record::{Details, Housekeeper, Kind, Record, Work},
};

/// Everything that the gate needs from outside.
#[derive(Clone)]
pub struct Ports {
    /// The policy in force.
    pub policy: Arc<dyn PolicySource>,
    /// The people who approve.
    pub broker: Arc<dyn ApprovalBroker>,
    /// The audit log.
    pub audit: Arc<dyn AuditSink>,
    /// The memory of used grants.
    pub journal: Arc<dyn GrantJournal>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub entropy: Arc<dyn Entropy>,
    /// Measurements and traces.
    pub observer: Arc<dyn Observer>,
}

/// Who the gate stands for, and its bounds.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The verified agent.
    pub agent: AgentName,
    /// The sidecar's own identity: grants must be made out to it (I2).
    pub audience: SpiffeId,
    /// For how long a reviewer's refusal answers the same operation again. Without that, an agent could
    /// ask until somebody's attention slips.
    pub refusal_stands: Seconds,
    /// How many operations may run, or wait for people, at a time.
    pub max_under_way: usize,
    /// How many approvals are remembered, so that retries attach to them.
    pub max_remembered: usize,
}

impl Settings {
    /// The usual bounds.
    #[must_use]
    pub fn new(agent: AgentName, audience: SpiffeId) -> Self {
        Self {
            agent,
            audience,
            refusal_stands: Seconds::new(15 * 60),
            max_under_way: 4_096,
            max_remembered: 1_024,
        }
    }
}

/// The one gate. Cheap to clone; all clones are the same gate.
#[derive(Clone)]
pub struct Gate {
    pub(crate) engine: Arc<Engine>,
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gate({})", self.engine.settings.agent)
    }
}

/// What the ways through the gate share.
pub(crate) struct Engine {
    pub(crate) ports: Ports,
    pub(crate) settings: Settings,
    pub(crate) pending: Pending,
    agent: Subject,
    work: mpsc::Sender<Work>,
}

impl Gate {
    /// A gate, and its housekeeper, which must be run beside it.
    #[must_use = "the housekeeper must be run"]
    pub fn new(ports: Ports, settings: Settings) -> (Self, Housekeeper) {
        let (work, queue) = mpsc::channel(settings.max_under_way.max(1));
        let housekeeper = Housekeeper::new(queue, ports.clone());
        let engine = Engine {
            pending: Pending::new(settings.max_remembered, settings.refusal_stands),
            agent: agent_subject(&settings.agent),
            ports,
            settings,
            work,
        };
        (Self { engine: Arc::new(engine) }, housekeeper)
    }

    /// The verified agent, as the subject of its operations.
    #[must_use]
    pub fn agent(&self) -> &Subject {
        &self.engine.agent
    }

    /// The policy in force, or why there is none.
    ///
    /// # Errors
    /// As [`PolicySource::current`].
    pub fn policy(&self) -> Result<Arc<Snapshot>, crate::ports::NoPolicy> {
        self.engine.ports.policy.current(self.engine.ports.clock.now())
    }

    /// What time it is for the gate.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.engine.ports.clock.now()
    }

    /// Fresh randomness from the gate's source.
    #[must_use]
    pub fn entropy(&self) -> [u8; 10] {
        self.engine.ports.entropy.bytes()
    }

    /// Refuses what an interceptor could not even read as an intent (I6), and records that.
    pub async fn refuse(
        &self,
        interceptor: Interceptor,
        about: &str,
        why: String,
        trace: Option<&str>,
    ) -> Denial {
        let engine = &self.engine;
        let unreadable = Unreadable { interceptor, about: about.to_owned(), trace: trace.map(str::to_owned) };
        engine.deny_unreadable(unreadable, Cause::Malformed(why)).await
    }
}

/// What is known of an operation that could not be decided about.
pub(crate) struct Unreadable {
    pub(crate) interceptor: Interceptor,
    pub(crate) about: String,
    pub(crate) trace: Option<String>,
}

impl Unreadable {
    pub(crate) fn of(intent: &Intent) -> Self {
        Self { interceptor: intent.interceptor, about: intent.act.summary(), trace: intent.trace.clone() }
    }
}

/// An operation under the policy that was in force when it was read.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) evaluation: EvaluationId,
    pub(crate) at: Timestamp,
    pub(crate) matter: Arc<Matter>,
    pub(crate) snapshot: Arc<Snapshot>,
}

impl Engine {
    pub(crate) fn new_evaluation(&self, now: Timestamp) -> EvaluationId {
        EvaluationId::new(now, self.ports.entropy.bytes())
    }

    /// A place in the housekeeper's queue, to be had before anything starts that may need it.
    pub(crate) fn reserve(&self) -> Option<OwnedPermit<Work>> {
        self.work.clone().try_reserve_owned().ok()
    }

    /// Denies, once that is durable (I8). A denial that cannot be recorded is one nevertheless.
    pub(crate) async fn deny(
        &self,
        case: &Case,
        cause: Cause,
        policies: Vec<DecidingPolicy>,
        approval: Option<ApprovalId>,
    ) -> Denial {
        let record = self.record(
            case,
            Kind::Denied,
            approval,
            Details::Decision {
                policies: policies.clone(),
                requirements: Vec::new(),
                cause: Some(cause.clone()),
            },
        );
        let cause = match self.ports.audit.commit(record).await {
            Ok(()) => cause,
            Err(problem) => unrecorded(cause, &problem),
        };
        Denial {
            evaluation: case.evaluation,
            digest: Some(case.matter.digest()),
            approval,
            cause,
            policies,
            revision: Some(case.snapshot.revision),
        }
    }

    /// Denies what has no readable form, or no policy to be read under.
    pub(crate) async fn deny_unreadable(&self, what: Unreadable, cause: Cause) -> Denial {
        let at = self.ports.clock.now();
        let evaluation = self.new_evaluation(at);
        let record = Record {
            kind: Kind::Denied,
            at,
            evaluation,
            matter: None,
            snapshot: None,
            approval: None,
            trace: what.trace,
            details: Details::Unreadable {
                interceptor: what.interceptor.as_str(),
                about: what.about,
                cause: cause.clone(),
            },
        };
        let cause = match self.ports.audit.commit(record).await {
            Ok(()) => cause,
            Err(problem) => unrecorded(cause, &problem),
        };
        Denial { evaluation, digest: None, approval: None, cause, policies: Vec::new(), revision: None }
    }

    pub(crate) fn record(
        &self,
        case: &Case,
        kind: Kind,
        approval: Option<ApprovalId>,
        details: Details,
    ) -> Record {
        Record {
            kind,
            at: self.ports.clock.now(),
            evaluation: case.evaluation,
            matter: Some(Arc::clone(&case.matter)),
            snapshot: Some(Arc::clone(&case.snapshot)),
            approval,
            trace: case.matter.trace.clone(),
            details,
        }
    }
}

/// A cause that could not be recorded keeps its text, so that people learn both.
fn unrecorded(cause: Cause, problem: &AuditError) -> Cause {
    match cause {
        Cause::Unrecorded(_) => cause,
        other => Cause::Unrecorded(format!("{problem} ({other})")),
    }
}
