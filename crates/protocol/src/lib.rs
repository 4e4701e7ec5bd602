//! The words that a sidecar and its control plane exchange: frames of the link, version 1.
//!
//! A frame is a header of six bytes (version, kind, length as a big-endian `u32`) and a body. Every
//! exchange has a stream of its own: one frame asks, one frame answers ([`Request`] says which).
//! [`Frame`] is the domain form; what travels are the separate, bounded structures of `wire`,
//! and the step between them checks everything that a peer could get wrong. [`codec`] is the only
//! place that knows how bytes are laid out.
//!
//! Evolution: a body of a known version and kind never changes its layout. A change is a new version
//! of that body or a new kind; whoever does not know it answers [`RefusalCode::Unsupported`] and stays
//! connected, so that a newer control plane serves older sidecars. The files in `golden/` hold every
//! layout ever sent.
//!
//! The crate is pure: bytes in, values out. Decoding is total: no input panics, and none makes it
//! reserve more memory than a small multiple of its own length.

pub mod codec;
pub mod frame;
pub mod limits;
pub mod message;
pub mod request;
mod wire;

pub use codec::{DecodeError, EncodeError, Encoded, Header, PROTOCOL_VERSION};
pub use frame::{Frame, FrameKind, Lane};
pub use message::{
    Ack, AskEdit, AuditAck, AuditBatch, BundleAck, BundleOutcome, CancelApproval, Enrol, Enrolled, Heartbeat,
    HeartbeatAck, Hello, ProposedEdit, PushBundle, RefusalCode, Refused, Renew, ReportClaim, ReportOutcome,
    RevokeApproval, Substitutable, Svid, WaitApproval, Welcome,
};
pub use request::{AnswerError, Request};
