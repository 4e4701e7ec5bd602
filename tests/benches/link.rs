//! From a reviewer's vote to the sidecar's permit, beside a bare quinn relay with two durable redb
//! commits; and what idle links cost the control plane.

#![allow(
    clippy::cast_precision_loss,
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a bench that cannot go on should stop, and its numbers are small"
)]

use std::{
    env,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::Command,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use countersign_intercept::local::{
    LocalClient,
    wire::{self, Event, OperationRequest, OutcomeReport},
};
use countersign_model::{Digest, Provenance, Seconds, SpiffeId, Timestamp};
use countersign_pki::{Authority, Identity, IdentityRequest, TrustBundle};
use countersign_protocol::{Hello, Welcome};
use countersign_tests::{
    Http, Process, Site,
    measure::{quantile, quick, resident},
};
use countersign_transport::{
    Arrival, Backoff, Limits, Link, LinkConfig, LinkState, Pushes, ResetKey, Server, ServerConfig, Session,
};
use quinn::{ClientConfig, Connection, Endpoint};
use redb::{Database, TableDefinition};
use rustls::{RootCertStore, pki_types::PrivatePkcs8KeyDer};

const TABLE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("votes");
const HOUR: Seconds = Seconds::new(3_600);
/// How long the reviewer looks at a request: until its own events have been shipped and recorded. Nobody
/// votes within the milliseconds that this takes.
const REFLECTION: Duration = Duration::from_millis(100);

/// A redb file to which one vote after the other is committed durably, in the way that store and spool do
/// it: a file that was not closed can be opened again at once.
struct Journal {
    database: Database,
    next: u64,
}

impl Journal {
    fn new(file: &Path) -> Self {
        Self { database: Database::create(file).unwrap(), next: 0 }
    }

    fn commit(&mut self, vote: &[u8]) {
        tokio::task::block_in_place(|| {
            let mut transaction = self.database.begin_write().unwrap();
            transaction.set_quick_repair(true);
            transaction.open_table(TABLE).unwrap().insert(self.next, vote).unwrap();
            transaction.commit().unwrap();
        });
        self.next += 1;
    }
}

/// One question on a stream of its own.
async fn ask(connection: &Connection, question: &[u8]) -> Vec<u8> {
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    send.write_all(question).await.unwrap();
    send.finish().unwrap();
    receive.read_to_end(1_024).await.unwrap()
}

/// Keeps each question, asks the next one, if there is one, and answers.
async fn relay(questions: Connection, mut journal: Journal, next: Option<Connection>) {
    while let Ok((mut send, mut receive)) = questions.accept_bi().await {
        let question = receive.read_to_end(1_024).await.unwrap();
        journal.commit(&question);
        if let Some(next) = &next {
            ask(next, &question).await;
        }
        send.write_all(&question).await.unwrap();
        send.finish().unwrap();
    }
}

/// A voter, a relay that keeps each vote, and a sidecar that keeps it too.
struct Relay {
    voter: Connection,
    endpoints: [Endpoint; 3],
}

impl Relay {
    async fn start(folder: &Path) -> Self {
        let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let certificate = certified.cert.der().clone();
        let key = PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
        let server = quinn::ServerConfig::with_single_cert(vec![certificate.clone()], key.into()).unwrap();
        let endpoint = Endpoint::server(server, (Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate).unwrap();
        let client = ClientConfig::with_root_certificates(Arc::new(roots)).unwrap();
        let ((to_sidecar, sidecar), (from_voter, voter)) =
            (join(&endpoint, &client).await, join(&endpoint, &client).await);
        tokio::spawn(relay(sidecar.0, Journal::new(&folder.join("sidecar.redb")), None));
        tokio::spawn(relay(from_voter, Journal::new(&folder.join("relay.redb")), Some(to_sidecar)));
        Self { voter: voter.0, endpoints: [endpoint, sidecar.1, voter.1] }
    }
}

/// A connection, as the relay and as the client see it.
async fn join(relay: &Endpoint, client: &ClientConfig) -> (Connection, (Connection, Endpoint)) {
    let endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let connecting = endpoint.connect_with(client.clone(), relay.local_addr().unwrap(), "localhost").unwrap();
    let accepting = async { relay.accept().await.unwrap().await.unwrap() };
    let (near, far) = tokio::join!(connecting, accepting);
    (far, (near.unwrap(), endpoint))
}

/// A command that needs one reviewer, and is never run.
fn command(number: usize) -> OperationRequest {
    OperationRequest::Exec {
        command: wire::Command {
            found: "/usr/bin/true".to_owned(),
            program: "/usr/bin/true".to_owned(),
            program_digest: Digest::of(b"true"),
            argv: vec!["true".to_owned(), number.to_string()],
            files: [].into(),
            cwd: "/".to_owned(),
            env: [].into(),
            env_digest: Digest::of(b""),
            stdin: wire::Stdin::Empty,
        },
        provenance: Provenance::default(),
        trace: None,
    }
}

const HELD: &str = r#"
@id("may-run") permit (principal, action == Exec::Action::"run", resource);
@id("runs-need-one") @approval("one") forbid (principal, action == Exec::Action::"run", resource)
unless { context.approvals.contains("one") };
"#;

/// Has one command approved. Microseconds from sending the vote to the permit, and to the answer that
/// the voter gets.
async fn approve(site: &Site, reviewer: &Http, client: &LocalClient, number: usize) -> (f64, f64) {
    let mut exchange = client.submit(&command(number)).await.expect("a sidecar");
    let approval = loop {
        match exchange.next().await.unwrap().expect("more to come") {
            Event::Held(_) => {}
            Event::Waiting(waiting) => break waiting.approval.to_string(),
            other => panic!("{other:?}"),
        }
    };
    tokio::time::sleep(REFLECTION).await;
    let start = Instant::now();
    let micros = || start.elapsed().as_secs_f64() * 1e6;
    let permitted = async {
        loop {
            match exchange.next().await.unwrap().expect("more to come") {
                Event::Waiting(_) => {}
                Event::Permit(permit) => return (micros(), permit),
                other => panic!("{other:?}"),
            }
        }
    };
    let voted = async {
        site.vote(reviewer, &approval, "approve").await.ok();
        micros()
    };
    let ((permitted, permit), voted) = tokio::join!(permitted, voted);
    exchange.finish(permit.evaluation, &OutcomeReport::executed()).await.unwrap();
    (permitted, voted)
}

async fn votes(rounds: usize) {
    let folder = tempfile::tempdir().unwrap();
    let relay = Relay::start(folder.path()).await;
    let site = Site::start(|files| drop(files.insert("policies/exec.cedar".into(), HELD.into()))).await;
    site.until_connected().await;
    let (reviewer, client) = (site.reviewer(0), LocalClient::new(site.socket()));
    let (mut bare, mut permits, mut answers) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=rounds {
        let start = Instant::now();
        ask(&relay.voter, &[7; 600]).await;
        let relayed = start.elapsed().as_secs_f64() * 1e6;
        let (permitted, voted) = approve(&site, &reviewer, &client, round).await;
        // The first round opens connections.
        if round > 0 {
            bare.push(relayed);
            permits.push(permitted);
            answers.push(voted);
        }
    }
    println!("\n### From a vote to the permit, {rounds} times\n\n| what | p50 | p90 |\n|---|---|---|");
    let row = |name: &str, samples: &mut [f64]| {
        let p50 = quantile(samples, 0.5);
        println!("| {name} | {p50:.0} µs | {:.0} µs |", quantile(samples, 0.9));
        p50
    };
    let bare = row("bare quinn relay, two durable redb commits", &mut bare);
    let permits = row("vote sent (HTTP) → permit at the sidecar's client", &mut permits);
    row("vote sent (HTTP) → the voter's answer", &mut answers);
    println!("\nvote → permit {:.1}× the bare relay", permits / bare);
    relay.endpoints.iter().for_each(|endpoint| endpoint.close(0_u8.into(), b""));
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp::from_millis(since.as_millis().try_into().unwrap())
}

/// What this program does when it is started with a folder: takes links, and leaves there what clients
/// need.
#[tokio::main]
async fn serve(folder: &Path) {
    let domain: countersign_model::TrustDomain = "example.org".parse().unwrap();
    let authority = Authority::generate(domain.clone(), now().minus(HOUR)).unwrap();
    let request = IdentityRequest::generate().unwrap();
    let agent = SpiffeId::agent(domain, "bench".parse().unwrap());
    let issued = authority.issue(request.csr(), &agent, now(), HOUR).unwrap();
    request.complete(issued.chain).unwrap().save(&folder.join("identity")).unwrap();
    let trust = authority.trust_bundle().unwrap();
    trust.save(&folder.join("trust")).unwrap();
    let mut server = Server::bind(ServerConfig {
        listen: (Ipv4Addr::LOCALHOST, 0).into(),
        identity: authority.control_plane_identity(now(), HOUR).unwrap(),
        trust,
        // Idle links here do not even send heartbeats.
        limits: Limits { silence: Duration::from_secs(3_600), ..Limits::default() },
        resets: ResetKey::new(|data| *Digest::of_parts(&[b"bench", data]).as_bytes()),
    })
    .unwrap();
    println!("{}", server.handle().local_addr().unwrap());
    while let Some(arrival) = server.accept().await {
        if let Arrival::Link(session) = arrival {
            tokio::spawn(keep(session));
        }
    }
}

async fn keep(session: Session) {
    let Ok((_, exchange)) = session.greeting().await else { return };
    let welcome = Welcome {
        protocol: 1,
        software: "bench".to_owned(),
        now: now(),
        heartbeat_every: Seconds::new(15),
        revision: None,
        audit_through: 0,
        audit_head: Digest::ZERO,
        lease_renewed_at: now(),
    };
    let _ = exchange.answer(welcome).await;
    while session.accept().await.is_ok() {}
}

fn hello() -> Hello {
    Hello {
        protocol: 1,
        software: "bench".to_owned(),
        revision: None,
        bundle: None,
        last_seq: 0,
        spool_depth: 0,
        pending: Vec::new(),
    }
}

/// Opens a link and waits until it is up.
async fn link(control: SocketAddr, identity: Identity, trust: TrustBundle) -> (Link, Pushes) {
    let config = LinkConfig {
        control: control.to_string(),
        identity,
        trust,
        limits: Limits { handshake: Duration::from_secs(60), ..Limits::default() },
        backoff: Backoff::default(),
        hello: Box::new(hello),
        entropy: Box::new(|| u64::MAX / 2),
    };
    let (link, pushes, driver) = Link::new(config).unwrap();
    tokio::spawn(driver.run(std::future::pending()));
    link.state().wait_for(LinkState::is_up).await.unwrap();
    (link, pushes)
}

async fn idle_links(count: usize) {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Command::new(env::current_exe().unwrap());
    let (server, address) = Process::start(server.arg("serve").arg(folder.path()));
    let address: SocketAddr = address.parse().expect("the server's address");
    let trust = TrustBundle::load(&folder.path().join("trust")).unwrap();
    let identity = Identity::load(&folder.path().join("identity")).unwrap();
    let before = resident(server.id()).0;
    let start = Instant::now();
    let mut links = Vec::with_capacity(count);
    while links.len() < count {
        let room = 100.min(count - links.len());
        let opening = (0..room).map(|_| link(address, identity.clone(), trust.clone()));
        links.extend(futures::future::join_all(opening).await);
    }
    let connecting = start.elapsed().as_secs_f64();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (memory, _) = resident(server.id());
    let up = links.iter().filter(|(link, _)| link.state().borrow().is_up()).count();
    println!("\n### {count} idle links, {up} of them up\n\n| what | |\n|---|---|");
    println!("| the server's resident memory | {memory:.0} MB |");
    println!("| a link | {:.1} KB |", (memory - before) * 1e3 / count as f64);
    println!(
        "| connected and greeted, both ends on this machine | {:.0} a second |",
        count as f64 / connecting
    );
    drop(server);
}

fn main() {
    let arguments: Vec<String> = env::args().collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [_, "serve", folder] => serve(Path::new(folder)),
        _ => {
            let (rounds, links) = if quick() { (40, 1_000) } else { (300, 10_000) };
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(votes(rounds));
            runtime.block_on(idle_links(links));
        }
    }
}
