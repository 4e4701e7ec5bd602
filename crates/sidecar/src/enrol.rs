//! Identity: how the sidecar gets one, where it is kept, and how it stays fresh.
//!
//! | file | what |
//! |---|---|
//! | `identity.pem` | the private key, made here and never sent anywhere (I11), and its X.509-SVID |
//! | `trust.pem` | the roots under which the control plane is believed |
//! | `enrolment.json` | the agent, and the keys that bundles are believed from |
//!
//! The identity is written last: where it is, the others are.

use std::{path::PathBuf, sync::Arc, time::Duration};

use countersign_gate::ports::Clock;
use countersign_model::{AgentId, Timestamp, signing::Jwks};
use countersign_pki::{AgentName, Identity, IdentityError, JoinToken, TrustBundle, TrustDomain, TrustError};
use countersign_transport::{ConnectError, EnrolError, Limits, Link, TlsError, enrol};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    SOFTWARE,
    app::TaskError,
    config::Config,
    files::{FileError, read_private, write_private},
    sync::bundle::Pinned,
};

/// How long to try to reach a control plane that may be starting, too.
const REACH_WITHIN: Duration = Duration::from_secs(60);
/// How long to wait before trying again to reach it.
const RETRY: Duration = Duration::from_secs(1);
/// How long to wait before a renewal that failed is tried again.
const RENEW_RETRY: Duration = Duration::from_secs(10);
/// The longest sleep before the clock is looked at again: it can be set, and the machine can sleep.
const LONGEST_SLEEP_MILLIS: i64 = 30_000;

/// Why the sidecar has no identity.
#[derive(Debug, thiserror::Error)]
pub enum EnrolmentError {
    /// There is none yet, and nothing to get one with.
    #[error(
        "this sidecar is not enrolled: give it a join token (`countersign agents add NAME --owner OWNER` \
         prints one) by --join-token-file or COUNTERSIGN_JOIN_TOKEN"
    )]
    NotEnrolled,
    /// The control plane did not give one.
    #[error("enrolment failed: {0}")]
    Enrol(#[from] EnrolError),
    /// The identity is another agent's than expected.
    #[error("the identity in {} is {found}'s, but `agent` expects {expected}", path.display())]
    OtherAgent {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        found: String,
        /// Whose it should be.
        expected: AgentName,
    },
    /// The identity cannot be read or written.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The roots cannot be read or written.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The enrolment cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A part of the enrolment is missing.
    #[error("{} is missing; move the data folder away and enrol again", .0.display())]
    Missing(PathBuf),
}

/// What is kept of an enrolment besides certificates.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Enrolment {
    agent: AgentId,
    name: AgentName,
    trust_domain: TrustDomain,
    bundle_keys: Jwks,
}

/// Who this sidecar is, and whom it believes.
#[derive(Debug)]
pub(crate) struct Membership {
    pub(crate) identity: Identity,
    pub(crate) trust: TrustBundle,
    pub(crate) agent: AgentName,
    pub(crate) pinned: Pinned,
}

/// Where the identity is kept.
#[derive(Debug, Clone)]
pub(crate) struct Wallet {
    identity: PathBuf,
    trust: PathBuf,
    enrolment: PathBuf,
}

impl Wallet {
    pub(crate) fn new(config: &Config) -> Self {
        let file = |name: &str| config.data.join(name);
        Self { identity: file("identity.pem"), trust: file("trust.pem"), enrolment: file("enrolment.json") }
    }

    /// Reads the identity, or gets one by the join token. A token that is not needed is not used; one
    /// that comes with an identity that has expired is.
    pub(crate) async fn open(&self, config: &Config, now: Timestamp) -> Result<Membership, EnrolmentError> {
        let kept = self.load(config)?;
        match (kept, &config.join_token) {
            (Some(kept), Some(token)) if !kept.identity.is_valid_at(now) => {
                tracing::warn!(agent = %kept.agent, "the certificate has expired: enrolling again");
                self.enrol(config, token).await
            }
            (Some(kept), token) => {
                if token.is_some() {
                    tracing::info!(agent = %kept.agent, "enrolled already: the join token is not used");
                }
                if !kept.identity.is_valid_at(now) {
                    tracing::error!(
                        "the certificate has expired: only a new join token brings the link back"
                    );
                }
                Ok(kept)
            }
            (None, Some(token)) => self.enrol(config, token).await,
            (None, None) => Err(EnrolmentError::NotEnrolled),
        }
    }

    fn load(&self, config: &Config) -> Result<Option<Membership>, EnrolmentError> {
        if !self.identity.exists() {
            return Ok(None);
        }
        let identity = Identity::load(&self.identity)?;
        let trust = TrustBundle::load(&self.trust)?;
        let text = read_private(&self.enrolment)?;
        let text = text.ok_or_else(|| EnrolmentError::Missing(self.enrolment.clone()))?;
        let damaged = |why: String| FileError::Malformed { path: self.enrolment.clone(), why };
        let enrolment: Enrolment = serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))?;
        let id = identity.spiffe_id();
        if id.agent_name() != Some(&enrolment.name) || id.trust_domain() != &enrolment.trust_domain {
            return Err(damaged(format!("it is not about {id}")).into());
        }
        if let Some(expected) = config.agent.as_ref().filter(|expected| **expected != enrolment.name) {
            let (path, found) = (self.identity.clone(), enrolment.name.to_string());
            return Err(EnrolmentError::OtherAgent { path, found, expected: expected.clone() });
        }
        Ok(Some(membership(identity, trust, enrolment)))
    }

    async fn enrol(&self, config: &Config, token: &JoinToken) -> Result<Membership, EnrolmentError> {
        let enrolled = reach(config, token).await?;
        let (identity, trust) = (enrolled.identity, enrolled.trust);
        let enrolment = Enrolment {
            agent: enrolled.enrolled.agent,
            name: enrolled.enrolled.name,
            trust_domain: enrolled.enrolled.trust_domain,
            bundle_keys: enrolled.enrolled.bundle_keys,
        };
        let malformed = |error: serde_json::Error| FileError::Malformed {
            path: self.enrolment.clone(),
            why: error.to_string(),
        };
        let text = serde_json::to_vec_pretty(&enrolment).map_err(malformed)?;
        write_private(&self.enrolment, &text)?;
        self.keep(&identity, &trust)?;
        tracing::info!(agent = %enrolment.name, "enrolled");
        Ok(membership(identity, trust, enrolment))
    }

    /// The roots first: a certificate under a new root is of no use without it.
    fn keep(&self, identity: &Identity, trust: &TrustBundle) -> Result<(), EnrolmentError> {
        trust.save(&self.trust)?;
        Ok(identity.save(&self.identity)?)
    }
}

fn membership(identity: Identity, trust: TrustBundle, enrolment: Enrolment) -> Membership {
    let Enrolment { name, trust_domain, bundle_keys, .. } = enrolment;
    Membership { identity, trust, agent: name, pinned: Pinned { keys: bundle_keys, trust_domain } }
}

/// Enrols. A control plane that is not there yet is waited for; one that refuses is not asked again.
async fn reach(
    config: &Config,
    token: &JoinToken,
) -> Result<countersign_transport::Enrolment, EnrolmentError> {
    let end = Instant::now() + REACH_WITHIN;
    loop {
        let (agent, software) = (config.agent.clone(), SOFTWARE.to_owned());
        match enrol(&config.control, token, agent, software, Limits::default()).await {
            Err(EnrolError::Connect(
                error @ (ConnectError::Resolve { .. }
                | ConnectError::NoAnswer(_)
                | ConnectError::Handshake(_)),
            )) if Instant::now() < end => {
                tracing::warn!(%error, control = config.control, "the control plane is not reached yet");
                sleep(RETRY).await;
            }
            answered => return Ok(answered?),
        }
    }
}

/// Renews the certificate at half of its life, for a fresh key, without touching the link.
pub(crate) struct Renewal {
    pub(crate) wallet: Wallet,
    pub(crate) link: Link,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) renew_at: Timestamp,
}

impl Renewal {
    /// Renews, again and again, until the stop.
    pub(crate) async fn run(mut self, stop: CancellationToken) -> Result<(), TaskError> {
        tokio::select! {
            () = stop.cancelled() => Ok(()),
            failed = self.renew_for_ever() => failed,
        }
    }

    /// Ends only when the link has.
    async fn renew_for_ever(&mut self) -> Result<(), TaskError> {
        let mut states = self.link.state();
        loop {
            let wait = self.renew_at.millis_since(self.clock.now()).clamp(0, LONGEST_SLEEP_MILLIS);
            if wait > 0 {
                sleep(Duration::from_millis(wait.unsigned_abs())).await;
                continue;
            }
            states.wait_for(|state| state.is_up()).await?;
            match self.renew().await {
                Ok(renew_at) => self.renew_at = renew_at,
                Err(error) => {
                    tracing::warn!(%error, "the certificate could not be renewed yet");
                    sleep(RENEW_RETRY).await;
                }
            }
        }
    }

    async fn renew(&self) -> Result<Timestamp, TaskError> {
        let (identity, trust) = self.link.renew().await?;
        let renew_at = identity.renew_at();
        let wallet = self.wallet.clone();
        let (identity, trust) =
            tokio::task::spawn_blocking(move || wallet.keep(&identity, &trust).map(|()| (identity, trust)))
                .await??;
        let shown: Result<(), TlsError> = self.link.set_identity(&identity, &trust);
        shown?;
        tracing::info!(%renew_at, "the certificate was renewed");
        Ok(renew_at)
    }
}
