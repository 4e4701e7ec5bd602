//! What the control plane begins: bundles, and approvals that are taken back.

use std::sync::Arc;

use countersign_protocol::{Ack, Frame, PushBundle, RefusalCode, Refused, RevokeApproval};
use countersign_spool::Spool;
use countersign_transport::{Exchange, Pushes};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::bundle::Activator;
use crate::app::TaskError;

/// Answers what the control plane begins.
pub(crate) struct PushDesk {
    pub(crate) activator: Activator,
    pub(crate) spool: Spool,
}

impl PushDesk {
    /// Answers everything, each on its own, until the stop: a bundle that takes a while to load does not
    /// hold up a revocation. How many there can be at a time is bounded by the transport.
    pub(crate) async fn run(
        self: Arc<Self>,
        mut pushes: Pushes,
        stop: CancellationToken,
    ) -> Result<(), TaskError> {
        let mut answers = JoinSet::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                exchange = pushes.next() => match exchange {
                    Some(exchange) => {
                        answers.spawn(Arc::clone(&self).answer(exchange));
                    }
                    None => return Err("the link has ended".into()),
                },
                Some(answered) = answers.join_next() => {
                    if let Err(error) = answered {
                        tracing::error!(%error, "a push could not be answered");
                    }
                }
            }
        }
    }

    async fn answer(self: Arc<Self>, mut exchange: Exchange) {
        let answer = match exchange.receive().await {
            Ok(Frame::PushBundle(pushed)) => self.take_bundle(pushed).await,
            Ok(Frame::RevokeApproval(revocation)) => self.revoke(revocation).await,
            Ok(other) => Frame::from(Refused {
                code: RefusalCode::Unsupported,
                message: format!("{} is not for a sidecar to answer", other.kind().as_str()),
            }),
            // The transport has told the peer, or dropped it, and logged why.
            Err(_) => return,
        };
        if let Err(error) = exchange.answer(answer).await {
            tracing::debug!(%error, "an answer did not arrive");
        }
    }

    async fn take_bundle(&self, pushed: PushBundle) -> Frame {
        self.activator.take(pushed).await.into()
    }

    /// Acknowledged only when it is durable: after a restart the approval is still void (I2).
    async fn revoke(&self, revocation: RevokeApproval) -> Frame {
        let RevokeApproval { id, reason } = revocation;
        match self.spool.journal().revoke(id).await {
            Ok(()) => {
                tracing::info!(approval = %id, reason, "an approval was taken back");
                Ack.into()
            }
            Err(error) => {
                tracing::error!(approval = %id, %error, "a revocation could not be kept");
                Refused { code: RefusalCode::Internal, message: "it could not be kept".to_owned() }.into()
            }
        }
    }
}
