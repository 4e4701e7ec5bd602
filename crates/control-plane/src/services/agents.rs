//! Agents and the join tokens that enrol them.

use countersign_model::{AgentId, AgentName, JoinTokenId, PersonId, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use super::{MissingRight, Page, PageRequest, require};
use crate::identity::{Actor, Right};

/// How far an agent has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AgentState {
    /// Added, and not enrolled yet.
    Added,
    /// Has an identity.
    Enrolled,
    /// May not connect any more.
    Revoked,
}

/// An agent, its sidecar's identity and liveness.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct AgentView {
    /// Its id.
    #[schema(value_type = String)]
    pub id: AgentId,
    /// Its name.
    #[schema(value_type = String)]
    pub name: AgentName,
    /// Its SPIFFE ID.
    pub spiffe_id: String,
    /// Who answers for it, and so never votes on what it does (I3).
    #[schema(value_type = String)]
    pub owner: PersonId,
    /// How far it has come.
    pub state: AgentState,
    /// Whether its sidecar is connected now.
    pub connected: bool,
    /// When its sidecar was last heard of.
    #[schema(value_type = Option<String>)]
    pub last_seen: Option<Timestamp>,
    /// The policy revision that its sidecar enforces.
    pub revision: Option<u64>,
    /// Until when it may enforce that revision without hearing from the control plane.
    #[schema(value_type = Option<String>)]
    pub lease_ends: Option<Timestamp>,
    /// Until when its certificate is valid.
    #[schema(value_type = Option<String>)]
    pub svid_expires_at: Option<Timestamp>,
    /// Events that its sidecar has not shipped yet, at its last heartbeat.
    pub spool_depth: Option<u64>,
    /// Operations that wait at its sidecar, at its last heartbeat.
    pub pending: Option<u32>,
    /// When it was added.
    #[schema(value_type = String)]
    pub added_at: Timestamp,
}

/// How far a join token has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum JoinTokenState {
    /// Can be redeemed.
    Open,
    /// Was redeemed.
    Used,
    /// Ran out.
    Expired,
    /// Was withdrawn.
    Revoked,
}

/// A join token, without its secret.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct JoinTokenView {
    /// Its id.
    #[schema(value_type = String)]
    pub id: JoinTokenId,
    /// The agent that it enrols.
    #[schema(value_type = String)]
    pub agent: AgentName,
    /// How far it has come.
    pub state: JoinTokenState,
    /// When it was made.
    #[schema(value_type = String)]
    pub created_at: Timestamp,
    /// When it runs out.
    #[schema(value_type = String)]
    pub expires_at: Timestamp,
}

/// A wish for a new agent.
#[derive(Debug, Clone)]
pub struct AddAgent {
    /// Its name.
    pub name: AgentName,
    /// Who answers for it.
    pub owner: PersonId,
}

/// A new agent, and the only time that its join token is shown.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct AddedAgent {
    /// The agent.
    pub agent: AgentView,
    /// The token's public half.
    pub join_token: JoinTokenView,
    /// The token itself: shown once, stored as a hash. Carries the CA's fingerprint.
    pub token: String,
}

/// Why something about an agent was not done.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The actor may not.
    #[error(transparent)]
    Right(#[from] MissingRight),
    /// There is no such agent.
    #[error("there is no agent {0:?}")]
    NotFound(String),
    /// There is no such join token.
    #[error("there is no join token {0}")]
    NoSuchToken(JoinTokenId),
    /// The name is taken.
    #[error("there is an agent {0} already")]
    Exists(AgentName),
    /// The agent was revoked, and revocation is final.
    #[error("agent {0} is revoked")]
    Revoked(AgentName),
    /// The cursor is none that a page gave out.
    #[error("the cursor is none that a page gave out")]
    Cursor,
    /// The store cannot answer. The text is for the log, not for the caller.
    #[error("the store cannot answer: {0}")]
    Store(String),
}

/// Manages agents.
#[derive(Debug, Clone)]
pub struct Agents {}

impl Agents {
    /// Adds an agent and makes its first join token. Takes the admin role.
    ///
    /// # Errors
    /// When the actor may not, or the name is taken.
    pub async fn add(&self, actor: &Actor, _wish: AddAgent) -> Result<AddedAgent, AgentError> {
        require(actor, Right::Admin)?;
        Err(unopened())
    }

    /// Makes another join token for an agent that exists, for a sidecar that is to be enrolled anew.
    ///
    /// # Errors
    /// When the actor may not, or the agent is unknown or revoked.
    pub async fn new_join_token(&self, actor: &Actor, _name: &AgentName) -> Result<AddedAgent, AgentError> {
        require(actor, Right::Admin)?;
        Err(unopened())
    }

    /// Agents by name.
    ///
    /// # Errors
    /// When the cursor is not one of ours.
    pub async fn list(&self, actor: &Actor, _page: &PageRequest) -> Result<Page<AgentView>, AgentError> {
        require(actor, Right::Read)?;
        Err(unopened())
    }

    /// One agent.
    ///
    /// # Errors
    /// When there is none of that name.
    pub async fn show(&self, actor: &Actor, _name: &AgentName) -> Result<AgentView, AgentError> {
        require(actor, Right::Read)?;
        Err(unopened())
    }

    /// Revokes an agent for good: closes its link, refuses its certificate, cancels what it waits for.
    ///
    /// # Errors
    /// When the actor may not, or there is none of that name. Revoking twice is no error.
    pub async fn revoke(
        &self,
        actor: &Actor,
        _name: &AgentName,
        _reason: Option<String>,
    ) -> Result<AgentView, AgentError> {
        require(actor, Right::Admin)?;
        Err(unopened())
    }

    /// Join tokens, newest first.
    ///
    /// # Errors
    /// When the cursor is not one of ours.
    pub async fn join_tokens(
        &self,
        actor: &Actor,
        _page: &PageRequest,
    ) -> Result<Page<JoinTokenView>, AgentError> {
        require(actor, Right::Admin)?;
        Err(unopened())
    }

    /// Withdraws a join token that was not used.
    ///
    /// # Errors
    /// When the actor may not, or there is no such token.
    pub async fn revoke_join_token(
        &self,
        actor: &Actor,
        _id: JoinTokenId,
    ) -> Result<JoinTokenView, AgentError> {
        require(actor, Right::Admin)?;
        Err(unopened())
    }
}

fn unopened() -> AgentError {
    AgentError::Store("the store is not open".to_owned())
}
