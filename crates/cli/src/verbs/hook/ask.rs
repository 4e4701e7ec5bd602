//! The hook itself: read what the host is about to do, ask the sidecar, answer the host.
//!
//! Whatever goes wrong here is answered as a denial, in the host's own form and with the exit code that it
//! takes for one: input that cannot be read, a sidecar that is not there, a panic, and time. The work
//! is done on a thread of its own, so that the answer comes before the host stops waiting, whatever happens there.

use std::{
    io::{self, Read as _, Write as _},
    process::ExitCode,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use countersign_intercept::{
    exec::environment::TRACEPARENT,
    hook::{
        call::{Event as Asked, MAX_INPUT, ToolCall, What},
        host::{Answer, Host, Verdict},
    },
    local::{
        LocalError,
        wire::{DeniedEvent, EditedEvent, EditorEvent, Event, OperationRequest},
    },
};
use countersign_model::Object;
use serde_json::Value;

use super::AskArguments;
use crate::output::plain;

/// How long before the host stops waiting the answer is given, whatever happens.
const RESERVE: Duration = Duration::from_secs(1);

/// How often reviewers may change one call while it is asked about.
const MAX_EDITS: usize = 8;

/// Answers a host.
pub(super) fn answer(host: Host, arguments: &AskArguments) -> ExitCode {
    let time_out = arguments.timeout.map_or(host.time_out(), Duration::from_secs);
    let (sender, answers) = mpsc::channel();
    let asking = arguments.clone();
    thread::spawn(move || {
        let (asked, verdict) = decide(host, &asking, time_out);
        // Nobody listens any more once the time is over.
        let _ = sender.send(host.answer(asked, &verdict));
    });
    let patience = time_out.saturating_sub(RESERVE);
    let answer = answers.recv_timeout(patience).unwrap_or_else(|error| {
        let why = match error {
            mpsc::RecvTimeoutError::Timeout => "no decision was made before the host stops waiting",
            mpsc::RecvTimeoutError::Disconnected => "the hook failed",
        };
        host.answer(Asked::Before, &Verdict::Fail(refusal(why)))
    });
    say(&answer)
}

fn say(answer: &Answer) -> ExitCode {
    let said = io::stdout().write_all(answer.stdout.as_bytes()).and_then(|()| io::stdout().flush());
    // The reason stands on standard error for hosts that read it there.
    let _ = io::stderr().write_all(answer.stderr.as_bytes());
    // An answer that could not be given is no answer: the code says so.
    ExitCode::from(if said.is_ok() { answer.code } else { 2 })
}

fn decide(host: Host, arguments: &AskArguments, time_out: Duration) -> (Asked, Verdict) {
    let read = |bytes: &[u8]| host.read(bytes).map_err(|error| error.to_string());
    let (bytes, call) = match input()
        .map_err(|error| error.to_string())
        .and_then(|bytes| read(&bytes).map(|call| (bytes, call)))
    {
        Ok(read) => read,
        Err(error) => return (Asked::Before, Verdict::Fail(refusal(&error))),
    };
    let asked = call.event;
    if call.what == What::AskedElsewhere {
        return (asked, Verdict::Allow);
    }
    let end = Instant::now() + if arguments.defer { Duration::ZERO } else { Host::patience(time_out) };
    let verdict = settle(host, arguments, Sent { bytes, call, instead: None }, end);
    (asked, verdict.unwrap_or_else(|error| Verdict::Fail(refusal(&format!("{error:#}")))))
}

/// A call, as the host sent it, or as it would have sent what a reviewer made of it.
struct Sent {
    bytes: Vec<u8>,
    call: ToolCall,
    /// The input that the host is told to use instead, and who made it.
    instead: Option<(Object, EditedEvent)>,
}

/// Asks until it is decided. What a reviewer made of a call is read and asked about like any other call.
fn settle(host: Host, arguments: &AskArguments, mut sent: Sent, end: Instant) -> Result<Verdict> {
    for _ in 0..MAX_EDITS {
        let editable = sent.call.is_editable;
        let (call, provenance) = sent.call.prepare(host.as_str());
        if let Some((_, changed)) = &sent.instead {
            let is_meant = (&call.line, &call.input) == (&changed.line, &changed.input);
            ensure!(is_meant, "what a reviewer made of the call cannot be read");
        }
        let patience = end.saturating_duration_since(Instant::now()).as_secs();
        let trace = std::env::var(TRACEPARENT).ok();
        let request = OperationRequest::Hook { call, editable, patience, provenance, trace };
        let changed = match ask(arguments, &request)? {
            Decided::Permitted => {
                return Ok(match sent.instead {
                    Some((input, changed)) => Verdict::AllowInstead { input, why: by_whom(&changed) },
                    None => Verdict::Allow,
                });
            }
            Decided::Denied(denied, link) => {
                let mut told = told(&denied, link.as_deref());
                if let Some((_, changed)) = &sent.instead {
                    told = format!("{} {told}", by_whom(changed));
                }
                let is_deferred = denied.code == "pending" && arguments.defer;
                return Ok(if is_deferred { Verdict::Defer(told) } else { Verdict::Deny(told) });
            }
            Decided::Edited(changed) => changed,
        };
        let (bytes, input) = host.edited(&sent.bytes, changed.line.as_deref(), &changed.input)?;
        let call = host.read(&bytes)?;
        sent = Sent { bytes, call, instead: Some((input, changed)) };
    }
    bail!("reviewers change it each time it is asked about")
}

/// What the agent, and its user, are told of an edit.
fn by_whom(changed: &EditedEvent) -> String {
    let one = |editor: &EditorEvent| {
        let reason =
            editor.reason.as_deref().map(|reason| format!(" ({})", plain(reason))).unwrap_or_default();
        format!("{}{reason}", plain(editor.person.as_str()))
    };
    let people: Vec<_> = changed.by.iter().map(one).collect();
    let into = match &changed.line {
        Some(line) => plain(line),
        None => plain(&Value::Object(changed.input.clone()).to_string()),
    };
    format!(
        "Countersign: {} changed this call into: {into}. That is what was decided about, not what you gave.",
        people.join(", ")
    )
}

fn input() -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // One more than is accepted is enough to tell.
    io::stdin().lock().take(MAX_INPUT as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

enum Decided {
    Permitted,
    Denied(Box<DeniedEvent>, Option<String>),
    Edited(EditedEvent),
}

fn ask(arguments: &AskArguments, request: &OperationRequest) -> Result<Decided> {
    // One connection needs no threads.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let client = arguments.socket.client_out_of_reach();
    let client = client.context("no sidecar is known; name its socket with --socket")?;
    runtime.block_on(async {
        let mut exchange = client.submit(request).await?;
        let mut link = None;
        while let Some(event) = exchange.next().await? {
            match event {
                Event::Held(_) => {}
                Event::Waiting(waiting) => link = waiting.link,
                Event::Permit(_) => return Ok(Decided::Permitted),
                Event::Denied(denied) => return Ok(Decided::Denied(Box::new(denied), link)),
                Event::Edited(changed) => return Ok(Decided::Edited(changed)),
                Event::Answered(_) | Event::ListTools => break,
            }
        }
        Err(LocalError::Broken("it ended without a decision".to_owned()).into())
    })
}

fn refusal(why: &str) -> String {
    format!(
        "Countersign denies this, because nothing could be decided: {}. Nothing was executed.",
        plain(why)
    )
}

/// What the agent, and its user, are told.
fn told(denied: &DeniedEvent, link: Option<&str>) -> String {
    let mut text = match (denied.code.as_str(), denied.approval) {
        ("pending", Some(approval)) => format!(
            "Countersign: approval pending, id {approval}{}. Nothing was executed. Make exactly the same call \
             again to go on waiting for it; once it is approved, that call runs",
            link.map(|link| format!(" ({})", plain(link))).unwrap_or_default()
        ),
        _ => format!("Countersign: {}. Nothing was executed", plain(&denied.message)),
    };
    for policy in &denied.policies {
        let reason =
            policy.reason.as_deref().map(|reason| format!(": {}", plain(reason))).unwrap_or_default();
        text.push_str(&format!("; policy {}{reason}", plain(&policy.id)));
    }
    if let Some(evaluation) = denied.evaluation {
        text.push_str(&format!("; decision {evaluation}"));
    }
    text.push('.');
    text
}
