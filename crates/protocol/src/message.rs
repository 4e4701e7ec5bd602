//! What the frames say, in domain types.

use std::{collections::BTreeMap, fmt};

use countersign_approval::{ArgumentChange, CancelReason, Outcome, Submission};
use countersign_model::{
    AgentId, AgentName, ApprovalId, Digest, JoinTokenId, PersonId, Revision, Seconds, Timestamp, TrustDomain,
    signing::Jwks,
};

/// Done, with nothing to add.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack;

/// The first words of a sidecar on a new connection. Who it is, is in its certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The newest protocol version that the sidecar speaks.
    pub protocol: u8,
    /// Program and version, for people.
    pub software: String,
    /// The bundle that it enforces.
    pub revision: Option<Revision>,
    /// That bundle's digest.
    pub bundle: Option<Digest>,
    /// The number of its last audit event; 0 when it has none.
    pub last_seq: u64,
    /// How many of its events are not acknowledged yet.
    pub spool_depth: u64,
    /// The approvals that it still waits for.
    pub pending: Vec<ApprovalId>,
}

/// The control plane's answer to [`Hello`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Welcome {
    /// The protocol version to speak from here: the newest that both know.
    pub protocol: u8,
    /// Program and version, for people.
    pub software: String,
    /// The control plane's clock, so that the sidecar can tell how far its own is off.
    pub now: Timestamp,
    /// How often the sidecar is to send heartbeats.
    pub heartbeat_every: Seconds,
    /// The newest bundle for this sidecar; it is pushed when the sidecar does not have it.
    pub revision: Option<Revision>,
    /// The number of this sidecar's last event in the ledger: the spool goes on after it.
    pub audit_through: u64,
    /// That event's digest; zeros when there is none.
    pub audit_head: Digest,
    /// The lease of the bundle runs from here.
    pub lease_renewed_at: Timestamp,
}

/// The other side did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({code:?})")]
pub struct Refused {
    /// For the program.
    pub code: RefusalCode,
    /// For a person.
    pub message: String,
}

/// Why something was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RefusalCode {
    /// A reason that this release does not know; the message says it.
    Other,
    /// The frame or its version is not known to the other side.
    Unsupported,
    /// What was asked makes no sense or breaks a rule. Asking again does not help.
    Invalid,
    /// There is no such thing, or not for this agent.
    NotFound,
    /// It no longer fits the state of things.
    Conflict,
    /// Too much at the moment. Ask again later.
    Busy,
    /// The agent's identity was revoked.
    Revoked,
    /// The join token is unknown, used or expired.
    JoinToken,
    /// The audit events do not continue the ledger's; [`Welcome::audit_through`] says where to go on.
    AuditGap,
    /// The other side failed. Ask again later.
    Internal,
    /// The agent has asked people for too much.
    TooMany,
}

impl RefusalCode {
    /// Whether the same request may succeed later.
    #[must_use]
    pub const fn is_transient(self) -> bool {
        matches!(self, Self::Busy | Self::Internal)
    }
}

/// A sidecar waits for news of an approval. The answer comes when its version is above
/// [`Self::known_version`], and after half a minute at the latest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitApproval {
    /// The approval.
    pub id: ApprovalId,
    /// The version that the sidecar knows; 0 for none.
    pub known_version: u64,
}

/// A submission of what its interceptor can also run with other arguments than it came with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Substitutable(pub Submission);

/// A sidecar asks what a reviewer made of the arguments of an approval that was superseded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AskEdit {
    /// The approval.
    pub id: ApprovalId,
}

/// What a reviewer made of the arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProposedEdit {
    /// Who.
    pub by: PersonId,
    /// What they changed.
    pub changes: Vec<ArgumentChange>,
    /// Why.
    pub reason: Option<String>,
}

/// A sidecar gives an approval up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CancelApproval {
    /// The approval.
    pub id: ApprovalId,
    /// Why.
    pub why: CancelReason,
}

/// A sidecar has durably consumed one use of a grant (I2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportClaim {
    /// The approval.
    pub id: ApprovalId,
    /// Which use, from 1.
    pub use_number: u32,
    /// When.
    pub at: Timestamp,
}

/// A sidecar says how a use of a grant ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportOutcome {
    /// The approval.
    pub id: ApprovalId,
    /// Which use, from 1.
    pub use_number: u32,
    /// How it ended.
    pub outcome: Outcome,
    /// When.
    pub at: Timestamp,
}

/// The control plane takes an approval back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevokeApproval {
    /// The approval.
    pub id: ApprovalId,
    /// Why, for a person.
    pub reason: String,
}

/// Audit events of a sidecar, in order, each in its canonical bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditBatch {
    /// The events.
    pub events: Vec<Vec<u8>>,
}

/// How far the audit events are durable in the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditAck {
    /// The number of the last one (I8).
    pub through: u64,
}

/// A sidecar's sign of life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    /// The bundle that it enforces.
    pub revision: Option<Revision>,
    /// How many of its events are not acknowledged yet.
    pub spool_depth: u64,
    /// The approvals whose requesters are still there.
    pub pending: Vec<ApprovalId>,
}

/// The answer to a heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeartbeatAck {
    /// The lease of the bundle runs from here (I9).
    pub lease_renewed_at: Timestamp,
}

/// A sidecar asks for its next certificate. Its name stays what its present certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renew {
    /// The request (PKCS #10, DER).
    pub csr: Vec<u8>,
}

/// The next certificate of a sidecar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Svid {
    /// The certificate and those up to a root, leaf first (DER).
    pub chain: Vec<Vec<u8>>,
    /// The roots to trust from now on (DER).
    pub trust: Vec<Vec<u8>>,
}

/// A signed policy bundle.
#[derive(Clone, PartialEq, Eq)]
pub struct PushBundle {
    /// The signed manifest (JWS).
    pub manifest: String,
    /// The files, by path.
    pub files: BTreeMap<String, Vec<u8>>,
}

impl fmt::Debug for PushBundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes: usize = self.files.values().map(Vec::len).sum();
        write!(f, "PushBundle({} files, {bytes} bytes)", self.files.len())
    }
}

/// What became of a bundle (I7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleAck {
    /// The revision that the sidecar enforces now: the new one, or the one it stays with.
    pub revision: Option<Revision>,
    /// What became of the pushed one.
    pub outcome: BundleOutcome,
}

/// What became of a pushed bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BundleOutcome {
    /// It is in force.
    Activated,
    /// It was in force already.
    Unchanged,
    /// It was refused, and why.
    Refused(String),
}

/// A machine without an identity asks for one.
#[derive(Clone, PartialEq, Eq)]
pub struct Enrol {
    /// Which join token it holds.
    pub token: JoinTokenId,
    /// The token's secret.
    pub secret: [u8; 32],
    /// The request (PKCS #10, DER); only its public key is used.
    pub csr: Vec<u8>,
    /// The name that the machine expects, to notice a mix-up of tokens. The token decides.
    pub agent: Option<AgentName>,
    /// Program and version, for people.
    pub software: String,
}

impl fmt::Debug for Enrol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Enrol")
            .field("token", &self.token)
            .field("agent", &self.agent)
            .finish_non_exhaustive()
    }
}

/// The identity of a machine that enrolled, and whom it is to trust.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrolled {
    /// The agent's id.
    pub agent: AgentId,
    /// The agent's name.
    pub name: AgentName,
    /// The trust domain.
    pub trust_domain: TrustDomain,
    /// The certificate and those up to a root, leaf first (DER).
    pub chain: Vec<Vec<u8>>,
    /// The roots to trust (DER).
    pub trust: Vec<Vec<u8>>,
    /// The keys that policy bundles are signed with.
    pub bundle_keys: Jwks,
}
