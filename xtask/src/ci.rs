//! `cargo xtask ci`: everything that needs no running program.

use anyhow::Result;

use crate::{
    command::{self, cargo, has},
    layers, tidy,
};

/// The version of cargo-deny that is installed where there is none.
const CARGO_DENY: &str = "cargo-deny@0.20.2";

fn deny() -> Result<()> {
    if !has("cargo-deny") {
        command::run("install cargo-deny", &mut cargo(&["install", "--locked", "--quiet", CARGO_DENY]))?;
    }
    command::run("deny", &mut cargo(&["deny", "--all-features", "check", "bans", "licenses", "sources"]))
}

pub(crate) fn run() -> Result<()> {
    command::run("fmt", &mut cargo(&["fmt", "--all", "--check"]))?;
    layers::run()?;
    tidy::run()?;
    command::run(
        "clippy",
        &mut cargo(&["clippy", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"]),
    )?;
    let mut doc = cargo(&["doc", "--workspace", "--no-deps", "--document-private-items"]);
    command::run("doc", doc.env("RUSTDOCFLAGS", "-D warnings"))?;
    deny()
}
