//! The command line of the sidecar: configuration, join token, start, signals, drain.

use std::{
    env,
    io::{self, Read},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use countersign_pki::JoinToken;
use countersign_settings::key_value;
use countersign_telemetry as telemetry;
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    app::{Running, Sidecar},
    config::{Config, Sources},
};

/// The variable that names the configuration file.
const CONFIG_VARIABLE: &str = "COUNTERSIGN_SIDECAR_CONFIG";
/// The variable that holds the join token.
const TOKEN_VARIABLE: &str = "COUNTERSIGN_JOIN_TOKEN";
/// The most that is read as a join token.
const MAX_TOKEN: u64 = 4 * 1024;

/// Runs the sidecar.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The configuration file (TOML).
    #[arg(long, value_name = "FILE", env = CONFIG_VARIABLE)]
    config: Option<PathBuf>,
    /// Overrides one setting; can be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_value)]
    settings: Vec<(String, String)>,
    /// Checks the configuration, reports every mistake, and ends.
    #[arg(long)]
    check_config: bool,
    /// The file with the join token, for the first start; - is standard input. Without it, the
    /// environment variable COUNTERSIGN_JOIN_TOKEN is used.
    #[arg(long, value_name = "FILE")]
    join_token_file: Option<PathBuf>,
    /// Prints one line of JSON on standard output when it is ready.
    #[arg(long)]
    json: bool,
}

impl Arguments {
    fn load(&self) -> anyhow::Result<Config> {
        let sources = Sources::of_process(self.config.as_deref(), CONFIG_VARIABLE, self.settings.clone())?;
        Ok(Config::load(&sources)?)
    }

    /// The join token. Never an argument: those can be read by every user of the machine.
    fn join_token(&self) -> anyhow::Result<Option<JoinToken>> {
        let text = match &self.join_token_file {
            Some(path) if path == Path::new("-") => {
                read_token(io::stdin()).context("reading the join token from standard input")?
            }
            Some(path) => std::fs::File::open(path)
                .and_then(read_token)
                .with_context(|| format!("reading the join token from {}", path.display()))?,
            None => match env::var(TOKEN_VARIABLE) {
                Ok(text) => text,
                Err(_) => return Ok(None),
            },
        };
        if text.trim().is_empty() {
            return Ok(None);
        }
        Ok(Some(text.trim().parse()?))
    }
}

fn read_token(source: impl Read) -> io::Result<String> {
    let mut text = String::new();
    source.take(MAX_TOKEN).read_to_string(&mut text)?;
    Ok(text)
}

/// Runs the command until a signal or a failure ends it.
///
/// # Errors
/// When the configuration is wrong, the start fails, or a part of the sidecar fails.
pub async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let mut config = arguments.load()?;
    if arguments.check_config {
        println!("the configuration is valid");
        return Ok(ExitCode::SUCCESS);
    }
    config.join_token = arguments.join_token()?;
    let settings = telemetry::Settings { service_name: "countersign-sidecar", log: config.log.clone() };
    let telemetry = telemetry::init(&settings, None)?;
    let result = serve(config, arguments.json).await;
    telemetry.shutdown();
    result.map(|()| ExitCode::SUCCESS)
}

async fn serve(config: Config, json: bool) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    let starting = Sidecar::start(config);
    let mut running = tokio::select! {
        started = starting => started.context("the sidecar did not start")?,
        () = asked_to_stop(&mut terminate, &mut interrupt) => return Ok(()),
    };
    let ready = running.ready();
    tokio::pin!(ready);
    let mut announced = false;
    loop {
        tokio::select! {
            () = &mut ready, if !announced => {
                announce(&running, json);
                announced = true;
            }
            () = asked_to_stop(&mut terminate, &mut interrupt) => break,
            ended = running.ended() => return Ok(ended?),
        }
    }
    Ok(running.shutdown().await?)
}

async fn asked_to_stop(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => tracing::info!("SIGTERM: shutting down"),
        _ = interrupt.recv() => tracing::info!("interrupted: shutting down"),
    }
}

/// Says that it is ready. The token is a secret: it goes to whoever asked for it, and into no log.
fn announce(running: &Running, json: bool) {
    let check = format!("http://{}", running.check_addr());
    if json {
        let line = json!({
            "ready": true,
            "agent": running.agent(),
            "check": check,
            "check_socket": running.socket(),
            "check_token": running.check_token(),
            "mcp": running.mcp().map(|(address, _)| format!("http://{address}")),
            "mcp_token": running.mcp().map(|(_, token)| token),
        });
        println!("{line}");
    } else {
        tracing::info!(agent = %running.agent(), check, socket = %running.socket().display(), "ready");
        if let Some((address, _)) = running.mcp() {
            tracing::info!(%address, "MCP servers are reached here");
        }
    }
}
