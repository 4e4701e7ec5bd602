//! A sidecar and the agent beside it; and what an agent meets from its first day on.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use countersign_intercept::local::{
    Exchange, LocalClient,
    wire::{Direction, Event, McpMessage, OperationRequest, Relay},
};
use countersign_model::{Provenance, Seconds};
use countersign_pki::Identity;
use countersign_sidecar::{Config, Running, Sidecar, StartError, app::EnrolmentError};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::control::{Control, PATIENCE, now};

/// Where a sidecar lives.
pub(crate) struct Home {
    pub(crate) config: Config,
    _folder: TempDir,
}

impl Home {
    /// A home for a sidecar that is yet to be enrolled.
    pub(crate) fn new(control: &Control) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::new(folder.path().join("data"), control.address());
        config.check.listen = "127.0.0.1:0".parse().unwrap();
        config.join_token = Some(control.join_token());
        config.times.drain = Seconds::new(1);
        Self { config, _folder: folder }
    }

    pub(crate) fn data(&self) -> &Path {
        &self.config.data
    }

    /// Starts the sidecar. What was dropped before may take a moment to let go of its files.
    pub(crate) async fn start(&self) -> Running {
        let starting = async {
            loop {
                match Sidecar::start(self.config.clone()).await {
                    Err(StartError::Open(_)) => tokio::task::yield_now().await,
                    started => return started.unwrap(),
                }
            }
        };
        timeout(PATIENCE, starting).await.expect("a start in time")
    }

    /// Starts it and waits until it decides.
    pub(crate) async fn ready(&self) -> Running {
        let running = self.start().await;
        timeout(PATIENCE, running.ready()).await.expect("a policy in time");
        running
    }
}

/// Asks to call a tool, as `countersign mcp` does.
pub(crate) async fn call(socket: PathBuf, tool: &str) -> Exchange {
    let text = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{tool}","arguments":{{}}}}}}"#
    );
    let request = OperationRequest::Mcp {
        message: McpMessage {
            relay: Relay { server: "files".to_owned(), id: "r".to_owned() },
            direction: Direction::ToServer,
            text,
            changes: 0,
            listed: true,
        },
        patience: 600,
        provenance: Provenance::default(),
        trace: None,
    };
    LocalClient::new(socket).submit(&request).await.unwrap()
}

/// The first event that is neither `held` nor `waiting`.
pub(crate) async fn outcome(exchange: &mut Exchange) -> Event {
    let deciding = async {
        loop {
            match exchange.next().await.unwrap().unwrap() {
                Event::Held(_) | Event::Waiting(_) => {}
                decided => return decided,
            }
        }
    };
    timeout(PATIENCE, deciding).await.expect("a decision in time")
}

/// What becomes of a tool call that is decided at once: `permit` or the code of the denial.
pub(crate) async fn decided(running: &Running, tool: &str) -> String {
    let mut exchange = call(running.socket().to_owned(), tool).await;
    match outcome(&mut exchange).await {
        Event::Permit(_) => "permit".to_owned(),
        Event::Denied(denied) => denied.code,
        other => panic!("{other:?}"),
    }
}

/// Asks the check API on TCP. Answers with the whole response.
async fn check(running: &Running, token: &str, resource: &str) -> String {
    let body = format!(
        r#"{{"subject":{{"type":"user","id":"alice"}},"action":{{"name":"open"}},"resource":{{"type":"Door","id":"{resource}"}}}}"#
    );
    let request = format!(
        "POST /access/v1/evaluation HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(running.check_addr()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_enrols_gets_its_policy_and_decides() {
    let control = Control::start().await;
    let home = Home::new(&control);
    let running = home.ready().await;
    assert_eq!(running.agent().as_str(), "bot");
    assert_eq!(decided(&running, "read").await, "permit");
    assert_eq!(decided(&running, "erase").await, "policy");
    let token = running.check_token();
    assert!(check(&running, token, "front").await.contains("\"decision\":true"));
    assert!(check(&running, token, "back").await.contains("\"decision\":false"));
    assert!(check(&running, "cs-check.guessed", "front").await.starts_with("HTTP/1.1 401"));
    running.shutdown().await.unwrap();
    // In order and without gaps, or the control plane would have failed.
    let kinds = control
        .until("the denial is shipped", |known| {
            let kinds: Vec<_> = known.events.iter().map(|event| event.event().kind.clone()).collect();
            kinds.iter().filter(|kind| *kind == "operation.denied").nth(1).is_some().then_some(kinds)
        })
        .await;
    assert_eq!(kinds[..2], ["sidecar.started", "policy.activated"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_token_is_used_once_and_only_when_needed() {
    let control = Control::start().await;
    let mut home = Home::new(&control);
    let token = home.config.join_token.take();
    let refused = Sidecar::start(home.config.clone()).await.unwrap_err();
    assert!(matches!(refused, StartError::Enrolment(EnrolmentError::NotEnrolled)));
    home.config.join_token = token;
    home.ready().await.shutdown().await.unwrap();
    let identity = std::fs::read(home.data().join("identity.pem")).unwrap();
    home.ready().await.shutdown().await.unwrap();
    assert_eq!(std::fs::read(home.data().join("identity.pem")).unwrap(), identity);
    home.config.agent = Some("other".parse().unwrap());
    let refused = Sidecar::start(home.config.clone()).await.unwrap_err();
    assert!(matches!(refused, StartError::Enrolment(EnrolmentError::OtherAgent { .. })));
}

/// At half of its life, for a fresh key (I11), on the connection that there is.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_renewed_without_dropping_the_link() {
    let mut control = Control::start().await;
    control.known().lifetime = Seconds::new(4);
    let home = Home::new(&control);
    let running = home.ready().await;
    let file = home.data().join("identity.pem");
    let first = Identity::load(&file).unwrap();
    control.until("a renewal", |known| (known.renewals == 1).then_some(())).await;
    let kept = async {
        while Identity::load(&file).unwrap().renew_at() == first.renew_at() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, kept).await.expect("kept in time");
    assert_eq!(control.known().sessions, 1);
    assert_eq!(decided(&running, "read").await, "permit");
    // The next connection is made with it, when the first one has long expired.
    let expired = async {
        while first.is_valid_at(now()) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, expired).await.expect("expired in time");
    control.stop().await;
    control.resume().await;
    control.until("another session", |known| (known.sessions == 2).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_sidecars_do_not_share_a_home() {
    let control = Control::start().await;
    let home = Home::new(&control);
    let running = home.ready().await;
    assert!(matches!(Sidecar::start(home.config.clone()).await, Err(StartError::Open(_))));
    assert_eq!(decided(&running, "read").await, "permit");
}
