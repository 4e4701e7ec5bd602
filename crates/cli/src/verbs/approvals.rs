//! `countersign approvals`: list, show, approve, deny, edit, wait, cancel, revoke, watch.

use std::{collections::BTreeMap, process::ExitCode, time::Instant};

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use countersign_model::{AgentName, ApprovalId, PersonId, Seconds, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    PageArguments,
    approval_words::{self, BreakGlass, Saying},
    inbox,
};
use crate::{
    api::Api,
    cli::Common,
    exit,
    output::{Cell, Paint, Style, cell, distance, list, now, plain, print_json, short, state_cell, style_of},
};

/// Lists, shows, decides and follows approvals.
#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    after_help = "\
Examples:
  countersign approvals list --state pending
  countersign approvals show 0199…
  countersign approvals approve 0199… --reason \"checked with the team\"
  countersign approvals edit 0199… --set /action/properties/amount=50 --reason \"no more than that\"
  countersign approvals edit 0199… --set '/context/hook/line=\"rm build/old\"'      # what a coding agent's hook has seen
  countersign approvals wait 0199… --timeout 10m && echo approved
  countersign approvals revoke 0199… --reason \"wrong cluster\"
  countersign approvals approve 0199… 019a… 019b…
  countersign approvals break-glass 0199… --reason \"the site is down\"
  countersign approvals list --needs-review
  countersign approvals review 0199… \"right, and in time\"
  countersign approvals comment 0199… \"is this the right region?\"
  countersign approvals watch"
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Lists approvals, newest first.
    List {
        /// Only those in this state: pending, approved, denied, expired, cancelled, executed, …
        #[arg(long)]
        state: Option<String>,
        /// Only those of this agent.
        #[arg(long)]
        agent: Option<AgentName>,
        /// Only those with a vote of this person.
        #[arg(long)]
        reviewer: Option<PersonId>,
        /// Only those with this text in what is asked, what the agent says or what people said.
        #[arg(long)]
        text: Option<String>,
        /// Only those that were submitted then or later: 2026-03-31T00:00:00Z
        #[arg(long)]
        from: Option<Timestamp>,
        /// Only those that were submitted before.
        #[arg(long)]
        until: Option<Timestamp>,
        /// Only those that somebody approved alone, and nobody else has reviewed.
        #[arg(long)]
        needs_review: bool,
        #[command(flatten)]
        page: PageArguments,
    },
    /// Shows one approval: who, exactly what, why, who decides, who has.
    Show {
        /// The approval's id.
        id: ApprovalId,
    },
    /// Approves.
    Approve(Vote),
    /// Denies.
    Deny(Vote),
    /// Changes arguments instead of voting. The request is closed, and policy decides anew about the result.
    Edit {
        /// The approval's id.
        id: ApprovalId,
        /// An argument and its new value in JSON, by its JSON Pointer: `/action/properties/amount=50`.
        #[arg(long, required = true, value_name = "POINTER=JSON", value_parser = change)]
        set: Vec<(String, Value)>,
        /// Why, for the agent, the others and the record.
        #[arg(long)]
        reason: Option<String>,
    },
    /// Waits until a request is decided. Exits with 0 when it is approved, 77 when it is denied, 75 when nobody
    /// decided.
    Wait {
        /// The approval's id.
        id: ApprovalId,
        /// How long to wait at most, for example 5m; as long as it takes when left out.
        #[arg(long)]
        timeout: Option<Seconds>,
    },
    /// Takes back a request that waits: for the agent's owner, and admins.
    Cancel {
        /// The approval's id.
        id: ApprovalId,
    },
    /// Takes back an approval before it is used up: for the agent's owner, those who approved, and admins.
    Revoke {
        /// The approval's id.
        id: ApprovalId,
        /// Why, for the others and for the record.
        #[arg(long)]
        reason: Option<String>,
    },
    /// Approves alone, in an emergency, where policy lets you. Somebody else has to review it.
    BreakGlass(BreakGlass),
    /// Reviews what somebody else approved alone.
    Review(Saying),
    /// Says something about an approval. It counts for nothing.
    Comment(Saying),
    /// Lists what was said about an approval.
    Comments {
        /// The approval's id.
        id: ApprovalId,
    },
    /// Shows what waits, live, and takes decisions by keys; at no terminal, prints a line for each change.
    Watch,
}

#[derive(Debug, Args)]
struct Vote {
    /// The approval's id. Of several, each is a vote of its own.
    #[arg(required = true)]
    ids: Vec<ApprovalId>,
    /// Why, for the others and for the record.
    #[arg(long)]
    reason: Option<String>,
    /// Only if it is still at this version, as `show` told it. For one approval.
    #[arg(long, value_name = "VERSION")]
    if_version: Option<u64>,
}

/// An approval, as far as it is shown.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub(crate) struct Approval {
    pub(crate) id: ApprovalId,
    pub(crate) version: u64,
    pub(crate) state: String,
    reason: Option<String>,
    pub(crate) agent: String,
    owner: String,
    interceptor: String,
    pub(crate) operation: Value,
    #[serde(default)]
    redacted: Vec<String>,
    digest: String,
    #[serde(default)]
    provenance: Value,
    #[serde(default)]
    policies: Vec<Policy>,
    revision: u64,
    pub(crate) requirements: Vec<Requirement>,
    votes: Vec<Cast>,
    pub(crate) decide_by: Timestamp,
    #[serde(default)]
    asked: u32,
    #[serde(default)]
    grant: Option<Grant>,
    trace_id: Option<String>,
    #[serde(default)]
    glass: Option<Glass>,
    may_vote: Option<MayVote>,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
struct Grant {
    uses: u32,
    used: u32,
    not_after: Timestamp,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
struct Policy {
    id: String,
    reason: Option<String>,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
pub(crate) struct Requirement {
    name: String,
    kind: String,
    reviewers: Vec<String>,
    quorum: u32,
    approved: u32,
    #[serde(default)]
    assurance: String,
    #[serde(default)]
    grant: String,
    #[serde(default)]
    stage: u32,
    #[serde(default)]
    break_glass: Vec<String>,
    #[serde(default)]
    denied: u32,
    #[serde(default)]
    deny_threshold: u32,
    #[serde(default)]
    escalation: Option<Escalation>,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
struct Escalation {
    to: Vec<String>,
    at: Option<Timestamp>,
    escalated_at: Option<Timestamp>,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
struct Cast {
    person: String,
    decision: String,
    reason: Option<String>,
    channel: String,
    at: Timestamp,
    #[serde(default)]
    delegated: Vec<Delegated>,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
struct Delegated {
    requirement: String,
    from: String,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
struct Glass {
    by: String,
    reason: String,
    at: Timestamp,
    review: Option<GlassReview>,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
struct GlassReview {
    by: String,
    comment: String,
    at: Timestamp,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
struct MayVote {
    allowed: bool,
    reason: Option<String>,
    #[serde(default)]
    may_deny: bool,
}

pub(crate) async fn run(common: &Common, arguments: Arguments) -> Result<ExitCode> {
    let api = common.api()?;
    match arguments.what {
        What::List { state, agent, needs_review, reviewer, text, from, until, page } => {
            let mut query = page.query();
            query.extend(needs_review.then(|| ("needs_review", "true".to_owned())));
            query.extend(state.map(|state| ("state", state)));
            query.extend(agent.map(|agent| ("agent", agent.to_string())));
            query.extend(reviewer.map(|reviewer| ("reviewer", reviewer.to_string())));
            query.extend(text.map(|text| ("text", text)));
            query.extend(from.map(|from| ("from", from.to_string())));
            query.extend(until.map(|until| ("until", until.to_string())));
            let page = api.get("/api/v1/approvals", &query).await?;
            list(common.json, &page, &HEAD, "no approvals", row)?;
        }
        What::Show { id } => show(common, &api.get(&format!("/api/v1/approvals/{id}"), &[]).await?)?,
        What::Approve(vote) => cast(common, &api, "approve", vote).await?,
        What::Deny(vote) => cast(common, &api, "deny", vote).await?,
        What::Edit { id, set, reason } => edit(common, &api, id, set, reason).await?,
        What::Wait { id, timeout } => return wait(common, &api, id, timeout).await,
        What::Cancel { id } => {
            end(common, &api.post(&format!("/api/v1/approvals/{id}/cancel"), &json!({})).await?)?;
        }
        What::Revoke { id, reason } => {
            let body = json!({"reason": reason});
            end(common, &api.post(&format!("/api/v1/approvals/{id}/revoke"), &body).await?)?;
        }
        What::BreakGlass(wish) => approval_words::break_glass(common, &api, wish).await?,
        What::Review(saying) => approval_words::review(common, &api, saying).await?,
        What::Comment(saying) => approval_words::comment(common, &api, saying).await?,
        What::Comments { id } => approval_words::comments(common, &api, id).await?,
        What::Watch => inbox::run(common, &api).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// How long one request to the control plane waits, in seconds.
const WAIT_STEP: u64 = 25;

async fn wait(common: &Common, api: &Api, id: ApprovalId, timeout: Option<Seconds>) -> Result<ExitCode> {
    let deadline = timeout.map(|timeout| Instant::now() + timeout.to_std());
    let mut version = 0;
    loop {
        let left = deadline.map_or(WAIT_STEP, |deadline| {
            deadline.saturating_duration_since(Instant::now()).as_secs().clamp(1, WAIT_STEP)
        });
        let query = [("version", version.to_string()), ("timeout", left.to_string())];
        let value: Value = api.get(&format!("/api/v1/approvals/{id}/wait"), &query).await?;
        let approval: Approval = serde_json::from_value(value.clone())?;
        let is_over = deadline.is_some_and(|deadline| Instant::now() >= deadline);
        if approval.state != "pending" || is_over {
            end(common, &value)?;
            return Ok(decided(&approval.state));
        }
        version = approval.version;
    }
}

/// The exit code of a decision.
fn decided(state: &str) -> ExitCode {
    match state {
        "approved" | "claimed" | "executed" | "failed" | "outcome_unknown" => ExitCode::SUCCESS,
        "denied" | "revoked" | "invalidated" => ExitCode::from(exit::REFUSED),
        _ => ExitCode::from(exit::UNDECIDED),
    }
}

/// Says in a line what an approval is now.
fn end(common: &Common, approval: &Value) -> Result<()> {
    if common.json {
        return print_json(approval);
    }
    let approval: Approval = serde_json::from_value(approval.clone())?;
    let state = Paint::stdout().paint(style_of(&approval.state), &plain(&approval.state));
    let reason = approval.reason.as_deref().map(|reason| format!(" ({})", plain(reason))).unwrap_or_default();
    println!("{state}{reason}: {}", plain(&what(&approval.operation)));
    Ok(())
}

const HEAD: [&str; 6] = ["ID", "STATE", "AGENT", "WHAT", "NEEDS", "LEFT"];

fn row(approval: &Approval, now: Timestamp) -> Vec<Cell> {
    let left = if approval.state == "pending" { distance(approval.decide_by, now) } else { "–".to_owned() };
    vec![
        cell(&approval.id.to_string()),
        state_cell(&approval.state),
        cell(&approval.agent),
        cell(&short(&what(&approval.operation), 60)),
        cell(&needs(&approval.requirements)),
        cell(&left),
    ]
}

async fn cast(common: &Common, api: &Api, decision: &str, vote: Vote) -> Result<()> {
    let [id] = vote.ids.as_slice() else {
        if vote.if_version.is_some() {
            bail!("--if-version is for one approval");
        }
        return approval_words::cast_several(common, api, decision, &vote.ids, vote.reason).await;
    };
    let path = format!("/api/v1/approvals/{id}/votes");
    let ballot = json!({"decision": decision, "reason": vote.reason});
    let approval: Value = match vote.if_version {
        Some(version) => api.post_if(&path, &ballot, version).await?,
        None => api.post(&path, &ballot).await?,
    };
    if common.json {
        return print_json(&approval);
    }
    let approval: Approval = serde_json::from_value(approval)?;
    let paint = Paint::stdout();
    println!("{}: {}", paint.paint(style_of(decision), decision), plain(&what(&approval.operation)));
    println!(
        "now {}, {}",
        paint.paint(style_of(&approval.state), &approval.state),
        needs(&approval.requirements)
    );
    Ok(())
}

/// Reads `POINTER=JSON`.
fn change(text: &str) -> Result<(String, Value), String> {
    let (pointer, value) = text.split_once('=').ok_or("write it as POINTER=JSON")?;
    let value = serde_json::from_str(value).map_err(|error| format!("{value:?} is no JSON: {error}"))?;
    Ok((pointer.to_owned(), value))
}

async fn edit(
    common: &Common,
    api: &Api,
    id: ApprovalId,
    set: Vec<(String, Value)>,
    reason: Option<String>,
) -> Result<()> {
    let changes: BTreeMap<String, Value> = set.into_iter().collect();
    let body = json!({"changes": changes, "reason": reason});
    let approval: Value = api.post(&format!("/api/v1/approvals/{id}/edit"), &body).await?;
    if common.json {
        return print_json(&approval);
    }
    println!("closed; the agent's sidecar asks policy about the changed operation");
    Ok(())
}

fn show(common: &Common, approval: &Value) -> Result<()> {
    if common.json {
        return print_json(approval);
    }
    let approval: Approval = serde_json::from_value(approval.clone())?;
    print!("{}", describe(&approval, Paint::stdout())?);
    Ok(())
}

fn describe(approval: &Approval, paint: Paint) -> Result<String> {
    let mut lines = Vec::new();
    let mut line = |name: &str, text: String| {
        lines.push(format!("{} {text}", paint.paint(Style::Dim, &format!("{name:<10}"))));
    };
    let reason = approval.reason.as_deref().map(|reason| format!(" ({})", plain(reason))).unwrap_or_default();
    line(
        "state",
        format!(
            "{}{reason}, version {}",
            paint.paint(style_of(&approval.state), &approval.state),
            approval.version
        ),
    );
    line("what", paint.paint(Style::Bold, &plain(&what(&approval.operation))));
    line(
        "agent",
        format!(
            "{} (owner {}), through {}",
            plain(&approval.agent),
            plain(&approval.owner),
            plain(&approval.interceptor)
        ),
    );
    for policy in &approval.policies {
        let reason =
            policy.reason.as_deref().map(|reason| format!(": {}", plain(reason))).unwrap_or_default();
        line("policy", format!("{}{reason}", plain(&policy.id)));
    }
    for (name, text) in approval.provenance.as_object().into_iter().flatten() {
        let text = text.as_str().map_or_else(|| text.to_string(), str::to_owned);
        line("", format!("{} (the agent's word): {}", plain(name), plain(&text)));
    }
    for requirement in &approval.requirements {
        line("needs", needs(std::slice::from_ref(requirement)));
        if !requirement.break_glass.is_empty() && approval.state == "pending" {
            line("", format!("in an emergency alone by {}", plain(&requirement.break_glass.join(", "))));
        }
        if let Some(text) = requirement.escalation.as_ref().and_then(escalates) {
            line("", text);
        }
        if !requirement.grant.is_empty() && requirement.grant != "once" {
            line("lets run", plain(&requirement.grant));
        }
    }
    if let Some(grant) = &approval.grant {
        line("used", format!("{} of {}, until {}", grant.used, grant.uses, grant.not_after));
    }
    for vote in &approval.votes {
        let reason = vote.reason.as_deref().map(|reason| format!(": {}", plain(reason))).unwrap_or_default();
        let decision = paint.paint(style_of(&vote.decision), &vote.decision);
        line(
            "vote",
            format!("{} {decision} at {} by {}{reason}", plain(&vote.person), vote.at, plain(&vote.channel)),
        );
        for Delegated { requirement, from } in &vote.delegated {
            line("", format!("for {}, on {}", plain(from), plain(requirement)));
        }
    }
    if let Some(Glass { by, reason, at, review }) = &approval.glass {
        line("alone", format!("{} broke the glass at {at}: {}", plain(by), plain(reason)));
        match review {
            Some(GlassReview { by, comment, at }) => {
                line("reviewed", format!("{} at {at}: {}", plain(by), plain(comment)));
            }
            None => line("reviewed", paint.paint(Style::Bad, "not yet; somebody else has to")),
        }
    }
    if approval.asked > 1 {
        line("asked", format!("{} times", approval.asked));
    }
    if approval.state == "pending" {
        line("left", distance(approval.decide_by, now()));
        if let Some(MayVote { allowed: false, reason, may_deny }) = &approval.may_vote {
            let cannot = if *may_deny { "cannot approve here" } else { "cannot vote" };
            line("you", format!("{cannot}: {}", plain(reason.as_deref().unwrap_or("not eligible"))));
        }
    }
    line("digest", format!("{} under revision {}", plain(&approval.digest), approval.revision));
    if let Some(trace) = &approval.trace_id {
        line("trace", plain(trace));
    }
    if !approval.redacted.is_empty() {
        line("redacted", plain(&approval.redacted.join(", ")));
    }
    // Pretty JSON escapes what could steer a terminal, but for characters that reorder text.
    let operation = serde_json::to_string_pretty(&approval.operation)?;
    let operation: Vec<String> = operation.lines().map(plain).collect();
    Ok(format!("{}\n{}\n", lines.join("\n"), operation.join("\n")))
}

/// An operation in a few words: `deploy Service::"payments"`.
pub(crate) fn what(operation: &Value) -> String {
    let text = |pointer| operation.pointer(pointer).and_then(Value::as_str).unwrap_or("?");
    format!("{} {}::{:?}", text("/action/name"), text("/resource/type"), text("/resource/id"))
}

fn escalates(escalation: &Escalation) -> Option<String> {
    let to = plain(&escalation.to.join(", "));
    match (escalation.escalated_at, escalation.at) {
        (Some(since), _) => Some(format!("escalated at {since} to {to}")),
        (None, Some(at)) => Some(format!("escalates at {at} to {to}")),
        (None, None) => None,
    }
}

pub(crate) fn needs(requirements: &[Requirement]) -> String {
    let is_staged = requirements.iter().any(|requirement| requirement.stage > 1);
    let one = |requirement: &Requirement| {
        let who = requirement.reviewers.join(", ");
        let who = if who == "*" { "any reviewer".to_owned() } else { plain(&who) };
        let kind = if requirement.kind == "confirmation" { " (confirmation)" } else { "" };
        let sure = match requirement.assurance.as_str() {
            "console" => ", in the console",
            "passkey" => ", with a passkey",
            _ => "",
        };
        let stage = if is_staged { format!("stage {}: ", requirement.stage) } else { String::new() };
        let (name, Requirement { approved, quorum, .. }) = (plain(&requirement.name), requirement);
        let denied = match (requirement.denied, requirement.deny_threshold) {
            (denied @ 1.., threshold @ 2..) => format!(", denied {denied}/{threshold}"),
            _ => String::new(),
        };
        format!("{stage}{name}{kind} {approved}/{quorum}{denied} by {who}{sure}")
    };
    let mut by_stage: Vec<_> = requirements.iter().collect();
    by_stage.sort_by_key(|requirement| requirement.stage);
    by_stage.into_iter().map(one).collect::<Vec<_>>().join(" and ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_approval_is_told_without_obeying_what_it_contains() {
        let approval: Approval = serde_json::from_value(json!({
            "id": "01990000-0000-7000-8000-000000000000", "version": 1, "state": "pending", "reason": null,
            "agent": "dev-agent", "owner": "owner@example.com", "interceptor": "exec",
            "operation": {
                "action": {"name": "Exec::run"},
                "resource": {"type": "Exec::Program", "id": "rm"},
                "context": {"command": {"argv": ["rm", "\u{1b}[2J", "\u{202e}x"]}}
            },
            "digest": "sha256:00", "provenance": {"reason": "clean\u{1b}]0;x\u{7}"}, "revision": 1,
            "policies": [{"id": "p", "effect": "forbid", "reason": "because"}],
            "requirements": [{"name": "change", "kind": "approval", "reviewers": ["*"], "quorum": 1, "approved": 0}],
            "votes": [], "decide_by": "2099-01-01T00:00:00Z", "trace_id": null,
            "may_vote": {"allowed": false, "reason": "you are the owner"}
        }))
        .unwrap();
        let text = describe(&approval, Paint::stdout()).unwrap();
        assert!(!text.contains('\u{1b}') && !text.contains('\u{7}') && !text.contains('\u{202e}'), "{text}");
        for expected in [
            "Exec::run Exec::Program::\"rm\"",
            "p: because",
            "change 0/1 by any reviewer",
            "you are the owner",
        ] {
            assert!(text.contains(expected), "{expected}\n{text}");
        }
    }
}
