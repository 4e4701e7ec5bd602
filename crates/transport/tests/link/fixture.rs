//! A small control plane, a sidecar's link, and a peer that does as it likes.

use std::{
    io::Write,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use countersign_model::{
    ApprovalId, Digest, Seconds, Timestamp,
    signing::{Jwks, SigningKey},
};
use countersign_pki::{
    Authority, Identity, IdentityRequest, JoinSecret, JoinToken, PeerCertificate, SpiffeId, TrustBundle,
    TrustDomain,
};
use countersign_protocol::{
    AuditAck, Enrolled, Frame, Heartbeat, HeartbeatAck, Hello, RefusalCode, Refused, Svid, WaitApproval,
    Welcome,
};
use countersign_transport::{
    Arrival, Backoff, Exchange, Limits, Link, LinkConfig, LinkState, Pushes, ResetKey, Server, ServerConfig,
    ServerHandle, Session,
};
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};

/// Far longer than anything takes; only a broken test waits that long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(PATIENCE, what).await.expect("it should have happened by now")
}

pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp::from_millis(since.as_millis().try_into().unwrap())
}

pub(crate) const HOUR: Seconds = Seconds::new(3_600);

pub(crate) fn domain() -> TrustDomain {
    "example.org".parse().unwrap()
}

pub(crate) fn agent(name: &str) -> SpiffeId {
    SpiffeId::agent(domain(), name.parse().unwrap())
}

pub(crate) fn authority() -> Authority {
    Authority::generate(domain(), now().minus(Seconds::new(24 * 3_600))).unwrap()
}

pub(crate) fn identity_of(authority: &Authority, id: &SpiffeId, at: Timestamp) -> Identity {
    let request = IdentityRequest::generate().unwrap();
    let issued = authority.issue(request.csr(), id, at, HOUR).unwrap();
    request.complete(issued.chain).unwrap()
}

pub(crate) fn enrolled(authority: &Authority, name: &str) -> Identity {
    identity_of(authority, &agent(name), now())
}

/// Limits that do not come into play.
pub(crate) fn patient() -> Limits {
    Limits { handshake: PATIENCE, frame: PATIENCE, silence: PATIENCE, ..Limits::default() }
}

pub(crate) fn hello() -> Hello {
    Hello {
        protocol: 1,
        software: "test".to_owned(),
        revision: None,
        bundle: None,
        last_seq: 0,
        spool_depth: 0,
        pending: Vec::new(),
    }
}

pub(crate) fn heartbeat() -> Heartbeat {
    Heartbeat { revision: None, spool_depth: 0, pending: Vec::new() }
}

pub(crate) fn wait() -> WaitApproval {
    WaitApproval { id: ApprovalId::from_bytes([1; 16]), known_version: 0 }
}

/// What happens at the control plane, told to the test.
#[derive(Debug)]
pub(crate) enum Told {
    /// A sidecar was greeted.
    Greeted(Session),
    /// A session ended before or after its greeting.
    Ended,
    /// A wait was given up by the sidecar.
    Abandoned,
    /// A machine enrolled, or was refused.
    Enrolment,
}

/// A control plane that answers everything and remembers nothing.
pub(crate) struct Plane {
    pub(crate) address: SocketAddr,
    pub(crate) handle: ServerHandle,
    pub(crate) told: mpsc::UnboundedReceiver<Told>,
    /// The most exchanges that were open at a time.
    pub(crate) most_waiting: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Plane {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Desk {
    authority: Arc<Mutex<Authority>>,
    secret: Digest,
    tell: mpsc::UnboundedSender<Told>,
    waiting: AtomicUsize,
    most_waiting: Arc<AtomicUsize>,
}

impl Plane {
    pub(crate) fn start(authority: Authority, limits: Limits) -> Self {
        let listen = (std::net::Ipv4Addr::LOCALHOST, 0).into();
        Self::listen(Arc::new(Mutex::new(authority)), limits, listen).unwrap()
    }

    pub(crate) fn listen(
        authority: Arc<Mutex<Authority>>,
        limits: Limits,
        listen: SocketAddr,
    ) -> Result<Self, countersign_transport::BindError> {
        let (identity, trust) = {
            let authority = authority.lock().unwrap();
            (authority.control_plane_identity(now(), HOUR).unwrap(), authority.trust_bundle().unwrap())
        };
        Self::showing(identity, trust, authority, limits, listen)
    }

    pub(crate) fn showing(
        identity: Identity,
        trust: TrustBundle,
        authority: Arc<Mutex<Authority>>,
        limits: Limits,
        listen: SocketAddr,
    ) -> Result<Self, countersign_transport::BindError> {
        let server = Server::bind(ServerConfig { listen, identity, trust, limits, resets: reset_key() })?;
        let handle = server.handle();
        let (tell, told) = mpsc::unbounded_channel();
        let most_waiting = Arc::new(AtomicUsize::new(0));
        let secret = JoinSecret::new([7; 32]).hash();
        let waiting = AtomicUsize::new(0);
        let desk = Desk { authority, secret, tell, waiting, most_waiting: Arc::clone(&most_waiting) };
        let task = tokio::spawn(receive(server, Arc::new(desk)));
        Ok(Self { address: handle.local_addr().unwrap(), handle, told, most_waiting, task })
    }

    pub(crate) async fn greeted(&mut self) -> Session {
        loop {
            if let Told::Greeted(session) = self.next().await {
                return session;
            }
        }
    }

    pub(crate) async fn next(&mut self) -> Told {
        soon(self.told.recv()).await.expect("the control plane runs")
    }
}

async fn receive(mut server: Server, desk: Arc<Desk>) {
    while let Some(arrival) = server.accept().await {
        let desk = Arc::clone(&desk);
        match arrival {
            Arrival::Link(session) => {
                tokio::spawn(async move {
                    serve(&session, &desk).await;
                    let _ = desk.tell.send(Told::Ended);
                });
            }
            Arrival::Enrolment(session) => {
                tokio::spawn(async move {
                    while let Ok(exchange) = session.accept().await {
                        answer(exchange, &desk).await;
                    }
                    let _ = desk.tell.send(Told::Enrolment);
                });
            }
        }
    }
}

async fn serve(session: &Session, desk: &Arc<Desk>) {
    let Ok((_, exchange)) = session.greeting().await else { return };
    let welcome = Welcome {
        protocol: 1,
        software: "test".to_owned(),
        now: now(),
        heartbeat_every: Seconds::new(15),
        revision: None,
        audit_through: 0,
        audit_head: Digest::ZERO,
        lease_renewed_at: now(),
    };
    let _ = exchange.answer(welcome).await;
    let _ = desk.tell.send(Told::Greeted(session.clone()));
    while let Ok(exchange) = session.accept().await {
        let desk = Arc::clone(desk);
        tokio::spawn(async move { answer(exchange, &desk).await });
    }
}

async fn answer(mut exchange: Exchange, desk: &Desk) {
    let answer: Frame = match exchange.receive().await {
        Ok(Frame::Heartbeat(_)) => HeartbeatAck { lease_renewed_at: now() }.into(),
        Ok(Frame::AuditBatch(batch)) => AuditAck { through: batch.events.len() as u64 }.into(),
        Ok(Frame::WaitApproval(_)) => {
            let waiting = desk.waiting.fetch_add(1, Ordering::SeqCst) + 1;
            desk.most_waiting.fetch_max(waiting, Ordering::SeqCst);
            exchange.abandoned().await;
            desk.waiting.fetch_sub(1, Ordering::SeqCst);
            let _ = desk.tell.send(Told::Abandoned);
            return;
        }
        Ok(Frame::Renew(renew)) => {
            let peer = exchange.session().peer().cloned().unwrap();
            let authority = desk.authority.lock().unwrap();
            let issued = authority.issue(&renew.csr, &peer.spiffe_id, now(), HOUR).unwrap();
            Svid { chain: ders(&issued.chain), trust: ders(authority.trust_bundle().unwrap().certificates()) }
                .into()
        }
        Ok(Frame::Enrol(enrol)) if JoinSecret::new(enrol.secret).matches(&desk.secret) => {
            let authority = desk.authority.lock().unwrap();
            let issued = authority.issue(&enrol.csr, &agent("newcomer"), now(), HOUR).unwrap();
            Enrolled {
                agent: countersign_model::AgentId::from_bytes([2; 16]),
                name: "newcomer".parse().unwrap(),
                trust_domain: domain(),
                chain: ders(&issued.chain),
                trust: ders(authority.trust_bundle().unwrap().certificates()),
                bundle_keys: bundle_keys(),
            }
            .into()
        }
        Ok(_) => Refused { code: RefusalCode::JoinToken, message: "no".to_owned() }.into(),
        Err(_) => return,
    };
    let _ = exchange.answer(answer).await;
}

pub(crate) fn bundle_keys() -> Jwks {
    [SigningKey::from_seed(&[1; 32]).unwrap().verifying_key()].into_iter().collect()
}

fn ders(certificates: &[rustls::pki_types::CertificateDer<'static>]) -> Vec<Vec<u8>> {
    certificates.iter().map(|der| der.to_vec()).collect()
}

/// A token that the desk takes.
pub(crate) fn token(authority: &Authority) -> JoinToken {
    JoinToken {
        id: countersign_model::JoinTokenId::from_bytes([3; 16]),
        secret: JoinSecret::new([7; 32]),
        authority: authority.fingerprint(),
    }
}

/// A sidecar's link that runs.
pub(crate) struct Sidecar {
    pub(crate) link: Link,
    pub(crate) pushes: Pushes,
    task: JoinHandle<()>,
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Sidecar {
    pub(crate) fn start(control: SocketAddr, identity: Identity, trust: TrustBundle) -> Self {
        let config = LinkConfig {
            control: control.to_string(),
            identity,
            trust,
            limits: patient(),
            backoff: Backoff { first: Duration::from_millis(20), most: Duration::from_millis(100) },
            hello: Box::new(hello),
            entropy: Box::new(|| u64::MAX / 2),
        };
        let (link, pushes, driver) = Link::new(config).unwrap();
        let task = tokio::spawn(driver.run(std::future::pending()));
        Self { link, pushes, task }
    }

    /// Waits until the link is in such a state.
    pub(crate) async fn until(&self, what: impl FnMut(&LinkState) -> bool) -> LinkState {
        let mut state = self.link.state();
        soon(state.wait_for(what)).await.unwrap().clone()
    }

    pub(crate) async fn up(&self) {
        self.until(LinkState::is_up).await;
    }

    /// Waits until it is down, and says why.
    pub(crate) async fn down(&self) -> (String, Option<RefusalCode>) {
        match self.until(|state| matches!(state, LinkState::Down { .. })).await {
            LinkState::Down { reason, refused, .. } => (reason, refused),
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) fn spiffe_id(session: &Session) -> &SpiffeId {
    &certificate(session).spiffe_id
}

pub(crate) fn certificate(session: &Session) -> &PeerCertificate {
    session.peer().expect("a link has an authenticated peer")
}

/// Everything logged on this thread.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Starts to listen, until the guard is dropped.
    pub(crate) fn start() -> (Self, tracing::subscriber::DefaultGuard) {
        let log = Self::default();
        let writer = log.clone();
        let subscriber =
            tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A key that is the same in every server of the tests.
fn reset_key() -> ResetKey {
    ResetKey::new(|data| *Digest::of_parts(&[b"test key", data]).as_bytes())
}
