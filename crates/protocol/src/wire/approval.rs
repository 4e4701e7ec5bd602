//! Approvals: what a sidecar asks, waits for, reports, and is told.

use bincode::{Decode, Encode};
use countersign_approval::{CancelReason, Outcome, Phase, Progress, Status, Submission};
use countersign_model::{
    ApprovalId, DecidingPolicy, Digest, EvaluationId, PolicyEffect, Provenance, RequirementKind, Revision,
    Timestamp, provenance::Initiator,
};

use super::bounded::{FieldError, List, Text};
use crate::{
    limits,
    message::{CancelApproval, ReportClaim, ReportOutcome, RevokeApproval, WaitApproval},
};

type Name = Text<{ limits::MAX_NAME }>;
type Free = Text<{ limits::MAX_FREE_TEXT }>;
type Short = Text<{ limits::MAX_SHORT_TEXT }>;
type Message = Text<{ limits::MAX_MESSAGE }>;

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct SubmissionV1 {
    key: Text<{ limits::MAX_KEY }>,
    evaluation: [u8; 16],
    digest: [u8; 32],
    operation: Text<{ limits::MAX_OPERATION }>,
    redacted: List<Short, { limits::MAX_REDACTED }>,
    provenance: ProvenanceV1,
    interceptor: Short,
    policies: List<PolicyV1, { limits::MAX_POLICIES }>,
    requirements: List<Name, { limits::MAX_REQUIREMENTS }>,
    revision: u64,
    tool_pin: Option<[u8; 32]>,
    trace: Option<Short>,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
struct ProvenanceV1 {
    initiator: Option<InitiatorV1>,
    model: Option<Free>,
    session: Option<Free>,
    reason: Option<Free>,
    prompt: Option<Free>,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
struct InitiatorV1 {
    person: Name,
    verified: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
struct PolicyV1 {
    id: Name,
    effect: EffectV1,
    reason: Option<Message>,
    approval: Option<Name>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
enum EffectV1 {
    Permit,
    Forbid,
    Error,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct StatusV1 {
    id: [u8; 16],
    version: u64,
    phase: PhaseV1,
    cancelled: Option<CancelReasonV1>,
    grant: Option<Text<{ limits::MAX_GRANT }>>,
    reason: Option<Message>,
    decide_by: i64,
    execute_by: Option<i64>,
    progress: List<ProgressV1, { limits::MAX_REQUIREMENTS }>,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
struct ProgressV1 {
    requirement: Name,
    kind: RequirementKindV1,
    have: u32,
    need: u32,
    reviewers: List<Name, 64>,
}

/// Defines an enumeration of the wire with the domain's own names, and both ways between them.
macro_rules! mirrored {
    ($wire:ident mirrors $domain:ident { $($variant:ident),+ $(,)? }) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
        pub(crate) enum $wire { $($variant),+ }

        impl From<$domain> for $wire {
            fn from(value: $domain) -> Self {
                match value { $($domain::$variant => Self::$variant),+ }
            }
        }

        impl From<$wire> for $domain {
            fn from(value: $wire) -> Self {
                match value { $($wire::$variant => Self::$variant),+ }
            }
        }
    };
}

mirrored!(PhaseV1 mirrors Phase {
    Pending, Approved, Claimed, Executed, Failed, OutcomeUnknown, Lapsed, Revoked, Invalidated, Denied, Expired,
    Cancelled,
});
mirrored!(CancelReasonV1 mirrors CancelReason { Requester, RequesterGone, Superseded });
mirrored!(OutcomeV1 mirrors Outcome { Executed, Failed, OutcomeUnknown });
mirrored!(RequirementKindV1 mirrors RequirementKind { Approval, Confirmation });

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct WaitApprovalV1 {
    id: [u8; 16],
    known_version: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct CancelApprovalV1 {
    id: [u8; 16],
    why: CancelReasonV1,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct ReportClaimV1 {
    id: [u8; 16],
    use_number: u32,
    at: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct ReportOutcomeV1 {
    id: [u8; 16],
    use_number: u32,
    outcome: OutcomeV1,
    at: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct RevokeApprovalV1 {
    id: [u8; 16],
    reason: Message,
}

/// A bounded text of an optional one.
fn optional<const MAX: usize>(
    field: &'static str,
    text: Option<&str>,
) -> Result<Option<Text<MAX>>, FieldError> {
    text.map(|text| Text::new(field, text)).transpose()
}

fn owned<const MAX: usize>(text: Option<Text<MAX>>) -> Option<String> {
    text.map(Text::into_string)
}

impl TryFrom<&Submission> for SubmissionV1 {
    type Error = FieldError;

    fn try_from(from: &Submission) -> Result<Self, FieldError> {
        Ok(Self {
            key: Text::new("key", &from.key)?,
            evaluation: from.evaluation.to_bytes(),
            digest: *from.digest.as_bytes(),
            operation: Text::new("operation", &from.operation)?,
            redacted: List::collect("redacted", &from.redacted, |pointer| Text::new("redacted", pointer))?,
            provenance: (&from.provenance).try_into()?,
            interceptor: Text::new("interceptor", &from.interceptor)?,
            policies: List::collect("policies", &from.policies, PolicyV1::try_from)?,
            requirements: List::collect("requirements", &from.requirements, |name| {
                Text::new("requirements", name.as_str())
            })?,
            revision: from.revision.0,
            tool_pin: from.tool_pin.map(|digest| *digest.as_bytes()),
            trace: optional("trace", from.trace.as_deref())?,
        })
    }
}

impl TryFrom<SubmissionV1> for Submission {
    type Error = FieldError;

    fn try_from(from: SubmissionV1) -> Result<Self, FieldError> {
        Ok(Self {
            key: from.key.into_string(),
            evaluation: EvaluationId::from_bytes(from.evaluation),
            digest: Digest::from_bytes(from.digest),
            operation: from.operation.into_string(),
            redacted: from.redacted.map(|pointer| Ok(pointer.into_string()))?,
            provenance: from.provenance.try_into()?,
            interceptor: from.interceptor.into_string(),
            policies: from.policies.map(DecidingPolicy::try_from)?,
            requirements: from.requirements.map(|name| name.parse("requirements"))?,
            revision: Revision(from.revision),
            tool_pin: from.tool_pin.map(Digest::from_bytes),
            trace: owned(from.trace),
            substitutable: false,
            follows: None,
        })
    }
}

impl TryFrom<&Provenance> for ProvenanceV1 {
    type Error = FieldError;

    fn try_from(from: &Provenance) -> Result<Self, FieldError> {
        let initiator = from.initiator.as_ref().map(|initiator| -> Result<_, FieldError> {
            let person = Text::new("initiator", initiator.person.as_str())?;
            Ok(InitiatorV1 { person, verified: initiator.verified })
        });
        Ok(Self {
            initiator: initiator.transpose()?,
            model: optional("model", from.model.as_deref())?,
            session: optional("session", from.session.as_deref())?,
            reason: optional("reason", from.reason.as_deref())?,
            prompt: optional("prompt", from.prompt.as_deref())?,
        })
    }
}

impl TryFrom<ProvenanceV1> for Provenance {
    type Error = FieldError;

    fn try_from(from: ProvenanceV1) -> Result<Self, FieldError> {
        let initiator = from.initiator.map(|initiator| -> Result<_, FieldError> {
            Ok(Initiator { person: initiator.person.parse("initiator")?, verified: initiator.verified })
        });
        Ok(Self {
            initiator: initiator.transpose()?,
            model: owned(from.model),
            session: owned(from.session),
            reason: owned(from.reason),
            prompt: owned(from.prompt),
        })
    }
}

impl TryFrom<&DecidingPolicy> for PolicyV1 {
    type Error = FieldError;

    fn try_from(from: &DecidingPolicy) -> Result<Self, FieldError> {
        Ok(Self {
            id: Text::new("policy", &from.id)?,
            effect: match from.effect {
                PolicyEffect::Permit => EffectV1::Permit,
                PolicyEffect::Forbid => EffectV1::Forbid,
                PolicyEffect::Error => EffectV1::Error,
            },
            reason: optional("policy reason", from.reason.as_deref())?,
            approval: optional("policy approval", from.approval.as_ref().map(|name| name.as_str()))?,
        })
    }
}

impl TryFrom<PolicyV1> for DecidingPolicy {
    type Error = FieldError;

    fn try_from(from: PolicyV1) -> Result<Self, FieldError> {
        Ok(Self {
            id: from.id.into_string(),
            effect: match from.effect {
                EffectV1::Permit => PolicyEffect::Permit,
                EffectV1::Forbid => PolicyEffect::Forbid,
                EffectV1::Error => PolicyEffect::Error,
            },
            reason: owned(from.reason),
            approval: from.approval.map(|name| name.parse("policy approval")).transpose()?,
        })
    }
}

impl TryFrom<&Status> for StatusV1 {
    type Error = FieldError;

    fn try_from(from: &Status) -> Result<Self, FieldError> {
        Ok(Self {
            id: from.id.to_bytes(),
            version: from.version,
            phase: from.phase.into(),
            cancelled: from.cancelled.map(CancelReasonV1::from),
            grant: optional("grant", from.grant.as_deref())?,
            reason: optional("reason", from.reason.as_deref())?,
            decide_by: from.decide_by.as_millis(),
            execute_by: from.execute_by.map(Timestamp::as_millis),
            progress: List::collect("progress", &from.progress, ProgressV1::try_from)?,
        })
    }
}

impl TryFrom<StatusV1> for Status {
    type Error = FieldError;

    fn try_from(from: StatusV1) -> Result<Self, FieldError> {
        Ok(Self {
            id: ApprovalId::from_bytes(from.id),
            version: from.version,
            phase: from.phase.into(),
            cancelled: from.cancelled.map(CancelReason::from),
            grant: owned(from.grant),
            reason: owned(from.reason),
            decide_by: Timestamp::from_millis(from.decide_by),
            execute_by: from.execute_by.map(Timestamp::from_millis),
            progress: from.progress.map(Progress::try_from)?,
        })
    }
}

impl TryFrom<&Progress> for ProgressV1 {
    type Error = FieldError;

    fn try_from(from: &Progress) -> Result<Self, FieldError> {
        Ok(Self {
            requirement: Text::new("requirement", from.requirement.as_str())?,
            kind: from.kind.into(),
            have: from.have,
            need: from.need,
            reviewers: List::collect("reviewers", &from.reviewers, |name| Text::new("reviewers", name))?,
        })
    }
}

impl TryFrom<ProgressV1> for Progress {
    type Error = FieldError;

    fn try_from(from: ProgressV1) -> Result<Self, FieldError> {
        Ok(Self {
            requirement: from.requirement.parse("requirement")?,
            kind: from.kind.into(),
            have: from.have,
            need: from.need,
            reviewers: from.reviewers.map(|name| Ok(name.into_string()))?,
        })
    }
}

impl From<&WaitApproval> for WaitApprovalV1 {
    fn from(from: &WaitApproval) -> Self {
        Self { id: from.id.to_bytes(), known_version: from.known_version }
    }
}

impl From<WaitApprovalV1> for WaitApproval {
    fn from(from: WaitApprovalV1) -> Self {
        Self { id: ApprovalId::from_bytes(from.id), known_version: from.known_version }
    }
}

impl From<&CancelApproval> for CancelApprovalV1 {
    fn from(from: &CancelApproval) -> Self {
        Self { id: from.id.to_bytes(), why: from.why.into() }
    }
}

impl From<CancelApprovalV1> for CancelApproval {
    fn from(from: CancelApprovalV1) -> Self {
        Self { id: ApprovalId::from_bytes(from.id), why: from.why.into() }
    }
}

/// The uses of a grant are numbered from 1.
fn use_number(number: u32) -> Result<u32, FieldError> {
    if number == 0 { Err(FieldError::new("use number", "uses are numbered from 1")) } else { Ok(number) }
}

impl From<&ReportClaim> for ReportClaimV1 {
    fn from(from: &ReportClaim) -> Self {
        Self { id: from.id.to_bytes(), use_number: from.use_number, at: from.at.as_millis() }
    }
}

impl TryFrom<ReportClaimV1> for ReportClaim {
    type Error = FieldError;

    fn try_from(from: ReportClaimV1) -> Result<Self, FieldError> {
        Ok(Self {
            id: ApprovalId::from_bytes(from.id),
            use_number: use_number(from.use_number)?,
            at: Timestamp::from_millis(from.at),
        })
    }
}

impl From<&ReportOutcome> for ReportOutcomeV1 {
    fn from(from: &ReportOutcome) -> Self {
        Self {
            id: from.id.to_bytes(),
            use_number: from.use_number,
            outcome: from.outcome.into(),
            at: from.at.as_millis(),
        }
    }
}

impl TryFrom<ReportOutcomeV1> for ReportOutcome {
    type Error = FieldError;

    fn try_from(from: ReportOutcomeV1) -> Result<Self, FieldError> {
        Ok(Self {
            id: ApprovalId::from_bytes(from.id),
            use_number: use_number(from.use_number)?,
            outcome: from.outcome.into(),
            at: Timestamp::from_millis(from.at),
        })
    }
}

impl TryFrom<&RevokeApproval> for RevokeApprovalV1 {
    type Error = FieldError;

    fn try_from(from: &RevokeApproval) -> Result<Self, FieldError> {
        Ok(Self { id: from.id.to_bytes(), reason: Text::new("reason", &from.reason)? })
    }
}

impl From<RevokeApprovalV1> for RevokeApproval {
    fn from(from: RevokeApprovalV1) -> Self {
        Self { id: ApprovalId::from_bytes(from.id), reason: from.reason.into_string() }
    }
}
