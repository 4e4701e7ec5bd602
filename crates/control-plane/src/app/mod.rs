//! Composition: configuration in, a running control plane out.

mod start;
mod supervise;

use std::net::SocketAddr;

use countersign_audit::checkpoint::CheckpointError;
use countersign_model::{Digest, Seconds, signing::Jwks};
use countersign_pki::AuthorityError;
use countersign_store::{EmbeddedStore, OpenError, PageError, StoreError};
use countersign_transport::BindError;
use tokio::{task::JoinHandle, time::timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

pub use self::supervise::Failure;
pub(crate) use self::supervise::TaskError;
pub use crate::{authority::AuthorityProblem, keys::KeyError};
use crate::{
    authority::CertificateAuthority,
    channel::ChannelProblem,
    clock::{Clock, NoEntropy},
    config::{Config, ConfigProblems},
    distribution::EditionError,
    identity::{Identity, ProvidersError, people_file::PeopleError},
    keys::private_folder,
    services::Services,
};

/// Why the control plane did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A key or folder.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The certificate authority.
    #[error(transparent)]
    Authority(#[from] AuthorityProblem),
    /// The store.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store, once it was open.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Randomness.
    #[error(transparent)]
    Entropy(#[from] NoEntropy),
    /// The ledger's name cannot be signed under.
    #[error(transparent)]
    Log(#[from] CheckpointError),
    /// The policy in force.
    #[error("the policy in force cannot be used: {0}")]
    Policy(String),
    /// The identity providers.
    #[error(transparent)]
    Providers(#[from] ProvidersError),
    /// The people file.
    #[error(transparent)]
    People(#[from] PeopleError),
    /// A channel.
    #[error(transparent)]
    Channel(#[from] ChannelProblem),
    /// The link's port or certificates.
    #[error(transparent)]
    Link(#[from] BindError),
    /// The API's port.
    #[error("cannot listen on {address}: {error}")]
    Api {
        /// The wanted address.
        address: SocketAddr,
        /// What the operating system said.
        error: std::io::Error,
    },
    /// The operating system does not say where the link listens.
    #[error("the link's address: {0}")]
    LinkAddress(std::io::Error),
}

impl From<AuthorityError> for StartError {
    fn from(error: AuthorityError) -> Self {
        Self::Authority(error.into())
    }
}

impl From<ConfigProblems> for StartError {
    fn from(problems: ConfigProblems) -> Self {
        Self::People(problems.into())
    }
}

impl From<EditionError> for StartError {
    fn from(error: EditionError) -> Self {
        Self::Policy(error.to_string())
    }
}

impl From<PageError> for StartError {
    fn from(error: PageError) -> Self {
        match error {
            PageError::Store(error) => Self::Store(error),
            PageError::Cursor(error) => Self::Store(StoreError::Damaged(error.to_string())),
        }
    }
}

/// The control plane.
#[derive(Debug)]
pub struct App;

impl App {
    /// Starts a control plane by the machine's clock.
    ///
    /// # Errors
    /// When any part of it does not start; nothing is left running then.
    pub async fn start(config: Config) -> Result<Running, StartError> {
        Self::start_at(config, Clock::system()).await
    }

    /// Starts a control plane by another clock, for tests.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_at(config: Config, clock: Clock) -> Result<Running, StartError> {
        start::start(config, clock).await
    }
}

/// A control plane that runs until it is shut down, or until one of its parts fails. Dropping it shuts
/// it down without waiting.
#[derive(Debug)]
pub struct Running {
    api_addr: SocketAddr,
    link_addr: SocketAddr,
    services: Services,
    identity: Identity,
    authority: Digest,
    bundle_keys: Jwks,
    store: EmbeddedStore,
    drain: Seconds,
    stop: DropGuard,
    done: Option<JoinHandle<Result<(), Failure>>>,
}

impl Running {
    /// Where the API and the console are served.
    #[must_use]
    pub fn api_addr(&self) -> SocketAddr {
        self.api_addr
    }

    /// Where sidecars connect (UDP).
    #[must_use]
    pub fn link_addr(&self) -> SocketAddr {
        self.link_addr
    }

    /// What it can do, for whoever runs it in process.
    #[must_use]
    pub fn services(&self) -> &Services {
        &self.services
    }

    /// Who can use it, for whoever runs it in process.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// SHA-256 over the certificate of its authority, as join tokens carry it.
    #[must_use]
    pub fn authority(&self) -> Digest {
        self.authority
    }

    /// The keys that its bundles are signed with.
    #[must_use]
    pub fn bundle_keys(&self) -> &Jwks {
        &self.bundle_keys
    }

    /// Waits until a part of it fails.
    ///
    /// # Errors
    /// With the part that failed.
    pub async fn ended(&mut self) -> Result<(), Failure> {
        match &mut self.done {
            Some(done) => {
                let ended = done.await;
                self.done = None;
                ended.unwrap_or_else(|error| {
                    Err(Failure { task: "the supervisor", reason: error.to_string() })
                })
            }
            None => Ok(()),
        }
    }

    /// Stops taking anything new, finishes what is under way within the configured time, and ends. The
    /// data folder is free again then, unless somebody keeps a clone of [`Self::services`].
    ///
    /// # Errors
    /// When a part of it had failed before.
    pub async fn shutdown(mut self) -> Result<(), Failure> {
        // The guard that is replaced here is what stops everything.
        self.stop = CancellationToken::new().drop_guard();
        let ended = self.ended().await;
        let Self { services, identity, store, drain, .. } = self;
        drop((services, identity));
        if timeout(drain.to_std(), store.close()).await.is_err() {
            tracing::warn!("the store is still in use; what was acknowledged is safe");
        }
        ended
    }
}

/// Replaces the certificate authority of a control plane that is not running. The one before stays
/// trusted until its end, so that sidecars go over to the new one as they renew.
///
/// # Errors
/// When the authority is the operator's own, or cannot be read or written.
pub fn rotate_authority(config: &Config) -> Result<Digest, StartError> {
    private_folder(&config.data)?;
    private_folder(&config.keys_dir())?;
    let now = Clock::system().now();
    Ok(CertificateAuthority::rotate(&config.keys_dir(), &config.trust_domain, &config.authority, now)?)
}
