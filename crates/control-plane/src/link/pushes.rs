//! What a sidecar is told unasked: new bundles, and approvals that were taken back.

use std::{sync::Arc, time::Duration};

use countersign_audit::{EventDraft, kind};
use countersign_model::Revision;
use countersign_protocol::{BundleAck, BundleOutcome, PushBundle, RevokeApproval};
use countersign_store::{Lane, OutboxMessage, StoreError};
use countersign_transport::RequestError;
use serde_json::json;

use super::{Desk, session::Admitted};
use crate::distribution::Edition;

/// How many withdrawn approvals are told at a time.
const BATCH: usize = 64;
/// How long to wait before a failed push is tried again.
const RETRY: Duration = Duration::from_secs(2);

impl Desk {
    /// Sends the bundle in force whenever the sidecar does not have it, until the session ends. A sidecar
    /// that refuses a bundle stays with the one it has, and is offered the next one (I7).
    pub(super) async fn push_bundles(self: Arc<Self>, admitted: Arc<Admitted>, has: Option<Revision>) {
        let mut editions = self.catalogue.subscribe();
        let mut settled = has;
        loop {
            let edition = editions.borrow_and_update().clone();
            if let Some(edition) = edition.filter(|edition| settled != Some(edition.revision)) {
                match self.push(&admitted, &edition).await {
                    Ok(()) => settled = Some(edition.revision),
                    Err(error) => {
                        tracing::warn!(agent = %admitted.peer.name, %error, "a bundle did not arrive");
                        tokio::time::sleep(RETRY).await;
                        continue;
                    }
                }
            }
            if editions.changed().await.is_err() {
                return;
            }
        }
    }

    async fn push(&self, admitted: &Admitted, edition: &Edition) -> Result<(), RequestError> {
        let ack = admitted.session.ask::<PushBundle>(&edition.pushed).await?;
        let BundleAck { revision, outcome } = &ack;
        self.bundle_outcome(admitted, *revision, outcome);
        if let Err(error) = self.record_ack(admitted, edition.revision, &ack).await {
            tracing::error!(%error, "a sidecar's acknowledgement was not recorded");
        }
        Ok(())
    }

    async fn record_ack(
        &self,
        admitted: &Admitted,
        pushed: Revision,
        ack: &BundleAck,
    ) -> Result<(), StoreError> {
        let (kind, reason) = match &ack.outcome {
            BundleOutcome::Activated => (kind::POLICY_ACTIVATED, None),
            BundleOutcome::Refused(reason) => (kind::POLICY_REFUSED, Some(reason)),
            BundleOutcome::Unchanged => return Ok(()),
        };
        let mut draft = EventDraft::new(self.clock.now(), kind);
        draft.actor = Some(admitted.peer.id.to_string());
        draft.body.insert("agent".to_owned(), json!(admitted.peer.name));
        draft.body.insert("revision".to_owned(), json!(pushed));
        if let Some(reason) = reason {
            draft.body.insert("reason".to_owned(), json!(reason));
        }
        self.store.record(vec![draft]).await.map(|_| ())
    }

    /// Tells the sidecar which of its grants are void, until the session ends. What it was not told
    /// stays in the outbox and is told after its next connection.
    pub(super) async fn withdraw_grants(self: Arc<Self>, admitted: Arc<Admitted>) {
        loop {
            match self.withdraw_once(&admitted).await {
                Ok(true) => {}
                Ok(false) => admitted.place.withdraw.notified().await,
                Err(error) => {
                    tracing::warn!(agent = %admitted.peer.name, %error, "a withdrawal did not arrive");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    /// Tells one batch. Answers whether there was one.
    async fn withdraw_once(
        &self,
        admitted: &Admitted,
    ) -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
        let lane = Lane::Sidecar(admitted.peer.agent);
        let messages = self.store.outbox(lane, BATCH).await?;
        let Some(last) = messages.last().map(|message| message.seq) else { return Ok(false) };
        for message in messages {
            self.withdraw(admitted, &message).await?;
        }
        self.store.acknowledge_outbox(lane, last).await?;
        Ok(true)
    }

    async fn withdraw(
        &self,
        admitted: &Admitted,
        message: &OutboxMessage,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let id = message.approval;
        let approval = self.store.approval(id).await?;
        let reason = approval.and_then(|approval| approval.reason()).unwrap_or_default();
        match admitted.session.request(RevokeApproval { id, reason }).await {
            Ok(_) => Ok(()),
            // It does not hold that grant any more: nothing is left to take back.
            Err(RequestError::Refused(refused)) if !refused.code.is_transient() => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
