//! `countersign channels`: list, test.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};
use countersign_model::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    api::Api,
    cli::Common,
    output::{Cell, Style, cell, distance, list, plain, tell},
};

/// Shows where reviewers are told, and tests it.
#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    after_help = "\
Examples:
  countersign channels list
  countersign channels test oncall
  countersign channels test mail --room sre@example.com"
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Lists the channels, and whether they work.
    List,
    /// Sends a test message, and waits until the channel has taken it. For admins.
    Test {
        /// The channel's name.
        name: String,
        /// A room that a route leads to; the first one when left out.
        #[arg(long)]
        room: Option<String>,
    },
}

/// A channel, as far as it is shown.
#[derive(Debug, Deserialize)]
struct Channel {
    name: String,
    kind: String,
    state: String,
    degraded_since: Option<Timestamp>,
    last_error: Option<String>,
    last_success: Option<Timestamp>,
    backlog: usize,
    rooms: Vec<String>,
}

pub(crate) async fn run(common: &Common, arguments: Arguments) -> Result<ExitCode> {
    let api = common.api()?;
    match arguments.what {
        What::List => {
            let page = api.get("/api/v1/channels", &[]).await?;
            list(common.json, &page, &HEAD, "no channels but the console, which always has everything", row)?;
        }
        What::Test { name, room } => test(common, &api, &name, room).await?,
    }
    Ok(ExitCode::SUCCESS)
}

const HEAD: [&str; 7] = ["NAME", "KIND", "STATE", "BACKLOG", "LAST TAKEN", "ROOMS", "LAST ERROR"];

fn row(channel: &Channel, now: Timestamp) -> Vec<Cell> {
    let style = if channel.state == "healthy" { Style::Good } else { Style::Bad };
    let since = channel.degraded_since.map(|since| format!(" for {}", since_then(since, now)));
    vec![
        cell(&channel.name),
        cell(&channel.kind),
        (plain(&format!("{}{}", channel.state, since.unwrap_or_default())), Some(style)),
        cell(&channel.backlog.to_string()),
        cell(&channel.last_success.map_or("–".to_owned(), |last| distance(last, now))),
        cell(&channel.rooms.join(", ")),
        cell(channel.last_error.as_deref().unwrap_or("–")),
    ]
}

fn since_then(since: Timestamp, now: Timestamp) -> String {
    distance(since, now).trim_end_matches(" ago").to_owned()
}

async fn test(common: &Common, api: &Api, name: &str, room: Option<String>) -> Result<()> {
    let answer: Value = api.post(&format!("/api/v1/channels/{name}/test"), &json!({"room": room})).await?;
    tell(common.json, &answer, &format!("{} took a test message", plain(name)))
}
