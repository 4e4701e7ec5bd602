//! `cargo xtask bench`: measurements, as ratios within one run.

use anyhow::Result;
use clap::Args;

use crate::command::{self, cargo};

#[derive(Args)]
pub(crate) struct Options {
    /// Only these benches (decision, check, link, ledger, footprint).
    names: Vec<String>,
    /// Fewer rounds and links: a few minutes instead of half an hour.
    #[arg(long)]
    quick: bool,
}

const BENCHES: [&str; 5] = ["decision", "check", "link", "ledger", "footprint"];

pub(crate) fn run(options: &Options) -> Result<()> {
    let packages = ["-p", "countersign-cli", "-p", "countersign-sidecar", "-p", "countersign-control-plane"];
    command::run("build", cargo(&["build", "--release"]).args(packages))?;
    let wanted = |bench: &&str| options.names.is_empty() || options.names.iter().any(|name| name == bench);
    for bench in BENCHES.into_iter().filter(wanted) {
        let mut command = cargo(&["bench", "--package", "countersign-tests", "--bench", bench]);
        if options.quick {
            command.env("COUNTERSIGN_BENCH_QUICK", "1");
        }
        command::run(bench, &mut command)?;
    }
    Ok(())
}
