//! What the end-to-end tests share: the real binaries, started on port 0 with folders of their own.
//!
//! Nothing here knows the inside of Countersign. It starts processes, speaks HTTP, and waits for
//! conditions, never for a time to pass.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should stop"
)]

mod binary;
mod console;
mod dev;
mod http;
pub mod measure;
mod process;
mod site;
mod story;

pub use binary::{binary, bundle};
pub use console::Console;
pub use dev::{Dev, DevOptions};
pub use http::{Answer, Http};
pub use process::{Process, eventually};
pub use site::{Site, secret_file};
pub use story::{Story, operation};
