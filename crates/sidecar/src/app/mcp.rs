//! The MCP servers behind the sidecar, with their credentials.

use std::{env, ffi::OsString, time::Duration};

use countersign_gate::Gate;
use countersign_intercept::{
    check::Token,
    initiator::Initiators,
    mcp::{
        Servers,
        http::{
            self as mcp, CommandSettings, Processes, Routes, ServerSettings, Settings, UpstreamError,
            UpstreamSettings,
        },
        servers::Shared,
    },
};
use countersign_model::Seconds;
use http::HeaderValue;
use tokio_util::sync::CancellationToken;

use crate::{
    config::{CommandConfig, Config, CredentialConfig, McpServerConfig, SecretSource, UpstreamConfig},
    files::{FileError, private_folder, read_private},
};

/// The variables that every command gets: where programs, files and words are, and nothing that is secret.
const USUAL: [&str; 10] =
    ["HOME", "LANG", "LC_ALL", "LC_CTYPE", "LOGNAME", "PATH", "SHELL", "TMPDIR", "TZ", "USER"];

/// Why an MCP server cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum McpError {
    /// Its credentials cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// It has no credentials where they should be.
    #[error("the MCP server {server}: {why}")]
    Credential {
        /// The server.
        server: String,
        /// What is wrong.
        why: String,
    },
    /// Servers cannot be reached from here at all.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
}

/// The MCP servers, on stdio and over HTTP.
pub(super) fn servers(
    gate: &Gate,
    config: &Config,
    initiators: Initiators,
    stop: CancellationToken,
) -> Result<Servers, McpError> {
    let definitions = config.data.join("mcp");
    private_folder(&definitions)?;
    let shared = Shared { console: config.console.clone(), definitions: Some(definitions), stop, initiators };
    Ok(Servers::new(gate.clone(), shared))
}

/// The routes of the MCP servers over HTTP.
pub(super) fn router(
    known: &Servers,
    config: &Config,
    token: &str,
    processes: Processes,
) -> Result<Routes, McpError> {
    let servers = config.mcp.servers.iter().map(server).collect::<Result<_, _>>()?;
    let clients = config.mcp.clients.iter();
    let clients = clients.map(|(name, patience)| (name.clone(), duration(*patience))).collect();
    Ok(mcp::router(known, &Settings { token: Token::new(token), clients, processes }, servers)?)
}

fn server(config: &McpServerConfig) -> Result<ServerSettings, McpError> {
    let upstream = upstream(&config.upstream)
        .map_err(|why| McpError::Credential { server: config.name.clone(), why })?;
    Ok(ServerSettings {
        name: config.name.clone(),
        path: config.path.clone(),
        upstream,
        origins: config.origins.clone(),
        hosts: config.hosts.clone(),
        patience: duration(config.patience),
    })
}

fn duration(seconds: Seconds) -> Duration {
    Duration::from_secs(seconds.get().into())
}

fn upstream(config: &UpstreamConfig) -> Result<UpstreamSettings, String> {
    Ok(match config {
        UpstreamConfig::Url { url, credential } => {
            let credential = credential.as_ref().map(|credential| {
                let value = header_value(credential, &secret(credential)?)?;
                Ok::<_, String>((credential.header.clone(), value))
            });
            UpstreamSettings::Url { url: url.clone(), credential: credential.transpose()? }
        }
        UpstreamConfig::Command(command) => UpstreamSettings::Command(CommandSettings {
            words: command.words.clone(),
            env: environment(command)?,
            cwd: command.cwd.clone(),
            max_sessions: command.max_sessions,
            idle: command.idle.to_std(),
        }),
    })
}

/// What a command gets of the sidecar's environment.
fn environment(command: &CommandConfig) -> Result<Vec<(String, OsString)>, String> {
    let usual = USUAL.iter().filter_map(|name| Some(((*name).to_owned(), env::var_os(name)?)));
    let named = command.env.iter().map(|name| {
        let value = env::var_os(name);
        Ok((name.clone(), value.ok_or_else(|| format!("the environment variable {name} is not set"))?))
    });
    usual.map(Ok).chain(named).collect()
}

fn secret(credential: &CredentialConfig) -> Result<String, String> {
    let secret = match &credential.source {
        SecretSource::File(path) => match read_private(path).map_err(|error| error.to_string())? {
            Some(secret) => secret,
            None => return Err(format!("{} does not exist", path.display())),
        },
        SecretSource::Variable(name) => {
            env::var(name).map_err(|_| format!("the environment variable {name} is not set"))?
        }
    };
    match secret.trim() {
        "" => Err("its credential is empty".to_owned()),
        secret => Ok(secret.to_owned()),
    }
}

fn header_value(credential: &CredentialConfig, secret: &str) -> Result<HeaderValue, String> {
    // A secret that names its scheme is the whole value; else it is a bearer token.
    let is_token = credential.header == http::header::AUTHORIZATION && !secret.contains(' ');
    let text = if is_token { format!("Bearer {secret}") } else { secret.to_owned() };
    let mut value =
        HeaderValue::from_str(&text).map_err(|_| "its credential is no text for a header".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}
