//! The command line of the control plane: configuration, start, signals, drain.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context;
use countersign_model::PersonId;
use countersign_telemetry as telemetry;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    app::{self, App},
    config::{Config, Sources},
};

/// The variable that names the configuration file.
const CONFIG_VARIABLE: &str = "COUNTERSIGN_CONTROL_CONFIG";

/// Runs the control plane.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The configuration file (TOML).
    #[arg(long, value_name = "FILE", env = CONFIG_VARIABLE)]
    config: Option<PathBuf>,
    /// Overrides one setting; can be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = countersign_settings::key_value)]
    settings: Vec<(String, String)>,
    /// Checks the configuration, reports every mistake, and ends.
    #[arg(long)]
    check_config: bool,
    /// When ready, prints one line of JSON that says where everything is.
    #[arg(long)]
    json: bool,
    /// Replaces the certificate authority by a fresh one before starting. The one before stays
    /// trusted until its end, so that no sidecar is cut off.
    #[arg(long)]
    rotate_authority: bool,
    /// Makes this person an admin, and writes a link that signs them in once, within ten minutes, into a
    /// file that only this process's user can read.
    #[arg(long, value_name = "PERSON")]
    bootstrap_admin: Option<PersonId>,
}

impl Arguments {
    fn load(&self) -> anyhow::Result<Config> {
        let sources = Sources::of_process(self.config.as_deref(), CONFIG_VARIABLE, self.settings.clone())?;
        Ok(Config::load(&sources)?)
    }
}

/// Runs the command until a signal or a failure ends it.
///
/// # Errors
/// When the configuration is wrong, the start fails, or a part of the control plane fails.
pub async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let config = arguments.load()?;
    if arguments.check_config {
        println!("the configuration is valid");
        return Ok(ExitCode::SUCCESS);
    }
    let settings = telemetry::Settings { service_name: "countersign-control", log: config.log.clone() };
    let telemetry = telemetry::init(&settings, None)?;
    if arguments.rotate_authority {
        let fingerprint = app::rotate_authority(&config)?;
        tracing::info!(%fingerprint, "the certificate authority was rotated");
    }
    let result = serve(config, arguments.json, arguments.bootstrap_admin).await;
    telemetry.shutdown();
    result.map(|()| ExitCode::SUCCESS)
}

async fn serve(config: Config, json: bool, admin: Option<PersonId>) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    let links = config.data.join("first-tokens");
    let mut running = App::start(config).await.context("the control plane did not start")?;
    if let Some(person) = admin {
        let file = running.identity().bootstrap_admin(person, &links).await?;
        tracing::info!(file = %file.display(), "wrote a sign-in link; open it within ten minutes");
    }
    tracing::info!(api = %running.api_addr(), link = %running.link_addr(), "ready");
    if json {
        let (api, link) = (running.api_addr(), running.link_addr());
        println!("{}", serde_json::json!({"ready": true, "api": format!("http://{api}"), "link": link}));
    }
    tokio::select! {
        _ = terminate.recv() => tracing::info!("SIGTERM: shutting down"),
        _ = interrupt.recv() => tracing::info!("interrupted: shutting down"),
        ended = running.ended() => return Ok(ended?),
    }
    Ok(running.shutdown().await?)
}
