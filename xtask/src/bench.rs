//! `cargo xtask bench`: measurements, as ratios within one run.

use anyhow::Result;
use clap::Args;

use crate::{
    command::{self, cargo},
    dist,
};

#[derive(Args)]
pub(crate) struct Options {
    /// Only these benches (decision, check, mcp, hook, link, ledger, footprint).
    names: Vec<String>,
    /// Fewer rounds and links: a few minutes instead of half an hour.
    #[arg(long)]
    quick: bool,
}

/// The benches, with the binaries beside them: selected on their own, they would have most dependencies
/// built once more, with other features.
const PACKAGES: [&str; 8] = [
    "-p",
    "countersign-cli",
    "-p",
    "countersign-sidecar",
    "-p",
    "countersign-control-plane",
    "-p",
    "countersign-tests",
];
const BENCHES: [&str; 7] = ["decision", "check", "mcp", "hook", "link", "ledger", "footprint"];

pub(crate) fn run(options: &Options) -> Result<()> {
    let binaries = dist::build()?;
    let wanted = |bench: &&str| options.names.is_empty() || options.names.iter().any(|name| name == bench);
    for bench in BENCHES.into_iter().filter(wanted) {
        let mut command = cargo(&["bench", "--bench", bench]);
        command.args(PACKAGES).env("COUNTERSIGN_BINARIES", &binaries);
        if options.quick {
            command.env("COUNTERSIGN_BENCH_QUICK", "1");
        }
        command::run(bench, &mut command)?;
    }
    Ok(())
}
