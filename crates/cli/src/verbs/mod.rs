//! One file per verb.

pub(crate) mod agents;
mod approval_words;
pub(crate) mod approvals;
pub(crate) mod audit;
pub(crate) mod channels;
pub(crate) mod completions;
pub(crate) mod control;
pub(crate) mod delegations;
pub(crate) mod demo;
pub(crate) mod dev;
pub(crate) mod doctor;
pub(crate) mod exec;
pub(crate) mod hook;
mod inbox;
pub(crate) mod login;
pub(crate) mod mcp;
pub(crate) mod passkeys;
pub(crate) mod people;
pub(crate) mod policy;
pub(crate) mod report;
pub(crate) mod sidecar;
mod socket;
pub(crate) mod tokens;
mod waiting;

use clap::Args;

/// How much of a list is wanted.
#[derive(Debug, Clone, Args)]
pub(crate) struct PageArguments {
    /// How many at most.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=500))]
    limit: u16,
    /// Goes on where the last page ended: its `next`.
    #[arg(long, value_name = "NEXT")]
    cursor: Option<String>,
}

impl PageArguments {
    /// The query parameters for it.
    fn query(&self) -> Vec<(&'static str, String)> {
        let mut query = vec![("limit", self.limit.to_string())];
        query.extend(self.cursor.clone().map(|cursor| ("cursor", cursor)));
        query
    }
}
