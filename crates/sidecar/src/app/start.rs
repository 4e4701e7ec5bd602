//! The start, in an order in which each part finds what it needs.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use countersign_audit::kind;
use countersign_gate::{
    Gate, Housekeeper, Ports, Settings,
    ports::{ApprovalBroker, AuditSink, Clock, GrantJournal, Observer, PolicySource},
};
use countersign_intercept::{
    check::{self, Check, Token, serve_tcp, serve_unix},
    exec::normalise::ProgramFolders,
    initiator::Initiators,
    local,
    mcp::{Servers, http::Processes},
};
use countersign_model::{AgentName, SpiffeId};
use countersign_protocol::{Hello, codec::PROTOCOL_VERSION};
use countersign_spool::{self as spool, AppendError, Spool, SpoolError};
use countersign_telemetry::Metrics;
use countersign_transport::{Backoff, Limits, Link, LinkConfig, LinkDriver, Pushes};
use serde_json::json;
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    Running, StartError, TaskError,
    listen::{ListenError, Listeners, McpListener},
    mcp::{self, McpError},
    supervise::{Stage, Supervisor},
};
use crate::{
    SOFTWARE,
    broker::{LinkBroker, Tracker},
    chance::{SystemClock, SystemEntropy, random},
    config::Config,
    enrol::{Membership, Renewal, Wallet},
    files::private_folder,
    observe::{Observed, measure},
    record::Recorder,
    ship::{Reporter, Shipper},
    sync::{bundle::Activator, contact::Contact, policy::Policy, pushes::PushDesk},
};

/// How often grants that ended long ago are forgotten.
const PRUNE_EVERY: Duration = Duration::from_secs(60 * 60);
/// How long the spool may take to close.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// What most parts need.
struct Parts {
    config: Config,
    agent: AgentName,
    id: SpiffeId,
    clock: Arc<dyn Clock>,
    spool: Spool,
    policy: Arc<Policy>,
    tracker: Arc<Tracker>,
    recorder: Recorder,
    reports: Arc<Notify>,
    metrics: Metrics,
}

pub(super) async fn start(config: Config) -> Result<Running, StartError> {
    private_folder(&config.data)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let wallet = Wallet::new(&config);
    let membership = wallet.open(&config, clock.now()).await?;
    let parts = open(config, &membership, clock)?;
    // Nobody is served before it is on record how the last run ended.
    let unfinished = parts.recorder.settle_unfinished(parts.clock.now()).await?;
    parts.note_start(unfinished).await?;
    let Membership { identity, trust, pinned, .. } = membership;
    let activator =
        Activator::new(Arc::clone(&parts.policy), parts.spool.clone(), Arc::clone(&parts.clock), pinned);
    if let Err(error) = activator.resume().await {
        // Everything is denied until the control plane has sent it again (I6).
        tracing::error!(%error, "the bundle of before cannot be used");
    }
    let listeners = Listeners::bind(&parts.config).await?;
    let renew_at = identity.renew_at();
    let (link, pushes, driver) = Link::new(LinkConfig {
        control: parts.config.control.clone(),
        identity,
        trust,
        limits: Limits::default(),
        backoff: Backoff::default(),
        hello: parts.greeting(),
        entropy: Box::new(|| u64::from_be_bytes(random())),
    })?;
    let mut tasks = Supervisor::default();
    let renewal = Renewal { wallet, link: link.clone(), clock: Arc::clone(&parts.clock), renew_at };
    tasks.spawn(Stage::Work, "the renewal of the certificate", |stop| renewal.run(stop));
    let desk = PushDesk { activator, spool: parts.spool.clone() };
    spawn_link(&mut tasks, desk, pushes, driver);
    spawn_work(&mut tasks, &parts, &link);
    let (gate, housekeeper) = parts.gate(&link);
    tasks.spawn(Stage::Work, "the gate's housekeeper", |_| keep_house(housekeeper));
    Ok(parts.serve(tasks, listeners, gate).map_err(ListenError::from)?)
}

fn open(config: Config, membership: &Membership, clock: Arc<dyn Clock>) -> Result<Parts, StartError> {
    let id = membership.identity.spiffe_id().clone();
    let settings = spool::Settings { max_bytes: config.spool_max_bytes, ..spool::Settings::default() };
    let path = config.data.join("spool.redb");
    let spool = Spool::open(&path, &id, settings, Box::new(random))?;
    let reports = Arc::new(Notify::new());
    let state = spool.state();
    Ok(Parts {
        policy: Arc::new(Policy::new(state.last_contact()?, state.spent()?)),
        tracker: Tracker::resume(state.clone())?,
        recorder: Recorder::new(spool.clone(), &id, Arc::clone(&reports)),
        agent: membership.agent.clone(),
        metrics: Metrics::default(),
        config,
        id,
        clock,
        spool,
        reports,
    })
}

impl Parts {
    async fn note_start(&self, unfinished: usize) -> Result<(), StartError> {
        let mut event = self.recorder.draft(self.clock.now(), kind::SIDECAR_STARTED);
        event.body.insert("software".to_owned(), json!(SOFTWARE));
        event.body.insert("outcomes_unknown".to_owned(), json!(unfinished));
        match self.spool.append(vec![event]).await {
            Ok(_) => Ok(()),
            Err(AppendError::Spool(error)) => Err(error.into()),
            // It denies everything until there is room, which only the control plane can make.
            Err(error) => {
                tracing::error!(%error, "the start was not recorded");
                Ok(())
            }
        }
    }

    /// What is said first on each new connection.
    fn greeting(&self) -> Box<dyn Fn() -> Hello + Send + Sync> {
        let (policy, spool) = (Arc::clone(&self.policy), self.spool.clone());
        let (tracker, clock) = (Arc::clone(&self.tracker), Arc::clone(&self.clock));
        Box::new(move || {
            let snapshot = policy.snapshot();
            let depth = spool.depth();
            Hello {
                protocol: PROTOCOL_VERSION,
                software: SOFTWARE.to_owned(),
                revision: snapshot.as_ref().map(|snapshot| snapshot.revision),
                bundle: snapshot.as_ref().map(|snapshot| snapshot.bundle.digest()),
                last_seq: depth.last_seq,
                spool_depth: depth.events,
                pending: tracker.waited_for(clock.now()),
            }
        })
    }

    fn gate(&self, link: &Link) -> (Gate, Housekeeper) {
        let broker = LinkBroker {
            link: link.clone(),
            tracker: Arc::clone(&self.tracker),
            clock: Arc::clone(&self.clock),
        };
        let ports = Ports {
            policy: Arc::clone(&self.policy) as Arc<dyn PolicySource>,
            broker: Arc::new(broker) as Arc<dyn ApprovalBroker>,
            audit: Arc::new(self.recorder.clone()) as Arc<dyn AuditSink>,
            journal: Arc::new(self.recorder.clone()) as Arc<dyn GrantJournal>,
            clock: Arc::clone(&self.clock),
            entropy: Arc::new(SystemEntropy),
            observer: Arc::new(Observed::new(self.metrics.clone())) as Arc<dyn Observer>,
        };
        let settings = Settings {
            refusal_stands: self.config.times.refusal_stands,
            ..Settings::new(self.agent.clone(), self.id.clone())
        };
        Gate::new(ports, settings)
    }

    /// Opens the doors. From here on the gate belongs to the listeners: it is gone when they are.
    fn serve(self, mut tasks: Supervisor, listeners: Listeners, gate: Gate) -> Result<Running, McpError> {
        let Listeners { tcp, address, unix, socket, peers, token, mcp } = listeners;
        let initiators = Initiators::new(self.config.initiators.clone());
        for refresh in initiators.refreshes().map_err(McpError::from)? {
            let clock = Arc::clone(&self.clock);
            tasks.spawn(Stage::Work, "the keys of an identity provider", |stop| async move {
                stop.run_until_cancelled(refresh.run(clock)).await;
                Ok(())
            });
        }
        let settings = check::Settings {
            trust_subject: self.config.check.trust_subject,
            initiators: initiators.clone(),
            ..check::Settings::default()
        };
        let check = Check::new(gate.clone(), settings, &format!("http://{address}"));
        let console = self.config.console.clone();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let stopping = CancellationToken::new();
        let servers = mcp::servers(&gate, &self.config, initiators.clone(), stopping.clone())?;
        let mcp = mcp.map(|mcp| serve_mcp(&mut tasks, &servers, &self.config, mcp)).transpose()?;
        let folders = ProgramFolders::of_path(&path);
        let local = local::Settings { console, folders, stop: stopping.clone(), initiators };
        let on_tcp = check.routes_with_token(Token::new(&token));
        let on_unix = check.at("http://localhost").routes().merge(local::router(gate, servers, local));
        tasks.spawn(Stage::Front, "the check API on TCP", |stop| async move {
            serve_tcp(tcp, on_tcp, stop.cancelled_owned()).await;
            Ok(())
        });
        tasks.spawn(Stage::Front, "the unix socket", |stop| async move {
            let stop = async move {
                stop.cancelled().await;
                // What is held is withdrawn: nobody could be told of an answer.
                stopping.cancel();
            };
            serve_unix(unix, on_unix, peers, stop).await;
            Ok(())
        });
        let stop = CancellationToken::new();
        let watch = tasks.watch(stop.clone(), self.config.times.drain);
        let Self { agent, policy, spool, .. } = self;
        let done = tokio::spawn(async move {
            let ended = watch.await;
            close(spool).await;
            ended
        });
        let done = Some(done);
        Ok(Running { agent, check_addr: address, socket, check_token: token, mcp, policy, stop, done })
    }
}

/// Opens the door to the MCP servers. Returns where it is, and its token.
fn serve_mcp(
    tasks: &mut Supervisor,
    servers: &Servers,
    config: &Config,
    listener: McpListener,
) -> Result<(SocketAddr, String), McpError> {
    let McpListener { tcp, address, token } = listener;
    let processes = Processes::default();
    let routes = mcp::router(servers, config, &token, processes.clone())?;
    let stopping = servers.stop().clone();
    tasks.spawn(Stage::Front, "the MCP servers", |stop| async move {
        // They end with this task, even when it is abandoned because something takes too long.
        let _ending = processes.guard();
        let stop = async move {
            stop.cancelled().await;
            stopping.cancel();
        };
        serve_tcp(tcp, routes, stop).await;
        processes.end().await;
        Ok(())
    });
    Ok((address, token))
}

fn spawn_link(tasks: &mut Supervisor, desk: PushDesk, pushes: Pushes, driver: LinkDriver) {
    let desk = Arc::new(desk);
    tasks.spawn(Stage::Link, "what the control plane pushes", |stop| desk.run(pushes, stop));
    tasks.spawn(Stage::Link, "the link", async move |stop| {
        driver.run(stop.cancelled()).await;
        Ok(())
    });
}

fn spawn_work(tasks: &mut Supervisor, parts: &Parts, link: &Link) {
    let contact = Contact {
        link: link.clone(),
        policy: Arc::clone(&parts.policy),
        spool: parts.spool.clone(),
        tracker: Arc::clone(&parts.tracker),
        clock: Arc::clone(&parts.clock),
    };
    tasks.spawn(Stage::Work, "the signs of life", |stop| contact.run(stop));
    let shipper = Shipper { spool: parts.spool.clone(), link: link.clone() };
    tasks.spawn(Stage::Work, "the shipping of audit events", |stop| shipper.run(stop));
    let reporter = Reporter {
        journal: parts.spool.journal().clone(),
        link: link.clone(),
        work: Arc::clone(&parts.reports),
    };
    tasks.spawn(Stage::Work, "the reports about grants", |stop| reporter.run(stop));
    let (tracker, clock) = (Arc::clone(&parts.tracker), Arc::clone(&parts.clock));
    let asked = link.clone();
    tasks.spawn(Stage::Work, "the list of approvals", |stop| tracker.run(asked, move || clock.now(), stop));
    let (metrics, spool, measured) = (parts.metrics.clone(), parts.spool.clone(), link.clone());
    tasks.spawn(Stage::Work, "the measurements", |stop| measure(metrics, spool, measured, stop));
    let (spool, clock) = (parts.spool.clone(), Arc::clone(&parts.clock));
    tasks.spawn(Stage::Work, "the pruning of the journal", |stop| prune(spool, clock, stop));
}

async fn prune(spool: Spool, clock: Arc<dyn Clock>, stop: CancellationToken) -> Result<(), TaskError> {
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = sleep(PRUNE_EVERY) => {}
        }
        spool.journal().prune(clock.now()).await?;
    }
}

/// Ends when the gate is gone and everything that was left behind is done.
async fn keep_house(housekeeper: Housekeeper) -> Result<(), TaskError> {
    housekeeper.run().await;
    Ok(())
}

/// What was taken in is durable when this returns.
async fn close(spool: Spool) {
    match spool.flush().await {
        Ok(()) | Err(SpoolError::Closed) => {}
        Err(error) => tracing::error!(%error, "the spool could not be flushed"),
    }
    if timeout(CLOSE_WITHIN, spool.close()).await.is_err() {
        tracing::debug!("the spool is still in use by what was abandoned");
    }
}
