//! `countersign hook`: answers the hooks of coding agents, and puts itself there.

mod ask;
mod configuration;
mod doctor;
mod install;
mod places;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};
use countersign_intercept::hook::host::Host;

use super::socket::SocketArguments;
use crate::cli::Common;

/// Answers the hooks of coding agents, and puts itself there.
#[derive(Debug, Args)]
#[command(after_help = "\
A coding agent's host runs `countersign hook HOST` before it uses a tool. The hook reads what is about to
happen, asks the sidecar, and answers in the host's own words: go on, or not, and why. A shell line is
read as shell, and every command in it must be permitted. What people must approve first waits for them;
when the host would not wait any longer, the answer is no, and the same call asks again.

A hook relies on the host to run it and to heed it: `countersign hook doctor HOST` shows where a host does not.

Examples:
  countersign hook install claude-code                  # for this user
  countersign hook install cursor --scope project       # for whoever works in this folder
  countersign hook install copilot --scope system       # for the whole machine, as root
  countersign hook doctor claude-code
  countersign hook uninstall claude-code")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Answers Claude Code (as its hook).
    ClaudeCode(AskArguments),
    /// Answers Codex (as its hook).
    Codex(AskArguments),
    /// Answers GitHub Copilot CLI (as its hook).
    Copilot(AskArguments),
    /// Answers Gemini CLI (as its hook).
    Gemini(AskArguments),
    /// Answers Cursor (as its hook).
    Cursor(AskArguments),
    /// Puts the hook into a host's configuration, with everything that makes it fail closed.
    Install(install::Arguments),
    /// Takes the hook out of a host's configuration.
    Uninstall(install::UninstallArguments),
    /// Tries the configured hook against a denial, a missing sidecar, a crash and a time-out.
    Doctor(doctor::Arguments),
}

/// How a host's hook asks.
#[derive(Debug, Clone, Args)]
pub(crate) struct AskArguments {
    #[command(flatten)]
    socket: SocketArguments,
    /// How long the host waits for its hook, in seconds, as its configuration says.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(2..=86_400))]
    timeout: Option<u64>,
    /// Answers `defer` to what waits for people: for `claude -p`, which then ends, and asks again when it
    /// is resumed. Nowhere else: an interactive session ignores it.
    #[arg(long)]
    defer: bool,
}

impl Arguments {
    /// Answers a host, if that is what is asked. It needs none of what the other verbs start.
    pub(crate) fn answer(&self) -> Option<ExitCode> {
        let (host, arguments) = match &self.verb {
            Verb::ClaudeCode(arguments) => (Host::ClaudeCode, arguments),
            Verb::Codex(arguments) => (Host::Codex, arguments),
            Verb::Copilot(arguments) => (Host::Copilot, arguments),
            Verb::Gemini(arguments) => (Host::Gemini, arguments),
            Verb::Cursor(arguments) => (Host::Cursor, arguments),
            Verb::Install(_) | Verb::Uninstall(_) | Verb::Doctor(_) => return None,
        };
        Some(ask::answer(host, arguments))
    }
}

pub(crate) async fn run(common: &Common, arguments: Arguments) -> Result<ExitCode> {
    if let Some(code) = arguments.answer() {
        return Ok(code);
    }
    match arguments.verb {
        Verb::Install(arguments) => install::install(common, &arguments),
        Verb::Uninstall(arguments) => install::uninstall(common, &arguments),
        Verb::Doctor(arguments) => doctor::run(common, &arguments).await,
        _ => Ok(ExitCode::SUCCESS),
    }
}
