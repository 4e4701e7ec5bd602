//! The sidecar's durable state: its event queue, its grant journal, and what it must remember.
//!
//! One redb file, one writer thread, one transaction for a whole group of commands. In the order in
//! which an operation meets them:
//!
//! 1. [`SidecarState`]: the bundle in force, swapped whole or not at all (I7), when the control plane
//!    was last heard of (the lease, I9), and the approvals to resume.
//! 2. [`GrantJournal`]: which grants were used. A use is durable, together with its audit event, before
//!    anybody is told that it may be forwarded, and is given out once (I2).
//! 3. [`Spool`]: the events, numbered and chained here at their source, kept until the control plane
//!    has acknowledged them (I8).
//!
//! What is deliberately absent: a clock (times come with the commands), randomness of its own (it is
//! handed in), retries (a storage error ends the writer; the process restarts from what is durable),
//! and any way to remove an event that was not acknowledged.

mod bundle;
mod codec;
mod journal;
mod lasting;
mod layout;
mod pending;
mod reports;
mod spool;
mod state;
#[cfg(test)]
mod tests;
mod work;
mod writer;

pub use bundle::{ActivateError, StoredBundle};
pub use journal::{ConsumeError, Consumption, Ending, FinishError, Finished, GrantJournal, GrantUse};
pub use lasting::LastingGrant;
pub use layout::OpenError;
pub use pending::PendingApproval;
pub use reports::{Report, Unreported};
pub use spool::{AcknowledgeError, AppendError, Appended, Depth, Settings, Spool, SpooledEvent};
pub use state::SidecarState;
pub use work::SpoolError;

/// Ten fresh random bytes each time, for the ids of events.
pub type EventEntropy = Box<dyn FnMut() -> [u8; 10] + Send>;
