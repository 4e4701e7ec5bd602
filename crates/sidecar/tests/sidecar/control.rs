//! A control plane that keeps everything in memory and does what a test tells it to.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, SystemTime},
};

use countersign_approval::{GrantClaims, Phase, Status, Submission, grant::MetRequirement};
use countersign_audit::{CanonicalEvent, Chain};
use countersign_model::{
    AgentId, AgentName, ApprovalId, Digest, JoinTokenId, Revision, Seconds, SpiffeId, Timestamp, TrustDomain,
    signing::SigningKey,
};
use countersign_pki::{Authority, JoinSecret, JoinToken};
use countersign_policy::{
    Bundle, BundleFiles,
    signed::{Manifest, SignedBundle},
};
use countersign_protocol::{
    Ack, AuditAck, BundleAck, CancelApproval, Enrolled, Frame, HeartbeatAck, PushBundle, RefusalCode,
    Refused, ReportClaim, ReportOutcome, RevokeApproval, Svid, WaitApproval, Welcome,
    codec::PROTOCOL_VERSION,
};
use countersign_transport::{
    Arrival, BindError, CloseCode, Exchange, ExchangeError, Limits, ResetKey, Server, ServerConfig, Session,
};
use tokio::{
    sync::watch,
    task::{JoinHandle, JoinSet},
};

/// How long a condition may take to come true before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
const DAY: Seconds = Seconds::new(86_400);

pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap())
}

pub(crate) fn domain() -> TrustDomain {
    "test.example".parse().unwrap()
}

fn agent() -> AgentName {
    "bot".parse().unwrap()
}

pub(crate) fn agent_id() -> SpiffeId {
    SpiffeId::agent(domain(), agent())
}

pub(crate) fn bundle_key() -> SigningKey {
    SigningKey::from_seed(&[1; 32]).unwrap()
}

fn grant_key() -> SigningKey {
    SigningKey::from_seed(&[2; 32]).unwrap()
}

/// What the control plane knows.
pub(crate) struct Known {
    pub(crate) chain: Chain,
    pub(crate) events: Vec<CanonicalEvent>,
    pub(crate) approvals: BTreeMap<ApprovalId, (Submission, Status)>,
    pub(crate) claims: Vec<ReportClaim>,
    pub(crate) outcomes: Vec<ReportOutcome>,
    pub(crate) cancelled: Vec<CancelApproval>,
    pub(crate) waited_for: Vec<ApprovalId>,
    pub(crate) current: Option<PushBundle>,
    pub(crate) revoked: bool,
    pub(crate) lifetime: Seconds,
    pub(crate) sessions: u32,
    pub(crate) renewals: u32,
    session: Option<Session>,
}

struct Shared {
    authority: Authority,
    known: Mutex<Known>,
    changed: watch::Sender<()>,
}

/// A control plane. Its memory survives a stop.
pub(crate) struct Control {
    shared: Arc<Shared>,
    address: SocketAddr,
    running: Option<JoinHandle<()>>,
}

impl Control {
    pub(crate) async fn start() -> Self {
        let known = Known {
            chain: Chain::new(agent_id()),
            events: vec![],
            approvals: BTreeMap::new(),
            claims: vec![],
            outcomes: vec![],
            cancelled: vec![],
            waited_for: vec![],
            current: Some(pushed(1, POLICIES, &bundle_key())),
            revoked: false,
            lifetime: DAY,
            sessions: 0,
            renewals: 0,
            session: None,
        };
        let authority = Authority::generate(domain(), now()).unwrap();
        let shared = Shared { authority, known: Mutex::new(known), changed: watch::Sender::new(()) };
        let mut control =
            Self { shared: Arc::new(shared), address: "127.0.0.1:0".parse().unwrap(), running: None };
        control.resume().await;
        control
    }

    /// Listens, at the same address as before.
    pub(crate) async fn resume(&mut self) {
        let server = loop {
            match Server::bind(self.config()) {
                Err(BindError::Address { .. }) => tokio::time::sleep(Duration::from_millis(10)).await,
                bound => break bound.unwrap(),
            }
        };
        self.address = server.handle().local_addr().unwrap();
        self.running = Some(tokio::spawn(Arc::clone(&self.shared).serve(server)));
    }

    fn config(&self) -> ServerConfig {
        let authority = &self.shared.authority;
        ServerConfig {
            listen: self.address,
            identity: authority.control_plane_identity(now(), DAY).unwrap(),
            trust: authority.trust_bundle().unwrap(),
            limits: Limits::default(),
            resets: ResetKey::new(|data| *Digest::of(data).as_bytes()),
        }
    }

    /// Is gone, without a word.
    pub(crate) async fn stop(&mut self) {
        let session = self.known().session.take();
        if let Some(session) = session {
            session.close(CloseCode::Shutdown, "stopped");
        }
        if let Some(running) = self.running.take() {
            running.abort();
            let _ = running.await;
        }
    }

    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn join_token(&self) -> JoinToken {
        JoinToken {
            id: JoinTokenId::new(now(), [7; 10]),
            secret: JoinSecret::new([9; 32]),
            authority: self.shared.authority.fingerprint(),
        }
    }

    pub(crate) fn known(&self) -> MutexGuard<'_, Known> {
        self.shared.known.lock().unwrap()
    }

    /// Waits until something holds of what is known.
    pub(crate) async fn until<T>(&self, what: &str, mut holds: impl FnMut(&Known) -> Option<T>) -> T {
        let mut changes = self.shared.changed.subscribe();
        let waiting = async {
            loop {
                if let Some(found) = holds(&self.known()) {
                    return found;
                }
                changes.changed().await.unwrap();
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("{what}: not in time"))
    }

    /// The only approval that was asked for, once it was.
    pub(crate) async fn asked(&self) -> ApprovalId {
        self.until("an approval is asked for", |known| known.approvals.keys().next_back().copied()).await
    }

    /// Approves an operation, for one use.
    pub(crate) fn approve(&self, id: ApprovalId) {
        let mut known = self.known();
        let (submission, status) = known.approvals.get_mut(&id).unwrap();
        status.grant = Some(grant(id, submission).sign(&grant_key()).unwrap());
        status.phase = Phase::Approved;
        status.version += 1;
        drop(known);
        self.shared.changed.send_replace(());
    }

    pub(crate) async fn push(&self, bundle: PushBundle) -> BundleAck {
        let session = self.until("a session", |known| known.session.clone()).await;
        session.request(bundle).await.unwrap()
    }

    pub(crate) async fn revoke(&self, id: ApprovalId) {
        let session = self.until("a session", |known| known.session.clone()).await;
        session.request(RevokeApproval { id, reason: "changed our minds".to_owned() }).await.unwrap();
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.abort();
        }
    }
}

impl Shared {
    async fn serve(self: Arc<Self>, mut server: Server) {
        // Everything ends with this future, so that its port is free again.
        let mut sessions = JoinSet::new();
        while let Some(arrival) = server.accept().await {
            let shared = Arc::clone(&self);
            sessions.spawn(async move {
                match arrival {
                    Arrival::Enrolment(session) => shared.enrol(session).await,
                    // However it ends, it ends.
                    Arrival::Link(session) => drop(shared.link(session).await),
                }
            });
        }
    }

    fn change(&self, change: impl FnOnce(&mut Known)) {
        change(&mut self.known.lock().unwrap());
        self.changed.send_replace(());
    }

    async fn enrol(&self, session: Session) {
        let mut exchange = session.accept().await.unwrap();
        let Frame::Enrol(enrol) = exchange.receive().await.unwrap() else { panic!("no enrolment") };
        let lifetime = self.known.lock().unwrap().lifetime;
        let issued = self.authority.issue(&enrol.csr, &agent_id(), now(), lifetime).unwrap();
        let enrolled = Enrolled {
            agent: AgentId::new(now(), [3; 10]),
            name: agent(),
            trust_domain: domain(),
            chain: issued.chain.iter().map(|one| one.to_vec()).collect(),
            trust: self.roots(),
            bundle_keys: [bundle_key().verifying_key()].into_iter().collect(),
        };
        exchange.answer(enrolled).await.unwrap();
        session.drain(Duration::from_secs(5), CloseCode::Done, "enrolled").await;
    }

    fn roots(&self) -> Vec<Vec<u8>> {
        let trust = self.authority.trust_bundle().unwrap();
        trust.certificates().iter().map(|one| one.to_vec()).collect()
    }

    async fn link(self: &Arc<Self>, session: Session) -> Result<(), ExchangeError> {
        let (hello, exchange) = session.greeting().await?;
        let (revoked, head, current) = {
            let known = self.known.lock().unwrap();
            (known.revoked, (known.chain.next_seq() - 1, known.chain.head()), known.current.clone())
        };
        if revoked {
            let message = "the agent was revoked".to_owned();
            exchange.answer(Refused { code: RefusalCode::Revoked, message }).await?;
            session.drain(Duration::from_secs(5), CloseCode::Revoked, "revoked").await;
            return Ok(());
        }
        exchange.answer(welcome(head)).await?;
        self.change(|known| {
            known.sessions += 1;
            known.session = Some(session.clone());
        });
        if let (None, Some(bundle)) = (hello.revision, current) {
            session.request(bundle).await.unwrap();
        }
        let mut answers = JoinSet::new();
        loop {
            let exchange = session.accept().await?;
            answers.spawn(Arc::clone(self).answer(exchange));
        }
    }

    async fn answer(self: Arc<Self>, mut exchange: Exchange) {
        let Ok(asked) = exchange.receive().await else { return };
        let answer = match asked {
            Frame::SubmitApproval(submission) => self.submit(*submission).into(),
            Frame::SubmitSubstitutable(submission) => self.submit(submission.0).into(),
            Frame::WaitApproval(wait) => self.wait(wait).await,
            Frame::CancelApproval(cancel) => self.cancel(cancel),
            Frame::ReportClaim(claim) => self.note(|known| known.claims.push(claim)),
            Frame::ReportOutcome(outcome) => self.note(|known| known.outcomes.push(outcome)),
            Frame::AuditBatch(batch) => self.ingest(batch.events).into(),
            Frame::Heartbeat(heartbeat) => {
                self.change(|known| known.waited_for = heartbeat.pending);
                HeartbeatAck { lease_renewed_at: now() }.into()
            }
            Frame::Renew(renew) => {
                let issued = self.authority.issue(&renew.csr, &agent_id(), now(), DAY).unwrap();
                let chain = issued.chain.iter().map(|one| one.to_vec()).collect();
                self.change(|known| known.renewals += 1);
                Svid { chain, trust: self.roots() }.into()
            }
            other => panic!("unexpected {}", other.kind().as_str()),
        };
        let _ = exchange.answer(answer).await;
    }

    fn note(&self, change: impl FnOnce(&mut Known)) -> Frame {
        self.change(change);
        Ack.into()
    }

    fn submit(&self, submission: Submission) -> Status {
        let mut known = self.known.lock().unwrap();
        let asked = known.approvals.values().find(|(earlier, _)| earlier.key == submission.key);
        if let Some((_, status)) = asked {
            return status.clone();
        }
        let count = u8::try_from(known.approvals.len()).unwrap();
        let status = Status {
            id: ApprovalId::new(now(), [count; 10]),
            version: 1,
            phase: Phase::Pending,
            cancelled: None,
            grant: None,
            reason: None,
            decide_by: now().plus(Seconds::new(600)),
            execute_by: None,
            progress: vec![],
        };
        known.approvals.insert(status.id, (submission, status.clone()));
        drop(known);
        self.changed.send_replace(());
        status
    }

    fn status(&self, id: ApprovalId) -> Option<Status> {
        self.known.lock().unwrap().approvals.get(&id).map(|(_, status)| status.clone())
    }

    async fn wait(&self, wait: WaitApproval) -> Frame {
        let mut changes = self.changed.subscribe();
        loop {
            match self.status(wait.id) {
                None => {
                    return Refused { code: RefusalCode::NotFound, message: "no such".to_owned() }.into();
                }
                Some(status) if status.version > wait.known_version => return status.into(),
                Some(_) => changes.changed().await.unwrap(),
            }
        }
    }

    fn cancel(&self, cancel: CancelApproval) -> Frame {
        self.change(|known| {
            known.cancelled.push(cancel);
            if let Some((_, status)) = known.approvals.get_mut(&cancel.id) {
                status.phase = Phase::Cancelled;
                status.cancelled = Some(cancel.why);
                status.version += 1;
            }
        });
        self.status(cancel.id).unwrap().into()
    }

    /// Takes events in as the ledger does: those that it has are passed over, a gap is a failure.
    fn ingest(&self, events: Vec<Vec<u8>>) -> AuditAck {
        let mut known = self.known.lock().unwrap();
        for bytes in events {
            let event = CanonicalEvent::parse(bytes).unwrap();
            let seq = event.event().seq;
            if seq < known.chain.next_seq() {
                let index = usize::try_from(seq - 1).unwrap();
                assert_eq!(known.events[index], event, "an event was changed");
                continue;
            }
            known.chain.accept(&event).unwrap();
            known.events.push(event);
        }
        let through = known.chain.next_seq() - 1;
        drop(known);
        self.changed.send_replace(());
        AuditAck { through }
    }
}

fn welcome((audit_through, audit_head): (u64, Digest)) -> Welcome {
    Welcome {
        protocol: PROTOCOL_VERSION,
        software: "test".to_owned(),
        now: now(),
        heartbeat_every: Seconds::new(1),
        revision: None,
        audit_through,
        audit_head,
        lease_renewed_at: now(),
    }
}

fn grant(id: ApprovalId, submission: &Submission) -> GrantClaims {
    let bundle = Bundle::load(&files(POLICIES)).unwrap();
    let met = submission.requirements.iter().map(|name| {
        let by = vec!["reviewer-one@example.com".parse().unwrap()];
        MetRequirement::new(bundle.requirement(name).unwrap(), by)
    });
    let at = now().as_seconds();
    GrantClaims {
        iss: SpiffeId::control_plane(domain()),
        aud: agent_id(),
        jti: id,
        digest: submission.digest,
        requirements: met.collect(),
        revision: submission.revision,
        iat: at,
        exp: at + 300,
        execute_by: at + 300,
        uses: 1,
        scope: None,
    }
}

/// Reading is permitted, deploying needs a reviewer, everything else is denied.
pub(crate) const POLICIES: &str = r#"
    @id("work") permit (principal, action, resource)
    when { resource in [Mcp::Tool::"files/read", Mcp::Tool::"files/deploy", Door::"front"] };
    @id("deploys") @approval("one") @reason("Deploys need a reviewer")
    forbid (principal, action, resource == Mcp::Tool::"files/deploy")
    unless { context.approvals.contains("one") };
"#;

fn files(policies: &str) -> BundleFiles {
    let approvals = "[requirements.one]\nreviewers = [\"*\"]\nquorum = 1\n\
                     decide_within = \"10m\"\nexecute_within = \"5m\"\n";
    let own = [
        ("bundle.toml", "name = \"test\"\nlease = \"1h\"\n"),
        ("policies/test.cedar", policies),
        ("approvals.toml", approvals),
    ];
    let own = own.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec()));
    BundleFiles::new(own.collect()).unwrap()
}

/// A signed bundle on its way.
pub(crate) fn pushed(revision: u64, policies: &str, key: &SigningKey) -> PushBundle {
    pushed_for(revision, policies, key, domain())
}

pub(crate) fn pushed_for(revision: u64, policies: &str, key: &SigningKey, for_: TrustDomain) -> PushBundle {
    let files = files(policies);
    let manifest = Manifest {
        revision: Revision(revision),
        digest: files.digest(),
        name: "test".to_owned(),
        lease: Seconds::new(3_600),
        trust_domain: for_,
        issued_at: now(),
        jwks: [grant_key().verifying_key()].into_iter().collect(),
    };
    let signed = SignedBundle::sign(files, &manifest, key).unwrap();
    PushBundle { manifest: signed.manifest, files: signed.files.into_inner() }
}
