//! Composition of the control plane: link, broker, ledger, API and console.

pub mod identity;
pub mod services;
