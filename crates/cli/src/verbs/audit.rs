//! `countersign audit`: tail, query, export, verify.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use countersign_audit::{
    checkpoint::LogKey,
    verify::{Report, Verifier},
};
use countersign_model::{ApprovalId, Timestamp};
use futures::StreamExt as _;
use serde_json::Value;

use super::PageArguments;
use crate::{
    api::{Api, Page},
    cli::Common,
    exit,
    output::{Paint, Style, more, plain, print_json, short},
};

/// How often the log is asked for more while it is followed.
const POLL: Duration = Duration::from_secs(1);
/// The longest line of an export.
const MAX_LINE: u64 = 16 * 1024 * 1024;

/// Follows, searches, exports and verifies the audit log.
#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    after_help = "\
Examples:
  countersign audit tail -f
  countersign audit query --kind approval. --from 2026-11-01T00:00:00Z
  countersign audit export --out audit.jsonl --key-out ledger.key
  countersign audit verify audit.jsonl --key ledger.key      # needs no control plane

Keep the key apart from the export: whoever can change both can make a new log."
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Shows the latest events, oldest first.
    Tail {
        /// Goes on as new ones come.
        #[arg(short, long)]
        follow: bool,
        /// How many to begin with.
        #[arg(short = 'n', long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=500))]
        lines: u16,
        #[command(flatten)]
        filter: Filter,
    },
    /// Searches events.
    Query {
        #[command(flatten)]
        filter: Filter,
        /// Oldest first.
        #[arg(long)]
        oldest: bool,
        #[command(flatten)]
        page: PageArguments,
    },
    /// Writes the whole log as JSON lines, with its signed head.
    Export {
        /// The file; standard output when left out.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Writes the ledger's public key there, too.
        #[arg(long, value_name = "FILE")]
        key_out: Option<PathBuf>,
    },
    /// Proves that an export is what the ledger's key signed. Needs the export and the public key alone.
    Verify {
        /// The export; - is standard input.
        export: PathBuf,
        /// The ledger's public key (a C2SP verifier key), or a file that holds it.
        #[arg(long, value_name = "KEY|FILE")]
        key: String,
    },
}

#[derive(Debug, Clone, Default, Args)]
struct Filter {
    /// Of this kind, such as approval.voted; of a family when it ends with a dot, such as approval.
    #[arg(long)]
    kind: Option<String>,
    /// About this approval.
    #[arg(long)]
    approval: Option<ApprovalId>,
    /// Of this trace.
    #[arg(long, value_name = "TRACE")]
    trace_id: Option<String>,
    /// By this person or machine.
    #[arg(long)]
    actor: Option<String>,
    /// From this source, a SPIFFE ID.
    #[arg(long)]
    source: Option<String>,
    /// Not before.
    #[arg(long, value_name = "TIME")]
    from: Option<Timestamp>,
    /// Before.
    #[arg(long, value_name = "TIME")]
    until: Option<Timestamp>,
}

type Query = Vec<(&'static str, String)>;

impl Filter {
    fn query(&self) -> Query {
        let fields = [
            ("kind", self.kind.clone()),
            ("approval", self.approval.map(|id| id.to_string())),
            ("trace_id", self.trace_id.clone()),
            ("actor", self.actor.clone()),
            ("source", self.source.clone()),
            ("from", self.from.map(|at| at.to_string())),
            ("until", self.until.map(|at| at.to_string())),
        ];
        fields.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

pub(crate) async fn run(common: &Common, arguments: Arguments) -> Result<ExitCode> {
    match arguments.what {
        What::Tail { follow, lines, filter } => tail(common, &common.api()?, &filter, lines, follow).await?,
        What::Query { filter, oldest, page } => {
            let mut query = filter.query();
            query.extend(page.query());
            query.extend(oldest.then(|| ("order", "oldest".to_owned())));
            let list: Page<Value> = common.api()?.get("/api/v1/audit/events", &query).await?;
            if common.json {
                print_json(&list)?;
            } else {
                list.items.iter().for_each(print_event);
                more(list.next.as_deref());
            }
        }
        What::Export { out, key_out } => {
            export(&common.api()?, out.as_deref(), key_out.as_deref()).await?;
            if let Some(file) = out {
                let (file, key) = (file.display(), key_out.as_deref().unwrap_or(Path::new("KEY")).display());
                eprintln!("wrote {file}; check it with: countersign audit verify {file} --key {key}");
            }
        }
        What::Verify { export, key } => return verify(common, &export, &key),
    }
    Ok(ExitCode::SUCCESS)
}

async fn tail(common: &Common, api: &Api, filter: &Filter, lines: u16, follow: bool) -> Result<()> {
    let mut query = filter.query();
    query.push(("limit", lines.to_string()));
    let latest: Page<Value> = api.get("/api/v1/audit/events", &query).await?;
    let mut last = None;
    for item in latest.items.iter().rev() {
        tell(common, item)?;
        last = index_of(item);
    }
    if !follow {
        return Ok(());
    }
    loop {
        tokio::time::sleep(POLL).await;
        let fresh = newer_than(api, filter, last).await?;
        for item in fresh.iter().rev() {
            tell(common, item)?;
            last = index_of(item);
        }
    }
}

/// Everything that came after an index, newest first.
async fn newer_than(api: &Api, filter: &Filter, last: Option<u64>) -> Result<Vec<Value>> {
    let mut fresh = Vec::new();
    let mut cursor = None;
    loop {
        let mut query = filter.query();
        query.push(("limit", "500".to_owned()));
        query.extend(cursor.take().map(|cursor| ("cursor", cursor)));
        let page: Page<Value> = api.get("/api/v1/audit/events", &query).await?;
        for item in page.items {
            if last.is_some() && index_of(&item) <= last {
                return Ok(fresh);
            }
            fresh.push(item);
        }
        match page.next {
            Some(next) if last.is_some() => cursor = Some(next),
            _ => return Ok(fresh),
        }
    }
}

fn index_of(item: &Value) -> Option<u64> {
    item.get("index").and_then(Value::as_u64)
}

fn tell(common: &Common, item: &Value) -> Result<()> {
    if common.json {
        let mut out = io::stdout().lock();
        serde_json::to_writer(&mut out, item)?;
        writeln!(out)?;
        out.flush()?;
    } else {
        print_event(item);
    }
    Ok(())
}

/// An event on one line: when, what, who, about what.
fn print_event(item: &Value) {
    let text = |pointer| item.pointer(pointer).and_then(Value::as_str).map(plain).unwrap_or_default();
    let kind = text("/event/kind");
    let paint = Paint::stdout();
    let style = match kind.rsplit('.').next().unwrap_or_default() {
        "permitted" | "approved" | "executed" | "issued" | "consumed" => Style::Good,
        "denied" | "refused" | "failed" | "outcome_unknown" | "revoked" | "gap" => Style::Bad,
        "held" | "requested" => Style::Held,
        _ => Style::Bold,
    };
    let index = index_of(item).map(|index| index.to_string()).unwrap_or_default();
    let kind = paint.paint(style, &format!("{kind:<26}"));
    let who = match text("/event/actor") {
        actor if actor.is_empty() => text("/event/source"),
        actor => actor,
    };
    let operation = item.pointer("/event/body/operation").and_then(operation_in);
    let about = operation.map(|what| short(&what, 60)).unwrap_or_else(|| text("/event/approval"));
    println!(
        "{} {} {kind} {who}  {about}",
        paint.paint(Style::Dim, &format!("{index:>6}")),
        text("/event/at")
    );
}

/// The operation in an event, which some events hold as its canonical text.
fn operation_in(value: &Value) -> Option<String> {
    let text = value.as_str().and_then(|text| serde_json::from_str::<Value>(text).ok());
    let operation = text.as_ref().unwrap_or(value);
    operation.is_object().then(|| super::approvals::what(operation))
}

/// Writes the whole log to a file, or to standard output, and the ledger's key to another file.
pub(crate) async fn export(api: &Api, out: Option<&Path>, key_out: Option<&Path>) -> Result<()> {
    if let Some(file) = key_out {
        let checkpoint: Value = api.get("/api/v1/audit/checkpoint", &[]).await?;
        let key =
            checkpoint.get("public_key").and_then(Value::as_str).context("the checkpoint has no key")?;
        std::fs::write(file, format!("{key}\n")).with_context(|| file.display().to_string())?;
    }
    let mut sink: Box<dyn io::Write + Send> = match out {
        Some(file) => Box::new(File::create(file).with_context(|| file.display().to_string())?),
        None => Box::new(io::stdout()),
    };
    let mut chunks = api.stream("/api/v1/audit/export", &[]).await?.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        sink.write_all(&chunk.context("the export broke off; what was written is not whole")?)?;
    }
    Ok(sink.flush()?)
}

fn verify(common: &Common, export: &Path, key: &str) -> Result<ExitCode> {
    let report = verify_file(export, key)?;
    if common.json {
        print_json(&report)?;
    } else {
        print_report(&report);
    }
    Ok(if report.is_intact() { ExitCode::SUCCESS } else { ExitCode::from(exit::FAILED) })
}

/// Verifies an export with a key, or the file that holds one.
pub(crate) fn verify_file(export: &Path, key: &str) -> Result<Report> {
    let key = match std::fs::read_to_string(key) {
        Ok(text) => text,
        Err(_) => key.to_owned(),
    };
    let key: LogKey = key.trim().parse().context("the key is neither a file nor a C2SP verifier key")?;
    let input: Box<dyn io::Read> = if export == Path::new("-") {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(export).with_context(|| export.display().to_string())?)
    };
    let mut verifier = Verifier::new(key, &[]);
    let mut input = BufReader::new(input);
    let mut line = Vec::new();
    loop {
        line.clear();
        if input.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)? == 0 {
            return Ok(verifier.finish());
        }
        verifier.line(line.strip_suffix(b"\n").unwrap_or(&line));
    }
}

/// Says what was found.
pub(crate) fn print_report(report: &Report) {
    let paint = Paint::stdout();
    let mark =
        |good: bool| if good { paint.paint(Style::Good, "✓") } else { paint.paint(Style::Bad, "✗") };
    match &report.failure {
        Some(failure) => {
            let place = failure.index.map(|index| format!(" (event {index})")).unwrap_or_default();
            println!("{} line {}{place}: {}", mark(false), failure.line, plain(&failure.reason));
        }
        None => {
            let extent = if report.complete { "every event of the log" } else { "a part of the log" };
            let root = report.root.map(|root| root.to_string()).unwrap_or_default();
            println!(
                "{} {}: {} events, {extent}, as its key signed them",
                mark(true),
                plain(&report.origin),
                report.events
            );
            println!("  tree of {} under {root}", report.tree_size);
        }
    }
    for source in &report.sources {
        let whole = source.broken == 0 && (source.missing == 0 || !report.complete);
        println!(
            "{} {}: {} events, up to number {}",
            mark(whole),
            source.source,
            source.events,
            source.last_seq
        );
        for gap in source.gaps.iter().filter(|_| report.complete) {
            println!("    numbers {} to {} are missing", gap.from, gap.to);
        }
        for broken in &source.breaks {
            println!("    event {}: {}", broken.index, plain(&broken.reason));
        }
    }
}
