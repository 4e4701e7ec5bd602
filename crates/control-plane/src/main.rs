//! The control plane: configuration, start, run, drain.

use std::process::ExitCode;

use clap::Parser;
use countersign_control_plane::command;

/// The control plane of Countersign.
#[derive(Debug, Parser)]
#[command(name = "countersign-control", version)]
struct Cli {
    #[command(flatten)]
    arguments: command::Arguments,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    command::run(Cli::parse().arguments).await
}
