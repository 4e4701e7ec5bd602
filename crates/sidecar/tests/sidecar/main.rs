//! A whole sidecar, in process, over real QUIC, against a control plane that a test can have misbehave.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, in its helpers too"
)]

mod approvals;
mod beside;
mod control;
mod lease;
mod policy;
