//! Commands: `countersign exec -- CMD…`.
//!
//! The client prepares a [`Command`](crate::local::wire::Command) — which file, which words, where,
//! with which environment — submits it over the local API, and runs exactly that once it is permitted.
//!
//! This interceptor relies on the host's cooperation: whoever starts a program without it is not
//! seen. What it does guarantee is that the command that was decided about is the command that runs:
//!
//! - The program is looked up once, in the caller's `PATH`; its file (symbolic links resolved) and the
//!   SHA-256 of its content bind, and are checked again right before it is started ([`program`]).
//! - A program goes by its name alone only if it was found where the sidecar's own `PATH` has programs.
//!   The caller's `PATH` is the caller's: an `ls` in a folder of the agent's is not `ls` ([`normalise`]).
//! - `argv` and the working directory bind as they are, and with them the content of the files that
//!   the words name ([`inputs`]).
//! - The environment binds in full but for a short list of variables that only say how output looks;
//!   variables that make a loader or interpreter run other code are never handed on ([`environment`]).
//! - Standard input does not bind, so what kind it is does: a policy can refuse a shell that reads a stream.

pub mod environment;
pub mod inputs;
pub mod normalise;
pub mod program;
pub mod run;
