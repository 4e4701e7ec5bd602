//! Composition of the control plane: link, broker, ledger, API and console.

pub mod api;
mod app;
mod authority;
mod broker;
mod channel;
pub mod clock;
pub mod command;
pub mod config;
mod console;
mod distribution;
mod hub;
pub mod identity;
mod keys;
mod ledger;
mod link;
pub mod review;
pub mod services;
mod trace;
pub mod web;

pub use app::{App, AuthorityProblem, Failure, KeyError, Running, StartError, rotate_authority};
