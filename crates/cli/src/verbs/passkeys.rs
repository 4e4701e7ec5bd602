//! `countersign passkeys`: list, and remove somebody's who has lost theirs.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};
use countersign_model::{Digest, PersonId, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    cli::Common,
    output::{Cell, cell, distance, list, tell},
};

/// Lists and removes passkeys. They are added in the console.
#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    after_help = "\
Examples:
  countersign passkeys list
  countersign passkeys list --of reviewer-one@example.com --json
  countersign passkeys remove sha256:0f3a… --of reviewer-one@example.com"
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Lists your passkeys; anybody's for an admin.
    List {
        /// Whose.
        #[arg(long, value_name = "PERSON")]
        of: Option<PersonId>,
    },
    /// Removes the passkey of somebody who has lost it, as an admin. Your own you remove in the console.
    Remove {
        /// The passkey's id.
        id: Digest,
        /// Whose it is.
        #[arg(long, value_name = "PERSON")]
        of: PersonId,
    },
}

#[derive(Debug, Deserialize)]
struct Passkey {
    id: Digest,
    name: String,
    created_at: Timestamp,
    last_used_at: Option<Timestamp>,
}

pub(crate) async fn run(common: &Common, arguments: Arguments) -> Result<ExitCode> {
    let api = common.api()?;
    match arguments.what {
        What::List { of } => {
            let query: Vec<_> = of.map(|person| ("person", person.to_string())).into_iter().collect();
            let (page, none) = (
                api.get("/api/v1/passkeys", &query).await?,
                "no passkeys; add one in the console, under Passkeys",
            );
            list(common.json, &page, &["ID", "NAME", "ADDED", "USED"], none, row)?;
        }
        What::Remove { id, of } => {
            let removed: Value =
                api.post(&format!("/api/v1/passkeys/{id}/remove"), &json!({"person": of})).await?;
            tell(common.json, &removed, &format!("removed {id} of {of}"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn row(passkey: &Passkey, now: Timestamp) -> Vec<Cell> {
    let used = passkey.last_used_at.map_or("never".to_owned(), |at| distance(at, now));
    let added = distance(passkey.created_at, now);
    vec![cell(&passkey.id.to_string()), cell(&passkey.name), cell(&added), cell(&used)]
}
