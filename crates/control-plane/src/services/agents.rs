//! Agents and the join tokens that enrol them.

use std::sync::Arc;

use countersign_model::{AgentId, AgentName, JoinTokenId, PersonId, SpiffeId, Timestamp};
use countersign_pki::{JoinSecret, JoinToken};
use countersign_store::{
    AddAgentRefusal, Agent, AgentRefusal, By, CommandError, CursorError, JoinTokenRefusal, NewAgent,
    NewJoinToken, PageError, StoreError,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{MissingRight, Page, PageRequest, Parts, require};
use crate::{
    clock::{NoEntropy, entropy},
    identity::{Actor, Right},
};

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
    /// The join token was used, so that there is nothing left to withdraw.
    #[error("join token {0} was used; revoke the agent instead")]
    TokenUsed(JoinTokenId),
    /// The cursor is none that a page gave out.
    #[error("the cursor is none that a page gave out")]
    Cursor,
    /// The store cannot answer. The text is for the log, not for the caller.
    #[error("the store cannot answer: {0}")]
    Store(String),
}

impl From<StoreError> for AgentError {
    fn from(error: StoreError) -> Self {
        Self::Store(error.to_string())
    }
}

impl From<CursorError> for AgentError {
    fn from(_: CursorError) -> Self {
        Self::Cursor
    }
}

impl From<PageError> for AgentError {
    fn from(error: PageError) -> Self {
        match error {
            PageError::Cursor(error) => error.into(),
            PageError::Store(error) => error.into(),
        }
    }
}

impl From<NoEntropy> for AgentError {
    fn from(error: NoEntropy) -> Self {
        Self::Store(error.to_string())
    }
}

/// Manages agents.
#[derive(Debug, Clone)]
pub struct Agents {
    parts: Arc<Parts>,
}

impl Agents {
    pub(super) fn new(parts: Arc<Parts>) -> Self {
        Self { parts }
    }

    /// Adds an agent and makes its first join token. Takes the admin right.
    ///
    /// # Errors
    /// When the actor may not, or the name is taken.
    pub async fn add(&self, actor: &Actor, wish: AddAgent) -> Result<AddedAgent, AgentError> {
        require(actor, Right::Admin)?;
        let now = self.parts.clock.now();
        let id = AgentId::new(now, entropy()?);
        let (token, new_token) = self.draw_token(now)?;
        let name = wish.name.clone();
        let new = NewAgent { id, name: wish.name, owner: wish.owner };
        let added = self.parts.store.add_agent(new, new_token, By::new(actor, now)).await;
        let (agent, join_token) = added.map_err(|error| match error {
            CommandError::Refused(AddAgentRefusal::NameTaken(_)) => AgentError::Exists(name),
            CommandError::Store(error) => error.into(),
        })?;
        self.parts.hub.agent_changed(&agent.name);
        Ok(self.added(&agent, &join_token, &token, now))
    }

    /// Makes another join token for an agent that exists, for a sidecar that is to be enrolled anew.
    ///
    /// # Errors
    /// When the actor may not, or the agent is unknown or revoked.
    pub async fn new_join_token(&self, actor: &Actor, name: &AgentName) -> Result<AddedAgent, AgentError> {
        require(actor, Right::Admin)?;
        let agent = self.find(name).await?;
        let now = self.parts.clock.now();
        let (token, new_token) = self.draw_token(now)?;
        let by = By::new(actor, now);
        let added = self.parts.store.add_join_token(agent.id, new_token, by).await;
        let join_token = added.map_err(|error| refused(error, name))?;
        Ok(self.added(&agent, &join_token, &token, now))
    }

    /// Agents by name.
    ///
    /// # Errors
    /// When the cursor is not one of ours.
    pub async fn list(&self, actor: &Actor, page: &PageRequest) -> Result<Page<AgentView>, AgentError> {
        require(actor, Right::Read)?;
        let found = self.parts.store.agents(page.to_store()?).await?;
        Ok(Page::of(found, |agent| self.view(agent)))
    }

    /// One agent.
    ///
    /// # Errors
    /// When there is none of that name.
    pub async fn show(&self, actor: &Actor, name: &AgentName) -> Result<AgentView, AgentError> {
        require(actor, Right::Read)?;
        Ok(self.view(&self.find(name).await?))
    }

    /// Revokes an agent for good: closes its link, refuses its certificate, ends what it waits for.
    ///
    /// # Errors
    /// When the actor may not, or there is none of that name. Revoking twice is no error.
    pub async fn revoke(
        &self,
        actor: &Actor,
        name: &AgentName,
        reason: Option<String>,
    ) -> Result<AgentView, AgentError> {
        require(actor, Right::Admin)?;
        let found = self.find(name).await?;
        let by = By::new(actor, self.parts.clock.now());
        let revoked = self.parts.store.revoke_agent(found.id, reason, by).await;
        let agent = revoked.map_err(|error| refused(error, name))?;
        // After the revocation is durable, so that a reconnection in between is turned away.
        self.parts.registry.close(agent.id);
        self.parts.hub.agent_changed(&agent.name);
        self.parts.broker.end_all_of(agent.id, actor.into()).await?;
        Ok(self.view(&agent))
    }

    /// Join tokens, newest first.
    ///
    /// # Errors
    /// When the cursor is not one of ours.
    pub async fn join_tokens(
        &self,
        actor: &Actor,
        page: &PageRequest,
    ) -> Result<Page<JoinTokenView>, AgentError> {
        require(actor, Right::Admin)?;
        let now = self.parts.clock.now();
        let found = self.parts.store.join_tokens(page.to_store()?).await?;
        Ok(Page::of(found, |token| token_view(token, now)))
    }

    /// Withdraws a join token that was not used.
    ///
    /// # Errors
    /// When the actor may not, there is no such token, or it was used.
    pub async fn revoke_join_token(
        &self,
        actor: &Actor,
        id: JoinTokenId,
    ) -> Result<JoinTokenView, AgentError> {
        require(actor, Right::Admin)?;
        let now = self.parts.clock.now();
        let withdrawn = self.parts.store.withdraw_join_token(id, By::new(actor, now)).await;
        match withdrawn {
            Ok(token) => Ok(token_view(&token, now)),
            Err(CommandError::Refused(JoinTokenRefusal::Unknown)) => Err(AgentError::NoSuchToken(id)),
            Err(CommandError::Refused(JoinTokenRefusal::Redeemed(_))) => Err(AgentError::TokenUsed(id)),
            Err(CommandError::Store(error)) => Err(error.into()),
        }
    }

    async fn find(&self, name: &AgentName) -> Result<Agent, AgentError> {
        let found = self.parts.store.agent_by_name(name).await?;
        found.ok_or_else(|| AgentError::NotFound(name.to_string()))
    }

    /// A fresh join token, and what the store keeps of it.
    fn draw_token(&self, now: Timestamp) -> Result<(JoinToken, NewJoinToken), NoEntropy> {
        let id = JoinTokenId::new(now, entropy()?);
        let secret = JoinSecret::new(entropy()?);
        let expires_at = now.plus(self.parts.join_token_lifetime);
        let kept = NewJoinToken { id, hash: secret.hash(), expires_at };
        Ok((JoinToken { id, secret, authority: self.parts.authority.fingerprint() }, kept))
    }

    fn added(
        &self,
        agent: &Agent,
        join_token: &countersign_store::JoinToken,
        token: &JoinToken,
        now: Timestamp,
    ) -> AddedAgent {
        let token = token.expose().to_string();
        AddedAgent { agent: self.view(agent), join_token: token_view(join_token, now), token }
    }

    /// What is stored of an agent, and what its sidecar says at the moment.
    fn view(&self, agent: &Agent) -> AgentView {
        let live = self.parts.registry.liveness(agent.id);
        let kept = agent.liveness.as_ref();
        let lease = self.parts.catalogue.active().map(|edition| edition.bundle.lease());
        let svid = agent.svid.as_ref().map(|svid| svid.not_after);
        AgentView {
            id: agent.id,
            name: agent.name.clone(),
            spiffe_id: SpiffeId::agent(self.parts.trust_domain.clone(), agent.name.clone()).to_string(),
            owner: agent.owner.clone(),
            state: match agent.state {
                countersign_store::AgentState::Added => AgentState::Added,
                countersign_store::AgentState::Enrolled => AgentState::Enrolled,
                countersign_store::AgentState::Revoked => AgentState::Revoked,
            },
            connected: live.as_ref().is_some_and(|live| live.connected),
            last_seen: live.as_ref().map(|live| live.last_seen).or(kept.map(|kept| kept.seen_at)),
            revision: live
                .as_ref()
                .map_or_else(|| kept.and_then(|kept| kept.revision), |live| live.revision)
                .map(|revision| revision.0),
            lease_ends: live.as_ref().zip(lease).and_then(|(live, lease)| live.lease_ends(lease)),
            svid_expires_at: live.as_ref().and_then(|live| live.svid_expires_at).or(svid),
            spool_depth: live.as_ref().map(|live| live.spool_depth).or(kept.map(|kept| kept.spool_depth)),
            pending: live.as_ref().map(|live| live.pending).or(kept.map(|kept| kept.pending)),
            added_at: agent.added_at,
        }
    }
}

fn refused(error: CommandError<AgentRefusal>, name: &AgentName) -> AgentError {
    match error {
        CommandError::Refused(AgentRefusal::Unknown) => AgentError::NotFound(name.to_string()),
        CommandError::Refused(AgentRefusal::Revoked(name)) => AgentError::Revoked(name),
        CommandError::Store(error) => error.into(),
    }
}

fn token_view(token: &countersign_store::JoinToken, now: Timestamp) -> JoinTokenView {
    JoinTokenView {
        id: token.id,
        agent: token.agent_name.clone(),
        state: match token.state(now) {
            countersign_store::JoinTokenState::Open => JoinTokenState::Open,
            countersign_store::JoinTokenState::Redeemed => JoinTokenState::Used,
            countersign_store::JoinTokenState::Expired => JoinTokenState::Expired,
            countersign_store::JoinTokenState::Withdrawn => JoinTokenState::Revoked,
        },
        created_at: token.created_at,
        expires_at: token.expires_at,
    }
}
