//! The life of an approval, from outside: who may vote, what time does, what can be used, what a grant says.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

mod fixture;

mod asking;
mod clocks;
mod delegation;
mod edits;
mod glass;
mod grants;
mod names;
mod properties;
mod requests;
mod tasks;
mod uses;
mod voting;
