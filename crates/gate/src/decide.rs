//! Permit, deny or hold: one evaluation under the policy in force. Never waits for people.

use std::{collections::BTreeSet, sync::Arc, time::Instant};

use countersign_model::{ApprovalId, DecidingPolicy, Decision, RequirementName, names};
use countersign_policy::{AuditDurability, Call, Verdict};
use tracing::{Instrument, Span, field, info_span};

use crate::{
    Answer, Cause, Denial, Gate, Intent, Permit,
    engine::{Case, Engine, Unreadable},
    hold::Held,
    intent::Matter,
    ports::{AuditError, NoPolicy},
    record::{Details, Kind},
};

impl Gate {
    /// Decides about an operation. The answer is recorded as the invariants ask: a denial or a hold
    /// durably before it is given (I8), a permit as durably as the bundle says.
    pub async fn decide(&self, intent: Intent) -> Answer {
        let started = Instant::now();
        let span = self.engine.operation_span(&intent);
        let interceptor = intent.interceptor;
        let answer = self.engine.decide(&Arc::new(intent), &span).instrument(span.clone()).await;
        let decision = answer.decision();
        span.record(names::attribute::DECISION, decision);
        self.engine.ports.observer.decided(decision, interceptor, started.elapsed());
        answer
    }
}

impl Gate {
    /// Whether an operation could be permitted or held once its arguments are known. Nothing is decided
    /// by it and nothing recorded: it says what may be shown as possible.
    #[must_use]
    pub fn could(&self, intent: &Intent) -> bool {
        let engine = &self.engine;
        let now = engine.ports.clock.now();
        let Ok(snapshot) = engine.ports.policy.current(now) else { return false };
        let agent = &engine.settings.agent;
        // A mapping that needs the arguments cannot say yet what the operation would be.
        let Ok(matter) = Matter::read(intent, agent, &snapshot.bundle, &Span::none(), None) else {
            return true;
        };
        let met = BTreeSet::new();
        let could = |operation| {
            snapshot.bundle.could(&Call { operation, agent, asserted_subject: None, met: &met, now })
        };
        matter.asked().iter().all(could)
    }
}

impl Answer {
    /// `permit`, `deny` or `hold`.
    #[must_use]
    pub const fn decision(&self) -> &'static str {
        match self {
            Self::Permitted(_) => "permit",
            Self::Denied(_) => "deny",
            Self::Held(_) => "hold",
        }
    }
}

impl Engine {
    pub(crate) fn operation_span(&self, intent: &Intent) -> Span {
        let span = info_span!(
            names::span::OPERATION,
            { names::attribute::INTERCEPTOR } = intent.interceptor.as_str(),
            { names::attribute::AGENT } = self.settings.agent.as_str(),
            { names::attribute::MODEL } = intent.provenance.model.as_deref(),
            { names::attribute::CONVERSATION } = intent.provenance.session.as_deref(),
            { names::attribute::ACTION } = field::Empty,
            { names::attribute::RESOURCE } = field::Empty,
            { names::attribute::OPERATION_DIGEST } = field::Empty,
            { names::attribute::DECISION } = field::Empty,
        );
        if let Some(parent) = &intent.trace {
            self.ports.observer.adopt(&span, parent);
        }
        span
    }

    async fn decide(self: &Arc<Self>, intent: &Arc<Intent>, span: &Span) -> Answer {
        match self.open(intent, span).await {
            Ok(case) => self.evaluate_plainly(intent, case).await,
            Err(denial) => Answer::Denied(denial),
        }
    }

    /// Asks policy with nothing approved.
    pub(crate) async fn evaluate_plainly(self: &Arc<Self>, intent: &Arc<Intent>, case: Case) -> Answer {
        let verdict = self.evaluate(&case, &BTreeSet::new(), false);
        match verdict.decision {
            Decision::Permit => self.permit(case, verdict.policies).await,
            Decision::Deny => Answer::Denied(self.deny(&case, Cause::Policy, verdict.policies, None).await),
            Decision::Hold { requirements } => self.held(intent, case, verdict.policies, requirements).await,
        }
    }

    /// Reads an intent under the policy in force. Whatever prevents that is a denial (I6).
    pub(crate) async fn open(&self, intent: &Arc<Intent>, span: &Span) -> Result<Case, Denial> {
        let at = self.ports.clock.now();
        let (snapshot, obstacle) = match self.ports.policy.current(at) {
            Ok(snapshot) => (snapshot, None),
            Err(NoPolicy::LeaseEnded(snapshot)) => (snapshot, Some(Cause::LeaseEnded)),
            Err(NoPolicy::Missing) => {
                let unreadable = Unreadable::of(intent);
                return Err(self.deny_unreadable(unreadable, Cause::NoPolicy).await);
            }
        };
        let trace = self.ports.observer.traceparent(span).or_else(|| intent.trace.clone());
        let read = Matter::read(intent, &self.settings.agent, &snapshot.bundle, span, trace);
        let matter = match read {
            Ok(matter) => Arc::new(matter),
            Err(why) => {
                return Err(self.deny_unreadable(Unreadable::of(intent), Cause::Malformed(why)).await);
            }
        };
        if !span.is_disabled() {
            span.record(names::attribute::ACTION, matter.operation.action.name.as_str());
            let resource = &matter.operation.resource;
            span.record(names::attribute::RESOURCE, format!("{}::\"{}\"", resource.kind, resource.id));
            span.record(names::attribute::OPERATION_DIGEST, field::display(matter.digest()));
        }
        let case = Case { evaluation: self.new_evaluation(at), at, matter, snapshot };
        match obstacle {
            Some(cause) => Err(self.deny(&case, cause, Vec::new(), None).await),
            None => Ok(case),
        }
    }

    /// Asks policy, with the requirements that people have met.
    pub(crate) fn evaluate(&self, case: &Case, met: &BTreeSet<RequirementName>, again: bool) -> Verdict {
        let span = evaluation_span(case, again);
        let decide = |operation| {
            case.snapshot.bundle.decide(&Call {
                operation,
                agent: &self.settings.agent,
                asserted_subject: case.matter.asserted_subject.as_ref(),
                met,
                now: case.at,
            })
        };
        let verdict = span.in_scope(|| Verdict::of_all(case.matter.asked().iter().map(decide)));
        if !span.is_disabled() {
            let ids: Vec<&str> = verdict.policies.iter().map(|policy| policy.id.as_str()).collect();
            span.record(names::attribute::POLICIES, ids.join(","));
        }
        verdict
    }

    /// Permits what needs no approval.
    pub(crate) async fn permit(self: &Arc<Self>, case: Case, policies: Vec<DecidingPolicy>) -> Answer {
        let Some(place) = self.reserve() else {
            return Answer::Denied(self.deny(&case, Cause::Busy, policies, None).await);
        };
        if let Err(problem) = self.record_permit(&case, None, policies).await {
            let cause = Cause::Unrecorded(problem.to_string());
            return Answer::Denied(self.deny(&case, cause, Vec::new(), None).await);
        }
        Answer::Permitted(Permit::mint(Arc::clone(self), place, case, Vec::new(), None))
    }

    /// Records a permit as durably as the bundle says. (The use of a grant is durable by itself, I2.)
    pub(crate) async fn record_permit(
        &self,
        case: &Case,
        approval: Option<ApprovalId>,
        policies: Vec<DecidingPolicy>,
    ) -> Result<(), AuditError> {
        let details = Details::Decision { policies, requirements: Vec::new(), cause: None };
        let record = self.record(case, Kind::Permitted, approval, details);
        match case.snapshot.bundle.durability() {
            AuditDurability::Batched => self.ports.audit.enqueue(record),
            AuditDurability::Sync => self.ports.audit.commit(record).await,
        }
    }

    /// Says that people must approve, once that is durable (I8).
    pub(crate) async fn held(
        &self,
        intent: &Arc<Intent>,
        case: Case,
        policies: Vec<DecidingPolicy>,
        requirements: Vec<RequirementName>,
    ) -> Answer {
        let details =
            Details::Decision { policies: policies.clone(), requirements: requirements.clone(), cause: None };
        let record = self.record(&case, Kind::Held, None, details);
        if let Err(problem) = self.ports.audit.commit(record).await {
            let cause = Cause::Unrecorded(problem.to_string());
            return Answer::Denied(self.deny(&case, cause, policies, None).await);
        }
        Answer::Held(Held::new(Arc::clone(intent), case, policies, requirements))
    }
}

fn evaluation_span(case: &Case, again: bool) -> Span {
    // The name of a span is a constant of its call site, so there are two.
    if again {
        info_span!(
            parent: &case.matter.span,
            names::span::REEVALUATE,
            { names::attribute::REVISION } = case.snapshot.revision.0,
            { names::attribute::POLICIES } = field::Empty,
        )
    } else {
        info_span!(
            parent: &case.matter.span,
            names::span::EVALUATE,
            { names::attribute::REVISION } = case.snapshot.revision.0,
            { names::attribute::POLICIES } = field::Empty,
        )
    }
}
