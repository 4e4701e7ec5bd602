//! The control plane as sidecars and people meet it: real keys, real QUIC, a real store.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, in its helpers too"
)]

mod approvals;
mod edits;
mod enrolment;
mod flood;
mod garbage;
mod killed;
mod policy;
#[path = "../common/receiver.rs"]
mod receiver;
mod restart;
mod world;
