//! The link to sidecars: enrolment, sessions, and what they ask.
//!
//! Who a peer is, is read out of its verified certificate and out of nothing that it says.

mod enrol;
mod pace;
mod pushes;
mod questions;
pub(crate) mod registry;
mod session;

use std::{sync::Arc, time::Duration};

use countersign_model::{Seconds, SpiffeId, Timestamp};
use countersign_store::Store;
use countersign_transport::{Arrival, CloseCode, Server, ServerHandle};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(crate) use registry::Registry;

use crate::{
    app::TaskError, authority::CertificateAuthority, broker::Broker, clock::Clock, distribution::Catalogue,
    hub::Hub, keys::Keys,
};

/// Program and version, as sidecars are told.
const SOFTWARE: &str = concat!("countersign-control/", env!("CARGO_PKG_VERSION"));

/// The longest sleep before the clock is looked at again: it can be set, and the machine can sleep.
const LONGEST_SLEEP_MILLIS: i64 = 60_000;
/// How often what sidecars say is kept.
const KEEP_LIVENESS: Duration = Duration::from_secs(30);

/// What sessions work with.
pub(crate) struct Desk {
    /// The store.
    pub(crate) store: Arc<dyn Store>,
    /// The time.
    pub(crate) clock: Clock,
    /// The control plane's own id.
    pub(crate) own_id: SpiffeId,
    /// Who is connected.
    pub(crate) registry: Arc<Registry>,
    /// Approvals.
    pub(crate) broker: Arc<Broker>,
    /// Policy.
    pub(crate) catalogue: Arc<Catalogue>,
    /// Certificates.
    pub(crate) authority: Arc<CertificateAuthority>,
    /// Keys that sidecars verify bundles with.
    pub(crate) keys: Arc<Keys>,
    /// Who wants to know.
    pub(crate) hub: Arc<Hub>,
    /// How often sidecars are to give a sign of life.
    pub(crate) heartbeat: Seconds,
    /// How long their certificates last.
    pub(crate) svid_lifetime: Seconds,
}

impl Desk {
    /// Serves everybody who connects, until the stop.
    pub(crate) async fn run(
        self: Arc<Self>,
        mut server: Server,
        stop: CancellationToken,
    ) -> Result<(), TaskError> {
        let handle = server.handle();
        let mut sessions = JoinSet::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                arrival = server.accept() => match arrival {
                    Some(arrival) => {
                        sessions.spawn(Arc::clone(&self).serve_arrival(arrival));
                    }
                    None => return Err("the link's port was closed".into()),
                },
                Some(ended) = sessions.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "a session failed unexpectedly");
                    }
                }
            }
        }
        handle.close(CloseCode::Shutdown, "the control plane is shutting down").await;
        while sessions.join_next().await.is_some() {}
        Ok(())
    }

    async fn serve_arrival(self: Arc<Self>, arrival: Arrival) {
        match arrival {
            Arrival::Link(session) => self.link(session).await,
            Arrival::Enrolment(session) => self.enrolment(session).await,
        }
    }

    /// Renews the control plane's own certificate at half of its life, until the stop. Sessions go on
    /// with the one that they began with.
    pub(crate) async fn renew_own_identity(
        self: Arc<Self>,
        server: ServerHandle,
        mut renew_at: Timestamp,
        stop: CancellationToken,
    ) -> Result<(), TaskError> {
        loop {
            let wait = renew_at.millis_since(self.clock.now()).clamp(0, LONGEST_SLEEP_MILLIS);
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(Duration::from_millis(wait.unsigned_abs())) => {}
            }
            let now = self.clock.now();
            if now >= renew_at {
                let identity = self.authority.own_identity(now)?;
                server.set_identity(&identity);
                server.set_trust(&self.authority.trust_bundle()?)?;
                renew_at = identity.renew_at();
                tracing::debug!(%renew_at, "the control plane has a new certificate");
            }
        }
    }

    /// Keeps what sidecars say for the time after a restart, every now and then, until the stop.
    pub(crate) async fn keep_liveness(self: Arc<Self>, stop: CancellationToken) -> Result<(), TaskError> {
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(KEEP_LIVENESS) => {}
            }
            let heard = self.registry.heard();
            if !heard.is_empty() {
                self.store.note_liveness(heard).await?;
            }
        }
    }
}
