//! Composition: configuration in, a running sidecar out.

mod listen;
mod mcp;
mod start;
mod supervise;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use countersign_model::AgentName;
use countersign_spool::{OpenError, SpoolError};
use countersign_transport::TlsError;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) use self::supervise::TaskError;
pub use self::{listen::ListenError, mcp::McpError, supervise::Failure};
pub use crate::enrol::EnrolmentError;
pub use crate::files::FileError;
use crate::{config::Config, sync::policy::Policy};

/// Why the sidecar did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder.
    #[error(transparent)]
    File(#[from] FileError),
    /// Its identity.
    #[error(transparent)]
    Enrolment(#[from] EnrolmentError),
    /// Its durable state.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Its durable state, once it was open.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// Its certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Its listeners.
    #[error(transparent)]
    Listen(#[from] ListenError),
}

/// The sidecar.
#[derive(Debug)]
pub struct Sidecar;

impl Sidecar {
    /// Starts a sidecar: it is enrolled and listens when this returns. Whether it has a policy already is
    /// told by [`Running::ready`]; until then it denies everything.
    ///
    /// # Errors
    /// When any part of it does not start; nothing is left running then.
    pub async fn start(config: Config) -> Result<Running, StartError> {
        start::start(config).await
    }
}

/// A sidecar that runs until it is shut down, or until one of its parts fails. Dropping it shuts it down
/// without waiting.
pub struct Running {
    agent: AgentName,
    check_addr: SocketAddr,
    socket: PathBuf,
    check_token: String,
    mcp: Option<(SocketAddr, String)>,
    policy: Arc<Policy>,
    stop: CancellationToken,
    done: Option<JoinHandle<Result<(), Failure>>>,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running")
            .field("agent", &self.agent)
            .field("check_addr", &self.check_addr)
            .field("socket", &self.socket)
            .finish_non_exhaustive()
    }
}

impl Running {
    /// The agent that it stands beside.
    #[must_use]
    pub fn agent(&self) -> &AgentName {
        &self.agent
    }

    /// Where the check API is served on TCP.
    #[must_use]
    pub fn check_addr(&self) -> SocketAddr {
        self.check_addr
    }

    /// The unix socket, for the check API and for Countersign's own clients.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The bearer token of the check API on TCP. A secret.
    #[must_use]
    pub fn check_token(&self) -> &str {
        &self.check_token
    }

    /// Where MCP servers are reached, and the bearer token for that, a secret. `None` without servers.
    #[must_use]
    pub fn mcp(&self) -> Option<(SocketAddr, &str)> {
        self.mcp.as_ref().map(|(address, token)| (*address, token.as_str()))
    }

    /// Waits until a policy is in force. It is then enrolled, listens, and decides.
    pub fn ready(&self) -> impl Future<Output = ()> + Send + use<> {
        let policy = Arc::clone(&self.policy);
        async move { policy.some().await }
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

    /// Stops taking anything new, finishes what is under way within the configured time, ships what can
    /// be shipped, and ends.
    ///
    /// # Errors
    /// When a part of it had failed before.
    pub async fn shutdown(mut self) -> Result<(), Failure> {
        self.stop.cancel();
        self.ended().await
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
