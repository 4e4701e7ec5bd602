//! The control plane's end: one UDP port for links and enrolments.

use std::{
    fmt, io,
    net::{SocketAddr, UdpSocket},
    sync::Arc,
};

use countersign_pki::{Identity, PeerCertificate, TrustBundle};
use quinn::{Connection, Endpoint, Incoming, TokioRuntime, crypto::rustls::HandshakeData};
use rustls::pki_types::CertificateDer;
use tokio::{sync::Semaphore, task::JoinSet, time::timeout};
use tracing::{debug, warn};

use crate::{
    ENROL_ALPN, LINK_ALPN,
    limits::{Limits, open_up, server_transport},
    resets::ResetKey,
    session::{CloseCode, Role, Session, end_of},
    tls::{self, Shown, SidecarVerifier, TlsError},
};

/// What a server needs.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Where to listen (UDP).
    pub listen: SocketAddr,
    /// The control plane's own certificate; its trust domain is that of the sidecars.
    pub identity: Identity,
    /// The roots under which sidecars are believed.
    pub trust: TrustBundle,
    /// The bounds of every session.
    pub limits: Limits,
    /// What lets sidecars know at once when this server was restarted after a crash.
    pub resets: ResetKey,
}

/// Why a server could not start.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The port cannot be had.
    #[error("cannot listen on {address} (UDP): {error}")]
    Address {
        /// The wanted address.
        address: SocketAddr,
        /// What the operating system said.
        error: io::Error,
    },
    /// The identity or trust bundle cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Somebody who connected.
#[derive(Debug)]
pub enum Arrival {
    /// A sidecar, authenticated. Next comes its [`Session::greeting`].
    Link(Session),
    /// A machine without an identity. It may ask one thing; give it time to read the answer
    /// ([`Session::drain`]).
    Enrolment(Session),
}

/// Listens for sidecars.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    handshakes: JoinSet<Option<Arrival>>,
}

/// Steers a running server from elsewhere. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ServerHandle(Arc<Shared>);

struct Shared {
    endpoint: Endpoint,
    shown: Arc<Shown>,
    verifier: Arc<SidecarVerifier>,
    limits: Arc<Limits>,
    enrolments: Arc<Semaphore>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl Server {
    /// Starts to listen. Needs a tokio runtime.
    ///
    /// # Errors
    /// When the port cannot be had, or the certificates cannot be used.
    pub fn bind(config: ServerConfig) -> Result<Self, BindError> {
        let ServerConfig { listen, identity, trust, limits, resets } = config;
        let shown = Arc::new(Shown::new(&identity));
        let trust_domain = identity.spiffe_id().trust_domain().clone();
        let verifier = Arc::new(SidecarVerifier::new(trust_domain, &trust)?);
        let crypto = tls::server(Arc::clone(&shown), Arc::clone(&verifier))?;
        let mut quic = quinn::ServerConfig::with_crypto(Arc::new(crypto));
        quic.transport_config(server_transport(&limits));
        quic.max_incoming(limits.handshakes.max(1));
        let endpoint = listen_on(listen, quic, &resets)
            .map_err(|error| BindError::Address { address: listen, error })?;
        let enrolments = Arc::new(Semaphore::new(limits.enrolments));
        let shared = Shared { endpoint, shown, verifier, limits: Arc::new(limits), enrolments };
        Ok(Self { shared: Arc::new(shared), handshakes: JoinSet::new() })
    }

    /// A handle to steer the server from elsewhere.
    #[must_use]
    pub fn handle(&self) -> ServerHandle {
        ServerHandle(Arc::clone(&self.shared))
    }

    /// The next one who connected and passed the handshake; `None` when the server was closed. Whoever
    /// does not pass is logged and forgotten. Can be cancelled and called again; handshakes only go on
    /// while it is called.
    pub async fn accept(&mut self) -> Option<Arrival> {
        loop {
            tokio::select! {
                Some(done) = self.handshakes.join_next() => match done {
                    Ok(Some(arrival)) => return Some(arrival),
                    Ok(None) => {}
                    Err(error) => warn!(%error, "a handshake failed unexpectedly"),
                },
                incoming = self.shared.endpoint.accept() => self.admit(incoming?),
            }
        }
    }

    /// Lets a client try a handshake, unless there is no room.
    fn admit(&mut self, incoming: Incoming) {
        let (limits, remote) = (&self.shared.limits, incoming.remote_address());
        let connections = self.shared.endpoint.open_connections();
        if self.handshakes.len() >= limits.handshakes || connections >= limits.connections {
            debug!(%remote, connections, "refusing a connection: no room");
            incoming.refuse();
        } else if self.handshakes.len() >= limits.handshakes / 2 && incoming.may_retry() {
            // Under pressure, only those get room who can be reached at the address they claim.
            if let Err(error) = incoming.retry() {
                error.into_incoming().refuse();
            }
        } else {
            let shared = Arc::clone(&self.shared);
            self.handshakes.spawn(async move { shared.welcome(incoming).await });
        }
    }
}

fn listen_on(listen: SocketAddr, quic: quinn::ServerConfig, resets: &ResetKey) -> io::Result<Endpoint> {
    let socket = UdpSocket::bind(listen)?;
    Endpoint::new(resets.endpoint_config(), Some(quic), socket, Arc::new(TokioRuntime))
}

impl ServerHandle {
    /// Where the server listens.
    ///
    /// # Errors
    /// When the operating system does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.endpoint.local_addr()
    }

    /// Shows another certificate from the next handshake on.
    pub fn set_identity(&self, identity: &Identity) {
        self.0.shown.replace(identity);
    }

    /// Believes other roots from the next handshake on.
    ///
    /// # Errors
    /// When the bundle cannot be used; the old one stays.
    pub fn set_trust(&self, trust: &TrustBundle) -> Result<(), TlsError> {
        self.0.verifier.replace(trust)
    }

    /// How many connections there are.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.0.endpoint.open_connections()
    }

    /// Closes every connection, lets nobody in any more, and waits until the peers know.
    pub async fn close(&self, code: CloseCode, reason: &str) {
        self.0.endpoint.close(code.to_wire(), reason.as_bytes());
        // The time a peer may take to hear of it is bounded by its idle timeout.
        let _ = timeout(self.0.limits.frame, self.0.endpoint.wait_idle()).await;
    }
}

impl Shared {
    async fn welcome(&self, incoming: Incoming) -> Option<Arrival> {
        let remote = incoming.remote_address();
        match timeout(self.limits.handshake, async { incoming.accept()?.await }).await {
            Ok(Ok(connection)) => self.sort(&connection),
            Ok(Err(error)) => {
                warn!(%remote, reason = %end_of(error), "a handshake failed");
                None
            }
            Err(_) => {
                warn!(%remote, reason = "it took too long", "a handshake failed");
                None
            }
        }
    }

    /// Tells links and enrolments apart. Nothing that a peer sent was read before this.
    fn sort(&self, connection: &Connection) -> Option<Arrival> {
        let agreed = connection.handshake_data().and_then(|data| data.downcast::<HandshakeData>().ok());
        let arrival = match agreed.and_then(|data| data.protocol) {
            Some(alpn) if alpn == LINK_ALPN => self.link(connection),
            Some(alpn) if alpn == ENROL_ALPN => self.enrolment(connection),
            _ => Err((CloseCode::Protocol, "no protocol was agreed on".to_owned())),
        };
        arrival
            .map_err(|(code, reason)| {
                warn!(remote = %connection.remote_address(), ?code, reason, "refusing a connection");
                connection.close(code.to_wire(), reason.as_bytes());
            })
            .ok()
    }

    fn link(&self, connection: &Connection) -> Result<Arrival, (CloseCode, String)> {
        let peer = self.identify(connection).map_err(|reason| (CloseCode::Unauthenticated, reason))?;
        open_up(connection, &self.limits);
        Ok(Arrival::Link(self.session(connection, Role::ControlPlane, Some(peer), None)))
    }

    fn enrolment(&self, connection: &Connection) -> Result<Arrival, (CloseCode, String)> {
        let place = Arc::clone(&self.enrolments).try_acquire_owned();
        let place = place.map_err(|_| (CloseCode::Busy, "too many enrolments at a time".to_owned()))?;
        Ok(Arrival::Enrolment(self.session(connection, Role::EnrolmentDesk, None, Some(place))))
    }

    fn session(
        &self,
        connection: &Connection,
        role: Role,
        peer: Option<PeerCertificate>,
        place: Option<tokio::sync::OwnedSemaphorePermit>,
    ) -> Session {
        Session::new(connection.clone(), role, peer, Arc::clone(&self.limits), place)
    }

    /// Who a peer is, by the certificate that the handshake verified.
    fn identify(&self, connection: &Connection) -> Result<PeerCertificate, String> {
        let shown = connection.peer_identity().ok_or("a client certificate is needed")?;
        let chain = shown.downcast::<Vec<CertificateDer<'static>>>().map_err(|_| "no certificates")?;
        self.verifier.identify(chain.first().ok_or("a client certificate is needed")?)
    }
}
