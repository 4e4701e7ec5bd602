//! Composition of the control plane: link, broker, ledger, API and console.

pub mod api;
pub mod clock;
mod console;
pub mod identity;
pub mod services;
pub mod web;
