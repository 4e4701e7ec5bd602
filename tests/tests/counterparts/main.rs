//! End-to-end tests with real counterparts. `cargo xtask e2e` installs them and runs this.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should stop"
)]

mod aws;
mod channels;
mod conformance;
mod console;
mod front;
mod mcp;
mod openapi;
mod otlp;
mod pages;
mod passkeys;
mod peer;
mod reference;
mod shell;
mod sign_in;
mod slack;
mod teams;
mod tlog;
mod waiting;

use std::{
    env,
    net::TcpListener,
    path::{Path, PathBuf},
};

/// Where `cargo xtask e2e` put the counterparts.
fn counterparts() -> PathBuf {
    let folder = env::var_os("COUNTERSIGN_COUNTERPARTS").expect("run this by `cargo xtask e2e`");
    PathBuf::from(folder)
}

/// A script of this repository that drives a counterpart.
fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("counterparts").join(name)
}

/// A TCP port that was free a moment ago, for counterparts that cannot choose one themselves.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port()
}
