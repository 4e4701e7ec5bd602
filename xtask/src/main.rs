//! The project's own chores, run as `cargo xtask NAME`.

mod bench;
mod ci;
mod command;
mod dist;
mod e2e;
mod layers;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The project's own chores.
#[derive(Parser)]
#[command(name = "cargo xtask", version, about)]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Everything that needs no running program: fmt, clippy, doc, deny, layers, tidy.
    Ci,
    /// End-to-end tests with real counterparts, which it installs: browser, MCP clients, aws CLI, collector.
    E2e(e2e::Options),
    /// Who may depend on whom, checked against `cargo metadata`.
    Layers,
    /// Module docs, file lengths, inherited lints, nothing unfinished.
    Tidy,
    /// Measures, as ratios within one run; prints the report for crates/README.md.
    Bench(bench::Options),
    /// Builds the binaries that ship into target/dist, with checksums.
    Dist,
}

fn main() -> ExitCode {
    let done = match Cli::parse().chore {
        Chore::Ci => ci::run(),
        Chore::E2e(options) => e2e::run(&options),
        Chore::Layers => layers::run(),
        Chore::Tidy => tidy::run(),
        Chore::Bench(options) => bench::run(&options),
        Chore::Dist => dist::run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
