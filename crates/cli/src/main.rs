//! The countersign command.

mod api;
mod bundle_dir;
mod cli;
mod credentials;
mod exit;
mod output;
mod sse;
mod verbs;

use std::process::ExitCode;

use clap::Parser as _;

use crate::output::{Paint, Style};

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    // A hook runs before every step of an agent: it starts nothing that it does not need.
    if let Some(code) = cli.answer_hook() {
        return code;
    }
    // Fails only when a provider is installed already, which is then the same one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into()),
    };
    let result = runtime.block_on(cli.run());
    // A read of standard input may still block a thread; nothing waits for it.
    runtime.shutdown_background();
    result.unwrap_or_else(|error| fail(&error))
}

fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("{} {error:#}", Paint::stderr().paint(Style::Bad, "countersign:"));
    exit::of(error)
}
