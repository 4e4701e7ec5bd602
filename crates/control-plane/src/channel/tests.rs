//! Telling reviewers, with channels that do what a test tells them to: nothing is lost, nothing is told in
//! vain, and nobody waits for somebody else's channel.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use countersign_approval::{Input, Request, Submission, VoteDecision, Voter};
use countersign_model::{
    AgentId, Digest, EvaluationId, JoinTokenId, Provenance, Requirement, ReviewerSelector, Revision, Seconds,
    Timestamp, VoteId,
};
use countersign_store::{
    Change, Destination, EmbeddedStore, NewAgent, NewJoinToken, Redemption, Settings, Svid,
};
use tempfile::TempDir;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    port::{DeliveryError, MessageRef},
    *,
};

pub(super) const START: Timestamp = Timestamp::from_millis(1_772_366_400_000);

/// A channel that writes down what it is told.
#[derive(Default)]
struct Fake {
    told: Mutex<Vec<String>>,
    /// What it answers while it is set.
    fails: Mutex<Option<DeliveryError>>,
    /// Whether it never answers.
    hangs: std::sync::atomic::AtomicBool,
}

impl Fake {
    async fn take(&self, what: String) -> Result<(), DeliveryError> {
        if self.hangs.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        if let Some(error) = self.fails.lock().unwrap().clone() {
            return Err(error);
        }
        self.told.lock().unwrap().push(what);
        Ok(())
    }

    fn fail(&self, error: Option<DeliveryError>) {
        *self.fails.lock().unwrap() = error;
    }

    fn told(&self) -> Vec<String> {
        self.told.lock().unwrap().clone()
    }

    async fn until_told(&self, wanted: &[&str]) {
        for _ in 0..2_000 {
            if self.told() == wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{:?} and not {wanted:?}", self.told());
    }
}

#[async_trait]
impl Channel for Fake {
    fn kind(&self) -> &'static str {
        "fake"
    }

    async fn post(&self, room: &str, message: &Message) -> Result<MessageRef, DeliveryError> {
        let approval = &message.approval;
        self.take(format!("post {room} {}", approval.phase())).await?;
        Ok(MessageRef(format!("{room}/{}", approval.request.id)))
    }

    async fn update(&self, room: &str, posted: &MessageRef, message: &Message) -> Result<(), DeliveryError> {
        assert_eq!(posted.0, format!("{room}/{}", message.approval.request.id));
        self.take(format!("update {room} {}", message.approval.phase())).await
    }

    async fn remind(
        &self,
        room: &str,
        _posted: &MessageRef,
        _message: &Message,
    ) -> Result<(), DeliveryError> {
        self.take(format!("remind {room}")).await
    }

    async fn test(&self, room: &str, asked_by: &str) -> Result<(), DeliveryError> {
        self.take(format!("test {room} {asked_by}")).await
    }
}

/// A store with an enrolled agent, two channels, and the tasks that tell them.
struct Stage {
    folder: TempDir,
    store: EmbeddedStore,
    ahead: Arc<AtomicI64>,
    chat: Arc<Fake>,
    mail: Arc<Fake>,
    desk: Desk,
    running: Option<(DropGuard, Vec<tokio::task::JoinHandle<()>>)>,
}

fn id(n: u8) -> ApprovalId {
    ApprovalId::new(START, [n; 10])
}

fn to(channel: &str, room: &str) -> Destination {
    Destination { channel: channel.to_owned(), room: room.to_owned() }
}

fn open_store(folder: &TempDir) -> EmbeddedStore {
    let own = "spiffe://example.org/control-plane".parse().unwrap();
    let mut count = 0_u8;
    let entropy = move || {
        count = count.wrapping_add(1);
        [count; 10]
    };
    EmbeddedStore::open(folder.path(), &own, Settings::default(), Box::new(entropy)).unwrap()
}

/// Told in the chat's room; by mail while that does not work.
fn routing() -> Routing {
    Routing::new(vec![Route {
        requirement: None,
        destination: to("chat", "C1"),
        fallback: Some(to("mail", "sre@example.com")),
    }])
}

impl Stage {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = open_store(&folder);
        enrol(&store).await;
        Self::on(folder, store, Arc::default(), Arc::default())
    }

    fn on(folder: TempDir, store: EmbeddedStore, chat: Arc<Fake>, mail: Arc<Fake>) -> Self {
        let ahead = Arc::new(AtomicI64::new(0));
        let offset = Arc::clone(&ahead);
        let clock =
            Clock::new(move || Timestamp::from_millis(START.as_millis() + offset.load(Ordering::SeqCst)));
        let mut channels = Channels { routing: routing(), ..Channels::default() };
        for (name, channel) in [("chat", &chat), ("mail", &mail)] {
            let channel: Arc<dyn Channel> = Arc::<Fake>::clone(channel);
            channels.add(name, channel, Health::new(clock.clone()));
        }
        let desk = Desk {
            store: Arc::new(store.clone()),
            clock,
            hub: Arc::default(),
            metrics: Metrics::default(),
            own_id: "spiffe://example.org/control-plane".parse().unwrap(),
            outbox: Arc::default(),
            channels: Arc::new(channels),
            console: "https://countersign.example.org".into(),
        };
        let mut stage = Self { folder, store, ahead, chat, mail, desk, running: None };
        stage.start();
        stage
    }

    fn start(&mut self) {
        let stop = CancellationToken::new();
        let mut tasks = Vec::new();
        let dispatcher = Dispatcher(self.desk.clone()).run(stop.clone());
        tasks.push(tokio::spawn(async { dispatcher.await.unwrap() }));
        for own in self.desk.channels.all() {
            let worker = Worker { own: Arc::clone(own), desk: self.desk.clone() }.run(stop.clone());
            tasks.push(tokio::spawn(async { worker.await.unwrap() }));
        }
        self.running = Some((stop.drop_guard(), tasks));
    }

    /// Ends everything where it stands, and starts again from what is on the disk, with the same channels.
    async fn killed_and_started_again(mut self) -> Self {
        let (guard, tasks) = self.running.take().unwrap();
        tasks.iter().for_each(|task| task.abort());
        for task in tasks {
            let _ = task.await;
        }
        drop((guard, self.desk));
        self.store.close().await;
        let store = open_store(&self.folder);
        Self::on(self.folder, store, self.chat, self.mail)
    }

    fn pass(&self, seconds: u32) {
        self.ahead.fetch_add(Seconds::new(seconds).as_millis(), Ordering::SeqCst);
        self.desk.channels.wake_all();
    }

    async fn submit(&self, n: u8) {
        self.store.submit_approval(request(n), By::new("agent", START)).await.unwrap();
        self.desk.outbox.notify_one();
    }

    async fn vote(&self, n: u8, person: u8, decision: VoteDecision) {
        let voter = Voter {
            person: format!("reviewer-{person}@example.com").parse().unwrap(),
            groups: Vec::new(),
            reviewer: true,
            machine: false,
            agent: false,
            channel: "console".into(),
            method: "token".into(),
            assurance: Default::default(),
            also: Vec::new(),
            delegators: Vec::new(),
        };
        let input = Input::Vote { id: VoteId::from_bytes([person; 16]), voter, decision, reason: None };
        let change = Change { id: id(n), input, agent: None, expected_version: None };
        self.store.apply(change, By::new("reviewer", self.desk.clock.now())).await.unwrap();
        self.desk.outbox.notify_one();
    }

    fn standing(&self, channel: &str) -> health::Standing {
        self.desk.channels.get(channel).unwrap().health.standing()
    }
}

use countersign_store::{AgentStore as _, ApprovalStore as _, DeliveryStore as _, LedgerStore as _};

async fn enrol(store: &EmbeddedStore) {
    let agent = NewAgent {
        id: AgentId::from_bytes([1; 16]),
        name: "deploy-bot".parse().unwrap(),
        owner: "owner@example.com".parse().unwrap(),
    };
    let later = START.plus(Seconds::new(60));
    let (id, hash) = (JoinTokenId::from_bytes([1; 16]), Digest::of(b"token"));
    let token = NewJoinToken { id, hash, expires_at: later };
    store.add_agent(agent, token, By::new("admin", START)).await.unwrap();
    let svid = Svid { fingerprint: hash, serial: "0a".into(), not_after: later };
    store.redeem_join_token(Redemption { hash, svid, at: START }).await.unwrap();
}

pub(super) fn request(n: u8) -> Request {
    let requirement = Requirement {
        quorum: 2,
        decide_within: Seconds::new(90_000),
        ..Requirement::new("two-sre".parse().unwrap(), vec![ReviewerSelector::Anyone])
    };
    let operation = format!("{{\"action\":{{\"name\":\"deploy-{n}\"}}}}");
    let submission = Submission {
        key: format!("key-{n}"),
        evaluation: EvaluationId::from_bytes([n; 16]),
        digest: Digest::of(operation.as_bytes()),
        operation,
        redacted: Vec::new(),
        provenance: Provenance::default(),
        interceptor: "exec".into(),
        policies: Vec::new(),
        requirements: vec![requirement.name.clone()],
        revision: Revision(1),
        tool_pin: None,
        trace: None,
        substitutable: false,
        follows: None,
    };
    Request {
        id: id(n),
        submission,
        agent: AgentId::from_bytes([1; 16]),
        agent_name: "deploy-bot".parse().unwrap(),
        audience: "spiffe://example.org/agent/deploy-bot".parse().unwrap(),
        owner: "owner@example.com".parse().unwrap(),
        requirements: vec![requirement],
        requester_lease: Seconds::new(60),
        submitted_at: START,
        edited_by: Vec::new(),
        labels: Vec::new(),
    }
}

fn busy() -> Option<DeliveryError> {
    Some(DeliveryError::later("busy"))
}

#[tokio::test]
async fn a_message_is_posted_once_and_follows_its_approval() {
    let stage = Stage::new().await;
    stage.submit(1).await;
    stage.chat.until_told(&["post C1 pending"]).await;
    stage.vote(1, 1, VoteDecision::Approve).await;
    stage.chat.until_told(&["post C1 pending", "update C1 pending"]).await;
    stage.vote(1, 2, VoteDecision::Approve).await;
    stage.chat.until_told(&["post C1 pending", "update C1 pending", "update C1 approved"]).await;
    assert!(stage.mail.told().is_empty());
}

/// The control plane ends between the vote and the card's update: in the end the same card shows the vote.
#[tokio::test]
async fn a_crash_between_vote_and_update_changes_the_same_message_afterwards() {
    let stage = Stage::new().await;
    stage.submit(1).await;
    stage.chat.until_told(&["post C1 pending"]).await;
    stage.chat.hangs.store(true, Ordering::SeqCst);
    stage.vote(1, 1, VoteDecision::Deny).await;
    let stage = stage.killed_and_started_again().await;
    stage.chat.hangs.store(false, Ordering::SeqCst);
    let stage = stage.killed_and_started_again().await;
    stage.chat.until_told(&["post C1 pending", "update C1 denied"]).await;
}

/// While one channel hangs, the other one tells as if nothing were.
#[tokio::test]
async fn a_channel_that_hangs_delays_nobody_else_and_loses_nothing() {
    let stage = Stage::new().await;
    stage.chat.hangs.store(true, Ordering::SeqCst);
    let mail = vec![want_of(1, to("mail", "sre@example.com"))];
    stage.submit(1).await;
    stage.store.want_deliveries(mail, None).await.unwrap();
    stage.desk.channels.wake_all();
    stage.mail.until_told(&["post sre@example.com pending"]).await;
    assert!(stage.chat.told().is_empty());
    stage.chat.hangs.store(false, Ordering::SeqCst);
    let stage = stage.killed_and_started_again().await;
    stage.chat.until_told(&["post C1 pending"]).await;
}

fn want_of(n: u8, destination: Destination) -> countersign_store::Want {
    countersign_store::Want {
        approval: id(n),
        version: 1,
        destinations: vec![destination],
        remind: false,
        instead_of: None,
        at: START,
    }
}

#[tokio::test]
async fn the_fallback_tells_what_an_unhealthy_channel_cannot_and_that_one_catches_up() {
    let stage = Stage::new().await;
    stage.chat.fail(busy());
    for n in 1..=3 {
        stage.submit(n).await;
    }
    stage.mail.until_told(&["post sre@example.com pending"; 3]).await;
    assert!(stage.standing("chat").down_since.is_some());
    // A new one goes the same way, without waiting for the next try.
    stage.submit(4).await;
    stage.mail.until_told(&["post sre@example.com pending"; 4]).await;
    stage.chat.fail(None);
    for _ in 0..100 {
        stage.pass(60);
        tokio::time::sleep(Duration::from_millis(20)).await;
        if stage.chat.told().len() == 4 {
            break;
        }
    }
    stage.chat.until_told(&["post C1 pending"; 4]).await;
    assert!(stage.standing("chat").down_since.is_none());
    let events = stage.store.events_from(0, 1_000).await.unwrap();
    let has = |kind: &str| events.iter().any(|event| String::from_utf8_lossy(&event.bytes).contains(kind));
    assert!(has("channel.degraded") && has("channel.recovered"));
}

#[tokio::test]
async fn a_message_that_is_never_taken_is_given_up_and_told_elsewhere() {
    let stage = Stage::new().await;
    stage.chat.fail(Some(DeliveryError::Permanent("there is no room C1".to_owned())));
    stage.submit(1).await;
    stage.mail.until_told(&["post sre@example.com pending"]).await;
    let is_given_up = async || {
        let all = stage.store.deliveries_of(id(1)).await.unwrap();
        all.iter().any(|one| one.destination.channel == "chat" && one.given_up && one.fell_back)
    };
    while !is_given_up().await {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Whoever was never told of a request need not be told that it is over.
#[tokio::test]
async fn what_is_over_before_it_could_be_told_is_not_told() {
    let stage = Stage::new().await;
    stage.chat.fail(Some(DeliveryError::Configuration("the token was revoked".to_owned())));
    stage.submit(1).await;
    stage.mail.until_told(&["post sre@example.com pending"]).await;
    stage.submit(2).await;
    stage.mail.until_told(&["post sre@example.com pending"; 2]).await;
    stage.vote(2, 1, VoteDecision::Deny).await;
    stage.chat.fail(None);
    stage.pass(700);
    stage.chat.until_told(&["post C1 pending"]).await;
    while stage.store.delivery_backlog("chat", 10).await.unwrap() > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(stage.chat.told(), ["post C1 pending"]);
}

#[tokio::test]
async fn what_cannot_be_told_is_given_up_once_it_interests_nobody() {
    let stage = Stage::new().await;
    stage.submit(1).await;
    stage.chat.until_told(&["post C1 pending"]).await;
    stage.chat.fail(busy());
    stage.vote(1, 1, VoteDecision::Deny).await;
    stage.pass(86_401);
    for _ in 0..1_000 {
        if stage.store.deliveries_of(id(1)).await.unwrap()[0].given_up {
            return;
        }
        stage.pass(60);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it is still tried");
}
