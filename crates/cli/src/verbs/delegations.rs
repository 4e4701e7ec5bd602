//! `countersign delegations`: who stands in for whom.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};
use countersign_model::{DelegationId, PersonId, Seconds, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    cli::Common,
    output::{Cell, Style, cell, distance, list, now, plain, tell},
};

/// Names, lists and takes back stand-ins.
#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    after_help = "\
Examples:
  countersign delegations add reviewer-two@example.com --for 14d --reason \"on holiday\"
  countersign delegations add reviewer-two@example.com --from 2026-12-24T00:00:00Z --for 7d --reason \"at the sea\"
  countersign delegations list
  countersign delegations remove 0199…"
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Names somebody who may vote by your right for a time. They vote as themselves, and the two of you count once.
    Add {
        /// Who shall stand in for you.
        stand_in: PersonId,
        /// How long, such as 14d or 8h; 30d at most.
        #[arg(long = "for", value_name = "SPAN")]
        span: Seconds,
        /// From when; from now on when left out.
        #[arg(long, value_name = "TIME")]
        from: Option<Timestamp>,
        /// Why, for the record.
        #[arg(long)]
        reason: String,
    },
    /// Lists the stand-ins that you named, and for whom you stand in; everybody's for an admin.
    List,
    /// Takes a stand-in back.
    Remove {
        /// The delegation's id.
        id: DelegationId,
    },
}

#[derive(Debug, Deserialize)]
struct Delegation {
    id: DelegationId,
    delegator: String,
    stand_in: String,
    from: Timestamp,
    until: Timestamp,
    reason: String,
    holds: bool,
    revoked_at: Option<Timestamp>,
}

pub(crate) async fn run(common: &Common, arguments: Arguments) -> Result<ExitCode> {
    let api = common.api()?;
    match arguments.what {
        What::Add { stand_in, span, from, reason } => {
            let until = from.unwrap_or_else(now).plus(span);
            let wish = json!({"stand_in": stand_in, "from": from, "until": until, "reason": reason});
            let made: Value = api.post("/api/v1/delegations", &wish).await?;
            tell(
                common.json,
                &made,
                &format!("{} stands in for you until {until}", plain(stand_in.as_str())),
            )?;
        }
        What::List => {
            let page = api.get("/api/v1/delegations", &[]).await?;
            list(common.json, &page, &["ID", "FOR", "STAND-IN", "WHEN", "WHY"], "no stand-ins", row)?;
        }
        What::Remove { id } => {
            let removed: Value = api.post(&format!("/api/v1/delegations/{id}/revoke"), &json!({})).await?;
            tell(common.json, &removed, &format!("removed {id}"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn row(one: &Delegation, now: Timestamp) -> Vec<Cell> {
    let when = match one.revoked_at {
        Some(at) => (format!("removed {}", distance(at, now)), Some(Style::Bad)),
        None if one.holds => cell(&format!("{} left", distance(one.until, now))),
        None if one.from > now => (format!("begins in {}", distance(one.from, now)), Some(Style::Dim)),
        None => (format!("ended {}", distance(one.until, now)), Some(Style::Dim)),
    };
    vec![cell(&one.id.to_string()), cell(&one.delegator), cell(&one.stand_in), when, cell(&one.reason)]
}
