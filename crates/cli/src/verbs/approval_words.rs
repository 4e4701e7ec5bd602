//! `countersign approvals`: what is said beyond one vote. Several votes at once, breaking the glass, reviewing that,
//! and comments.

use anyhow::{Result, bail};
use clap::Args;
use countersign_model::{ApprovalId, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use super::approvals::Approval;
use crate::{
    api::{Api, Page},
    cli::Common,
    output::{Paint, plain, print_json, style_of, tell},
};

/// How many approvals are decided in one go.
const MOST_VOTES: usize = 50;

/// Approves alone, in an emergency.
#[derive(Debug, Args)]
pub(super) struct BreakGlass {
    /// The approval's id.
    id: ApprovalId,
    /// Why it cannot wait for the others. Somebody else reviews it afterwards.
    #[arg(long)]
    reason: String,
}

/// Something that is said about an approval.
#[derive(Debug, Args)]
pub(super) struct Saying {
    /// The approval's id.
    id: ApprovalId,
    /// What to say.
    #[arg(value_name = "TEXT")]
    text: String,
}

#[derive(Deserialize)]
struct Results {
    results: Vec<OneResult>,
}

#[derive(Deserialize)]
struct OneResult {
    id: ApprovalId,
    taken: bool,
    state: Option<String>,
    problem: Option<Problem>,
}

#[derive(Deserialize)]
struct Problem {
    title: String,
    detail: Option<String>,
}

#[derive(Deserialize)]
struct Comment {
    person: String,
    text: String,
    at: Timestamp,
    channel: String,
    #[serde(default)]
    by_program: bool,
}

/// Decides several approvals, each by a vote of its own on the version that it has now.
pub(super) async fn cast_several(
    common: &Common,
    api: &Api,
    decision: &str,
    ids: &[ApprovalId],
    reason: Option<String>,
) -> Result<()> {
    if ids.len() > MOST_VOTES {
        bail!("at most {MOST_VOTES} approvals can be decided at once");
    }
    let mut votes = Vec::with_capacity(ids.len());
    for id in ids {
        let seen: Approval = api.get(&format!("/api/v1/approvals/{id}"), &[]).await?;
        votes.push(json!({"id": id, "version": seen.version, "decision": decision, "reason": reason}));
    }
    let answer: Value = api.post("/api/v1/approvals/votes", &json!({"votes": votes})).await?;
    if common.json {
        return print_json(&answer);
    }
    let Results { results } = serde_json::from_value(answer)?;
    let paint = Paint::stdout();
    for OneResult { id, taken, state, problem } in &results {
        let state = state.as_deref().unwrap_or_default();
        let why = problem.as_ref().map_or("", |problem| problem.detail.as_deref().unwrap_or(&problem.title));
        if *taken {
            let decision = paint.paint(style_of(decision), decision);
            println!("{id} {decision}: now {}", paint.paint(style_of(state), state));
        } else {
            println!("{id} not counted: {}", plain(why));
        }
    }
    let refused = results.iter().filter(|result| !result.taken).count();
    if refused > 0 {
        bail!("{refused} of {} votes were not counted", results.len());
    }
    Ok(())
}

pub(super) async fn break_glass(common: &Common, api: &Api, wish: BreakGlass) -> Result<()> {
    let path = format!("/api/v1/approvals/{}/break-glass", wish.id);
    let approval: Value = api.post(&path, &json!({"reason": wish.reason})).await?;
    tell(common.json, &approval, "approved alone; somebody else has to review it")
}

pub(super) async fn review(common: &Common, api: &Api, saying: Saying) -> Result<()> {
    let path = format!("/api/v1/approvals/{}/glass-reviews", saying.id);
    let approval: Value = api.post(&path, &json!({"comment": saying.text})).await?;
    tell(common.json, &approval, "reviewed")
}

pub(super) async fn comment(common: &Common, api: &Api, saying: Saying) -> Result<()> {
    let path = format!("/api/v1/approvals/{}/comments", saying.id);
    let comment: Value = api.post(&path, &json!({"comment": saying.text})).await?;
    tell(common.json, &comment, "said")
}

pub(super) async fn comments(common: &Common, api: &Api, id: ApprovalId) -> Result<()> {
    let list: Page<Value> = api.get(&format!("/api/v1/approvals/{id}/comments"), &[]).await?;
    if common.json {
        return print_json(&list);
    }
    if list.items.is_empty() {
        println!("no comments");
    }
    for comment in list.items {
        let Comment { person, text, at, channel, by_program } = serde_json::from_value(comment)?;
        let whose = if by_program { "a program of " } else { "" };
        println!("{whose}{} at {at} by {}: {}", plain(&person), plain(&channel), plain(&text));
    }
    Ok(())
}
