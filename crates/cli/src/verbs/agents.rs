//! `countersign agents`: add, list, show, revoke, join-token.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};
use countersign_model::{AgentName, PersonId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::PageArguments;
use crate::{
    cli::Common,
    output::{Cell, Paint, Style, Table, cell, distance, list, now, plain, print_json, state_cell},
};

/// Adds, lists, shows and revokes agents.
#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    after_help = "\
Examples:
  countersign agents add deploy-bot --owner owner@example.com
  countersign agents list
  countersign agents revoke deploy-bot --reason \"retired\""
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Adds an agent and prints its join token, which is shown this once.
    Add {
        /// The agent's name: lower-case letters, digits and hyphens.
        name: AgentName,
        /// The person who answers for it, and so never votes on what it does.
        #[arg(long, value_name = "PERSON")]
        owner: PersonId,
    },
    /// Makes another join token for an agent, to enrol its sidecar anew.
    JoinToken {
        /// The agent's name.
        name: AgentName,
    },
    /// Lists agents: who is connected, under which revision, until when.
    List(PageArguments),
    /// Shows one agent.
    Show {
        /// The agent's name.
        name: AgentName,
    },
    /// Revokes an agent for good: its link is closed, and what it waits for is cancelled.
    Revoke {
        /// The agent's name.
        name: AgentName,
        /// Why, for the record.
        #[arg(long)]
        reason: Option<String>,
    },
}

/// An agent, as far as it is shown.
#[derive(Debug, Clone, Deserialize, Serialize)]
struct Agent {
    name: AgentName,
    owner: String,
    spiffe_id: String,
    state: String,
    connected: bool,
    last_seen: Option<Timestamp>,
    revision: Option<u64>,
    lease_ends: Option<Timestamp>,
    svid_expires_at: Option<Timestamp>,
    spool_depth: Option<u64>,
    pending: Option<u32>,
}

pub(crate) async fn run(common: &Common, arguments: Arguments) -> Result<ExitCode> {
    let api = common.api()?;
    match arguments.what {
        What::Add { name, owner } => {
            let added: Value = api.post("/api/v1/agents", &json!({"name": name, "owner": owner})).await?;
            show_token(common, &added)?;
        }
        What::JoinToken { name } => {
            let added: Value = api.post(&format!("/api/v1/agents/{name}/join-tokens"), &json!({})).await?;
            show_token(common, &added)?;
        }
        What::List(page) => {
            let page = api.get("/api/v1/agents", &page.query()).await?;
            list(common.json, &page, &HEAD, "no agents; add one with `countersign agents add`", row)?;
        }
        What::Show { name } => {
            let agent: Value = api.get(&format!("/api/v1/agents/{name}"), &[]).await?;
            show(common, &agent)?;
        }
        What::Revoke { name, reason } => {
            let path = format!("/api/v1/agents/{name}/revoke");
            let agent: Value = api.post(&path, &json!({"reason": reason})).await?;
            show(common, &agent)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn show_token(common: &Common, added: &Value) -> Result<()> {
    if common.json {
        return print_json(added);
    }
    let text = |pointer| added.pointer(pointer).and_then(Value::as_str).map(plain).unwrap_or_default();
    let paint = Paint::stderr();
    eprintln!("{} {}", paint.paint(Style::Bold, &text("/agent/name")), text("/agent/spiffe_id"));
    eprintln!(
        "Its join token, once, until {}. Give it to the sidecar: COUNTERSIGN_JOIN_TOKEN, or `countersign sidecar --join-token-file FILE`.",
        text("/join_token/expires_at")
    );
    println!("{}", text("/token"));
    Ok(())
}

const HEAD: [&str; 9] =
    ["NAME", "STATE", "LINK", "REVISION", "LEASE", "SEEN", "UNSHIPPED", "WAITING", "OWNER"];

fn row(agent: &Agent, now: Timestamp) -> Vec<Cell> {
    let moment = |at: Option<Timestamp>| at.map_or("–".to_owned(), |at| distance(at, now));
    let number = |number: Option<u64>| number.map_or("–".to_owned(), |number| number.to_string());
    let (link, style) = if agent.connected { ("up", Style::Good) } else { ("down", Style::Dim) };
    vec![
        cell(agent.name.as_str()),
        state_cell(&agent.state),
        (link.to_owned(), Some(style)),
        cell(&number(agent.revision)),
        cell(&moment(agent.lease_ends)),
        cell(&moment(agent.last_seen)),
        cell(&number(agent.spool_depth)),
        cell(&number(agent.pending.map(u64::from))),
        cell(&agent.owner),
    ]
}

fn show(common: &Common, agent: &Value) -> Result<()> {
    if common.json {
        return print_json(agent);
    }
    let paint = Paint::stdout();
    let mut table = Table::new(&HEAD);
    table.row(row(&serde_json::from_value(agent.clone())?, now()));
    print!("{}", table.render(paint, ""));
    let text = |name| agent.get(name).and_then(Value::as_str).map(plain);
    let until =
        text("svid_expires_at").map(|until| format!(", certificate until {until}")).unwrap_or_default();
    println!("{}", paint.paint(Style::Dim, &format!("{}{until}", text("spiffe_id").unwrap_or_default())));
    Ok(())
}
