//! The start, step by step: keys, store, policy, ports, and then the work in the background.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use countersign_audit::{EventDraft, kind};
use countersign_model::{Seconds, SpiffeId};
use countersign_pki::Identity as OwnIdentity;
use countersign_settings::read_file;
use countersign_store::{EmbeddedStore, Settings, Store};
use countersign_telemetry::Metrics;
use countersign_transport::{Limits, Server, ServerConfig};
use serde_json::json;
use tokio::{
    net::TcpListener,
    sync::{Mutex, Notify},
};
use tokio_util::sync::CancellationToken;

use super::{
    Running, StartError,
    supervise::{Supervisor, TaskError},
};
use crate::{
    authority::CertificateAuthority,
    broker::{Broker, Crowd},
    channel::{Channels, Desk as ChannelDesk, Dispatcher, Listening, Votes, Worker},
    clock::{Clock, entropy},
    config::Config,
    distribution::{Catalogue, Distribution},
    hub::Hub,
    identity::{Identity, Providers, passkey::RelyingParty, people_file},
    keys::{Keys, private_folder},
    ledger::{Ledger, log_key},
    link::{Desk, Registry},
    services::{Overview, Services},
    web,
};

/// How often the identity service keeps house.
const KEEP_HOUSE: Duration = Duration::from_secs(60);
/// The longest time between two signs of life of a sidecar.
const LONGEST_HEARTBEAT: u32 = 10;

/// Everything that has no port yet.
struct Parts {
    embedded: EmbeddedStore,
    store: Arc<dyn Store>,
    keys: Arc<Keys>,
    authority: Arc<CertificateAuthority>,
    broker: Arc<Broker>,
    distribution: Arc<Distribution>,
    ledger: Arc<Ledger>,
    registry: Arc<Registry>,
    catalogue: Arc<Catalogue>,
    hub: Arc<Hub>,
    channels: Arc<Channels>,
    own_id: SpiffeId,
}

pub(super) async fn start(config: Config, clock: Clock) -> Result<Running, StartError> {
    let parts = assemble(&config, &clock)?;
    parts.distribution.resume().await?;
    // Before any clock is looked at: whoever waited could give no sign of life while nobody listened.
    parts.broker.excuse_absence().await?;
    if let Some(edition) = parts.catalogue.active() {
        parts.broker.invalidate_outdated(&edition).await?;
    }
    let mut started = EventDraft::new(clock.now(), kind::CONTROL_STARTED);
    started.body.insert("version".to_owned(), json!(env!("CARGO_PKG_VERSION")));
    parts.store.record(vec![started]).await?;
    open(config, clock, parts).await
}

/// Opens keys and store, and puts the parts together.
fn assemble(config: &Config, clock: &Clock) -> Result<Parts, StartError> {
    private_folder(&config.data)?;
    let keys = Arc::new(Keys::open_or_create(&config.keys_dir())?);
    let authority =
        CertificateAuthority::open(&config.keys_dir(), &config.trust_domain, &config.authority, clock.now())?;
    let own_id = SpiffeId::control_plane(config.trust_domain.clone());
    let embedded = open_store(config, &own_id)?;
    let store: Arc<dyn Store> = Arc::new(embedded.clone());
    let metrics = Metrics::default();
    let registry = Arc::new(Registry::new(config.link.max_sessions));
    let catalogue = Arc::new(Catalogue::default());
    let hub = Arc::new(Hub::default());
    let broker = Arc::new(Broker {
        store: Arc::clone(&store),
        clock: clock.clone(),
        hub: Arc::clone(&hub),
        registry: Arc::clone(&registry),
        catalogue: Arc::clone(&catalogue),
        keys: Arc::clone(&keys),
        own_id: own_id.clone(),
        requester_lease: config.times.requester_lease,
        metrics: metrics.clone(),
        crowd: Crowd::new(config.limits),
        outbox: Arc::new(Notify::new()),
        clocks: Notify::new(),
    });
    let distribution = Arc::new(Distribution {
        store: Arc::clone(&store),
        clock: clock.clone(),
        catalogue: Arc::clone(&catalogue),
        keys: Arc::clone(&keys),
        broker: Arc::clone(&broker),
        trust_domain: config.trust_domain.clone(),
        turn: Mutex::new(()),
    });
    let ledger = Arc::new(Ledger {
        store: Arc::clone(&store),
        clock: clock.clone(),
        log: log_key(&config.trust_domain, &keys)?,
        keys: Arc::clone(&keys),
        every: config.times.checkpoint,
        metrics,
    });
    let authority = Arc::new(authority);
    let channels = Arc::new(Channels::open(config, clock)?);
    Ok(Parts {
        embedded,
        store,
        keys,
        authority,
        broker,
        distribution,
        ledger,
        registry,
        catalogue,
        hub,
        channels,
        own_id,
    })
}

fn open_store(config: &Config, own_id: &SpiffeId) -> Result<EmbeddedStore, StartError> {
    // Event ids must differ, not be secret: the operating system's randomness is asked for once, and
    // what follows from it is.
    let mut seed = Vec::from(entropy::<32>()?);
    let next = move || {
        let digest = countersign_model::Digest::of(&seed);
        seed = digest.as_bytes().to_vec();
        let out = countersign_model::Digest::of_parts(&[b"event id", digest.as_bytes()]);
        let mut bytes = [0; 10];
        for (to, from) in bytes.iter_mut().zip(out.as_bytes()) {
            *to = *from;
        }
        bytes
    };
    Ok(EmbeddedStore::open(&config.data, own_id, Settings::default(), Box::new(next))?)
}

/// Opens the ports and starts the work.
async fn open(config: Config, clock: Clock, parts: Parts) -> Result<Running, StartError> {
    let address = config.api.listen;
    let api_error = |error| StartError::Api { address, error };
    let listener = TcpListener::bind(address).await.map_err(api_error)?;
    let api_addr = listener.local_addr().map_err(api_error)?;
    let own = parts.authority.own_identity(clock.now())?;
    let server = bind(&config, &parts, own.clone())?;
    let link_addr = server.handle().local_addr().map_err(StartError::LinkAddress)?;

    let people: Arc<dyn Store> = Arc::clone(&parts.store);
    let base = config.api.public_url.clone().unwrap_or_else(|| format!("http://{api_addr}"));
    let providers = Providers::open(&config.identity.providers, &base)?;
    let settings = config.identity.clone();
    let identity = Identity::new(people, clock.clone(), settings, providers, config.api.is_https());
    if let Some(file) = &config.people {
        let people = people_file::parse(&read_file(file)?)?;
        identity.adopt_people(people, &config.data.join("first-tokens")).await?;
    }
    let services = Services::new(parts.services_parts(&clock, &config, api_addr));
    let mut supervisor = Supervisor::default();
    let stop = supervisor.stop_token();
    let console = console_address(&config, api_addr);
    let votes = Votes {
        approvals: services.approvals.clone(),
        identity: identity.clone(),
        store: Arc::clone(&parts.store),
        console: Arc::clone(&console),
    };
    let mut listening = Listening::to(parts.channels.listeners(), &votes);
    let hooks = std::mem::take(&mut listening.router);
    let router = web::router_with(services.clone(), identity.clone(), stop.clone(), hooks);
    let until = stop.clone();
    supervisor.spawn("chats", async move {
        listening.run(until).await;
        Ok(())
    });
    supervisor.spawn("the API", serve_api(listener, router, stop.clone()));
    supervisor.spawn("event streams", end_streams(Arc::clone(&parts.hub), stop.clone()));
    supervisor.spawn("sign-in", keep_house(identity.clone(), stop));
    spawn_link(&mut supervisor, &config, &clock, &parts, server, &own);
    spawn_work(&mut supervisor, &parts);
    spawn_channels(&mut supervisor, &parts, console);

    let stop = supervisor.stop_token().drop_guard();
    let drain = config.times.drain;
    Ok(Running {
        api_addr,
        link_addr,
        services,
        identity,
        authority: parts.authority.fingerprint(),
        bundle_keys: parts.keys.bundle_jwks(),
        store: parts.embedded,
        drain,
        stop,
        done: Some(supervisor.watch(drain)),
    })
}

fn bind(config: &Config, parts: &Parts, identity: OwnIdentity) -> Result<Server, StartError> {
    let limits = Limits { connections: config.link.max_sessions.saturating_add(64), ..Limits::default() };
    let trust = parts.authority.trust_bundle()?;
    let (listen, resets) = (config.link.listen, parts.keys.reset_key());
    Ok(Server::bind(ServerConfig { listen, identity, trust, limits, resets })?)
}

fn spawn_link(
    supervisor: &mut Supervisor,
    config: &Config,
    clock: &Clock,
    parts: &Parts,
    server: Server,
    own: &OwnIdentity,
) {
    // Three signs of life fit into a requester's lease, so that one may be lost.
    let heartbeat = (config.times.requester_lease.get() / 3).clamp(1, LONGEST_HEARTBEAT);
    let desk = Arc::new(Desk {
        store: Arc::clone(&parts.store),
        clock: clock.clone(),
        own_id: parts.own_id.clone(),
        registry: Arc::clone(&parts.registry),
        broker: Arc::clone(&parts.broker),
        catalogue: Arc::clone(&parts.catalogue),
        authority: Arc::clone(&parts.authority),
        keys: Arc::clone(&parts.keys),
        hub: Arc::clone(&parts.hub),
        heartbeat: Seconds::new(heartbeat),
        svid_lifetime: config.authority.svid_lifetime,
    });
    let stop = supervisor.stop_token();
    let renewing = Arc::clone(&desk).renew_own_identity(server.handle(), own.renew_at(), stop.clone());
    supervisor.spawn("the link's certificate", renewing);
    supervisor.spawn("liveness", Arc::clone(&desk).keep_liveness(stop.clone()));
    supervisor.spawn("the link", desk.run(server, stop));
}

fn spawn_work(supervisor: &mut Supervisor, parts: &Parts) {
    let stop = supervisor.stop_token();
    supervisor.spawn("the store", watch_store(parts.embedded.clone(), stop.clone()));
    let timers = Arc::clone(&parts.broker).run_timers(stop.clone());
    supervisor.spawn("approval clocks", async { Ok(timers.await?) });
    let checkpoints = Arc::clone(&parts.ledger).run_checkpoints(stop.clone());
    supervisor.spawn("checkpoints", async { Ok(checkpoints.await?) });
    let metrics = Arc::clone(&parts.ledger).run_metrics(stop);
    supervisor.spawn("ledger metrics", async { Ok(metrics.await?) });
}

/// The dispatcher, and for each channel its worker and what it does besides.
fn spawn_channels(supervisor: &mut Supervisor, parts: &Parts, console: Arc<str>) {
    let stop = supervisor.stop_token();
    let broker = &parts.broker;
    let desk = ChannelDesk {
        store: Arc::clone(&parts.store),
        clock: broker.clock.clone(),
        hub: Arc::clone(&parts.hub),
        metrics: broker.metrics.clone(),
        own_id: parts.own_id.clone(),
        outbox: Arc::clone(&broker.outbox),
        channels: Arc::clone(&parts.channels),
        console,
    };
    for own in parts.channels.all() {
        let (own, channel, until) = (Arc::clone(own), Arc::clone(&own.channel), stop.clone());
        supervisor.spawn("a channel's connections", async move {
            channel.run(until).await;
            Ok(())
        });
        let worker = Worker { own, desk: desk.clone() }.run(stop.clone());
        supervisor.spawn("a channel", async { Ok(worker.await?) });
    }
    let dispatcher = Dispatcher(desk).run(stop);
    supervisor.spawn("telling reviewers", async { Ok(dispatcher.await?) });
}

/// Where people reach the console.
fn console_address(config: &Config, api_addr: SocketAddr) -> Arc<str> {
    let address = config.api.public_url.clone().unwrap_or_else(|| format!("http://{api_addr}"));
    address.trim_end_matches('/').into()
}

async fn serve_api(
    listener: TcpListener,
    router: axum::Router,
    stop: CancellationToken,
) -> Result<(), TaskError> {
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service).with_graceful_shutdown(stop.cancelled_owned()).await?;
    Ok(())
}

/// A store that stops working ends the process: it goes on from what is durable after a restart.
async fn watch_store(store: EmbeddedStore, stop: CancellationToken) -> Result<(), TaskError> {
    tokio::select! {
        () = stop.cancelled() => Ok(()),
        error = store.stopped() => Err(error.into()),
    }
}

async fn end_streams(hub: Arc<Hub>, stop: CancellationToken) -> Result<(), TaskError> {
    stop.cancelled().await;
    hub.close();
    Ok(())
}

async fn keep_house(identity: Identity, stop: CancellationToken) -> Result<(), TaskError> {
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(KEEP_HOUSE) => identity.keep_house().await?,
        }
    }
}

impl Parts {
    fn services_parts(&self, clock: &Clock, config: &Config, api: SocketAddr) -> crate::services::Parts {
        crate::services::Parts {
            store: Arc::clone(&self.store),
            clock: clock.clone(),
            broker: Arc::clone(&self.broker),
            distribution: Arc::clone(&self.distribution),
            ledger: Arc::clone(&self.ledger),
            registry: Arc::clone(&self.registry),
            catalogue: Arc::clone(&self.catalogue),
            hub: Arc::clone(&self.hub),
            channels: Arc::clone(&self.channels),
            authority: Arc::clone(&self.authority),
            trust_domain: config.trust_domain.clone(),
            join_token_lifetime: config.times.join_token,
            relying_party: RelyingParty::of(&config.api, api),
            overview: Overview::of(config),
        }
    }
}
