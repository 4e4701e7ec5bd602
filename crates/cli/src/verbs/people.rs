//! `countersign people`: who may use this installation, their accounts elsewhere, and open sessions.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};
use countersign_model::{Digest, PersonId, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    api::{Api, Page},
    cli::Common,
    output::{Paint, Style, Table, cell, distance, now, plain, print_json},
};

/// Shows and ends accounts and sessions; disables people.
#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    after_help = "\
Examples:
  countersign people list
  countersign people disable reviewer-one@example.com   # at once: sessions, tokens, chat accounts
  countersign people accounts
  countersign people unlink sha256:9f86…
  countersign people sessions --json"
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Lists everybody who has signed in at the console. For admins.
    List,
    /// Disables a person, whoever vouches for them.
    Disable {
        /// Who.
        person: PersonId,
    },
    /// Lets a disabled person in again.
    Enable {
        /// Who.
        person: PersonId,
    },
    /// Lists your accounts at identity providers and in chats; everybody's for an admin.
    Accounts,
    /// Unlinks an account. With one at an identity provider, the person's sessions and tokens end as well.
    Unlink {
        /// The account's id.
        id: Digest,
    },
    /// Lists your open sessions at the console.
    Sessions,
    /// Ends a session.
    EndSession {
        /// The session's id.
        id: Digest,
    },
}

#[derive(Debug, Deserialize)]
struct Person {
    person: String,
    signed_in_at: Option<Timestamp>,
    disabled_at: Option<Timestamp>,
}

#[derive(Debug, Deserialize)]
struct Account {
    id: String,
    kind: String,
    realm: String,
    label: String,
    person: String,
}

#[derive(Debug, Deserialize)]
struct Session {
    id: String,
    method: String,
    created_at: Timestamp,
    expires_at: Timestamp,
}

pub(crate) async fn run(common: &Common, arguments: Arguments) -> Result<ExitCode> {
    let api = common.api()?;
    match arguments.what {
        What::List => people(common, &api).await?,
        What::Disable { person } => {
            act(common, &api, &format!("people/{person}/disable"), &format!("disabled {person}")).await?;
        }
        What::Enable { person } => {
            act(common, &api, &format!("people/{person}/enable"), &format!("enabled {person}")).await?;
        }
        What::Accounts => accounts(common, &api).await?,
        What::Unlink { id } => {
            act(common, &api, &format!("accounts/{id}/unlink"), &format!("unlinked {id}")).await?;
        }
        What::Sessions => sessions(common, &api).await?,
        What::EndSession { id } => {
            act(common, &api, &format!("sessions/{id}/end"), &format!("ended {id}")).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn act(common: &Common, api: &Api, path: &str, done: &str) -> Result<()> {
    let answer: Value = api.post(&format!("/api/v1/{path}"), &json!({})).await?;
    if common.json {
        return print_json(&answer);
    }
    println!("{done}");
    Ok(())
}

async fn people(common: &Common, api: &Api) -> Result<()> {
    let list: Page<Value> = api.get("/api/v1/people", &[]).await?;
    if common.json {
        return print_json(&list);
    }
    let now = now();
    let mut table = Table::new(&["PERSON", "SIGNED IN", "STATE"]);
    for item in list.items {
        let person: Person = serde_json::from_value(item)?;
        let state = person.disabled_at.map_or_else(
            || cell("enabled"),
            |at| (format!("disabled {}", distance(at, now)), Some(Style::Bad)),
        );
        let signed_in = person.signed_in_at.map_or_else(|| "never".to_owned(), |at| distance(at, now));
        table.row(vec![cell(&plain(&person.person)), cell(&signed_in), state]);
    }
    print!("{}", table.render(Paint::stdout(), "nobody has signed in yet"));
    Ok(())
}

async fn accounts(common: &Common, api: &Api) -> Result<()> {
    let list: Page<Value> = api.get("/api/v1/accounts", &[]).await?;
    if common.json {
        return print_json(&list);
    }
    let mut table = Table::new(&["ID", "KIND", "IN", "ACCOUNT", "PERSON"]);
    for item in list.items {
        let account: Account = serde_json::from_value(item)?;
        let cells = [account.id, account.kind, account.realm, account.label, account.person];
        table.row(cells.iter().map(|text| cell(&plain(text))).collect());
    }
    print!("{}", table.render(Paint::stdout(), "no accounts"));
    Ok(())
}

async fn sessions(common: &Common, api: &Api) -> Result<()> {
    let list: Page<Value> = api.get("/api/v1/sessions", &[]).await?;
    if common.json {
        return print_json(&list);
    }
    let now = now();
    let mut table = Table::new(&["ID", "OPENED BY", "OPENED", "ENDS"]);
    for item in list.items {
        let session: Session = serde_json::from_value(item)?;
        let times = [distance(session.created_at, now), distance(session.expires_at, now)];
        let [opened, ends] = times.map(|text| cell(&text));
        table.row(vec![cell(&session.id), cell(&plain(&session.method)), opened, ends]);
    }
    print!("{}", table.render(Paint::stdout(), "no open sessions"));
    Ok(())
}
