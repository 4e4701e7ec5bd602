//! What a sidecar can ask on its session, and the answers.
//!
//! Everything that is about an approval names the agent of the certificate, and the store answers only
//! about that agent's own: one agent can neither see nor touch another's.

use std::{sync::Arc, time::Duration};

use countersign_approval::{Edit, Input, Submission};
use countersign_model::ApprovalId;
use countersign_protocol::{
    Ack, AskEdit, AuditAck, AuditBatch, BundleOutcome, CancelApproval, Frame, Heartbeat, HeartbeatAck,
    ProposedEdit, RefusalCode, Refused, Renew, ReportClaim, ReportOutcome, Svid, WaitApproval,
};
use countersign_store::{AgentRefusal, ApplyRefusal, By, Change, CommandError, IngestRefusal, SubmitRefusal};
use countersign_transport::{Exchange, ExchangeError};
use futures::{StreamExt, stream};

use super::{
    Desk,
    enrol::{ders, svid},
    session::{Admitted, Peer, count},
};
use crate::{
    broker::{Requester, SubmitError},
    distribution::EditionError,
};

/// The longest wait for news of an approval, as the protocol has it.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// How many leases of one sidecar are extended at a time: enough to share a commit, and few enough to leave
/// room for others.
const LEASES_AT_A_TIME: usize = 64;

impl Desk {
    /// Answers one question.
    pub(super) async fn answer(self: Arc<Self>, admitted: Arc<Admitted>, mut exchange: Exchange) {
        let asked = match exchange.receive().await {
            Ok(asked) => asked,
            // The transport has told the peer, or dropped it, and logged why.
            Err(_) => return,
        };
        let answer = match asked {
            Frame::WaitApproval(wait) => {
                // Nobody computes an answer that nobody waits for any more.
                tokio::select! {
                    answer = self.wait(&admitted.peer, wait) => answer,
                    () = exchange.abandoned() => return,
                }
            }
            other => self.answer_now(&admitted, other).await,
        };
        let frame = answer.unwrap_or_else(Frame::from);
        match exchange.answer(frame).await {
            Ok(()) | Err(ExchangeError::Ended(_) | ExchangeError::Abandoned) => {}
            Err(error) => tracing::debug!(agent = %admitted.peer.name, %error, "an answer did not arrive"),
        }
    }

    async fn answer_now(&self, admitted: &Admitted, asked: Frame) -> Result<Frame, Refused> {
        let peer = &admitted.peer;
        match asked {
            Frame::SubmitApproval(submission) => self.submit(peer, *submission).await,
            Frame::SubmitSubstitutable(submission) => self.submit(peer, submission.0).await,
            Frame::AskEdit(AskEdit { id }) => self.edit(peer, id).await.map(Frame::from),
            Frame::CancelApproval(CancelApproval { id, why }) => {
                self.change(peer, id, Input::Cancel { why }).await?;
                let status = self.broker.wait(peer.agent, id, 0, Duration::ZERO).await;
                status.map(Frame::from).map_err(|error| refused_change(&error))
            }
            Frame::ReportClaim(ReportClaim { id, use_number, at }) => {
                self.change(peer, id, Input::Claim { use_number, at }).await?;
                Ok(Ack.into())
            }
            Frame::ReportOutcome(ReportOutcome { id, use_number, outcome, at }) => {
                self.change(peer, id, Input::Outcome { use_number, outcome, at }).await?;
                Ok(Ack.into())
            }
            Frame::AuditBatch(batch) => self.ingest(peer, batch).await.map(Frame::from),
            Frame::Heartbeat(heartbeat) => Ok(self.heartbeat(admitted, heartbeat).await.into()),
            Frame::Renew(renew) => self.renew(admitted, &renew).await.map(Frame::from),
            other => Err(Refused {
                code: RefusalCode::Unsupported,
                message: format!("{} is not a question", other.kind().as_str()),
            }),
        }
    }

    async fn submit(&self, peer: &Peer, submission: Submission) -> Result<Frame, Refused> {
        let requester = Requester { agent: peer.agent, name: peer.name.clone(), owner: peer.owner.clone() };
        let status = self.broker.submit(requester, submission).await;
        status.map(Frame::from).map_err(|error| refused_submission(&error))
    }

    async fn edit(&self, peer: &Peer, id: ApprovalId) -> Result<ProposedEdit, Refused> {
        let found = self.broker.approval(id).await.map_err(|error| refused_change(&error))?;
        let edit = found.edited.filter(|_| found.request.agent == peer.agent);
        let none = || Refused { code: RefusalCode::NotFound, message: "nobody has edited it".to_owned() };
        let Edit { by, changes, reason, .. } = edit.ok_or_else(none)?;
        Ok(ProposedEdit { by, changes, reason })
    }

    async fn wait(&self, peer: &Peer, wait: WaitApproval) -> Result<Frame, Refused> {
        let WaitApproval { id, known_version } = wait;
        let status = self.broker.wait(peer.agent, id, known_version, LONGEST_WAIT).await;
        status.map(Frame::from).map_err(|error| refused_change(&error))
    }

    async fn change(&self, peer: &Peer, id: ApprovalId, input: Input) -> Result<(), Refused> {
        let change = Change { id, input, agent: Some(peer.agent), expected_version: None };
        let applied = self.broker.apply(change, peer.id.to_string().into()).await;
        applied.map(|_| ()).map_err(|error| refused_change(&error))
    }

    async fn ingest(&self, peer: &Peer, batch: AuditBatch) -> Result<AuditAck, Refused> {
        let ingested = self.store.ingest(peer.id.clone(), batch.events, self.clock.now()).await;
        let ingested = ingested.map_err(|error| refused_batch(&error))?;
        for anomaly in &ingested.anomalies {
            // Each of them is an event in the ledger, too (I8).
            tracing::warn!(agent = %peer.name, ?anomaly, "a sidecar's audit events are not as they should be");
        }
        Ok(AuditAck { through: ingested.through })
    }

    async fn heartbeat(&self, admitted: &Admitted, heartbeat: Heartbeat) -> HeartbeatAck {
        let now = self.clock.now();
        admitted.place.note(|liveness| {
            liveness.last_seen = now;
            liveness.lease_from = Some(now);
            liveness.revision = heartbeat.revision;
            liveness.spool_depth = heartbeat.spool_depth;
            liveness.pending = count(heartbeat.pending.len());
        });
        self.extend_leases(admitted, &heartbeat.pending).await;
        HeartbeatAck { lease_renewed_at: now }
    }

    /// Notes that the requesters of these approvals are still there. Those that are another agent's,
    /// over, or unknown are passed over: there is nothing to keep alive.
    pub(super) async fn extend_leases(&self, admitted: &Admitted, pending: &[ApprovalId]) {
        if !admitted.lease_pace.allows(self.clock.now()) {
            return;
        }
        let extend = |id: ApprovalId| self.change(&admitted.peer, id, Input::RequesterHeartbeat);
        let mut extended =
            stream::iter(pending.iter().copied()).map(extend).buffer_unordered(LEASES_AT_A_TIME);
        while let Some(extended) = extended.next().await {
            if let Err(refused) = extended {
                tracing::debug!(agent = %admitted.peer.name, %refused, "no lease to extend");
            }
        }
    }

    /// Signs the next certificate of a sidecar. The name is its present certificate's.
    async fn renew(&self, admitted: &Admitted, renew: &Renew) -> Result<Svid, Refused> {
        let peer = &admitted.peer;
        let now = self.clock.now();
        if !admitted.renewal_pace.allows(now) {
            let message = "the certificate was renewed just now".to_owned();
            return Err(Refused { code: RefusalCode::Busy, message });
        }
        let issued = self.authority.issue(&renew.csr, &peer.name, now).map_err(|error| {
            tracing::warn!(agent = %peer.name, %error, "a renewal failed");
            Refused { code: RefusalCode::Invalid, message: "the certificate request is refused".to_owned() }
        })?;
        // Recorded before it is handed out; a revoked agent gets none.
        let by = By::new(peer.id.to_string(), now);
        self.store.renew_svid(peer.agent, svid(&issued), by).await.map_err(|error| match error {
            CommandError::Refused(AgentRefusal::Unknown | AgentRefusal::Revoked(_)) => {
                Refused { code: RefusalCode::Revoked, message: "the agent was revoked".to_owned() }
            }
            CommandError::Store(error) => internal(&error),
        })?;
        admitted.place.note(|liveness| liveness.svid_expires_at = Some(issued.certificate.not_after));
        let trust = self.trust().map_err(|error| internal(&error))?;
        Ok(Svid { chain: ders(&issued), trust })
    }

    /// Notes what a sidecar made of a bundle.
    pub(super) fn bundle_outcome(
        &self,
        admitted: &Admitted,
        revision: Option<countersign_model::Revision>,
        outcome: &BundleOutcome,
    ) {
        admitted.place.note(|liveness| liveness.revision = revision);
        if let BundleOutcome::Refused(reason) = outcome {
            tracing::error!(agent = %admitted.peer.name, reason, "a sidecar refused the policy in force");
        }
        self.hub.agent_changed(&admitted.peer.name);
    }
}

fn refused_submission(error: &SubmitError) -> Refused {
    let code = match error {
        SubmitError::Edition(EditionError::Unknown(_)) => RefusalCode::Invalid,
        SubmitError::Freeze(crate::broker::FreezeError::Outdated(_)) => RefusalCode::Conflict,
        SubmitError::Freeze(_) | SubmitError::Refused(SubmitRefusal::Request(_)) => RefusalCode::Invalid,
        SubmitError::Refused(SubmitRefusal::KeyTaken(_)) | SubmitError::NoPolicy => RefusalCode::Conflict,
        SubmitError::Refused(SubmitRefusal::NotEnrolled) => RefusalCode::Revoked,
        SubmitError::TooMany(_) => RefusalCode::TooMany,
        SubmitError::Edition(_) | SubmitError::Store(_) | SubmitError::Entropy(_) => return internal(error),
    };
    Refused { code, message: error.to_string() }
}

fn refused_change(error: &CommandError<ApplyRefusal>) -> Refused {
    match error {
        CommandError::Refused(refusal @ ApplyRefusal::Unknown(_)) => {
            Refused { code: RefusalCode::NotFound, message: refusal.to_string() }
        }
        CommandError::Refused(refusal) => {
            Refused { code: RefusalCode::Conflict, message: refusal.to_string() }
        }
        CommandError::Store(error) => internal(error),
    }
}

fn refused_batch(error: &CommandError<IngestRefusal>) -> Refused {
    match error {
        CommandError::Refused(refusal) => {
            Refused { code: RefusalCode::Invalid, message: refusal.to_string() }
        }
        CommandError::Store(error) => internal(error),
    }
}

/// What failed here is for the log; the sidecar only learns that it may try again.
fn internal(error: &dyn std::fmt::Display) -> Refused {
    tracing::error!(%error, "a sidecar's question could not be answered");
    Refused { code: RefusalCode::Internal, message: "the control plane cannot answer now".to_owned() }
}
