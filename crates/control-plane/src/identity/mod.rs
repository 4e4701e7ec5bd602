//! Who is asking: people and machines, how they proved it, and what they may do.

pub mod actor;

pub use actor::{Actor, ActorKind, Right, Role};
