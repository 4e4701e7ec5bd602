//! Protocol fronts of the sidecar: check, exec and mcp.

pub mod check;
pub mod exec;
pub mod hook;
pub mod initiator;
pub mod local;
pub mod mcp;
