//! End-to-end tests that need nothing but Rust: the real binaries, one file per behaviour.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should stop"
)]

mod approvals;
mod chats;
mod crashes;
mod decisions;
mod grants;
mod hooks;
mod hostile;
mod initiators;
mod mcp;
mod offline;
mod self_approval;
mod stdio;
mod tasks;
