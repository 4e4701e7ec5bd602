//! `countersign people`: who may use this installation, their accounts elsewhere, and open sessions.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};
use countersign_model::{Digest, PersonId, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    api::Api,
    cli::Common,
    output::{Cell, Style, cell, distance, list, tell},
};

/// Shows and ends accounts and sessions; disables people.
#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    after_help = "\
Examples:
  countersign people list
  countersign people disable reviewer-one@example.com   # at once: sessions, tokens, chat accounts
  countersign people join alias@example.org reviewer-one@example.com   # one human, one vote
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
    /// Says that a name is another one of somebody else's: they are one human from then on, with one vote. Your own you
    /// show in the console, by signing in there, too.
    Join {
        /// The other name, as an address at a second identity provider.
        name: PersonId,
        /// Who they are here.
        person: PersonId,
    },
    /// Says that a name is not the same human's after all.
    Part {
        /// The name.
        name: PersonId,
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
    same_as: Option<String>,
    names: Vec<String>,
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
        What::List => {
            let page = api.get("/api/v1/people", &[]).await?;
            list(
                common.json,
                &page,
                &["PERSON", "SIGNED IN", "STATE", "ALSO"],
                "nobody has signed in yet",
                person_row,
            )?;
        }
        What::Disable { person } => {
            let path = format!("people/{person}/disable");
            act(common, &api, &path, json!({}), &format!("disabled {person}")).await?;
        }
        What::Enable { person } => {
            let path = format!("people/{person}/enable");
            act(common, &api, &path, json!({}), &format!("enabled {person}")).await?;
        }
        What::Join { name, person } => {
            let path = format!("people/{person}/join");
            act(common, &api, &path, json!({"name": name}), &format!("{name} is {person}")).await?;
        }
        What::Part { name } => {
            let done = format!("{name} is a person of their own");
            act(common, &api, &format!("people/{name}/part"), json!({}), &done).await?;
        }
        What::Accounts => {
            let page = api.get("/api/v1/accounts", &[]).await?;
            list(common.json, &page, &["ID", "KIND", "IN", "ACCOUNT", "PERSON"], "no accounts", account_row)?;
        }
        What::Unlink { id } => {
            let path = format!("accounts/{id}/unlink");
            act(common, &api, &path, json!({}), &format!("unlinked {id}")).await?;
        }
        What::Sessions => {
            let page = api.get("/api/v1/sessions", &[]).await?;
            list(
                common.json,
                &page,
                &["ID", "OPENED BY", "OPENED", "ENDS"],
                "no open sessions",
                session_row,
            )?;
        }
        What::EndSession { id } => {
            act(common, &api, &format!("sessions/{id}/end"), json!({}), &format!("ended {id}")).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn act(common: &Common, api: &Api, path: &str, body: Value, done: &str) -> Result<()> {
    let answer: Value = api.post(&format!("/api/v1/{path}"), &body).await?;
    tell(common.json, &answer, done)
}

fn person_row(person: &Person, now: Timestamp) -> Vec<Cell> {
    let state = match (person.disabled_at, &person.same_as) {
        (Some(at), _) => (format!("disabled {}", distance(at, now)), Some(Style::Bad)),
        (None, Some(main)) => cell(&format!("is {main}")),
        (None, None) => cell("enabled"),
    };
    let signed_in = person.signed_in_at.map_or_else(|| "never".to_owned(), |at| distance(at, now));
    vec![cell(&person.person), cell(&signed_in), state, cell(&person.names.join(", "))]
}

fn account_row(account: &Account, _now: Timestamp) -> Vec<Cell> {
    let cells = [&account.id, &account.kind, &account.realm, &account.label, &account.person];
    cells.iter().map(|text| cell(text)).collect()
}

fn session_row(session: &Session, now: Timestamp) -> Vec<Cell> {
    let times = [distance(session.created_at, now), distance(session.expires_at, now)];
    let [opened, ends] = times.map(|text| cell(&text));
    vec![cell(&session.id), cell(&session.method), opened, ends]
}
