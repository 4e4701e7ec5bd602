//! Enrolment: a machine without an identity redeems a join token.
//!
//! The certificate is signed first and handed out only if the token is then redeemed, which the store's
//! writer lets happen once, whoever races for it. The machine is not told why it was refused.

use std::time::Duration;

use countersign_model::Timestamp;
use countersign_pki::{AuthorityError, IssuedSvid, JoinSecret};
use countersign_protocol::{Enrol, Enrolled, Frame, RefusalCode, Refused};
use countersign_store::{CommandError, JoinTokenState, Redemption, StoreError, Svid};
use countersign_transport::{CloseCode, Session};

use super::Desk;

/// How long a machine may take to read the answer.
const READ_ANSWER: Duration = Duration::from_secs(5);

/// Why a machine was not enrolled.
#[derive(Debug, thiserror::Error)]
enum EnrolError {
    /// The token is not one that can be redeemed.
    #[error("{0}")]
    Token(String),
    /// The request cannot be signed.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The store does not work.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Desk {
    /// Serves one machine that wants to enrol: one question, one answer.
    pub(super) async fn enrolment(&self, session: Session) {
        let remote = session.remote_address();
        if let Err(error) = self.enrol_once(&session).await {
            tracing::warn!(%remote, %error, "an enrolment failed");
        }
        session.drain(READ_ANSWER, CloseCode::Done, "enrolment is over").await;
    }

    async fn enrol_once(&self, session: &Session) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let mut exchange = session.accept().await?;
        let Frame::Enrol(enrol) = exchange.receive().await? else {
            session.close(CloseCode::Protocol, "an enrolment begins with its token");
            return Err("it did not begin with a token".into());
        };
        match self.enrol(&enrol).await {
            Ok(enrolled) => {
                tracing::info!(agent = %enrolled.name, remote = %session.remote_address(), "enrolled");
                self.hub.agent_changed(&enrolled.name);
                Ok(exchange.answer(enrolled).await?)
            }
            Err(error) => {
                exchange.answer(refusal(&error)).await?;
                Err(error.into())
            }
        }
    }

    async fn enrol(&self, enrol: &Enrol) -> Result<Enrolled, EnrolError> {
        let now = self.clock.now();
        let hash = JoinSecret::new(enrol.secret).hash();
        let token = self.store.join_token_by_hash(hash).await?;
        // Checked here so that nothing is signed for a useless token; decided by the redemption below.
        let token = token
            .filter(|token| token.id == enrol.token && token.state(now) == JoinTokenState::Open)
            .ok_or_else(|| EnrolError::Token(format!("join token {} cannot be redeemed", enrol.token)))?;
        if enrol.agent.as_ref().is_some_and(|expected| *expected != token.agent_name) {
            return Err(EnrolError::Token(format!("join token {} is for {}", token.id, token.agent_name)));
        }
        let issued = self.authority.issue(&enrol.csr, &token.agent_name, now)?;
        let redemption = Redemption { hash, svid: svid(&issued), at: now };
        let agent = self.store.redeem_join_token(redemption).await.map_err(|error| match error {
            CommandError::Refused(refusal) => EnrolError::Token(refusal.to_string()),
            CommandError::Store(error) => EnrolError::Store(error),
        })?;
        Ok(Enrolled {
            agent: agent.id,
            name: agent.name,
            trust_domain: self.own_id.trust_domain().clone(),
            chain: ders(&issued),
            trust: self.trust()?,
            bundle_keys: self.keys.bundle_jwks(),
        })
    }

    /// The roots to trust, DER.
    pub(super) fn trust(&self) -> Result<Vec<Vec<u8>>, AuthorityError> {
        let trust = self.authority.trust_bundle()?;
        Ok(trust.certificates().iter().map(|root| root.to_vec()).collect())
    }
}

/// What the store keeps of a certificate.
pub(super) fn svid(issued: &IssuedSvid) -> Svid {
    let certificate = &issued.certificate;
    let not_after: Timestamp = certificate.not_after;
    Svid { fingerprint: certificate.fingerprint, serial: certificate.serial.clone(), not_after }
}

/// A chain, leaf first, DER.
pub(super) fn ders(issued: &IssuedSvid) -> Vec<Vec<u8>> {
    issued.chain.iter().map(|certificate| certificate.to_vec()).collect()
}

fn refusal(error: &EnrolError) -> Refused {
    match error {
        EnrolError::Token(_) => Refused {
            code: RefusalCode::JoinToken,
            message: "the join token is unknown, used or expired; ask for another one".to_owned(),
        },
        EnrolError::Authority(AuthorityError::Request(why)) => Refused {
            code: RefusalCode::Invalid,
            message: format!("the certificate request is refused: {why}"),
        },
        EnrolError::Authority(_) | EnrolError::Store(_) => Refused {
            code: RefusalCode::Internal,
            message: "the control plane cannot enrol now; try again later".to_owned(),
        },
    }
}
