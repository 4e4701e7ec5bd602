//! The sidecar's own API for Countersign's own clients, on its unix socket.
//!
//! `countersign exec` and `countersign mcp` run as the agent's user, close to what they guard, and ask
//! the sidecar here. One operation is one request ([`wire::OPERATIONS`]) whose answer is a stream of
//! events, so the connection itself is the lease on the requester (DESIGN §6):
//!
//! - A client that goes away while its operation is held cancels it: the requester is gone.
//! - A client that goes away between permit and outcome leaves the outcome unknown, and that is recorded.
//!
//! An MCP relay's message goes the same way. Answers that the client must not see as they are, the relay shows
//! to the sidecar first ([`wire::answer_path`]), and passes on what it gets back.
//!
//! The sidecar normalises what the client sends; the client decides nothing. Who may connect is up to
//! whoever serves [`router`]: the sidecar checks the peer's user id.

pub mod client;
mod edits;
mod relays;
pub mod server;
pub mod wire;

pub use client::{Exchange, LocalClient, LocalError};
pub use server::{Settings, router};
