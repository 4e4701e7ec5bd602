//! How large things on the link can be. A peer that sends more is refused before it is stored.

use countersign_approval::request as approval;

/// The largest body of a frame, but for the two kinds with limits of their own.
pub const MAX_FRAME: usize = 1024 * 1024;
/// The largest body of a bundle's frame.
pub const MAX_BUNDLE_FRAME: usize = 20 * 1024 * 1024;
/// The largest body that is read from a peer without an identity.
pub const MAX_ENROL_FRAME: usize = 8 * 1024;

/// The longest name of a program and its version.
pub const MAX_SOFTWARE: usize = 128;
/// The most approvals that one sidecar names at a time.
pub const MAX_PENDING: usize = 4_096;
/// The most events of one audit batch.
pub const MAX_EVENTS: usize = 4_096;
/// The largest audit event.
pub const MAX_EVENT: usize = countersign_audit::event::MAX_EVENT_BYTES;
/// The most files of a bundle.
pub const MAX_FILES: usize = 2_000;
/// The longest path of a file of a bundle.
pub const MAX_PATH: usize = 512;
/// The largest file of a bundle.
pub const MAX_FILE: usize = 16 * 1024 * 1024;
/// The longest signed manifest.
pub const MAX_MANIFEST: usize = 256 * 1024;
/// The largest certificate or certificate request.
pub const MAX_CERTIFICATE: usize = 8 * 1024;
/// The most certificates of a chain or a trust bundle.
pub const MAX_CERTIFICATES: usize = 12;
/// The most keys that bundles can be signed with.
pub const MAX_KEYS: usize = 32;
/// The longest text for people.
pub const MAX_MESSAGE: usize = 8 * 1024;
/// The longest signed grant.
pub const MAX_GRANT: usize = 128 * 1024;
/// The longest name (agent, person, requirement, reviewers, policy).
pub const MAX_NAME: usize = 512;
/// The longest free text of a provenance, in bytes: four for each character.
pub const MAX_FREE_TEXT: usize = 4 * countersign_model::provenance::MAX_TEXT;

pub use approval::{MAX_KEY, MAX_OPERATION, MAX_POLICIES, MAX_REDACTED, MAX_REQUIREMENTS, MAX_SHORT_TEXT};
