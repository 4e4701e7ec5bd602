//! The MCP relay: bytes pass as they are, and nothing passes that policy did not permit.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "this is test code, and a panic is how a test fails"
)]

mod answers;
mod asking;
mod batches;
#[path = "../common/mod.rs"]
mod common;
mod editing;
mod holding;
mod listing;
#[path = "../common/outputs.rs"]
mod outputs;
mod passing;
mod stage;
