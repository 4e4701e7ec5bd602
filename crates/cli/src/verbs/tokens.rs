//! `countersign tokens`: create, list, revoke.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand, ValueEnum};
use countersign_model::{Seconds, Timestamp, TokenId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    cli::Common,
    output::{Cell, Style, cell, distance, list, plain, print_json, tell},
};

/// Makes, lists and revokes API tokens.
#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    after_help = "\
Examples:
  countersign tokens create ci --machine --scope policy --expires-in 90d
  countersign tokens list
  countersign tokens revoke 0199…"
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Makes a token for yourself or a program of yours, and prints it, this once.
    Create {
        /// What you call it.
        name: String,
        /// For a program, which can never vote.
        #[arg(long)]
        machine: bool,
        /// What it is for; everything that you may do when left out. Can be repeated.
        #[arg(long = "scope", value_enum)]
        scopes: Vec<Scope>,
        /// How long it lives, such as 30d or 12h.
        #[arg(long, value_name = "SPAN")]
        expires_in: Option<Seconds>,
    },
    /// Lists your tokens; everybody's for an admin.
    List,
    /// Revokes a token. Sessions that were opened with it end, too.
    Revoke {
        /// The token's id.
        id: TokenId,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
enum Scope {
    /// See approvals, agents, policy and the audit log.
    Read,
    /// Vote, where policy names you.
    Vote,
    /// Push and roll back policy.
    Policy,
    /// Enrol and revoke agents; manage tokens.
    Admin,
}

#[derive(Debug, Deserialize)]
struct Token {
    id: TokenId,
    name: String,
    owner: String,
    kind: String,
    scopes: Vec<String>,
    expires_at: Timestamp,
    revoked_at: Option<Timestamp>,
}

pub(crate) async fn run(common: &Common, arguments: Arguments) -> Result<ExitCode> {
    let api = common.api()?;
    match arguments.what {
        What::Create { name, machine, scopes, expires_in } => {
            let kind = if machine { "machine" } else { "human" };
            let mut wish = json!({"name": name, "kind": kind});
            if let Some(wish) = wish.as_object_mut() {
                if !scopes.is_empty() {
                    wish.insert("scopes".to_owned(), json!(scopes));
                }
                if let Some(span) = expires_in {
                    wish.insert("expires_in".to_owned(), json!(span));
                }
            }
            let created: Value = api.post("/api/v1/tokens", &wish).await?;
            show_created(common, &created)?;
        }
        What::List => {
            let page = api.get("/api/v1/tokens", &[]).await?;
            list(common.json, &page, &["ID", "NAME", "KIND", "SCOPES", "ENDS", "OWNER"], "no tokens", row)?;
        }
        What::Revoke { id } => {
            let token: Value = api.post(&format!("/api/v1/tokens/{id}/revoke"), &json!({})).await?;
            tell(common.json, &token, &format!("revoked {id}"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn show_created(common: &Common, created: &Value) -> Result<()> {
    if common.json {
        return print_json(created);
    }
    let secret = created.get("token").and_then(Value::as_str);
    eprintln!("The token, once. Keep it in a file that only you can read, or in COUNTERSIGN_TOKEN.");
    println!("{}", plain(secret.unwrap_or_default()));
    Ok(())
}

fn row(token: &Token, now: Timestamp) -> Vec<Cell> {
    let ends = match token.revoked_at {
        Some(at) => (format!("revoked {}", distance(at, now)), Some(Style::Bad)),
        None if token.expires_at < now => (distance(token.expires_at, now), Some(Style::Dim)),
        None => cell(&distance(token.expires_at, now)),
    };
    vec![
        cell(&token.id.to_string()),
        cell(&token.name),
        cell(&token.kind),
        cell(&token.scopes.join(",")),
        ends,
        cell(&token.owner),
    ]
}
