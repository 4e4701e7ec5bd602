//! The sidecar: what stands beside an agent and lets its operations through the one gate.
//!
//! Composition only. What is decided is decided by the gate; what is durable is the spool's; what
//! travels is the transport's. In the order in which a sidecar comes to life:
//!
//! 1. [`command`], [`config`]: what it is told to be.
//! 2. `enrol`: how it gets an identity, and keeps it fresh.
//! 3. `sync`: how it gets its policy, and for how long it may enforce it.
//! 4. `broker`: how it reaches the people who approve.
//! 5. `record`, `ship`: how what happens is kept, and reaches the control plane.
//! 6. [`app`]: all of it put together, supervised, and drained.

pub mod app;
mod broker;
mod chance;
pub mod command;
pub mod config;
mod enrol;
mod files;
mod observe;
mod record;
mod ship;
mod sync;

pub use app::{Running, Sidecar, StartError};
pub use config::Config;

/// Program and version, as the control plane is told.
const SOFTWARE: &str = concat!("countersign-sidecar/", env!("CARGO_PKG_VERSION"));
