//! An operation that people must approve, and what they are told of it.

use std::{fmt, sync::Arc};

use countersign_approval::Submission;
use countersign_model::{
    DecidingPolicy, Digest, EvaluationId, Operation, Provenance, Requirement, RequirementName, Revision,
    Timestamp, canonical::to_canonical_json,
};

use super::Question;
use crate::{
    Act, Intent,
    engine::Case,
    intent::{Arguments, redacted_provenance},
};

/// An operation that may run once people have approved it.
#[derive(Clone)]
#[must_use = "a held operation waits for somebody to ask, or to refuse it"]
pub struct Held {
    pub(super) intent: Arc<Intent>,
    pub(super) case: Case,
    pub(super) policies: Vec<DecidingPolicy>,
    pub(super) requirements: Vec<RequirementName>,
    reason: Option<String>,
}

impl Held {
    pub(crate) fn new(
        intent: Arc<Intent>,
        case: Case,
        policies: Vec<DecidingPolicy>,
        requirements: Vec<RequirementName>,
    ) -> Self {
        Self { intent, case, policies, requirements, reason: None }
    }

    /// The evaluation that held it.
    #[must_use]
    pub fn evaluation(&self) -> EvaluationId {
        self.case.evaluation
    }

    /// When it was held.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        self.case.at
    }

    /// What must be approved.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.case.matter.digest()
    }

    /// What people are asked.
    pub(super) fn question(&self) -> Question {
        Question::of(&self.case)
    }

    /// The operation that is held.
    #[must_use]
    pub fn operation(&self) -> &Operation {
        &self.case.matter.operation
    }

    /// What was to be done, as the interceptor gave it.
    #[must_use]
    pub fn intent(&self) -> &Intent {
        &self.intent
    }

    /// The policies that hold it.
    #[must_use]
    pub fn policies(&self) -> &[DecidingPolicy] {
        &self.policies
    }

    /// The requirements that must be met.
    #[must_use]
    pub fn requirements(&self) -> &[RequirementName] {
        &self.requirements
    }

    /// What a requirement asks for.
    #[must_use]
    pub fn requirement(&self, name: &RequirementName) -> Option<&Requirement> {
        self.case.snapshot.bundle.requirement(name)
    }

    /// The same, with the reason that its requester gave when asking. It is shown only where the operation
    /// itself came without one.
    pub fn with_reason(mut self, reason: Option<String>) -> Self {
        self.reason = reason;
        self
    }

    /// Whether a caller that comes back with an operation means this one. What its context has on top was
    /// added when asking, and is no part of what is approved (ARAP §5.1).
    #[must_use]
    pub fn is_meant_by(&self, intent: &Intent) -> bool {
        let (Act::Operation { operation: held, projection }, Act::Operation { operation: given, .. }) =
            (&self.intent.act, &intent.act)
        else {
            return false;
        };
        let mut given = Operation::clone(given);
        given.context.retain(|name, _| held.context.contains_key(name));
        let same = |operation: &Operation| operation.bind(projection).map(|bound| bound.digest());
        self.intent.asserted_subject == intent.asserted_subject && same(&given) == same(held)
    }

    /// The bundle that holds it.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.case.snapshot.revision
    }

    /// The same, under another bundle that asks for nothing more (I7).
    pub(super) fn under(self, case: Case) -> Self {
        Self { case, ..self }
    }

    /// What the control plane is told: everything that reviewers need, and no secrets (I10, I12).
    pub(super) fn submission(&self, key: String, trace: Option<String>) -> Submission {
        let redaction = self.case.snapshot.bundle.redaction();
        let (operation, redacted) = self.case.matter.redacted(redaction);
        let mut provenance = self.case.matter.provenance.clone();
        if provenance.reason.is_none() {
            provenance = Provenance { reason: self.reason.clone(), ..provenance }.bounded();
        }
        Submission {
            key,
            evaluation: self.case.evaluation,
            digest: self.digest(),
            // Redaction only ever puts in strings, so what could be bound can still be written.
            operation: to_canonical_json(&operation).unwrap_or_default(),
            redacted,
            provenance: redacted_provenance(provenance, redaction),
            interceptor: self.case.matter.interceptor.as_str().to_owned(),
            policies: self.policies.clone(),
            requirements: self.requirements.clone(),
            revision: self.case.snapshot.revision,
            tool_pin: self.case.matter.tool_pin,
            trace: trace.or_else(|| self.case.matter.trace.clone()),
            substitutable: self.intent.arguments != Arguments::AsGiven,
            follows: self.intent.arguments.edits().last().map(|edit| edit.approval),
        }
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Held({}, {}, {:?})", self.case.evaluation, self.digest(), self.requirements)
    }
}
