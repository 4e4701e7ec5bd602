//! `countersign demo`: what Countersign does, end to end, with real processes and a real agent protocol.
//!
//! Nothing is bypassed: the control plane and the sidecar are those of `countersign dev`, the agent's
//! commands and its MCP server run behind `countersign exec` and `countersign mcp`, and a vote by key or
//! by `--yes` goes through the API with a reviewer's token.

mod agent;
pub(crate) mod files;
mod keys;
mod reviewer;
mod stage;
mod tree;

use std::{fs, path::Path, process::ExitCode, time::Duration};

use anyhow::{Context as _, Result};
use clap::Args;
use countersign_telemetry::{self as telemetry, Collector};
use serde_json::{Value, json};

use self::{
    agent::{Agent, Called},
    reviewer::{Reviewer, Wanted},
    stage::Stage,
};
use super::{
    audit,
    dev::{Ports, Stack, Wish},
};
use crate::{
    api::{Api, Page},
    credentials::Credentials,
    exit,
    output::{Paint, Style},
};

/// How long to wait for what happens by itself in a moment.
const MOMENT: Duration = Duration::from_secs(15);
/// How often to look whether it has.
const GLANCE: Duration = Duration::from_millis(100);

/// Shows what Countersign does, end to end, in under a minute.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  countersign demo
  countersign demo --yes      # votes as a reviewer, through the API, and asks nobody")]
pub(crate) struct Arguments {
    /// Approves as the second local reviewer, through the API, without asking.
    #[arg(long)]
    yes: bool,
}

pub(crate) async fn run(arguments: Arguments) -> Result<ExitCode> {
    let collector = Collector::default();
    let settings = telemetry::Settings {
        service_name: "countersign-demo",
        log: telemetry::LogConfig { filter: "error".to_owned(), ..Default::default() },
    };
    let telemetry = telemetry::init(&settings, Some(collector.clone()))?;
    let folder = tempfile::Builder::new().prefix("countersign-demo-").tempdir()?;
    let stage = Stage::new();
    stage.title("Countersign: an agent works, and people decide what matters.");
    let wish = Wish {
        data: folder.path().join("data"),
        ports: Ports { api: 0, link: 0, check: 0, mcp: 0 },
        mcp: Vec::new(),
        bundle: None,
        trust_subject: false,
    };
    let stack = Stack::start(wish).await.context("the demo's control plane and sidecar did not start")?;
    let shown = tokio::select! {
        shown = play(&stage, &stack, &collector, folder.path(), arguments.yes) => shown,
        _ = tokio::signal::ctrl_c() => Ok(false),
    };
    let stopped = stack.shutdown().await;
    telemetry.shutdown();
    let good = shown?;
    stopped?;
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::from(exit::FAILED) })
}

/// The story. Says whether everything went as it should.
async fn play(stage: &Stage, stack: &Stack, collector: &Collector, folder: &Path, yes: bool) -> Result<bool> {
    let desk = folder.join("desk");
    fs::create_dir(&desk)?;
    fs::write(desk.join("orders.txt"), "order 1001\norder 1002\norder 1003\n")?;
    let agent = Agent::new(&stack.places.socket, &desk)?;
    let [_, second] = stack.people.reviewers() else { anyhow::bail!("there are two reviewers") };
    let api = Api::with(Credentials { url: stack.places.api.clone(), token: second.token.clone() })?;
    stage.told(&format!(
        "A control plane and a sidecar run on this machine, over QUIC with certificates of their own.\n\
         The starter policy is in force. Console: {}",
        stage.link(&stack.places.api)
    ));

    stage.act("1", "What is ordinary runs at once");
    let listed = agent.run(&["ls", "-l"], "see what there is", &new_trace()?.header).await?;
    stage.command("ls -l", "runs", Style::Good, &listed.output);
    let ran = listed.code == Some(0);
    let mut files = agent.connect().await?;
    let read = files.call("read_text_file", json!({"path": "orders.txt"}), &new_trace()?.header).await?;
    stage.command("MCP read_text_file orders.txt", "runs", Style::Good, &read.text);

    stage.act("2", "What policy forbids does not run");
    let removed = agent.run(&["rm", "-rf", "orders.txt"], "tidy up", &new_trace()?.header).await?;
    stage.command("rm -rf orders.txt", "denied", Style::Bad, &removed.complaint);
    let denied = removed.code == Some(i32::from(exit::REFUSED)) && desk.join("orders.txt").exists();

    stage.act("3", "What matters waits for somebody else");
    let trace = new_trace()?;
    let letter = "Dear customer,\nour prices change on Monday.\n";
    let write = files.call("write_file", json!({"path": "letter.txt", "content": letter}), &trace.header);
    let written = decide(stage, stack, &api, Reviewer::new(&api, yes), write).await?;
    let there = fs::read_to_string(desk.join("letter.txt")).is_ok_and(|text| text == letter);
    let (word, style) =
        if written.is_error { ("not executed", Style::Bad) } else { ("approved and executed", Style::Good) };
    stage.command("MCP write_file letter.txt", word, style, &written.text);

    stage.act("4", "All of it is one trace");
    wait_for_end(&api, &trace.id).await?;
    print!("{}", tree::render(&collector.spans(), &trace.id, Paint::stdout()));

    stage.act("5", "And a log that anyone can verify");
    let verified = verify(stage, &api, folder).await?;
    stage.closing();
    Ok(ran && !read.is_error && denied && there != written.is_error && verified)
}

/// A call that is held, and whoever decides about it meanwhile.
async fn decide(
    stage: &Stage,
    stack: &Stack,
    api: &Api,
    mut reviewer: Reviewer<'_>,
    call: impl Future<Output = Result<Called>>,
) -> Result<Called> {
    let mut call = std::pin::pin!(call);
    let approval = tokio::select! {
        called = &mut call => return called,
        approval = pending(api) => approval?,
    };
    let link = stack.sign_in_link(&stack.people.reviewers().first().context("no reviewer")?.token).await?;
    stage.held(&approval, &stack.places.api, &link, reviewer.wanted());
    loop {
        tokio::select! {
            called = &mut call => return called,
            voted = reviewer.decides(&approval) => stage.voted(voted?),
        }
    }
}

/// The approval that waits.
async fn pending(api: &Api) -> Result<Value> {
    loop {
        let list: Page<Value> = api.get("/api/v1/approvals", &[("state", "pending".to_owned())]).await?;
        if let Some(approval) = list.items.into_iter().next() {
            return Ok(approval);
        }
        tokio::time::sleep(GLANCE).await;
    }
}

/// Waits until the trace's last event has come to the control plane.
async fn wait_for_end(api: &Api, trace: &str) -> Result<()> {
    let ended = async {
        loop {
            let query = [("trace_id", trace.to_owned()), ("limit", "100".to_owned())];
            let page: Page<Value> = api.get("/api/v1/audit/events", &query).await?;
            let is_last = |event: &Value| {
                let kind = event.pointer("/event/kind").and_then(Value::as_str).unwrap_or_default();
                matches!(kind, "operation.executed" | "operation.failed" | "operation.denied")
            };
            if page.items.iter().any(is_last) {
                return Ok(());
            }
            tokio::time::sleep(GLANCE).await;
        }
    };
    tokio::time::timeout(MOMENT, ended).await.context("the sidecar's events did not arrive")?
}

async fn verify(stage: &Stage, api: &Api, folder: &Path) -> Result<bool> {
    let (export, key) = (folder.join("audit.jsonl"), folder.join("ledger.key"));
    audit::export(api, Some(&export), Some(&key)).await?;
    stage.told(
        "countersign audit export && countersign audit verify, from the export and the public key alone:",
    );
    let report = audit::verify_file(&export, &key.to_string_lossy())?;
    audit::print_report(&report);
    Ok(report.is_intact())
}

/// A trace that the agent begins (W3C Trace Context).
struct Trace {
    id: String,
    header: String,
}

fn new_trace() -> Result<Trace> {
    let mut random = [0; 24];
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.secure_random.fill(&mut random).map_err(|_| anyhow::anyhow!("no randomness"))?;
    let text: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let (id, span) = text.split_at(32);
    Ok(Trace { id: id.to_owned(), header: format!("00-{id}-{span}-01") })
}

/// Who is expected to decide.
fn hint(wanted: Wanted) -> &'static str {
    match wanted {
        Wanted::Key => "press a to approve, d to deny, or decide in the console",
        Wanted::Console => "decide in the console; this terminal takes no keys (--yes votes by itself)",
        Wanted::Nobody => "--yes: the second reviewer approves through the API",
    }
}
