//! Signs of life to the control plane, and what its answers are worth: the lease (I9).
//!
//! The lease counts from the moment at which the question was asked whose answer came: by this
//! machine's clock, so that a control plane with another time neither shortens nor extends it.

use std::{sync::Arc, time::Duration};

use countersign_gate::ports::Clock;
use countersign_model::Timestamp;
use countersign_protocol::{Heartbeat, RefusalCode, Welcome};
use countersign_spool::Spool;
use countersign_transport::{Link, LinkState};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::policy::Policy;
use crate::{app::TaskError, broker::Tracker};

/// How often what is used up of the lease is kept while nobody is heard.
const KEEP_SPENT: Duration = Duration::from_secs(15);
/// The bounds of the interval that the control plane asks for.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);
/// From this on a difference between the clocks is worth a line.
const NOTABLE_SKEW_MS: i64 = 30_000;

/// Keeps in touch with the control plane.
pub(crate) struct Contact {
    pub(crate) link: Link,
    pub(crate) policy: Arc<Policy>,
    pub(crate) spool: Spool,
    pub(crate) tracker: Arc<Tracker>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Contact {
    /// Keeps in touch until the stop.
    pub(crate) async fn run(self, stop: CancellationToken) -> Result<(), TaskError> {
        let mut states = self.link.state();
        loop {
            let state = states.borrow_and_update().clone();
            let stay = async {
                match &state {
                    LinkState::Up(welcome) => self.keep_lease(welcome).await,
                    LinkState::Down { refused: Some(RefusalCode::Revoked), .. } => self.expelled().await,
                    _ => self.keep_spent().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => break,
                changed = states.changed() => changed?,
                failed = stay => return Err(failed),
            }
        }
        self.spool.state().lease_spent(self.policy.spent_ms(self.clock.now())).await?;
        Ok(())
    }

    /// While the link is up. Ends only with an error of the spool.
    async fn keep_lease(&self, welcome: &Welcome) -> TaskError {
        let now = self.clock.now();
        let skew_ms = welcome.now.millis_since(now);
        if skew_ms.abs() > NOTABLE_SKEW_MS {
            tracing::warn!(skew_ms, "this machine's clock and the control plane's differ");
        }
        if let Err(error) = self.heard(now).await {
            return error;
        }
        let every = welcome.heartbeat_every.to_std().clamp(SHORTEST, LONGEST);
        loop {
            sleep(every).await;
            if let Err(error) = self.beat().await {
                return error;
            }
        }
    }

    async fn beat(&self) -> Result<(), TaskError> {
        let asked_at = self.clock.now();
        let heartbeat = Heartbeat {
            revision: self.policy.revision(),
            spool_depth: self.spool.depth().events,
            pending: self.tracker.waited_for(asked_at),
        };
        match self.link.request(heartbeat).await {
            Ok(_) => self.heard(asked_at).await,
            Err(error) => {
                tracing::debug!(%error, "a sign of life was not answered");
                Ok(())
            }
        }
    }

    async fn heard(&self, at: Timestamp) -> Result<(), TaskError> {
        self.policy.contacted(at);
        Ok(self.spool.state().contacted(at).await?)
    }

    /// The control plane knows this agent no more: nothing is permitted from here on, lease or not.
    async fn expelled(&self) -> TaskError {
        tracing::error!("the agent was revoked: every operation is denied");
        self.policy.end_lease();
        self.keep_spent().await
    }

    /// While nobody is heard. Ends only with an error of the spool.
    async fn keep_spent(&self) -> TaskError {
        loop {
            let spent = self.policy.spent_ms(self.clock.now());
            if let Err(error) = self.spool.state().lease_spent(spent).await {
                return error.into();
            }
            sleep(KEEP_SPENT).await;
        }
    }
}
