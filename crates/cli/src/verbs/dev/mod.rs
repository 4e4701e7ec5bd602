//! `countersign dev`: a control plane and one enrolled sidecar in one process, for development.

mod people;
mod server;
pub(crate) mod stack;

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context as _, Result};
use clap::Args;
use countersign_telemetry as telemetry;
use tokio::signal::unix::{SignalKind, signal};

use self::server::McpServer;
pub(crate) use self::stack::{Ports, Stack, Wish};
use crate::{
    bundle_dir,
    cli::Common,
    output::{Paint, Style, print_json},
};

/// Runs a control plane and one enrolled sidecar in one process, for development.
#[derive(Debug, Args)]
#[command(after_help = "\
The owner of its agent is owner@example.com, who is an admin and so cannot approve what it does.
reviewer-one@example.com and reviewer-two@example.com can. All of it listens on this machine alone.

Examples:
  countersign dev
  countersign dev --bundle policy --data /tmp/countersign
  countersign dev --mcp \"files=npx -y @modelcontextprotocol/server-filesystem .\"
  COUNTERSIGN_SOCKET=countersign-data/sidecar/sidecar.sock countersign exec -- ls")]
pub(crate) struct Arguments {
    /// The folder for keys, the store and the spool. Starting again with it goes on where it was.
    #[arg(long, value_name = "DIR", default_value = "countersign-data")]
    data: PathBuf,
    /// The policy bundle; the starter bundle when left out.
    #[arg(long, value_name = "DIR")]
    bundle: Option<PathBuf>,
    /// The port of the API and the console; 0 for any.
    #[arg(long, value_name = "PORT", default_value_t = 7700)]
    api: u16,
    /// The port of the link (UDP); 0 for any.
    #[arg(long, value_name = "PORT", default_value_t = 7701)]
    link: u16,
    /// The port of the check API; 0 for any.
    #[arg(long, value_name = "PORT", default_value_t = 7702)]
    check: u16,
    /// An MCP server that agents reach through the sidecar over HTTP: NAME=URL, or NAME=COMMAND with the words
    /// separated by spaces. May be given more than once.
    #[arg(long, value_name = "NAME=PLACE")]
    mcp: Vec<McpServer>,
    /// The port on which they are reached; 0 for any.
    #[arg(long, value_name = "PORT", default_value_t = 7703)]
    mcp_port: u16,
    /// Takes the subject that callers of the check API assert for the principal: for callers that are
    /// themselves trusted policy enforcement points.
    #[arg(long)]
    trust_subject: bool,
}

pub(crate) async fn run(common: &Common, arguments: Arguments) -> Result<ExitCode> {
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    let format = if common.json { telemetry::LogFormat::Json } else { telemetry::LogFormat::Text };
    let settings = telemetry::Settings {
        service_name: "countersign-dev",
        log: telemetry::LogConfig { format, filter: "warn".to_owned() },
    };
    let telemetry = telemetry::init(&settings, None)?;
    let wish = Wish {
        data: arguments.data,
        ports: Ports {
            api: arguments.api,
            link: arguments.link,
            check: arguments.check,
            mcp: arguments.mcp_port,
        },
        mcp: arguments.mcp,
        bundle: arguments.bundle.as_deref().map(bundle_dir::read).transpose()?,
        trust_subject: arguments.trust_subject,
    };
    let mut stack = Stack::start(wish).await?;
    if common.json {
        print_json(&stack.summary())?;
    } else {
        tell(&stack).await?;
    }
    let ended = tokio::select! {
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        ended = stack.ended() => ended,
    };
    let stopped = stack.shutdown().await;
    telemetry.shutdown();
    ended.and(stopped)?;
    Ok(ExitCode::SUCCESS)
}

/// Says where everything is, and what to do with it.
async fn tell(stack: &Stack) -> Result<()> {
    let paint = Paint::stdout();
    let dim = |text: &str| paint.paint(Style::Dim, text);
    let places = &stack.places;
    println!("{}", paint.paint(Style::Good, "Countersign is ready."));
    println!("  {} {}", dim("console  "), paint.paint(Style::Link, &places.api));
    for someone in stack.people.reviewers().iter().chain([stack.people.admin()]) {
        let link = stack.sign_in_link(&someone.token).await?;
        let whom = dim(&format!("signs in {} once", someone.name));
        println!("            {}  {whom}", paint.paint(Style::Link, &link));
    }
    println!("  {} {}", dim("check API"), places.check);
    println!("            {}", dim(&format!("its token: {}", places.check_token_file().display())));
    println!("  {} {}", dim("socket   "), places.socket.display());
    if let Some(mcp) = &places.mcp {
        for server in &mcp.servers {
            println!("  {} {}/mcp/{server}", dim("MCP      "), mcp.address);
        }
        println!("            {}", dim(&format!("its bearer token: {}", places.mcp_token_file().display())));
    }
    println!("  {} {} (UDP)", dim("link     "), places.link);
    println!("  {} {}", dim("data     "), places.data.display());
    println!("            {}", dim(&format!("API tokens: {}", stack.people.file().display())));
    println!();
    println!("Try, in another terminal:");
    println!("  export COUNTERSIGN_SOCKET={}", places.socket.display());
    println!("  countersign exec -- ls             # runs");
    println!("  countersign exec -- rm -rf x       # is denied");
    println!("  countersign exec -- git push       # waits for owner@example.com, for whom the agent acts");
    println!("Ctrl-C ends it.");
    Ok(())
}
