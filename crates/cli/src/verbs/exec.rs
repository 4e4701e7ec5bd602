//! `countersign exec`: runs a command through the sidecar.

use std::{ffi::OsString, process::ExitCode, time::Duration};

use anyhow::Result;
use clap::Args;
use countersign_intercept::{
    exec::{
        environment::TRACEPARENT,
        program::ProgramError,
        run::{self, PrepareError, Prepared, Signals, StartError},
    },
    local::{
        Exchange, LocalClient, LocalError,
        wire::{DeniedEvent, Event, OperationRequest, OutcomeReport, PermitEvent},
    },
};
use countersign_model::{ApprovalId, Provenance};

use super::{socket::SocketArguments, waiting::WaitLine};
use crate::{
    exit,
    output::{Paint, Style, plain},
};

/// How often the time that is left is shown anew.
const REFRESH: Duration = Duration::from_secs(1);

/// Runs a command through the sidecar: at once, after approval, or not at all.
#[derive(Debug, Args)]
#[command(after_help = "\
The command runs with exactly what was decided about: its program file, words, folder and environment.
Variables that make other code run (LD_PRELOAD, BASH_ENV, …) are never handed on. Refused: exit code 77.
Not decided in time: 75. Else the command's own. Ctrl-C while it is held takes the request back.

Examples:
  countersign exec -- kubectl apply -f app.yaml
  countersign exec --reason \"rotate the key\" -- aws iam put-role-policy …
  countersign exec --env STAGE -- make deploy      # shows STAGE to reviewers, too")]
pub(crate) struct Arguments {
    #[command(flatten)]
    socket: SocketArguments,
    /// Why, for reviewers and for the record.
    #[arg(long, env = "COUNTERSIGN_REASON")]
    reason: Option<String>,
    /// The model that drives the agent.
    #[arg(long, env = "COUNTERSIGN_MODEL", hide = true)]
    model: Option<String>,
    /// The agent's session.
    #[arg(long, env = "COUNTERSIGN_SESSION", hide = true)]
    session: Option<String>,
    /// A variable whose value policy and reviewers see. Can be repeated.
    #[arg(long = "env", value_name = "NAME")]
    shown: Vec<String>,
    /// The command.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

pub(crate) async fn run(arguments: Arguments) -> Result<ExitCode> {
    let prepared = match Prepared::new(&arguments.command, &arguments.shown) {
        Ok(prepared) => prepared,
        Err(PrepareError::Program(error)) => return Ok(no_program(&error)),
        Err(error) => return Err(error.into()),
    };
    if !prepared.stripped().is_empty() {
        let names = plain(&prepared.stripped().join(", "));
        eprintln!("countersign: not handed on, as it could make other code run: {names}");
    }
    let operation = OperationRequest::Exec {
        command: prepared.command().clone(),
        provenance: Provenance {
            reason: arguments.reason,
            model: arguments.model,
            session: arguments.session,
            ..Provenance::default()
        },
        trace: std::env::var(TRACEPARENT).ok(),
    };
    let client = arguments.socket.client();
    let mut signals = Signals::listen()?;
    let mut wait = WaitLine::new();
    match decide(&client, &operation, &mut signals, &mut wait).await? {
        Decided::Permitted(exchange, permit) => {
            if wait.was_shown() {
                wait.done(Style::Good, "approved", "");
            }
            execute(&prepared, *exchange, &permit, &mut signals, wait.was_shown()).await
        }
        Decided::Denied(denied) => Ok(refused(&denied, &wait)),
        Decided::Interrupted(number) => {
            wait.done(Style::Dim, "cancelled", "the request was taken back; nothing was executed");
            Ok(ExitCode::from(u8::try_from(128 + number).unwrap_or(exit::FAILED)))
        }
    }
}

enum Decided {
    Permitted(Box<Exchange>, PermitEvent),
    Denied(DeniedEvent),
    Interrupted(i32),
}

async fn decide(
    client: &LocalClient,
    operation: &OperationRequest,
    signals: &mut Signals,
    wait: &mut WaitLine,
) -> Result<Decided, LocalError> {
    let mut exchange = client.submit(operation).await?;
    let mut approval = None;
    let mut refresh = tokio::time::interval(REFRESH);
    loop {
        tokio::select! {
            event = exchange.next() => match event? {
                Some(Event::Held(held)) => wait.held(&held),
                Some(Event::Waiting(waiting)) => {
                    approval = Some(waiting.approval);
                    wait.waiting(waiting);
                }
                Some(Event::Permit(permit)) => return Ok(Decided::Permitted(Box::new(exchange), permit)),
                Some(Event::Denied(denied)) => return Ok(Decided::Denied(denied)),
                None | Some(Event::Answered(_) | Event::Edited(_) | Event::ListTools) => {
                    return Err(LocalError::Broken("it ended without a decision".to_owned()));
                }
            },
            number = signals.next() => {
                take_back(client, approval).await;
                return Ok(Decided::Interrupted(number.as_raw()));
            }
            _ = refresh.tick() => wait.show(),
        }
    }
}

/// Cancels on the requester's own wish. Should that fail, leaving does the same.
async fn take_back(client: &LocalClient, approval: Option<ApprovalId>) {
    if let Some(approval) = approval
        && let Err(error) = client.cancel(approval).await
    {
        eprintln!("countersign: {error}; the request counts as one whose requester has gone");
    }
}

async fn execute(
    prepared: &Prepared,
    exchange: Exchange,
    permit: &PermitEvent,
    signals: &mut Signals,
    held: bool,
) -> Result<ExitCode> {
    let mut child = match prepared.start(held, permit.trace.as_deref()) {
        Ok(child) => child,
        Err(error) => {
            report(exchange, permit, &OutcomeReport::Failed { reason: format!("not started: {error}") })
                .await;
            eprintln!("{} {error}", Paint::stderr().paint(Style::Bad, "countersign:"));
            return Ok(ExitCode::from(match error {
                StartError::Spawn(_) => exit::NOT_EXECUTABLE,
                StartError::Program(_) | StartError::Inputs => exit::FAILED,
            }));
        }
    };
    let status = run::wait(&mut child, signals).await?;
    report(exchange, permit, &run::outcome(status)).await;
    Ok(ExitCode::from(run::exit_code(status)))
}

/// Reports the outcome. The command has ended as it has, so a report that fails changes nothing about
/// that: the sidecar records that the outcome is unknown.
async fn report(exchange: Exchange, permit: &PermitEvent, outcome: &OutcomeReport) {
    if let Err(error) = exchange.finish(permit.evaluation, outcome).await {
        eprintln!("countersign: the outcome could not be recorded: {error}");
    }
}

fn refused(denied: &DeniedEvent, wait: &WaitLine) -> ExitCode {
    let undecided = denied.retry;
    let (style, word) = if undecided { (Style::Held, "not decided:") } else { (Style::Bad, "refused:") };
    let mut text = plain(&denied.message);
    for policy in &denied.policies {
        let reason =
            policy.reason.as_deref().map(|reason| format!(": {}", plain(reason))).unwrap_or_default();
        text.push_str(&format!("\n  policy {}{reason}", plain(&policy.id)));
    }
    if let Some(evaluation) = denied.evaluation {
        text.push_str(&format!("\n  decision {evaluation}"));
    }
    if undecided {
        text.push_str("\n  nothing was executed; the same command may be run again");
    }
    wait.done(style, word, &text);
    ExitCode::from(if undecided { exit::UNDECIDED } else { exit::REFUSED })
}

fn no_program(error: &ProgramError) -> ExitCode {
    eprintln!("countersign: {error}");
    ExitCode::from(match error {
        ProgramError::NotFound { .. } => exit::NOT_FOUND,
        ProgramError::NotExecutable { .. } | ProgramError::Changed { .. } => exit::NOT_EXECUTABLE,
    })
}
