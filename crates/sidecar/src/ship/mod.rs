//! What the control plane must learn, and learns, however long that takes.
//!
//! 1. [`events`]: the audit events, in order, until they are acknowledged (I8).
//! 2. [`reports`]: the uses of grants and their outcomes, until they are acknowledged.

mod events;
mod reports;

pub(crate) use events::Shipper;
pub(crate) use reports::Reporter;
