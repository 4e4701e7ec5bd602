//! `countersign doctor`: checks this installation, and says what to do about what is wrong.

use std::{os::unix::fs::FileTypeExt as _, process::ExitCode};

use anyhow::Result;
use clap::Args;
use countersign_intercept::local::LocalClient;
use serde::Serialize;
use serde_json::Value;

use super::socket::SocketArguments;
use crate::{
    api::{Api, Page},
    cli::Common,
    credentials, exit,
    output::{Paint, Style, plain, print_json},
};

/// Checks this installation, and says what to do about what is wrong.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    socket: SocketArguments,
}

/// What one check found.
#[derive(Debug, Serialize)]
struct Finding {
    check: &'static str,
    ok: bool,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

impl Finding {
    fn good(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, ok: true, found: found.into(), advice: None }
    }

    fn bad(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { check, ok: false, found: found.into(), advice: Some(advice.into()) }
    }
}

pub(crate) async fn run(common: &Common, arguments: Arguments) -> Result<ExitCode> {
    let mut findings = vec![kept_credentials()];
    findings.extend(control_plane(common).await);
    findings.push(sidecar(&arguments.socket).await);
    if common.json {
        print_json(&Page { items: findings.iter().collect(), next: None })?;
    } else {
        let paint = Paint::stdout();
        for finding in &findings {
            let (style, mark) = if finding.ok { (Style::Good, "✓") } else { (Style::Bad, "✗") };
            println!("{} {:<14} {}", paint.paint(style, mark), finding.check, plain(&finding.found));
            if let Some(advice) = &finding.advice {
                println!("  {:<14} {}", "", paint.paint(Style::Dim, advice));
            }
        }
    }
    let healthy = findings.iter().all(|finding| finding.ok);
    Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::from(exit::FAILED) })
}

fn kept_credentials() -> Finding {
    match credentials::file().and_then(|file| Ok((credentials::load(&file)?, file))) {
        Ok((Some(kept), file)) => {
            Finding::good("credentials", format!("for {} in {}", kept.url, file.display()))
        }
        Ok((None, _)) => Finding::good("credentials", "none are kept; the environment decides"),
        Err(error) => Finding::bad("credentials", error.to_string(), "run `countersign login` anew"),
    }
}

async fn control_plane(common: &Common) -> Vec<Finding> {
    let api = match common.api() {
        Ok(api) => api,
        Err(error) => {
            return vec![Finding::bad("control plane", error.to_string(), "see `countersign login --help`")];
        }
    };
    let who: Value = match api.get("/api/v1/whoami", &[]).await {
        Ok(who) => who,
        Err(error) => {
            return vec![Finding::bad(
                "control plane",
                error.to_string(),
                "check COUNTERSIGN_URL and the token",
            )];
        }
    };
    let text = |name| who.get(name).and_then(Value::as_str).unwrap_or_default();
    let mut findings = vec![Finding::good(
        "control plane",
        format!("{} knows you as {} ({})", api.url(), text("person"), text("kind")),
    )];
    findings.push(policy(&api).await);
    findings.push(agents(&api).await);
    findings.push(channels(&api).await);
    findings
}

async fn policy(api: &Api) -> Finding {
    match api.get::<Value>("/api/v1/policy/revisions/active", &[]).await {
        Ok(active) => {
            let revision = active.get("revision").and_then(Value::as_u64).unwrap_or_default();
            let name = active.get("name").and_then(Value::as_str).unwrap_or_default();
            Finding::good("policy", format!("revision {revision} of {name} is in force"))
        }
        Err(error) => Finding::bad(
            "policy",
            error.to_string(),
            "push one: `countersign policy init`, then `policy push`",
        ),
    }
}

async fn agents(api: &Api) -> Finding {
    let list: Page<Value> = match api.get("/api/v1/agents", &[("limit", "500".to_owned())]).await {
        Ok(list) => list,
        Err(error) => return Finding::bad("agents", error.to_string(), "is the control plane healthy?"),
    };
    let enrolled =
        list.items.iter().filter(|agent| agent.get("state").is_some_and(|state| state == "enrolled"));
    let (up, down): (Vec<_>, Vec<_>) =
        enrolled.partition(|agent| agent.get("connected") == Some(&Value::Bool(true)));
    let found = format!("{} connected, {} away", up.len(), down.len());
    if down.is_empty() {
        Finding::good("agents", found)
    } else {
        let names: Vec<_> = down.iter().filter_map(|agent| agent.get("name")?.as_str()).take(5).collect();
        Finding::bad(
            "agents",
            found,
            format!("look at {}: `countersign agents list`", plain(&names.join(", "))),
        )
    }
}

async fn channels(api: &Api) -> Finding {
    let list: Page<Value> = match api.get("/api/v1/channels", &[]).await {
        Ok(list) => list,
        Err(error) => return Finding::bad("channels", error.to_string(), "is the control plane healthy?"),
    };
    let text = |channel: &Value, name| channel.get(name).and_then(Value::as_str).map(plain);
    let is_down = |channel: &&Value| channel.get("state").is_some_and(|state| state != "healthy");
    let down: Vec<String> = list
        .items
        .iter()
        .filter(is_down)
        .filter_map(|channel| {
            let (name, error) = (text(channel, "name")?, text(channel, "last_error").unwrap_or_default());
            Some(format!("{name}: {error}"))
        })
        .collect();
    match (list.items.len(), down.is_empty()) {
        (0, _) => Finding::good("channels", "none but the console"),
        (count, true) => Finding::good("channels", format!("{count} beside the console, as far as is known")),
        (_, false) => Finding::bad(
            "channels",
            down.join("; "),
            "mend what it says, then `countersign channels test NAME`; the console has everything meanwhile",
        ),
    }
}

async fn sidecar(socket: &SocketArguments) -> Finding {
    let path = socket.path();
    let is_socket = path.metadata().is_ok_and(|metadata| metadata.file_type().is_socket());
    if !is_socket {
        let advice = "start one with `countersign dev` or `countersign sidecar`, or name its socket in COUNTERSIGN_SOCKET";
        return Finding::bad("sidecar", format!("no socket at {}", path.display()), advice);
    }
    match LocalClient::new(&path).probe().await {
        Ok(()) => Finding::good("sidecar", format!("answers at {}", path.display())),
        Err(error) => {
            Finding::bad("sidecar", error.to_string(), "is it running, and as a user that lets you in?")
        }
    }
}
