//! What is asked: a sidecar's submission, and the request that the control plane freezes from it.

use std::collections::BTreeSet;

use countersign_model::{
    AgentId, AgentName, ApprovalId, DecidingPolicy, Digest, EvaluationId, PersonId, Provenance, Requirement,
    RequirementKind, RequirementName, Revision, Seconds, SpiffeId, Timestamp, canonical, strict_json,
};
use serde::{Deserialize, Serialize};

/// The longest idempotency key, in bytes.
pub const MAX_KEY: usize = 128;
/// The largest operation that people can be asked about, in bytes of canonical JSON.
pub const MAX_OPERATION: usize = 512 * 1024;
/// The most redacted places in one operation.
pub const MAX_REDACTED: usize = 4_096;
/// The most requirements that hold one operation.
pub const MAX_REQUIREMENTS: usize = 32;
/// The most people that one requirement can ask for.
pub const MAX_QUORUM: u32 = 100;
/// The most deciding policies that are shown with a request.
pub const MAX_POLICIES: usize = 256;
/// The longest short text (interceptor, trace, JSON Pointer), in bytes.
pub const MAX_SHORT_TEXT: usize = 512;

/// What a sidecar submits when policy holds an operation. JSON only (its provenance and policies leave
/// out absent members, which codecs that do not describe themselves cannot read back).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submission {
    /// Idempotency key: the same key from the same agent is the same request.
    pub key: String,
    /// The evaluation that held the operation (ARAP `evaluation_id`).
    pub evaluation: EvaluationId,
    /// The digest of the bound operation, taken before redaction (I10).
    pub digest: Digest,
    /// The bound operation's canonical JSON ([`BoundOperation::text`]) after redaction: what reviewers
    /// are shown (I12). With nothing redacted it must hash to [`Self::digest`].
    ///
    /// [`BoundOperation::text`]: countersign_model::operation::BoundOperation::text
    pub operation: String,
    /// The JSON Pointers of what was redacted in [`Self::operation`].
    pub redacted: Vec<String>,
    /// Why and where it comes from.
    pub provenance: Provenance,
    /// The interceptor that saw it: `check`, `exec`, `mcp`.
    pub interceptor: String,
    /// The policies that held it.
    pub policies: Vec<DecidingPolicy>,
    /// The requirements that must be met, by name. Their definitions are never taken from a sidecar.
    pub requirements: Vec<RequirementName>,
    /// The bundle revision that it was evaluated under.
    pub revision: Revision,
    /// The digest of the tool's own description, if it is pinned.
    pub tool_pin: Option<Digest>,
    /// The W3C `traceparent` of the operation.
    pub trace: Option<String>,
    /// Whether the interceptor can run it with other arguments than it came with.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub substitutable: bool,
    /// The approval whose arguments a reviewer changed into these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follows: Option<ApprovalId>,
}

/// The frozen request. The control plane resolves the names of requirements against its own stored
/// bundle of that revision; from then on neither it nor the people around it change. JSON only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Its id.
    pub id: ApprovalId,
    /// What the sidecar submitted.
    pub submission: Submission,
    /// The agent, by its certificate.
    pub agent: AgentId,
    /// The agent's name.
    pub agent_name: AgentName,
    /// The sidecar that a grant will be for (I2).
    pub audience: SpiffeId,
    /// The agent's owner, who cannot approve (I3).
    pub owner: PersonId,
    /// The requirements, frozen.
    pub requirements: Vec<Requirement>,
    /// How long the request outlives the last sign of life of its requester.
    pub requester_lease: Seconds,
    /// When it was submitted.
    pub submitted_at: Timestamp,
    /// Who changed its arguments into what they are. They have written part of it, so that they cannot
    /// approve it (I3).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub edited_by: Vec<PersonId>,
    /// What the bundle that held it says of the resource by itself, whatever the operation says of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<Label>,
}

/// What policy's own entities say of a resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    /// What it is about: an attribute, or the type of what the resource is in.
    pub name: String,
    /// What it says.
    pub value: String,
}

/// Why a request cannot be opened. Each text is for the person who runs the agent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// A part is empty, too long, or too many.
    #[error("the request's {0} is missing, malformed or too large")]
    Bounds(&'static str),
    /// The operation is not the canonical JSON of an object.
    #[error("the operation is not canonical JSON (RFC 8785)")]
    NotCanonical,
    /// What would be shown is not what would run (I12).
    #[error("the operation shown to reviewers does not have the digest that would be approved")]
    NotWhatRuns,
    /// Nothing to approve: such a request would be approved by nobody.
    #[error("the request names no requirement")]
    NoRequirements,
    /// The frozen requirements are not those that the sidecar named.
    #[error("the requirements do not match the names that policy gave")]
    Mismatch,
    /// A quorum of zero would approve by silence (I5); a very large one can never be met.
    #[error("requirement {0} asks for {1} people; it must be 1 to {MAX_QUORUM}")]
    Quorum(RequirementName, u32),
    /// Nobody could ever give this confirmation.
    #[error(
        "requirement {0} asks the initiating human to confirm, but the initiator was not verified; \
         nobody can confirm in their place"
    )]
    NobodyCanConfirm(RequirementName),
}

impl Request {
    /// How long a request outlives the last sign of life of its requester, unless configured.
    pub const DEFAULT_REQUESTER_LEASE: Seconds = Seconds::new(60);

    /// The person who may give a confirmation: the verified initiator, or the owner of an agent that
    /// acts for nobody else. An initiator who was not verified takes that right from the owner and
    /// gives it to nobody.
    #[must_use]
    pub fn confirmer(&self) -> Option<&PersonId> {
        match &self.submission.provenance.initiator {
            None => Some(&self.owner),
            Some(initiator) if initiator.verified || initiator.person == self.owner => {
                Some(&initiator.person)
            }
            Some(_) => None,
        }
    }

    /// Whether another request of the same agent asks people the very same, so that their one answer is
    /// an answer to both: what runs, for whom, under which rules, and what the tool says of itself.
    /// What only describes it (the agent's reason, its session, the trace) may differ.
    #[must_use]
    pub fn asks_the_same(&self, other: &Self) -> bool {
        let (ours, theirs) = (&self.submission, &other.submission);
        self.agent == other.agent
            && self.audience == other.audience
            && self.owner == other.owner
            && self.requirements == other.requirements
            && ours.digest == theirs.digest
            && ours.operation == theirs.operation
            && ours.tool_pin == theirs.tool_pin
            && ours.revision == theirs.revision
            && ours.interceptor == theirs.interceptor
            && ours.substitutable == theirs.substitutable
            && self.edited_by == other.edited_by
            // Who may not vote depends on it (I3).
            && ours.provenance.initiator == theirs.provenance.initiator
    }

    /// The end of the time to decide: the shortest of all requirements counts.
    #[must_use]
    pub fn decide_by(&self) -> Timestamp {
        let shortest = self.requirements.iter().map(|requirement| requirement.decide_within).min();
        self.submitted_at.plus(shortest.unwrap_or_default())
    }

    /// Checks everything about a request that must hold before people are asked.
    ///
    /// # Errors
    /// The first thing that does not hold.
    pub fn check(&self) -> Result<(), RequestError> {
        self.submission.check()?;
        if self.requester_lease == Seconds::new(0) {
            return Err(RequestError::Bounds("requester lease"));
        }
        if self.audience.agent_name() != Some(&self.agent_name) {
            return Err(RequestError::Bounds("audience"));
        }
        let frozen: BTreeSet<_> = self.requirements.iter().map(|requirement| &requirement.name).collect();
        let named: BTreeSet<_> = self.submission.requirements.iter().collect();
        if frozen != named || frozen.len() != self.requirements.len() {
            return Err(RequestError::Mismatch);
        }
        self.requirements.iter().try_for_each(|requirement| self.check_requirement(requirement))
    }

    fn check_requirement(&self, requirement: &Requirement) -> Result<(), RequestError> {
        let most = match requirement.kind {
            RequirementKind::Approval => MAX_QUORUM,
            RequirementKind::Confirmation => 1,
        };
        if !(1..=most).contains(&requirement.quorum) {
            return Err(RequestError::Quorum(requirement.name.clone(), requirement.quorum));
        }
        // A threshold of zero would deny by silence; a stage of zero would come before the first.
        if requirement.deny_threshold == 0 || requirement.stage == 0 {
            return Err(RequestError::Bounds("requirement"));
        }
        if requirement.kind == RequirementKind::Confirmation && self.confirmer().is_none() {
            return Err(RequestError::NobodyCanConfirm(requirement.name.clone()));
        }
        Ok(())
    }
}

impl Submission {
    /// Checks the bounds of a submission, and that what is shown is what would run (I12).
    ///
    /// # Errors
    /// The first thing that does not hold.
    pub fn check(&self) -> Result<(), RequestError> {
        let within = |what, fits: bool| if fits { Ok(()) } else { Err(RequestError::Bounds(what)) };
        let short = |text: &str| text.len() <= MAX_SHORT_TEXT && !text.chars().any(char::is_control);
        within("key", (1..=MAX_KEY).contains(&self.key.len()) && short(&self.key))?;
        within("operation", self.operation.len() <= MAX_OPERATION)?;
        within("list of redactions", self.redacted.len() <= MAX_REDACTED)?;
        within("list of redactions", self.redacted.iter().all(|pointer| pointer.len() <= MAX_SHORT_TEXT))?;
        within("interceptor", !self.interceptor.is_empty() && short(&self.interceptor))?;
        within("trace", self.trace.as_deref().is_none_or(short))?;
        within("list of policies", self.policies.len() <= MAX_POLICIES)?;
        within("list of requirements", self.requirements.len() <= MAX_REQUIREMENTS)?;
        if self.requirements.is_empty() {
            return Err(RequestError::NoRequirements);
        }
        self.check_operation()
    }

    fn check_operation(&self) -> Result<(), RequestError> {
        let value = strict_json::parse(self.operation.as_bytes()).map_err(|_| RequestError::NotCanonical)?;
        let canonical = canonical::to_canonical_json(&value).map_err(|_| RequestError::NotCanonical)?;
        if !value.is_object() || canonical != self.operation {
            return Err(RequestError::NotCanonical);
        }
        if self.redacted.is_empty() && Digest::of(self.operation.as_bytes()) != self.digest {
            return Err(RequestError::NotWhatRuns);
        }
        Ok(())
    }
}
