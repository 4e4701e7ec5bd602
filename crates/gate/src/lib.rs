//! The one gate: decide, hold, permit, record.
//!
//! Interceptors hand it an [`Intent`] and get an [`Answer`]. Nothing runs without the [`Permit`] in
//! it (I1), and only this crate can make one. The modules are in the order in which an operation
//! passes through them:
//!
//! 1. [`intent`]: what an interceptor saw.
//! 2. [`snapshot`]: the policy that is in force, and for how long it may be enforced.
//! 3. [`decide`]: permit, deny or hold, under that policy.
//! 4. [`hold`]: ask people, and wait for them.
//! 5. [`redeem`]: turn their signed answer into a permit, once.
//! 6. [`permit`]: the value that lets an operation run, and what became of it.
//! 7. [`record`]: what the audit log is told.
//!
//! The gate speaks no protocol and owns no socket, file or clock: all of that comes in through
//! [`ports`].

pub mod decide;
pub mod denial;
mod engine;
pub mod hold;
pub mod intent;
pub mod permit;
pub mod ports;
pub mod record;
pub mod redeem;
pub mod snapshot;

pub use countersign_approval::{CancelReason, Phase, Progress, Status};
pub use countersign_policy::mapping::CommandLine;
pub use denial::{Cause, Denial};
pub use engine::{Gate, Ports, Settings};
pub use hold::{Held, HoldError, Waited};
pub use intent::{Act, Arguments, Intent, Interceptor};
pub use permit::{Execution, Outcome, Permit, Produced};
pub use record::Housekeeper;
pub use snapshot::{Lease, Snapshot};

/// What the gate says to an intent.
#[derive(Debug)]
#[must_use = "an operation that nobody answers hangs"]
pub enum Answer {
    /// It may run now.
    Permitted(Permit),
    /// It may not run.
    Denied(Denial),
    /// It may run once people have approved it.
    Held(Held),
}
