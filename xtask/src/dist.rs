//! `cargo xtask dist`: stripped release binaries with checksums.

use std::fs;

use anyhow::{Context, Result};

use crate::command::{self, cargo, output, root};

const BINARIES: [&str; 3] = ["countersign", "countersign-sidecar", "countersign-control"];

pub(crate) fn run() -> Result<()> {
    let packages = ["-p", "countersign-cli", "-p", "countersign-sidecar", "-p", "countersign-control-plane"];
    let mut build = cargo(&["build", "--release", "--locked"]);
    command::run("build", build.args(packages).env("CARGO_PROFILE_RELEASE_STRIP", "symbols"))?;
    let dist = root().join("target/dist");
    fs::create_dir_all(&dist).with_context(|| format!("{}", dist.display()))?;
    for binary in BINARIES {
        fs::copy(root().join("target/release").join(binary), dist.join(binary))
            .with_context(|| format!("copy {binary}"))?;
    }
    let mut checksums = std::process::Command::new("sha256sum");
    let checksums = output("sha256sum", checksums.args(BINARIES).current_dir(&dist))?;
    fs::write(dist.join("SHA256SUMS"), &checksums).context("write SHA256SUMS")?;
    print!("{checksums}");
    eprintln!("── dist: in {}", dist.display());
    Ok(())
}
