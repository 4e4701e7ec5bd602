//! A control plane, people, and minimal sidecars that speak nothing but frames.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use countersign_approval::{Status, Submission};
use countersign_control_plane::{
    App, Running,
    clock::Clock,
    config::Config,
    identity::{Actor, ActorKind, Role},
    services::{AddAgent, ApprovalError, ApprovalView, Ballot, PushPolicy, RevisionView, VoteDecision},
};
use countersign_model::{
    Action, Digest, EvaluationId, Operation, Projection, Provenance, Resource, Revision, Subject, Timestamp,
    signing::Jwks,
};
use countersign_pki::{Identity, JoinToken, TrustBundle};
use countersign_policy::signed::{Manifest, SignedBundle};
use countersign_protocol::{
    Ack, BundleAck, BundleOutcome, Frame, Hello, RevokeApproval, WaitApproval, codec::PROTOCOL_VERSION,
};
use countersign_transport::{
    Backoff, EnrolError, Enrolment, Limits, Link, LinkConfig, LinkState, Pushes, RequestError, enrol,
};
use serde_json::json;
use tempfile::TempDir;
use tokio::{sync::watch, task::JoinHandle};

/// How long a condition may take to come true before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A clock that runs, and can be put forward.
#[derive(Clone, Default)]
pub(crate) struct Ahead(Arc<AtomicI64>);

impl Ahead {
    fn clock(&self) -> Clock {
        let (system, ahead) = (Clock::system(), Arc::clone(&self.0));
        Clock::new(move || Timestamp::from_millis(system.now().as_millis() + ahead.load(Ordering::SeqCst)))
    }

    pub(crate) fn advance(&self, seconds: i64) {
        self.0.fetch_add(seconds * 1_000, Ordering::SeqCst);
    }
}

/// A control plane with its data.
pub(crate) struct World {
    pub(crate) running: Running,
    pub(crate) ahead: Ahead,
    config: Config,
    _data: TempDir,
}

impl World {
    pub(crate) async fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let mut config = Config::new(data.path().join("control"), "test.example".parse().unwrap());
        config.api.listen = "127.0.0.1:0".parse().unwrap();
        config.link.listen = "127.0.0.1:0".parse().unwrap();
        let ahead = Ahead::default();
        let running = App::start_at(config.clone(), ahead.clock()).await.unwrap();
        Self { running, ahead, config, _data: data }
    }

    /// As [`Self::start`], with the test bundle in force.
    pub(crate) async fn with_policy() -> Self {
        let world = Self::start().await;
        world.push(&[]).await;
        world
    }

    /// Shuts the control plane down and starts it again, on the same port of the link.
    pub(crate) async fn restart(self) -> Self {
        let Self { running, ahead, mut config, _data } = self;
        config.link.listen = running.link_addr();
        running.shutdown().await.unwrap();
        let running = App::start_at(config.clone(), ahead.clock()).await.unwrap();
        Self { running, ahead, config, _data }
    }

    pub(crate) fn control(&self) -> String {
        self.running.link_addr().to_string()
    }

    /// Pushes the test bundle, with some of its files replaced.
    pub(crate) async fn push(&self, changed: &[(&str, &str)]) -> RevisionView {
        let push = PushPolicy { files: bundle(changed), note: None };
        self.running.services().policies.push(&admin(), push).await.unwrap()
    }

    pub(crate) async fn add_agent(&self, name: &str) -> JoinToken {
        let wish = AddAgent { name: name.parse().unwrap(), owner: "owner@example.com".parse().unwrap() };
        self.running.services().agents.add(&admin(), wish).await.unwrap().token.parse().unwrap()
    }

    pub(crate) async fn enrol(&self, token: &JoinToken) -> Result<Enrolment, EnrolError> {
        enrol(&self.control(), token, None, "test".to_owned(), Limits::default()).await
    }

    /// Adds an agent, enrols its sidecar and connects it.
    pub(crate) async fn sidecar(&self, name: &str) -> Sidecar {
        let token = self.add_agent(name).await;
        let Enrolment { identity, trust, enrolled } = self.enrol(&token).await.unwrap();
        let sidecar = Sidecar::connect(&self.control(), identity, trust, enrolled.bundle_keys);
        sidecar.until_up().await;
        sidecar
    }

    pub(crate) async fn vote(
        &self,
        actor: &Actor,
        id: countersign_model::ApprovalId,
        decision: VoteDecision,
    ) -> Result<ApprovalView, ApprovalError> {
        let ballot = Ballot { decision, reason: None, channel: "api".to_owned(), expected_version: None };
        self.running.services().approvals.vote(actor, id, ballot).await
    }

    pub(crate) async fn approve(&self, who: &str, id: countersign_model::ApprovalId) -> ApprovalView {
        self.vote(&reviewer(who), id, VoteDecision::Approve).await.unwrap()
    }
}

pub(crate) fn actor(person: &str, kind: ActorKind, roles: &[Role]) -> Actor {
    let roles: BTreeSet<_> = roles.iter().copied().collect();
    Actor::new(person.parse().unwrap(), kind, roles, vec!["*".to_owned()], "token", None, None)
}

pub(crate) fn admin() -> Actor {
    actor("owner@example.com", ActorKind::Human, Role::ALL)
}

pub(crate) fn reviewer(name: &str) -> Actor {
    actor(&format!("{name}@example.com"), ActorKind::Human, &[Role::Reviewer])
}

/// The files of the test bundle, some of them replaced.
pub(crate) fn bundle(changed: &[(&str, &str)]) -> BTreeMap<String, Vec<u8>> {
    let policies = r#"
        @id("work") permit (principal, action in [Action::"read", Action::"deploy", Action::"pay"], resource);
        @id("deploys") @approval("one") @reason("Deploys need a reviewer")
        forbid (principal, action == Action::"deploy", resource)
        unless { context.approvals.contains("one") };
        @id("payments") @approval("two") @reason("Payments need two")
        forbid (principal, action == Action::"pay", resource)
        unless { context.approvals.contains("two") };
    "#;
    let approvals = r#"
        [requirements.one]
        reviewers = ["*"]
        quorum = 1
        decide_within = "10m"
        execute_within = "5m"
        [requirements.two]
        reviewers = ["*"]
        quorum = 2
        decide_within = "10m"
        execute_within = "5m"
    "#;
    let own = [
        ("bundle.toml", "name = \"test\"\nlease = \"1h\"\n"),
        ("policies/test.cedar", policies),
        ("approvals.toml", approvals),
    ];
    own.iter().chain(changed).map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect()
}

/// What a sidecar would submit for an action.
pub(crate) fn submission(key: &str, action: &str, requirement: &str, revision: u64) -> Submission {
    let operation = Operation {
        subject: Subject { kind: "Agent".into(), id: "bot".into(), properties: Default::default() },
        action: Action { name: action.into(), properties: Default::default() },
        resource: Resource { kind: "Service".into(), id: "payments".into(), properties: Default::default() },
        context: [("key".to_owned(), json!(key))].into_iter().collect(),
    };
    let bound = operation.bind(&Projection::default()).unwrap();
    Submission {
        key: key.to_owned(),
        evaluation: EvaluationId::from_bytes([1; 16]),
        digest: bound.digest(),
        operation: bound.text().to_owned(),
        redacted: vec![],
        provenance: Provenance::default(),
        interceptor: "check".to_owned(),
        policies: vec![],
        requirements: vec![requirement.parse().unwrap()],
        revision: Revision(revision),
        tool_pin: None,
        trace: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
        substitutable: false,
        follows: None,
    }
}

/// What a sidecar was told unasked.
#[derive(Clone, Default)]
pub(crate) struct Told {
    pub(crate) manifest: Option<Manifest>,
    pub(crate) withdrawn: Vec<RevokeApproval>,
}

/// A sidecar that takes every bundle and withdrawal, and asks what a test wants it to.
pub(crate) struct Sidecar {
    pub(crate) link: Link,
    pub(crate) identity: Identity,
    pub(crate) trust: TrustBundle,
    pub(crate) bundle_keys: Jwks,
    told: watch::Receiver<Told>,
    driver: JoinHandle<()>,
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Sidecar {
    pub(crate) fn connect(control: &str, identity: Identity, trust: TrustBundle, keys: Jwks) -> Self {
        let config = LinkConfig {
            control: control.to_owned(),
            identity: identity.clone(),
            trust: trust.clone(),
            limits: Limits::default(),
            backoff: Backoff { first: Duration::from_millis(50), most: Duration::from_millis(500) },
            hello: Box::new(hello),
            entropy: Box::new(|| 1 << 62),
        };
        let (link, pushes, driver) = Link::new(config).unwrap();
        let (teller, told) = watch::channel(Told::default());
        let listening = listen(pushes, teller, keys.clone());
        let driver = tokio::spawn(driver.run(listening));
        Self { link, identity, trust, bundle_keys: keys, told, driver }
    }

    pub(crate) async fn until_up(&self) {
        self.until_state(LinkState::is_up).await;
    }

    pub(crate) async fn until_state(&self, wanted: impl Fn(&LinkState) -> bool) -> LinkState {
        let mut state = self.link.state();
        let reached = tokio::time::timeout(PATIENCE, state.wait_for(|state| wanted(state))).await;
        reached.expect("the link's state in time").unwrap().clone()
    }

    /// Waits until the sidecar was told what is wanted.
    pub(crate) async fn until_told(&self, wanted: impl Fn(&Told) -> bool) -> Told {
        let mut told = self.told.clone();
        let reached = tokio::time::timeout(PATIENCE, told.wait_for(|told| wanted(told))).await;
        reached.expect("told in time").unwrap().clone()
    }

    pub(crate) async fn until_revision(&self, revision: u64) -> Manifest {
        let at_it = |told: &Told| told.manifest.as_ref().is_some_and(|it| it.revision.0 == revision);
        self.until_told(at_it).await.manifest.unwrap()
    }

    pub(crate) async fn submit(&self, submission: Submission) -> Result<Status, RequestError> {
        self.link.request(submission).await
    }

    /// Waits until the approval's status is as wanted.
    pub(crate) async fn until_status(
        &self,
        id: countersign_model::ApprovalId,
        wanted: impl Fn(&Status) -> bool,
    ) -> Status {
        let waiting = async {
            let mut known_version = 0;
            loop {
                match self.link.request(WaitApproval { id, known_version }).await {
                    Ok(status) if wanted(&status) => return status,
                    Ok(status) => known_version = status.version,
                    Err(RequestError::Down | RequestError::Exchange(_)) => {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    Err(error) => panic!("{error}"),
                }
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("the status in time")
    }
}

fn hello() -> Hello {
    Hello {
        protocol: PROTOCOL_VERSION,
        software: "test".to_owned(),
        revision: None,
        bundle: None,
        last_seq: 0,
        spool_depth: 0,
        pending: vec![],
    }
}

/// Takes what the control plane begins: verifies bundles, notes withdrawals.
async fn listen(mut pushes: Pushes, teller: watch::Sender<Told>, keys: Jwks) {
    while let Some(mut exchange) = pushes.next().await {
        match exchange.receive().await {
            Ok(Frame::PushBundle(push)) => {
                let files = countersign_policy::BundleFiles::new(push.files).unwrap();
                let signed = SignedBundle { manifest: push.manifest, files };
                let manifest = signed.verify(&keys).unwrap();
                let revision = Some(manifest.revision);
                let _ = exchange.answer(BundleAck { revision, outcome: BundleOutcome::Activated }).await;
                teller.send_modify(|told| told.manifest = Some(manifest));
            }
            Ok(Frame::RevokeApproval(revoke)) => {
                let _ = exchange.answer(Ack).await;
                teller.send_modify(|told| told.withdrawn.push(revoke));
            }
            Ok(other) => panic!("unexpected {other:?}"),
            Err(_) => {}
        }
    }
}

/// A digest that is nobody's.
pub(crate) fn other_digest() -> Digest {
    Digest::of(b"another operation")
}

/// Waits until a condition holds.
pub(crate) async fn until<F, Fut>(what: &str, condition: F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = bool>,
{
    let waiting = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "{what}: not in time");
}
