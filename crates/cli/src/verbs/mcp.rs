//! `countersign mcp`: stands between an MCP client and an MCP server on stdio.

use std::{
    ffi::OsString,
    process::{ExitCode, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result};
use clap::Args;
use countersign_intercept::{
    exec::{
        environment::TRACEPARENT,
        run::{self, Signals},
    },
    mcp::{
        PATIENCE,
        relay::{RelaySettings, relay},
        servers::is_name,
    },
};
use countersign_model::Provenance;
use countersign_telemetry as telemetry;
use tokio::process::Command;

use super::socket::SocketArguments;

/// The longest patience, in seconds.
const MAX_PATIENCE: u64 = 24 * 60 * 60;

/// Stands between an MCP client and an MCP server on stdio.
#[derive(Debug, Args)]
#[command(after_help = "\
Messages pass byte for byte, unless policy must act. A refused tool call is answered with a result
that says why (isError); a tool that policy never lets through is not listed. What people have not
decided when the client's patience ends is answered as pending: the same call again waits on, and
runs once when approved. Put it where the server's command stands in the client's configuration:

  {\"mcpServers\": {\"files\": {\"command\": \"countersign\",
    \"args\": [\"mcp\", \"--name\", \"files\", \"--\", \"npx\", \"@modelcontextprotocol/server-filesystem\", \"/data\"]}}}")]
pub(crate) struct Arguments {
    #[command(flatten)]
    socket: SocketArguments,
    /// The server's name, as policy knows it.
    #[arg(long, value_parser = server_name)]
    name: String,
    /// How many seconds people may take before the client is told to call again. Most clients give up
    /// after 60 seconds; raise it for one that waits longer.
    #[arg(long, value_name = "SECONDS", default_value_t = PATIENCE.as_secs(), value_parser = clap::value_parser!(u64).range(1..=MAX_PATIENCE))]
    patience: u64,
    /// The model that drives the agent.
    #[arg(long, env = "COUNTERSIGN_MODEL", hide = true)]
    model: Option<String>,
    /// The agent's session.
    #[arg(long, env = "COUNTERSIGN_SESSION", hide = true)]
    session: Option<String>,
    /// The server's command.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

fn server_name(text: &str) -> Result<String, &'static str> {
    if is_name(text) { Ok(text.to_owned()) } else { Err("use 1 to 64 letters, digits, '.', '-' or '_'") }
}

pub(crate) async fn run(arguments: Arguments) -> Result<ExitCode> {
    let logs = telemetry::Settings {
        service_name: "countersign-mcp",
        log: telemetry::LogConfig { filter: "warn".to_owned(), ..Default::default() },
    };
    let telemetry = telemetry::init(&logs, None)?;
    let code = wrap(arguments).await;
    telemetry.shutdown();
    code
}

async fn wrap(arguments: Arguments) -> Result<ExitCode> {
    let (program, words) = arguments.command.split_first().context("there is no command")?;
    let mut signals = Signals::listen()?;
    let mut server = Command::new(program)
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("the MCP server {} cannot be started", program.display()))?;
    let pipes = server.stdout.take().zip(server.stdin.take());
    let (from_server, to_server) = pipes.context("the MCP server has no pipes")?;
    let settings = RelaySettings {
        sidecar: arguments.socket.client(),
        server: arguments.name,
        patience: Duration::from_secs(arguments.patience),
        provenance: Provenance {
            model: arguments.model,
            session: arguments.session,
            ..Provenance::default()
        },
        trace: std::env::var(TRACEPARENT).ok(),
    };
    let relayed =
        tokio::spawn(relay(settings, (tokio::io::stdin(), tokio::io::stdout()), (from_server, to_server)));
    // The server decides when it ends: its input closes when the client's output does.
    let status = run::wait(&mut server, &mut signals).await?;
    match relayed.await? {
        // The client has gone, as clients do.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => return Err(error.into()),
        _ => {}
    }
    Ok(ExitCode::from(run::exit_code(status)))
}
