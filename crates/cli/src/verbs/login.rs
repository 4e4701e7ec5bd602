//! `countersign login`: keeps a token for a control plane, after trying it.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::Args;
use serde_json::Value;

use crate::{
    api::Api,
    cli::Common,
    credentials::{self, Credentials},
    output::{plain, print_json},
};

/// Keeps a token for a control plane.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  countersign login https://countersign.example.com          # asks for the token
  countersign login http://127.0.0.1:7700 --token-file token
  pass show countersign | countersign login --token-file -")]
pub(crate) struct Arguments {
    /// The control plane's address.
    #[arg(value_name = "URL")]
    address: Option<String>,
    /// Reads the token from a file; - is standard input. Asks for it when left out.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

pub(crate) async fn run(common: &Common, arguments: Arguments) -> Result<ExitCode> {
    let address = arguments.address.or_else(|| common.url.clone());
    let url = credentials::normalise(address.as_deref().unwrap_or("http://127.0.0.1:7700"))?;
    let token = match arguments.token_file {
        Some(file) => credentials::read_token_file(&file)?,
        None => credentials::ask_token(&url)?,
    };
    let credentials = Credentials { url, token };
    let api = Api::with(credentials.clone())?;
    let who: Value = api.get("/api/v1/whoami", &[]).await?;
    let file = credentials::file()?;
    credentials::save(&file, &credentials)?;
    if common.json {
        print_json(&who)?;
    } else {
        let person = who.get("person").and_then(Value::as_str).unwrap_or_default();
        println!("signed in to {} as {}; the token is kept in {}", api.url(), plain(person), file.display());
    }
    Ok(ExitCode::SUCCESS)
}
