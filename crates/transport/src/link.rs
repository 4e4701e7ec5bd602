//! The sidecar's link: one connection to the control plane, made anew whenever it is lost.
//!
//! ```text
//! connecting ──welcomed──▶ up ──connection ends──▶ down ──wait (backoff, jitter)──▶ connecting
//!      └────────not reached, or refused────────────▶┘
//! ```

use std::{fmt, future::Future, sync::Arc};

use arc_swap::ArcSwap;
use countersign_pki::{Identity, IdentityRequest, SpiffeId, TrustBundle};
use countersign_protocol::{Hello, RefusalCode, Renew, Request, Welcome};
use quinn::Endpoint;
use tokio::{
    sync::{mpsc, watch},
    time::{Duration, Instant, sleep, timeout},
};
use tracing::{info, warn};

use crate::{
    LINK_ALPN,
    backoff::Backoff,
    client::{self, ConnectError, RenewError},
    exchange::{Exchange, RequestError},
    limits::Limits,
    session::{CloseCode, Role, Session, SessionEnd},
    tls::{self, ControlPlaneVerifier, Shown, TlsError},
};

/// Pushes that wait to be taken; beyond that, the control plane waits.
const WAITING_PUSHES: usize = 16;

/// How long to wait, when the program stops, until the other side has heard of it.
const GOOD_BYE: Duration = Duration::from_secs(1);

/// What a link needs.
pub struct LinkConfig {
    /// The control plane: host and port.
    pub control: String,
    /// The sidecar's certificate.
    pub identity: Identity,
    /// The roots under which the control plane is believed.
    pub trust: TrustBundle,
    /// How long and how much the control plane may take.
    pub limits: Limits,
    /// When to try again.
    pub backoff: Backoff,
    /// What to say first on each new connection.
    pub hello: Box<dyn Fn() -> Hello + Send + Sync>,
    /// Random numbers, for jitter.
    pub entropy: Box<dyn Fn() -> u64 + Send + Sync>,
}

impl fmt::Debug for LinkConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkConfig").field("control", &self.control).finish_non_exhaustive()
    }
}

/// How a link is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkState {
    /// It tries to connect.
    Connecting,
    /// It is up, and was welcomed with this.
    Up(Arc<Welcome>),
    /// It is down, and will try again.
    Down {
        /// Why, for a person.
        reason: String,
        /// What the control plane said when it refused the greeting.
        refused: Option<RefusalCode>,
        /// When it tries again.
        retry_in: Duration,
    },
    /// It was shut down.
    Closed,
}

impl LinkState {
    /// Whether requests can be sent.
    #[must_use]
    pub const fn is_up(&self) -> bool {
        matches!(self, Self::Up(_))
    }
}

/// Sends requests over the present connection. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Link(Arc<Shared>);

struct Shared {
    spiffe_id: SpiffeId,
    shown: Arc<Shown>,
    verifier: Arc<ControlPlaneVerifier>,
    session: ArcSwap<Option<(Session, Endpoint)>>,
    state: watch::Sender<LinkState>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("state", &*self.state.borrow()).finish_non_exhaustive()
    }
}

/// Keeps the connection. Somebody must [`run`](Self::run) it.
#[derive(Debug)]
pub struct LinkDriver {
    config: LinkConfig,
    limits: Arc<Limits>,
    shared: Arc<Shared>,
    pushes: mpsc::Sender<Exchange>,
}

/// What the control plane begins: bundles and revocations.
#[derive(Debug)]
pub struct Pushes(mpsc::Receiver<Exchange>);

impl Pushes {
    /// The next exchange that the control plane begins; `None` when the link was shut down.
    pub async fn next(&mut self) -> Option<Exchange> {
        self.0.recv().await
    }
}

impl Link {
    /// Prepares a link. Nothing happens until the driver runs.
    ///
    /// # Errors
    /// When the identity or trust bundle cannot be used.
    pub fn new(config: LinkConfig) -> Result<(Self, Pushes, LinkDriver), TlsError> {
        let spiffe_id = config.identity.spiffe_id().clone();
        let trust_domain = spiffe_id.trust_domain().clone();
        let shared = Arc::new(Shared {
            spiffe_id,
            shown: Arc::new(Shown::new(&config.identity)),
            verifier: Arc::new(ControlPlaneVerifier::trusting(trust_domain, &config.trust)?),
            session: ArcSwap::from_pointee(None),
            state: watch::Sender::new(LinkState::Connecting),
        });
        let (pushes, receiver) = mpsc::channel(WAITING_PUSHES);
        let limits = Arc::new(config.limits.clone());
        let driver = LinkDriver { config, limits, shared: Arc::clone(&shared), pushes };
        Ok((Self(shared), Pushes(receiver), driver))
    }

    /// How the link is, now and as it changes.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<LinkState> {
        self.0.state.subscribe()
    }

    /// Asks the control plane, and waits for the answer. Fails at once while the link is down.
    ///
    /// # Errors
    /// When the link is down or lost, no answer comes in time, or the answer is a refusal.
    pub async fn request<R: Request>(&self, request: R) -> Result<R::Answer, RequestError> {
        let session = self.0.session.load_full();
        match session.as_ref() {
            Some((session, _)) => session.request(request).await,
            None => Err(RequestError::Down),
        }
    }

    /// Gets the next certificate for a fresh key, without touching the connection. The caller saves
    /// both, the trust bundle first, and then shows them with [`Self::set_identity`].
    ///
    /// # Errors
    /// When the control plane refuses or is not reached, or gives something else.
    pub async fn renew(&self) -> Result<(Identity, TrustBundle), RenewError> {
        let request = IdentityRequest::generate()?;
        let svid = self.request(Renew { csr: request.csr().to_vec() }).await?;
        client::renewed(request, &svid, &self.0.spiffe_id)
    }

    /// Shows another certificate, and believes other roots, from the next connection on.
    ///
    /// # Errors
    /// When the bundle cannot be used; then nothing changes.
    pub fn set_identity(&self, identity: &Identity, trust: &TrustBundle) -> Result<(), TlsError> {
        self.0.verifier.replace(trust)?;
        self.0.shown.replace(identity);
        Ok(())
    }
}

/// Why an attempt to connect, or a connection, came to its end.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("the control plane did not welcome the sidecar: {0}")]
    Greeting(#[from] RequestError),
    #[error("no welcome in time")]
    NoWelcome,
    #[error(transparent)]
    Ended(#[from] SessionEnd),
}

impl Lost {
    fn refusal(&self) -> Option<RefusalCode> {
        match self {
            Self::Greeting(RequestError::Refused(refused)) => Some(refused.code),
            Self::Ended(SessionEnd::ByPeer { code: CloseCode::Revoked, .. }) => Some(RefusalCode::Revoked),
            _ => None,
        }
    }
}

impl LinkDriver {
    /// Connects, and connects again, until `shutdown` is ready.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        tokio::select! {
            () = self.keep() => {}
            () = shutdown => {}
        }
        if let Some((session, endpoint)) = self.shared.session.swap(Arc::new(None)).as_ref() {
            session.close(CloseCode::Shutdown, "the sidecar stops");
            // So that the control plane hears of it before the process is gone; it is no tragedy if not.
            let _ = timeout(GOOD_BYE, endpoint.wait_idle()).await;
        }
        self.shared.state.send_replace(LinkState::Closed);
    }

    /// Ends only when nobody takes the pushes any more.
    async fn keep(&self) {
        let mut failures = 0;
        while !self.pushes.is_closed() {
            self.shared.state.send_replace(LinkState::Connecting);
            let started = Instant::now();
            let lost = match self.connect().await {
                Ok(session) => Lost::Ended(self.serve(&session).await),
                Err(lost) => lost,
            };
            self.shared.session.store(Arc::new(None));
            // A connection that lasted was a good one; one that is lost at once is no reason to hurry.
            failures = if started.elapsed() > self.config.backoff.most { 0 } else { failures };
            let retry_in = self.config.backoff.wait(failures, (self.config.entropy)());
            failures = failures.saturating_add(1);
            warn!(reason = %lost, ?retry_in, "the link is down");
            let (reason, refused) = (lost.to_string(), lost.refusal());
            self.shared.state.send_replace(LinkState::Down { reason, refused, retry_in });
            sleep(retry_in).await;
        }
    }

    /// Connects, greets, and is up.
    async fn connect(&self) -> Result<Session, Lost> {
        let (verifier, shown) = (Arc::clone(&self.shared.verifier), Arc::clone(&self.shared.shown));
        let crypto = tls::client(LINK_ALPN, verifier, Some(shown)).map_err(ConnectError::Tls)?;
        let (session, endpoint) =
            client::connect(&self.config.control, crypto, Role::Sidecar, &self.limits).await?;
        let greeting = timeout(self.limits.handshake, session.request((self.config.hello)()));
        let welcome = greeting.await.map_err(|_| Lost::NoWelcome)??;
        info!(control_plane = %session, software = welcome.software, "the link is up");
        self.shared.session.store(Arc::new(Some((session.clone(), endpoint))));
        self.shared.state.send_replace(LinkState::Up(Arc::new(welcome)));
        Ok(session)
    }

    /// Hands over what the control plane begins, until the connection ends.
    async fn serve(&self, session: &Session) -> SessionEnd {
        loop {
            let exchange = match session.accept().await {
                Ok(exchange) => exchange,
                Err(end) => return end,
            };
            // Nobody may be in a hurry to take it; the end of the connection is noticed all the same.
            tokio::select! {
                handed_over = self.pushes.send(exchange) => if handed_over.is_err() {
                    session.close(CloseCode::Done, "the sidecar takes no pushes");
                },
                end = session.closed() => return end,
            }
        }
    }
}
