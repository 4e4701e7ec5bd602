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
    time::Duration,
};

use anyhow::{Context as _, Result};
use countersign_intercept::{
    exec::environment::TRACEPARENT,
    hook::{
        call::{Event as Asked, MAX_INPUT, What},
        host::{Answer, Host, Verdict},
    },
    local::{
        LocalError,
        wire::{DeniedEvent, Event, OperationRequest},
    },
};

use super::AskArguments;
use crate::output::plain;

/// How long before the host stops waiting the answer is given, whatever happens.
const RESERVE: Duration = Duration::from_secs(1);

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
    let call = match input()
        .map_err(|error| error.to_string())
        .and_then(|bytes| host.read(&bytes).map_err(|error| error.to_string()))
    {
        Ok(call) => call,
        Err(error) => return (Asked::Before, Verdict::Fail(refusal(&error))),
    };
    let asked = call.event;
    if call.what == What::AskedElsewhere {
        return (asked, Verdict::Allow);
    }
    let (call, provenance) = call.prepare(host.as_str());
    let patience = if arguments.defer { Duration::ZERO } else { Host::patience(time_out) };
    let trace = std::env::var(TRACEPARENT).ok();
    let request = OperationRequest::Hook { call, patience: patience.as_secs(), provenance, trace };
    let verdict = match ask(arguments, &request) {
        Ok(Decided::Permitted) => Verdict::Allow,
        Ok(Decided::Denied(denied, link)) => {
            let told = told(&denied, link.as_deref());
            if denied.code == "pending" && arguments.defer {
                Verdict::Defer(told)
            } else {
                Verdict::Deny(told)
            }
        }
        Err(error) => Verdict::Fail(refusal(&format!("{error:#}"))),
    };
    (asked, verdict)
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
