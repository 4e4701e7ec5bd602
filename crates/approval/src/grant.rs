//! Grants: the signed result of an approval, verifiable offline (I2).

use countersign_model::{
    ApprovalId, Digest, PersonId, RequirementKind, RequirementName, Revision, SpiffeId, Timestamp,
    signing::SigningError,
};
use serde::{Deserialize, Serialize};

/// The JWS `typ` of a grant.
pub const GRANT_TYPE: &str = "countersign-grant+jwt";

/// A requirement that was met, as a grant and the record name it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetRequirement {
    /// Its name.
    pub name: RequirementName,
    /// Whose word it was: a confirmation never counts as an approval.
    pub kind: RequirementKind,
    /// The digest of its frozen definition, so that a grant does not meet a stricter one of the same name.
    pub definition: Digest,
    /// Who gave their word, each person for one requirement only (I4).
    pub by: Vec<PersonId>,
}

/// What a grant says: one operation, on one sidecar, for a bounded time and number of uses (I2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantClaims {
    /// The control plane that signed it.
    pub iss: SpiffeId,
    /// The sidecar that it is for.
    pub aud: SpiffeId,
    /// The approval.
    pub jti: ApprovalId,
    /// The digest of the one operation that it authorises.
    pub digest: Digest,
    /// The requirements that were met, and by whom.
    pub requirements: Vec<MetRequirement>,
    /// The bundle revision whose requirements they were.
    pub revision: Revision,
    /// When it was approved, in whole seconds since the epoch (RFC 7519 §2).
    pub iat: i64,
    /// When it ends: no use may start at or after that second.
    pub exp: i64,
    /// When the first use must have started.
    pub execute_by: i64,
    /// How many uses it has.
    pub uses: u32,
}

/// What a sidecar demands of a grant before it is used.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// The control plane that it enrolled with.
    pub issuer: &'a SpiffeId,
    /// The sidecar itself.
    pub audience: &'a SpiffeId,
    /// The approval that was asked for.
    pub approval: ApprovalId,
    /// The digest of the operation that is about to run.
    pub digest: Digest,
    /// The bundle revision in force.
    pub revision: Revision,
    /// How many uses its own journal has already consumed.
    pub used: u32,
    /// The time.
    pub now: Timestamp,
}

/// Why a grant does not authorise an operation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrantRefusal {
    /// Not signed by a trusted key, or not a grant at all.
    #[error("the grant cannot be trusted: {0}")]
    Signature(#[from] SigningError),
    /// From another control plane.
    #[error("the grant was issued by {0}")]
    Issuer(SpiffeId),
    /// For another sidecar.
    #[error("the grant is for {0}, not for this sidecar")]
    Audience(SpiffeId),
    /// For another approval.
    #[error("the grant belongs to approval {0}")]
    Approval(ApprovalId),
    /// For another operation.
    #[error("the grant is for another operation ({granted}) than the one that would run ({requested})")]
    Digest {
        /// What was approved.
        granted: Digest,
        /// What would run.
        requested: Digest,
    },
    /// From a revision that this sidecar does not know yet.
    #[error("the grant was made under bundle revision {granted}, but {current} is in force")]
    Revision {
        /// The grant's.
        granted: Revision,
        /// The one in force.
        current: Revision,
    },
    /// From the future.
    #[error("the grant begins at {0}, which is in the future; check this machine's clock")]
    NotYet(Timestamp),
    /// Not started in time.
    #[error("the operation had to start by {0}")]
    Lapsed(Timestamp),
    /// At its end.
    #[error("the grant ended at {0}")]
    Expired(Timestamp),
    /// Every use consumed.
    #[error("all {0} uses of the grant are consumed")]
    UsedUp(u32),
    /// A grant that says nothing, or contradicts itself.
    #[error("the grant is malformed: {0}")]
    Malformed(&'static str),
}
