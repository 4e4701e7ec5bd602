//! Tries the configured hook, and tells what its host would do.
//!
//! The configured command line is run as the host runs it, four times: against a sidecar that denies,
//! without a sidecar, killed while it works, and against a sidecar that never answers. Only the socket and
//! the time are others than configured: a stand-in listens for it, and the hook is given a few seconds
//! instead of minutes. What the host does about each end is known from its documents and sources.

use std::{
    path::Path,
    process::{ExitCode, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use countersign_intercept::hook::host::{Ended, Host, Reaction};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
    process::Command,
    time::{sleep, timeout},
};

use super::{
    configuration::{Configured, configured, events},
    install::{PlaceArguments, read},
};
use crate::{
    cli::Common,
    exit,
    output::{Paint, Style},
};

/// How long the hook is told that its host waits.
const SHORT: u64 = 3;
/// How long it may take then, on a busy machine.
const AT_MOST: Duration = Duration::from_secs(20);

/// Tries the configured hook.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: 0 whatever happens, the host does not go on; 1 something is not configured as it should be;
10 the hook does what it can, but this host goes on in a case that is named.")]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: PlaceArguments,
}

/// One thing that was tried.
#[derive(Debug, Serialize)]
struct Trial {
    event: String,
    what: &'static str,
    /// What the hook did.
    hook: &'static str,
    /// Whether the host goes on then.
    fails_closed: bool,
    /// Whether another configuration would change that.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    /// Whether this is how the host is, and nothing that this hook or its configuration can mend.
    hosts_limit: bool,
}

pub(super) async fn run(common: &Common, arguments: &Arguments) -> Result<ExitCode> {
    let host = arguments.place.host;
    let path = arguments.place.place()?.path;
    let configuration = read(&path)?.with_context(|| missing(host, &path))?;
    let hooks = configured(host, &configuration);
    if hooks.is_empty() {
        bail!("{}", missing(host, &path));
    }
    let mut trials = Vec::new();
    for event in events(host) {
        match hooks.iter().find(|hook| hook.event == *event) {
            Some(hook) => trials.extend(try_hook(host, hook).await?),
            None => trials.push(Trial {
                event: (*event).to_owned(),
                what: "configuration",
                hook: "is not configured for this event",
                fails_closed: false,
                note: Some(format!("countersign hook install {host}")),
                hosts_limit: false,
            }),
        }
    }
    Ok(tell(common, host, &path, &trials))
}

fn missing(host: Host, path: &Path) -> String {
    format!("{}: the hook is not configured there; `countersign hook install {host}` does it", path.display())
}

async fn try_hook(host: Host, hook: &Configured) -> Result<Vec<Trial>> {
    let folder = tempfile::tempdir()?;
    let sample = sample(host, &hook.event).to_string();
    let with = |socket: &str| prepared(hook, &folder.path().join(socket));
    let mut trials = Vec::new();

    let denying = stand_in(&folder.path().join("denying"), true)?;
    let ended = run_hook(&with("denying")?, &sample, false).await?;
    denying.abort();
    trials.push(trial(host, hook, "denial", &ended));

    let ended = run_hook(&with("nobody")?, &sample, false).await?;
    trials.push(trial(host, hook, "sidecar down", &ended));

    let silent = stand_in(&folder.path().join("silent"), false)?;
    let ended = run_hook(&with("silent")?, &sample, true).await?;
    trials.push(trial(host, hook, "crash", &ended));

    let ended = run_hook(&with("silent")?, &sample, false).await?;
    let mut late = trial(host, hook, "time-out", &ended);
    silent.abort();
    if told_time_out(&hook.command).is_some_and(|told| told > hook.time_out) {
        late.fails_closed = false;
        late.note =
            Some("the hook is told that the host waits longer than it does: install it again".to_owned());
    } else if late.fails_closed && host.reaction(hook.fails_closed, &Ended::TimedOut) == Reaction::GoesOn {
        late.note = Some(
            "the hook answers in time; if it were stopped until the time is over, the host would go on"
                .to_owned(),
        );
        late.hosts_limit = true;
    }
    trials.push(late);
    Ok(trials)
}

fn trial(host: Host, hook: &Configured, what: &'static str, ended: &Ended) -> Trial {
    let fails_closed = host.reaction(hook.fails_closed, ended) == Reaction::Blocks;
    let mendable = matches!(host, Host::ClaudeCode | Host::Cursor) && !hook.fails_closed;
    let by_itself = matches!(ended, Ended::Answered { .. });
    let note = match (fails_closed, by_itself, mendable) {
        (true, ..) => None,
        (false, true, _) => Some("the hook does not deny this, which it should".to_owned()),
        (false, false, true) => Some("install it again: the host is not told to fail closed".to_owned()),
        (false, false, false) => Some("this host cannot be told to fail closed".to_owned()),
    };
    Trial {
        event: hook.event.clone(),
        what,
        hook: match ended {
            Ended::Answered { .. } => "answers",
            Ended::Crashed => "is killed",
            Ended::TimedOut => "says nothing",
        },
        fails_closed,
        note,
        hosts_limit: !fails_closed && !by_itself && !mendable,
    }
}

/// The configured command line, with another socket and less time.
fn prepared(hook: &Configured, socket: &Path) -> Result<String> {
    let command = hook.command.split(" --socket ").next().unwrap_or_default();
    let mut words: Vec<String> = command.split(" --timeout ").map(str::to_owned).collect();
    words.truncate(1);
    let command = words.concat();
    let socket = socket.to_str().context("the temporary folder is not UTF-8")?;
    Ok(format!("{command} --timeout {SHORT} --socket '{socket}'"))
}

/// How long the hook is told that the host waits.
fn told_time_out(command: &str) -> Option<u64> {
    command.split_once(" --timeout ")?.1.split(' ').next()?.parse().ok()
}

/// Runs the hook as a host does: through a shell, with the call on its standard input.
async fn run_hook(command: &str, sample: &str, kill: bool) -> Result<Ended> {
    let mut child = Command::new("sh")
        .arg("-c")
        .arg(format!("exec {command}"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("sh cannot be started")?;
    if let Some(mut input) = child.stdin.take() {
        // One that is gone already has said why.
        let _ = input.write_all(sample.as_bytes()).await;
    }
    if kill {
        sleep(Duration::from_millis(200)).await;
        child.start_kill().context("the hook could not be killed")?;
    }
    let Ok(output) = timeout(AT_MOST, child.wait_with_output()).await else { return Ok(Ended::TimedOut) };
    let output = output?;
    Ok(match output.status.code() {
        Some(code) => Ended::Answered {
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            code,
        },
        None => Ended::Crashed,
    })
}

/// A sidecar that denies everything, or never says anything.
fn stand_in(socket: &Path, denies: bool) -> Result<tokio::task::JoinHandle<()>> {
    let listener = UnixListener::bind(socket)?;
    Ok(tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            if denies {
                deny(&mut stream).await;
            }
            kept.push(stream);
        }
    }))
}

async fn deny(stream: &mut UnixStream) {
    let denial = json!({
        "event": "denied", "code": "policy", "retry": false, "policies": [],
        "message": "denied by `countersign hook doctor`",
    });
    let body = format!("{denial}\n");
    let response = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let mut request = vec![0; 16 * 1024];
    // One read is enough: a sample is small.
    if stream.read(&mut request).await.is_ok() {
        let _ = stream.write_all(response.as_bytes()).await;
    }
}

/// A call of the host that does no harm.
fn sample(host: Host, event: &str) -> Value {
    let common = json!({ "session_id": "doctor", "cwd": "/", "hook_event_name": event });
    let own = match (host, event) {
        (Host::ClaudeCode | Host::Codex, _) => {
            json!({ "tool_name": "Bash", "tool_input": { "command": "true" } })
        }
        (Host::Copilot, _) => {
            return json!({ "sessionId": "doctor", "timestamp": 0, "cwd": "/", "toolName": "bash",
                           "toolArgs": "{\"command\":\"true\"}" });
        }
        (Host::Gemini, _) => json!({ "tool_name": "run_shell_command", "tool_input": { "command": "true" } }),
        (Host::Cursor, "beforeMCPExecution") => json!({ "tool_name": "doctor", "tool_input": "{}" }),
        (Host::Cursor, "beforeReadFile") => json!({ "file_path": "/doctor" }),
        (Host::Cursor, "preToolUse") => {
            json!({ "tool_name": "Write", "tool_input": { "file_path": "/doctor" } })
        }
        (Host::Cursor, _) => json!({ "command": "true" }),
    };
    match (common, own) {
        (Value::Object(mut common), Value::Object(own)) => {
            common.extend(own);
            Value::Object(common)
        }
        (common, _) => common,
    }
}

fn tell(common: &Common, host: Host, path: &Path, trials: &[Trial]) -> ExitCode {
    let broken = trials.iter().any(|trial| !trial.fails_closed && !trial.hosts_limit);
    let limited = trials.iter().any(|trial| trial.hosts_limit);
    if common.json {
        let fails_closed = !broken && !limited;
        println!(
            "{}",
            json!({ "host": host.as_str(), "file": path, "fails_closed": fails_closed, "trials": trials })
        );
    } else {
        let paint = Paint::stdout();
        println!("{host}: {}", path.display());
        for trial in trials {
            let (style, word) =
                if trial.fails_closed { (Style::Good, "blocks") } else { (Style::Bad, "GOES ON") };
            let note = trial.note.as_deref().map(|note| format!(" ({note})")).unwrap_or_default();
            let word = paint.paint(style, word);
            println!("  {} · {}: the hook {}, the host {word}{note}", trial.event, trial.what, trial.hook);
        }
    }
    ExitCode::from(if broken {
        exit::FAILED
    } else if limited {
        exit::HOST_GOES_ON
    } else {
        0
    })
}
