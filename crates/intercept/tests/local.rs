//! The local API: one operation is one exchange, and the connection is the lease on the requester.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "this is test code, and a panic is how a test fails"
)]

mod common;

use std::time::Duration;

use bytes::Bytes;
use common::Sidecar;
use countersign_approval::{CancelReason, Input, Phase, State};
use countersign_gate::{Outcome, record::Kind};
use countersign_intercept::local::{
    Exchange, LocalError,
    wire::{
        Command, DeniedEvent, Direction, Event, McpMessage, OperationRequest, OutcomeReport, PermitEvent,
        Relay, Review, Reviewed, Stdin, ToolsPage,
    },
};
use countersign_model::{Digest, Provenance, Seconds, provenance::Initiator};
use countersign_testkit::world::eventually;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

fn run(program: &str) -> OperationRequest {
    run_from("/usr/bin", program)
}

fn run_from(folder: &str, program: &str) -> OperationRequest {
    OperationRequest::Exec {
        command: Command {
            found: format!("{folder}/{program}"),
            program: format!("{folder}/{program}"),
            program_digest: Digest::of(program.as_bytes()),
            argv: vec![program.to_owned()],
            files: std::collections::BTreeMap::new(),
            cwd: "/".to_owned(),
            env: std::collections::BTreeMap::new(),
            env_digest: Digest::ZERO,
            stdin: Stdin::Empty,
        },
        provenance: Provenance::default(),
        trace: None,
    }
}

async fn permit(exchange: &mut Exchange) -> PermitEvent {
    loop {
        match exchange.next().await.unwrap().unwrap() {
            Event::Permit(permit) => return permit,
            Event::Held(_) | Event::Waiting(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

async fn denied(exchange: &mut Exchange) -> DeniedEvent {
    loop {
        match exchange.next().await.unwrap().unwrap() {
            Event::Denied(denied) => return denied,
            Event::Held(_) | Event::Waiting(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// Submits a held command, until people have been asked.
async fn held(sidecar: &Sidecar) -> Exchange {
    let mut exchange = sidecar.client.submit(&run("deploy")).await.unwrap();
    let Event::Held(held) = exchange.next().await.unwrap().unwrap() else { panic!("not held") };
    assert_eq!(held.summary, "Exec::run Exec::Program::\"deploy\"");
    assert_eq!(held.policies[0].id, "exec.deploy");
    let Event::Waiting(waiting) = exchange.next().await.unwrap().unwrap() else { panic!("not waiting") };
    assert_eq!(waiting.approval, sidecar.world.control.last());
    assert_eq!(waiting.progress[0].reviewers, ["group:sre"]);
    assert_eq!(waiting.link, Some(format!("http://127.0.0.1:7700/approvals/{}", waiting.approval)));
    exchange
}

fn cancelled(sidecar: &Sidecar) -> Option<CancelReason> {
    match &sidecar.world.control.approvals().last()?.state {
        State::Cancelled { why, .. } => Some(*why),
        _ => None,
    }
}

#[tokio::test]
async fn a_permitted_command_runs_and_its_outcome_is_recorded() {
    let sidecar = Sidecar::start();
    let mut exchange = sidecar.client.submit(&run("ls")).await.unwrap();
    let permit = permit(&mut exchange).await;
    assert_eq!(permit.approval, None);
    exchange.finish(permit.evaluation, &OutcomeReport::executed()).await.unwrap();
    assert_eq!(sidecar.world.audit.kinds(), [Kind::Permitted, Kind::Executed]);
}

#[tokio::test]
async fn a_denied_command_says_which_policy_and_why() {
    let sidecar = Sidecar::start();
    let denied = denied(&mut sidecar.client.submit(&run("rm")).await.unwrap()).await;
    assert_eq!((denied.code.as_str(), denied.retry), ("policy", false));
    assert_eq!(denied.policies[0].id, "exec.rm");
    assert_eq!(denied.policies[0].reason.as_deref(), Some("Agents delete nothing"));
}

#[tokio::test]
async fn a_held_command_runs_once_it_is_approved() {
    let sidecar = Sidecar::start();
    let mut exchange = held(&sidecar).await;
    sidecar.world.control.approve(sidecar.world.control.last());
    let permit = permit(&mut exchange).await;
    assert_eq!(permit.approval, Some(sidecar.world.control.last()));
    let failed = OutcomeReport::Failed { reason: "exit code 3".to_owned() };
    exchange.finish(permit.evaluation, &failed).await.unwrap();
    let outcome = Outcome::Failed { detail: "exit code 3".to_owned() };
    assert_eq!(sidecar.world.journal.outcomes(), [outcome]);
}

#[tokio::test]
async fn a_refusal_and_an_expiry_are_told_apart() {
    let sidecar = Sidecar::start();
    let mut refused = held(&sidecar).await;
    sidecar.world.control.deny(sidecar.world.control.last());
    let refused = denied(&mut refused).await;
    assert_eq!((refused.code.as_str(), refused.retry), ("refused", false));

    let sidecar = Sidecar::start();
    let mut expired = held(&sidecar).await;
    sidecar.world.clock.advance(Seconds::new(15 * 60));
    sidecar.world.control.apply(sidecar.world.control.last(), &Input::Tick);
    let expired = denied(&mut expired).await;
    assert_eq!((expired.code.as_str(), expired.retry), ("expired", true));
}

#[tokio::test]
async fn a_requester_that_goes_away_while_held_cancels() {
    let sidecar = Sidecar::start();
    let exchange = held(&sidecar).await;
    drop(exchange);
    eventually("it is cancelled", || cancelled(&sidecar) == Some(CancelReason::RequesterGone)).await;
}

#[tokio::test]
async fn a_requester_can_take_a_held_command_back() {
    let sidecar = Sidecar::start();
    let mut exchange = held(&sidecar).await;
    sidecar.client.cancel(sidecar.world.control.last()).await.unwrap();
    assert_eq!(cancelled(&sidecar), Some(CancelReason::Requester));
    assert_eq!(denied(&mut exchange).await.code, "cancelled");
    assert!(matches!(sidecar.client.cancel(sidecar.world.control.last()).await, Err(LocalError::Refused(_))));
}

#[tokio::test]
async fn a_client_that_goes_away_while_executing_leaves_the_outcome_unknown() {
    let sidecar = Sidecar::start();
    let mut exchange = held(&sidecar).await;
    sidecar.world.control.approve(sidecar.world.control.last());
    let _permit = permit(&mut exchange).await;
    drop(exchange);
    eventually("that is recorded", || sidecar.world.audit.kinds().contains(&Kind::OutcomeUnknown)).await;
    assert_eq!(
        sidecar.world.control.phases(),
        [Phase::Approved],
        "the fake control plane is not told of uses"
    );
}

#[tokio::test]
async fn a_sidecar_that_stops_withdraws_what_is_held_and_lets_what_runs_finish() {
    let sidecar = Sidecar::start();
    let mut running = sidecar.client.submit(&run("ls")).await.unwrap();
    let started = permit(&mut running).await;
    let mut exchange = held(&sidecar).await;
    sidecar.stop.cancel();
    let denied = denied(&mut exchange).await;
    assert_eq!((denied.code.as_str(), denied.retry), ("stopping", true));
    eventually("it is cancelled", || cancelled(&sidecar).is_some()).await;
    running.finish(started.evaluation, &OutcomeReport::executed()).await.unwrap();
}

#[tokio::test]
async fn an_outcome_is_reported_once_and_for_nobody_else() {
    let sidecar = Sidecar::start();
    let mut exchange = sidecar.client.submit(&run("ls")).await.unwrap();
    let mut other = sidecar.client.submit(&run("ls")).await.unwrap();
    let (first, second) = (permit(&mut exchange).await, permit(&mut other).await);
    assert_ne!(first.evaluation, second.evaluation);
    exchange.finish(first.evaluation, &OutcomeReport::executed()).await.unwrap();
    let again = other.finish(first.evaluation, &OutcomeReport::executed()).await;
    assert!(matches!(again, Err(LocalError::Refused(_))));
}

fn message(id: &str, text: &str) -> OperationRequest {
    OperationRequest::Mcp {
        message: McpMessage {
            relay: Relay { server: "files".to_owned(), id: id.to_owned() },
            direction: Direction::ToServer,
            text: text.to_owned(),
            changes: 0,
            listed: true,
        },
        patience: 0,
        provenance: Provenance::default(),
        trace: None,
    }
}

const LIST: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;

#[tokio::test]
async fn an_answer_is_shown_once_and_is_the_one_to_what_was_forwarded() {
    let sidecar = Sidecar::start();
    let submit = async || {
        let mut exchange = sidecar.client.submit(&message("r", LIST)).await.unwrap();
        let permit = permit(&mut exchange).await;
        assert_eq!(permit.mcp.review, Review::Every);
        (exchange, permit.evaluation)
    };
    let show = async |(exchange, execution): (Exchange, _), answer: &'static str| {
        exchange.show(execution, Bytes::from(answer), Duration::ZERO).await
    };
    let answer = r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"read"},{"name":"delete"}]}}"#;
    let Reviewed::Instead { message } = show(submit().await, answer).await.unwrap() else {
        panic!("not changed")
    };
    assert_eq!(message, r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"read"}]}}"#);
    assert_eq!(sidecar.world.audit.kinds(), [Kind::Permitted, Kind::Executed]);
    // The answer to something else is none, and neither is what is no answer: the outcome is unknown.
    for other in [r#"{"jsonrpc":"2.0","id":2,"result":{}}"#, r#"{"jsonrpc":"2.0","id":1,"method":"x"}"#, "[]"]
    {
        assert!(matches!(show(submit().await, other).await, Err(LocalError::Refused(_))), "{other}");
    }
    let unknown = || sidecar.world.audit.kinds().iter().filter(|kind| **kind == Kind::OutcomeUnknown).count();
    eventually("that is recorded", || unknown() == 3).await;
    // Nobody shows an answer to what somebody else forwarded and has shown already, or to a command.
    let (first, execution) = submit().await;
    show((submit().await.0, execution), answer).await.unwrap();
    assert!(matches!(show((first, execution), answer).await, Err(LocalError::Refused(_))));
    let mut command = sidecar.client.submit(&run("ls")).await.unwrap();
    let started = permit(&mut command).await;
    let other = submit().await.0;
    assert!(matches!(show((other, started.evaluation), answer).await, Err(LocalError::Refused(_))));
    command.finish(started.evaluation, &OutcomeReport::executed()).await.unwrap();
}

#[tokio::test]
async fn a_relay_of_no_name_forwards_nothing() {
    let sidecar = Sidecar::start();
    let mut request = message("r", LIST);
    if let OperationRequest::Mcp { message, .. } = &mut request {
        "../escape".clone_into(&mut message.relay.server);
    }
    let refused = denied(&mut sidecar.client.submit(&request).await.unwrap()).await;
    assert!(refused.message.contains("no name of an MCP server"), "{}", refused.message);
    let long = "x".repeat(65);
    let refused = denied(&mut sidecar.client.submit(&message(&long, LIST)).await.unwrap()).await;
    assert!(refused.message.contains("at most 64"), "{}", refused.message);
}

#[tokio::test]
async fn relays_without_number_are_forgotten_and_begin_anew() {
    let sidecar = Sidecar::start();
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read"}}"#;
    let wants_tools = async |id: &str| {
        let mut request = message(id, call);
        if let OperationRequest::Mcp { message, .. } = &mut request {
            message.listed = false;
        }
        matches!(sidecar.client.submit(&request).await.unwrap().next().await.unwrap(), Some(Event::ListTools))
    };
    let page = ToolsPage {
        relay: Relay { server: "files".to_owned(), id: "first".to_owned() },
        changes: 0,
        is_first: true,
        answer: Some(r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"read"}]}}"#.to_owned()),
    };
    sidecar.client.tell_tools(&page).await.unwrap();
    assert!(!wants_tools("first").await);
    for number in 0..128 {
        assert!(wants_tools(&number.to_string()).await);
    }
    assert!(wants_tools("first").await);
}

#[tokio::test]
async fn a_program_of_that_name_elsewhere_is_another_program() {
    let sidecar = Sidecar::start();
    let mut exchange = sidecar.client.submit(&run_from("/tmp/evil", "ls")).await.unwrap();
    let _permit = permit(&mut exchange).await;
    let record = format!("{:?}", sidecar.world.audit.records()[0]);
    assert!(record.contains("/tmp/evil/ls"), "{record}");
}

#[tokio::test]
async fn what_is_no_request_is_refused_and_decides_nothing() {
    let sidecar = Sidecar::start();
    sidecar.client.probe().await.unwrap();
    for body in [
        r#"{"kind":"exec","kind":"mcp"}"#,
        r#"{"kind":"exec","command":{},"surprise":1}"#,
        r#"{"kind":"shell"}"#,
        "[]",
        "\u{0}",
    ] {
        let mut stream = tokio::net::UnixStream::connect(sidecar.socket()).await.unwrap();
        let length = body.len();
        let request = format!(
            "POST /local/v1/operations HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 400"), "{body}: {answer}");
    }
    assert!(sidecar.world.audit.kinds().is_empty());
}

#[tokio::test]
async fn without_a_sidecar_there_is_no_answer_but_what_to_do() {
    let sidecar = Sidecar::start();
    sidecar.stop();
    let error = sidecar.client.submit(&run("ls")).await.unwrap_err();
    assert!(error.to_string().contains("COUNTERSIGN_SOCKET"), "{error}");
}

/// Whoever reaches the socket may act as the agent. It may name the person whom it works for, which takes that
/// person's vote away; saying that they are verified would let them confirm.
#[tokio::test]
async fn nobody_verifies_an_initiator_by_saying_so() {
    let sidecar = Sidecar::start();
    let mut request = run("deploy");
    let OperationRequest::Exec { provenance, .. } = &mut request else { unreachable!() };
    let person = "friend@example.com".parse().unwrap();
    provenance.initiator = Some(Initiator { person, verified: true });
    let mut exchange = sidecar.client.submit(&request).await.unwrap();
    let Event::Held(_) = exchange.next().await.unwrap().unwrap() else { panic!("not held") };
    let Event::Waiting(_) = exchange.next().await.unwrap().unwrap() else { panic!("not waiting") };
    let asked = sidecar.world.control.approvals().pop().unwrap().request.submission.provenance.initiator;
    let asked = asked.unwrap();
    assert_eq!((asked.person.as_str(), asked.verified), ("friend@example.com", false));
}

/// A token that nobody can check, or a file that is not there, denies: it is not taken for no token.
#[tokio::test]
async fn a_token_that_does_not_hold_is_not_ignored() {
    let sidecar = Sidecar::start();
    let file = sidecar.socket().with_file_name("token");
    let client = sidecar.client.clone().with_initiator_token(Some(file.clone()));
    assert!(matches!(client.submit(&run("ls")).await, Err(LocalError::InitiatorToken { .. })));
    for text in ["", "a\nb", &"x".repeat(20_000)] {
        std::fs::write(&file, text).unwrap();
        assert!(
            matches!(client.submit(&run("ls")).await, Err(LocalError::InitiatorToken { .. })),
            "{text:?}"
        );
    }
    std::fs::write(&file, "a.b.c\n").unwrap();
    let refused = client.submit(&run("ls")).await.unwrap_err().to_string();
    assert!(refused.contains("takes no initiator tokens"), "{refused}");
    assert!(sidecar.world.audit.kinds().is_empty());
}
