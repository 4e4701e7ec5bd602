//! One sidecar's session: greeting, questions, pushes, and how it ends.
//!
//! Three things go on at a time, each with a loop of its own, so that none waits for another: what the
//! sidecar asks, new bundles, and approvals that were taken back.

use std::{error::Error, sync::Arc, time::Duration};

use countersign_audit::{EventDraft, kind};
use countersign_model::{AgentId, AgentName, Digest, PersonId, SpiffeId, Timestamp};
use countersign_protocol::{Hello, RefusalCode, Refused, Welcome, codec::PROTOCOL_VERSION};
use countersign_store::{Agent, AgentState, StoreError};
use countersign_transport::{CloseCode, Exchange, Session, SessionEnd};
use serde_json::json;
use tokio::task::JoinSet;

use super::{
    Desk, SOFTWARE,
    pace::Pace,
    registry::{Liveness, Place},
};

/// How long a refused sidecar may take to read why.
const READ_REFUSAL: Duration = Duration::from_secs(2);

/// How often a sidecar may keep its requests alive, in milliseconds.
const LEASES_MILLIS: i64 = 500;
/// How often it may renew a certificate within the life of one.
const RENEWALS_PER_LIFETIME: i64 = 20;
/// How often a certificate's end is looked for.
const LOOK_AT_EXPIRY: Duration = Duration::from_secs(5);

/// A sidecar whose certificate and standing were checked.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    /// Its agent.
    pub(super) agent: AgentId,
    /// The agent's name.
    pub(super) name: AgentName,
    /// Who answers for the agent.
    pub(super) owner: PersonId,
    /// Its SPIFFE ID, from its certificate.
    pub(super) id: SpiffeId,
}

/// A session that was let in.
pub(super) struct Admitted {
    /// Whose it is.
    pub(super) peer: Peer,
    /// Its place in the registry.
    pub(super) place: Place,
    /// The connection.
    pub(super) session: Session,
    /// How often it may keep its requests alive.
    pub(super) lease_pace: Pace,
    /// How often it may renew its certificate.
    pub(super) renewal_pace: Pace,
}

/// Why a sidecar was not let in.
#[derive(Debug, thiserror::Error)]
enum NotAdmitted {
    #[error("there is no such agent here")]
    Unknown,
    #[error("the agent was revoked")]
    Revoked,
    #[error("{0}")]
    Full(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Desk {
    /// Serves one sidecar until its session ends.
    pub(super) async fn link(self: Arc<Self>, session: Session) {
        let remote = session.remote_address();
        match self.serve(&session).await {
            Ok(()) => {}
            Err(error) => tracing::info!(%remote, %error, "a session ended"),
        }
    }

    async fn serve(self: &Arc<Self>, session: &Session) -> Result<(), Box<dyn Error + Send + Sync>> {
        let certificate = session.peer().ok_or("a session without a certificate")?.clone();
        let (hello, exchange) = session.greeting().await?;
        let admitted = self.admit(session, &certificate.spiffe_id, certificate.not_after, &hello).await;
        let admitted = match admitted {
            Ok(admitted) => admitted,
            Err(reason) => return self.turn_away(session, exchange, &reason).await,
        };
        let peer = admitted.peer.clone();
        let welcome = self.welcome(&peer).await?;
        exchange.answer(welcome).await?;
        self.note_presence(
            &peer,
            &admitted.place,
            kind::AGENT_CONNECTED,
            json!({"software": hello.software}),
        )
        .await?;
        tracing::info!(agent = %peer.name, remote = %session.remote_address(), "connected");
        self.extend_leases(&admitted, &hello.pending).await;
        let end = Arc::clone(self).attend(Arc::new(admitted), hello.revision).await;
        tracing::info!(agent = %peer.name, %end, "disconnected");
        Ok(())
    }

    /// Lets a sidecar in. It takes its place before its standing is looked up, so that a revocation
    /// either shows in what is looked up or closes the place: there is no moment in between.
    async fn admit(
        &self,
        session: &Session,
        id: &SpiffeId,
        svid_expires_at: Timestamp,
        hello: &Hello,
    ) -> Result<Admitted, NotAdmitted> {
        let name = id.agent_name().ok_or(NotAdmitted::Unknown)?;
        let found = self.store.agent_by_name(name).await?.ok_or(NotAdmitted::Unknown)?;
        let now = self.clock.now();
        let liveness = Liveness {
            connected: true,
            last_seen: now,
            revision: hello.revision,
            lease_from: Some(now),
            spool_depth: hello.spool_depth,
            pending: count(hello.pending.len()),
            svid_expires_at: Some(svid_expires_at),
        };
        let place = self.registry.enter(found.id, name, liveness);
        let place = place.map_err(|full| NotAdmitted::Full(full.to_string()))?;
        let agent: Agent = self.store.agent(found.id).await?.ok_or(NotAdmitted::Unknown)?;
        match agent.state {
            AgentState::Revoked => Err(NotAdmitted::Revoked),
            AgentState::Added => Err(NotAdmitted::Unknown),
            AgentState::Enrolled => {
                let peer = Peer { agent: agent.id, name: agent.name, owner: agent.owner, id: id.clone() };
                let renewal_pace = Pace::once_in(self.svid_lifetime.as_millis() / RENEWALS_PER_LIFETIME);
                let lease_pace = Pace::once_in(LEASES_MILLIS);
                Ok(Admitted { peer, place, session: session.clone(), lease_pace, renewal_pace })
            }
        }
    }

    async fn turn_away(
        &self,
        session: &Session,
        exchange: Exchange,
        reason: &NotAdmitted,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        let (refusal, code) = match reason {
            NotAdmitted::Unknown | NotAdmitted::Revoked => (RefusalCode::Revoked, CloseCode::Revoked),
            NotAdmitted::Full(_) => (RefusalCode::Busy, CloseCode::Busy),
            NotAdmitted::Store(_) => (RefusalCode::Internal, CloseCode::Busy),
        };
        let message = match reason {
            NotAdmitted::Store(_) => "the control plane cannot answer now".to_owned(),
            other => other.to_string(),
        };
        let peer = session.to_string();
        tracing::warn!(peer, %reason, "a sidecar was turned away");
        exchange.answer(Refused { code: refusal, message: message.clone() }).await?;
        session.drain(READ_REFUSAL, code, &message).await;
        Ok(())
    }

    async fn welcome(&self, peer: &Peer) -> Result<Welcome, StoreError> {
        let now = self.clock.now();
        let (audit_through, audit_head) =
            self.store.source_head(&peer.id).await?.unwrap_or((0, Digest::ZERO));
        Ok(Welcome {
            protocol: PROTOCOL_VERSION,
            software: SOFTWARE.to_owned(),
            now,
            heartbeat_every: self.heartbeat,
            revision: self.catalogue.active().map(|edition| edition.revision),
            audit_through,
            audit_head,
            lease_renewed_at: now,
        })
    }

    /// Attends to a session until it ends, by whichever side.
    async fn attend(
        self: Arc<Self>,
        admitted: Arc<Admitted>,
        revision: Option<countersign_model::Revision>,
    ) -> SessionEnd {
        let mut background = JoinSet::new();
        background.spawn(Arc::clone(&self).push_bundles(Arc::clone(&admitted), revision));
        background.spawn(Arc::clone(&self).withdraw_grants(Arc::clone(&admitted)));
        let end = tokio::select! {
            end = Arc::clone(&self).answer_questions(Arc::clone(&admitted)) => end,
            () = admitted.place.close.cancelled() => {
                self.close(&admitted).await;
                admitted.session.closed().await
            }
            () = self.until_expired(&admitted) => {
                admitted.session.close(CloseCode::Unauthenticated, "the certificate has expired");
                admitted.session.closed().await
            }
        };
        background.shutdown().await;
        let why = json!({"end": end.to_string()});
        let noted = self.note_presence(&admitted.peer, &admitted.place, kind::AGENT_DISCONNECTED, why).await;
        if let Err(error) = noted {
            tracing::error!(%error, "a disconnection was not recorded");
        }
        end
    }

    /// Returns when the sidecar's certificate has ended: a session does not outlive the identity that it
    /// was opened with, renewals counted.
    async fn until_expired(&self, admitted: &Admitted) {
        loop {
            tokio::time::sleep(LOOK_AT_EXPIRY).await;
            let expires_at = admitted.place.liveness().and_then(|liveness| liveness.svid_expires_at);
            if expires_at.is_some_and(|end| end <= self.clock.now()) {
                return;
            }
        }
    }

    /// Closes a session that was replaced or whose agent was revoked, and says which.
    async fn close(&self, admitted: &Admitted) {
        let agent = self.store.agent(admitted.peer.agent).await;
        let revoked = !matches!(agent, Ok(Some(agent)) if agent.state == AgentState::Enrolled);
        if revoked {
            admitted.session.close(CloseCode::Revoked, "the agent was revoked");
        } else {
            admitted.session.close(CloseCode::Replaced, "there is a newer session of this agent");
        }
    }

    /// Answers what the sidecar asks, each question on its own, until the session ends. How many there
    /// can be at a time is bounded by the transport.
    async fn answer_questions(self: Arc<Self>, admitted: Arc<Admitted>) -> SessionEnd {
        let mut answers = JoinSet::new();
        loop {
            tokio::select! {
                exchange = admitted.session.accept() => match exchange {
                    Ok(exchange) => {
                        answers.spawn(Arc::clone(&self).answer(Arc::clone(&admitted), exchange));
                    }
                    Err(end) => {
                        answers.shutdown().await;
                        return end;
                    }
                },
                Some(answered) = answers.join_next() => {
                    if let Err(error) = answered {
                        tracing::error!(%error, "an answer failed unexpectedly");
                    }
                }
            }
        }
    }

    /// Records that a sidecar came or went, and what it said last.
    async fn note_presence(
        &self,
        peer: &Peer,
        place: &Place,
        kind: &'static str,
        body: serde_json::Value,
    ) -> Result<(), StoreError> {
        let mut draft = EventDraft::new(self.clock.now(), kind);
        draft.actor = Some(peer.id.to_string());
        if let serde_json::Value::Object(body) = body {
            draft.body = body;
        }
        draft.body.insert("agent".to_owned(), json!(peer.name));
        self.store.record(vec![draft]).await?;
        self.hub.agent_changed(&peer.name);
        match place.liveness() {
            Some(liveness) => self.store.note_liveness(vec![(peer.agent, liveness.stored())]).await,
            None => Ok(()),
        }
    }
}

/// A length as it is told.
pub(super) fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
