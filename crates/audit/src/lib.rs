//! Audit events, hash chains, the Merkle ledger, checkpoints and their verification. Pure.
//!
//! In the order in which an event goes through it:
//!
//! 1. [`event`]: an [`Event`] has one form, its canonical JSON bytes ([`CanonicalEvent`]).
//! 2. [`chain`]: its source numbers it and links it to the one before, so that a gap or a change is
//!    noticed and named (I8).
//! 3. [`merkle`], [`proof`], [`tile`]: the ledger puts all sources' events into one RFC 6962 tree.
//! 4. [`checkpoint`]: the tree's head is signed as a C2SP checkpoint.
//! 5. [`export`], [`verify`]: an export and a public key are enough to check all of that offline.

pub mod chain;
pub mod checkpoint;
pub mod event;
pub mod export;
pub mod header;
pub mod kind;
pub mod merkle;
pub mod proof;
mod shorten;
pub mod tile;
pub mod verify;

pub use chain::{Chain, ChainError};
pub use event::{CanonicalEvent, Event, EventDraft, EventError};
pub use header::EventHeader;
