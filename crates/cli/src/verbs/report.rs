//! `countersign report`: attention.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};
use countersign_model::Seconds;
use serde::Deserialize;
use serde_json::Value;

use crate::{
    cli::Common,
    output::{Paint, Table, cell, now, plain, print_json},
};

/// Says what the record tells about deciding itself.
#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    after_help = "\
Examples:
  countersign report attention
  countersign report attention --since 7d --json"
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Where reviewers' attention goes, and what is always approved. Proposes text; applies nothing.
    Attention {
        /// How far back: 30d, 12h, 90m.
        #[arg(long, value_name = "SPAN", default_value = "30d", value_parser = span)]
        since: Seconds,
    },
}

/// Reads a span, days included.
fn span(text: &str) -> Result<Seconds, String> {
    let span = match text.strip_suffix('d').and_then(|days| days.parse::<u32>().ok()) {
        Some(days) => days.checked_mul(86_400).map(Seconds::new).ok_or("too long")?,
        None => text.parse::<Seconds>().map_err(|error| format!("{error}, or days like \"30d\""))?,
    };
    if span == Seconds::new(0) { Err("a span is longer than nothing".to_owned()) } else { Ok(span) }
}

#[derive(Debug, Deserialize)]
struct Report {
    requests: u64,
    is_complete: bool,
    policies: Vec<Policy>,
    reviewers: Vec<Reviewer>,
    always_approved: Vec<Always>,
}

#[derive(Debug, Deserialize)]
struct Policy {
    policy: String,
    requests: u64,
    approved: u64,
    denied: u64,
    expired: u64,
    approval_rate: Option<f64>,
    median_seconds: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct Reviewer {
    person: String,
    votes: u64,
    glances: u64,
    approval_rate: Option<f64>,
    median_seconds: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct Always {
    requirement: String,
    approved: u64,
    proposal: Vec<Proposed>,
    no_proposal: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Proposed {
    policy: String,
    file: String,
    text: String,
}

pub(crate) async fn run(common: &Common, arguments: Arguments) -> Result<ExitCode> {
    let What::Attention { since } = arguments.what;
    let query = [("since", now().minus(since).to_string())];
    let report: Value = common.api()?.get("/api/v1/reports/attention", &query).await?;
    if common.json {
        print_json(&report)?;
    } else {
        print!("{}", describe(&serde_json::from_value(report)?));
    }
    Ok(ExitCode::SUCCESS)
}

fn describe(report: &Report) -> String {
    let most = if report.is_complete { "" } else { " (the latest; there were more)" };
    let mut text = format!("{} requests{most}\n\n", report.requests);
    let mut table = Table::new(&["POLICY", "ASKED", "APPROVED", "DENIED", "EXPIRED", "RATE", "MEDIAN"]);
    for one in &report.policies {
        table.row(vec![
            cell(&plain(&one.policy)),
            cell(&one.requests.to_string()),
            cell(&one.approved.to_string()),
            cell(&one.denied.to_string()),
            cell(&one.expired.to_string()),
            cell(&rate(one.approval_rate)),
            cell(&seconds(one.median_seconds)),
        ]);
    }
    text.push_str(&table.render(Paint::stdout(), "no policy has asked"));
    let mut table = Table::new(&["REVIEWER", "VOTES", "RATE", "MEDIAN", "UNDER 5 S"]);
    for one in &report.reviewers {
        table.row(vec![
            cell(&plain(&one.person)),
            cell(&one.votes.to_string()),
            cell(&rate(one.approval_rate)),
            cell(&seconds(one.median_seconds)),
            cell(&one.glances.to_string()),
        ]);
    }
    text.push('\n');
    text.push_str(&table.render(Paint::stdout(), "nobody has voted"));
    for one in &report.always_approved {
        text.push_str(&format!("\n{} was approved all {} times.\n", plain(&one.requirement), one.approved));
        if let Some(why) = &one.no_proposal {
            text.push_str(&format!("No exception is proposed: {}.\n", plain(why)));
        }
        for proposed in &one.proposal {
            let (policy, file) = (plain(&proposed.policy), plain(&proposed.file));
            let lines: Vec<String> = proposed.text.lines().map(plain).collect();
            text.push_str(&format!(
                "To permit just these, {policy} in {file} would be:\n\n{}\n",
                lines.join("\n")
            ));
        }
    }
    text
}

fn rate(rate: Option<f64>) -> String {
    rate.map_or_else(|| "–".to_owned(), |rate| format!("{:.0} %", rate * 100.0))
}

fn seconds(seconds: Option<f64>) -> String {
    seconds.map_or_else(|| "–".to_owned(), |seconds| format!("{seconds:.1} s"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn spans_may_be_days_and_a_proposal_is_shown_without_obeying_it() {
        assert_eq!(span("30d"), Ok(Seconds::new(30 * 86_400)));
        assert_eq!(span("12h"), Ok(Seconds::new(12 * 3_600)));
        assert!(span("0d").is_err() && span("soon").is_err() && span("99999999d").is_err());
        let report = json!({
            "requests": 6, "is_complete": true, "policies": [], "reviewers": [],
            "always_approved": [{"requirement": "one", "approved": 6, "no_proposal": null,
                "proposal": [{"policy": "p", "file": "policies/a.cedar", "text": "forbid \u{1b}[2J;"}]}],
        });
        let text = describe(&serde_json::from_value(report).unwrap());
        assert!(text.contains("was approved all 6 times") && !text.contains('\u{1b}'), "{text}");
    }
}
