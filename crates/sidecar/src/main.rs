//! The sidecar: configuration, start, run, drain.

use std::process::ExitCode;

use clap::Parser;
use countersign_sidecar::command;

/// The sidecar of Countersign, beside an agent.
#[derive(Debug, Parser)]
#[command(name = "countersign-sidecar", version)]
struct Cli {
    #[command(flatten)]
    arguments: command::Arguments,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    command::run(Cli::parse().arguments).await
}
