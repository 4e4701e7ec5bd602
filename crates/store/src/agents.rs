//! Agents, and the join tokens that enrol them.

use async_trait::async_trait;
use countersign_model::{AgentId, AgentName, Digest, JoinTokenId, PersonId, Revision, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{By, CommandError, Page, PageError, PageRequest, StoreError};

/// How far an agent has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentState {
    /// Added, and not enrolled yet.
    Added,
    /// Has an identity.
    Enrolled,
    /// May not connect any more, for good.
    Revoked,
}

/// A certificate that a sidecar was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Svid {
    /// SHA-256 over the certificate.
    pub fingerprint: Digest,
    /// Its serial number, in hexadecimal digits.
    pub serial: String,
    /// When it ends.
    pub not_after: Timestamp,
}

/// An agent, and what is known of its sidecar.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agent {
    /// Its id.
    pub id: AgentId,
    /// Its name. A name is never given to another agent, not even after revocation.
    pub name: AgentName,
    /// Who answers for it, and so never votes on what it does (I3).
    pub owner: PersonId,
    /// How far it has come.
    pub state: AgentState,
    /// The certificate that its sidecar was given last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub svid: Option<Svid>,
    /// What its sidecar said last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub liveness: Option<Liveness>,
    /// When it was added.
    pub added_at: Timestamp,
    /// When and why it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Revocation>,
}

/// When and why something was revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: Option<String>,
}

/// What a sidecar said last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Liveness {
    /// When.
    pub seen_at: Timestamp,
    /// The revision that it enforces.
    pub revision: Option<Revision>,
    /// Events that it has not shipped yet.
    pub spool_depth: u64,
    /// Operations that wait at it.
    pub pending: u32,
}

/// A wish for a new agent.
#[derive(Debug, Clone)]
pub struct NewAgent {
    /// Its id.
    pub id: AgentId,
    /// Its name.
    pub name: AgentName,
    /// Who answers for it.
    pub owner: PersonId,
}

/// A wish for a new join token.
#[derive(Debug, Clone)]
pub struct NewJoinToken {
    /// Its id.
    pub id: JoinTokenId,
    /// SHA-256 over its secret, which is not stored.
    pub hash: Digest,
    /// When it runs out.
    pub expires_at: Timestamp,
}

/// A join token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinToken {
    /// Its id.
    pub id: JoinTokenId,
    /// The agent that it enrols.
    pub agent: AgentId,
    /// The agent's name.
    pub agent_name: AgentName,
    /// SHA-256 over its secret.
    pub hash: Digest,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it runs out.
    pub expires_at: Timestamp,
    /// When it was redeemed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redeemed_at: Option<Timestamp>,
    /// When it was withdrawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withdrawn_at: Option<Timestamp>,
}

/// How far a join token has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JoinTokenState {
    /// Can be redeemed.
    Open,
    /// Was redeemed.
    Redeemed,
    /// Ran out.
    Expired,
    /// Was withdrawn.
    Withdrawn,
}

impl JoinToken {
    /// How far it has come by `now`.
    #[must_use]
    pub fn state(&self, now: Timestamp) -> JoinTokenState {
        if self.redeemed_at.is_some() {
            JoinTokenState::Redeemed
        } else if self.withdrawn_at.is_some() {
            JoinTokenState::Withdrawn
        } else if now >= self.expires_at {
            JoinTokenState::Expired
        } else {
            JoinTokenState::Open
        }
    }
}

/// An enrolment: a join token, against the certificate that was signed for it.
#[derive(Debug, Clone)]
pub struct Redemption {
    /// SHA-256 over the token's secret.
    pub hash: Digest,
    /// The certificate; handed out only if the redemption succeeds.
    pub svid: Svid,
    /// When.
    pub at: Timestamp,
}

/// Why an agent was not added.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddAgentRefusal {
    /// The name is taken, if only by a revoked agent.
    #[error("there is an agent {0} already")]
    NameTaken(AgentName),
}

/// Why something about an agent was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AgentRefusal {
    /// There is no such agent.
    #[error("there is no such agent")]
    Unknown,
    /// It was revoked, and revocation is final.
    #[error("agent {0} is revoked")]
    Revoked(AgentName),
}

/// Why a join token was not withdrawn.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JoinTokenRefusal {
    /// There is no such token.
    #[error("there is no such join token")]
    Unknown,
    /// It was redeemed.
    #[error("the join token was redeemed at {0}; revoke the agent instead")]
    Redeemed(Timestamp),
}

/// Why a join token was not redeemed. The peer is told none of this.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RedeemRefusal {
    /// There is no such token.
    #[error("the join token is unknown")]
    Unknown,
    /// It was redeemed before: tokens are good for one enrolment.
    #[error("the join token {0} was redeemed before")]
    Redeemed(JoinTokenId),
    /// It ran out.
    #[error("the join token {0} has expired")]
    Expired(JoinTokenId),
    /// It was withdrawn.
    #[error("the join token {0} was withdrawn")]
    Withdrawn(JoinTokenId),
    /// Its agent was revoked.
    #[error("agent {0} is revoked")]
    AgentRevoked(AgentName),
}

/// Agents and join tokens.
#[async_trait]
pub trait AgentStore {
    /// Adds an agent with its first join token (`agent.added`).
    async fn add_agent(
        &self,
        agent: NewAgent,
        token: NewJoinToken,
        by: By,
    ) -> Result<(Agent, JoinToken), CommandError<AddAgentRefusal>>;

    /// Makes another join token for an agent (`agent.added`, with the token's id).
    async fn add_join_token(
        &self,
        agent: AgentId,
        token: NewJoinToken,
        by: By,
    ) -> Result<JoinToken, CommandError<AgentRefusal>>;

    /// Withdraws a join token (`token.revoked`). Twice is no error.
    async fn withdraw_join_token(
        &self,
        id: JoinTokenId,
        by: By,
    ) -> Result<JoinToken, CommandError<JoinTokenRefusal>>;

    /// Redeems a join token, once, whoever races for it (`agent.enrolled`).
    async fn redeem_join_token(&self, redemption: Redemption) -> Result<Agent, CommandError<RedeemRefusal>>;

    /// Notes a renewed certificate (`agent.renewed`).
    async fn renew_svid(&self, id: AgentId, svid: Svid, by: By) -> Result<Agent, CommandError<AgentRefusal>>;

    /// Revokes an agent for good; none of its join tokens enrols it any more (`agent.revoked`). Twice is no
    /// error.
    async fn revoke_agent(
        &self,
        id: AgentId,
        reason: Option<String>,
        by: By,
    ) -> Result<Agent, CommandError<AgentRefusal>>;

    /// Notes what sidecars said last. Not an event: nothing was decided. Unknown agents are left out.
    async fn note_liveness(&self, heard: Vec<(AgentId, Liveness)>) -> Result<(), StoreError>;

    /// An agent.
    async fn agent(&self, id: AgentId) -> Result<Option<Agent>, StoreError>;

    /// The agent of that name.
    async fn agent_by_name(&self, name: &AgentName) -> Result<Option<Agent>, StoreError>;

    /// Agents, newest first.
    async fn agents(&self, page: PageRequest) -> Result<Page<Agent>, PageError>;

    /// The join token with that secret's hash.
    async fn join_token_by_hash(&self, hash: Digest) -> Result<Option<JoinToken>, StoreError>;

    /// Join tokens, newest first.
    async fn join_tokens(&self, page: PageRequest) -> Result<Page<JoinToken>, PageError>;
}
