//! The link between sidecars and their control plane: QUIC, TLS 1.3, and nothing that waits for ever.
//!
//! One UDP port serves two protocols. `countersign/1` is the link: both sides show a certificate, and
//! a sidecar keeps one connection. `countersign-enrol/1` is for machines without an identity yet: only
//! the control plane shows a certificate, which is checked against the fingerprint in the join token.
//!
//! A connection is a [`Session`]; each question has a stream of its own, an [`Exchange`]: one frame
//! there, one frame back. Who the peer is, is read out of its verified certificate ([`Session::peer`]) and
//! out of nothing that it says.
//!
//! What a peer can do wrong is bounded here, for every session alike: handshakes, silence, slow
//! frames, frames that are too large or make no sense, too many exchanges at once or per second.
//! [`Limits`] has the numbers; whoever breaks one is dropped with a [`CloseCode`] and a logged reason.
//!
//! The greeting is part of connecting: [`Link`] says [`Hello`](countersign_protocol::Hello) with what its
//! caller gives it, and is up when it was welcomed. On the other side, [`Session::greeting`] gives the
//! greeting to the control plane, which alone can answer it.
//!
//! No session is resumed and no early data is taken: each connection is authenticated anew, so that a
//! revoked or expired certificate never rides on an old ticket.

mod backoff;
mod client;
mod exchange;
mod limits;
mod link;
mod resets;
mod server;
mod session;
mod tls;

pub use backoff::Backoff;
pub use client::{ConnectError, EnrolError, Enrolment, RenewError, enrol};
pub use exchange::{Exchange, ExchangeError, RequestError};
pub use limits::Limits;
pub use link::{Link, LinkConfig, LinkDriver, LinkState, Pushes};
pub use resets::ResetKey;
pub use server::{Arrival, BindError, Server, ServerConfig, ServerHandle};
pub use session::{CloseCode, Session, SessionEnd};
pub use tls::TlsError;

/// The protocol of the link.
pub const LINK_ALPN: &[u8] = b"countersign/1";
/// The protocol of enrolment.
pub const ENROL_ALPN: &[u8] = b"countersign-enrol/1";
