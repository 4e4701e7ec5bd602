//! `cargo xtask dist`: the binaries that ship, with checksums.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context, Result};

use crate::command::{self, cargo, output, root};

const PACKAGES: [&str; 6] =
    ["-p", "countersign-sidecar", "-p", "countersign-control-plane", "-p", "countersign-cli"];
const BINARIES: [&str; 3] = ["countersign", "countersign-sidecar", "countersign-control"];

/// Builds them, and returns their folder.
pub(crate) fn build() -> Result<PathBuf> {
    let mut build = cargo(&["build", "--profile", "dist", "--locked"]);
    command::run("build", build.args(PACKAGES))?;
    Ok(root().join("target/dist"))
}

pub(crate) fn run() -> Result<()> {
    let dist = build()?;
    let mut checksums = Command::new("sha256sum");
    let checksums = output("sha256sum", checksums.args(BINARIES).current_dir(&dist))?;
    fs::write(dist.join("SHA256SUMS"), &checksums).context("write SHA256SUMS")?;
    print!("{checksums}");
    eprintln!("── dist: in {}", dist.display());
    Ok(())
}
