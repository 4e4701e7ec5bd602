//! Agents and join tokens.

use async_trait::async_trait;
use countersign_audit::kind;
use countersign_model::{AgentId, AgentName, Digest, JoinTokenId, SpiffeId};
use serde_json::json;

use super::{
    EmbeddedStore,
    codec::Record,
    layout::{AGENT_NAMES, AGENTS, Bytes, JOIN_TOKEN_HASHES, JOIN_TOKENS},
    lookup::Lookup,
    work::Work,
};
use crate::{
    AddAgentRefusal, Agent, AgentRefusal, AgentState, AgentStore, By, CommandError, JoinToken,
    JoinTokenRefusal, Liveness, NewAgent, NewJoinToken, Page, PageError, PageRequest, RedeemRefusal,
    Redemption, Revocation, StoreError, Svid,
};

impl Record for Agent {
    const TABLE: Bytes = AGENTS;
}

impl Record for JoinToken {
    const TABLE: Bytes = JOIN_TOKENS;
}

fn refused<R: std::error::Error>(refusal: R) -> CommandError<R> {
    CommandError::Refused(refusal)
}

fn agent_by_id(lookup: &impl Lookup, id: AgentId) -> Result<Option<Agent>, StoreError> {
    lookup.get(&id.to_bytes())
}

fn agent_by_name(lookup: &impl Lookup, name: &AgentName) -> Result<Option<Agent>, StoreError> {
    let id = lookup.bytes(AGENT_NAMES, name.as_str().as_bytes())?;
    id.map_or(Ok(None), |id| lookup.get(&id))
}

fn join_token_by_hash(lookup: &impl Lookup, hash: &Digest) -> Result<Option<JoinToken>, StoreError> {
    let id = lookup.bytes(JOIN_TOKEN_HASHES, hash.as_bytes())?;
    id.map_or(Ok(None), |id| lookup.get(&id))
}

/// An agent that may still do something.
fn usable_agent(work: &Work<'_>, id: AgentId) -> Result<Agent, CommandError<AgentRefusal>> {
    let agent = agent_by_id(work, id)?.ok_or(refused(AgentRefusal::Unknown))?;
    if agent.state == AgentState::Revoked {
        return Err(refused(AgentRefusal::Revoked(agent.name)));
    }
    Ok(agent)
}

fn put_agent(work: &mut Work<'_>, agent: &Agent) -> Result<(), StoreError> {
    work.put(&agent.id.to_bytes(), agent)
}

fn put_token(
    work: &mut Work<'_>,
    agent: &Agent,
    new: &NewJoinToken,
    by: &By,
) -> Result<JoinToken, StoreError> {
    let token = JoinToken {
        id: new.id,
        agent: agent.id,
        agent_name: agent.name.clone(),
        hash: new.hash,
        created_at: by.at,
        expires_at: new.expires_at,
        redeemed_at: None,
        withdrawn_at: None,
    };
    work.put(&token.id.to_bytes(), &token)?;
    work.insert(JOIN_TOKEN_HASHES, token.hash.as_bytes(), &token.id.to_bytes())?;
    let mut event = Work::draft(by, kind::AGENT_ADDED);
    event.body.insert("agent".into(), json!(agent.name));
    event.body.insert("agent_id".into(), json!(agent.id));
    event.body.insert("owner".into(), json!(agent.owner));
    event.body.insert("join_token".into(), json!(token.id));
    event.body.insert("expires_at".into(), json!(token.expires_at));
    work.record(event)?;
    Ok(token)
}

fn add_agent(
    work: &mut Work<'_>,
    new: NewAgent,
    token: &NewJoinToken,
    by: &By,
) -> Result<(Agent, JoinToken), CommandError<AddAgentRefusal>> {
    if agent_by_name(work, &new.name)?.is_some() || agent_by_id(work, new.id)?.is_some() {
        return Err(refused(AddAgentRefusal::NameTaken(new.name)));
    }
    let agent = Agent {
        id: new.id,
        name: new.name,
        owner: new.owner,
        state: AgentState::Added,
        svid: None,
        liveness: None,
        added_at: by.at,
        revoked: None,
    };
    put_agent(work, &agent)?;
    work.insert(AGENT_NAMES, agent.name.as_str().as_bytes(), &agent.id.to_bytes())?;
    let token = put_token(work, &agent, token, by)?;
    Ok((agent, token))
}

fn withdraw(
    work: &mut Work<'_>,
    id: JoinTokenId,
    by: &By,
) -> Result<JoinToken, CommandError<JoinTokenRefusal>> {
    let token: Option<JoinToken> = work.get(&id.to_bytes())?;
    let mut token = token.ok_or(refused(JoinTokenRefusal::Unknown))?;
    if let Some(at) = token.redeemed_at {
        return Err(refused(JoinTokenRefusal::Redeemed(at)));
    }
    if token.withdrawn_at.is_none() {
        token.withdrawn_at = Some(by.at);
        work.put(&id.to_bytes(), &token)?;
        let mut event = Work::draft(by, kind::TOKEN_REVOKED);
        event.body.insert("join_token".into(), json!(id));
        event.body.insert("agent".into(), json!(token.agent_name));
        work.record(event)?;
    }
    Ok(token)
}

/// Single use holds because this runs in the writer: of two who race, one finds the token redeemed.
fn redeem(work: &mut Work<'_>, redemption: Redemption) -> Result<Agent, CommandError<RedeemRefusal>> {
    let token = join_token_by_hash(work, &redemption.hash)?.ok_or(refused(RedeemRefusal::Unknown))?;
    let mut agent = agent_by_id(work, token.agent)?.ok_or(refused(RedeemRefusal::Unknown))?;
    if agent.state == AgentState::Revoked {
        return Err(refused(RedeemRefusal::AgentRevoked(agent.name)));
    }
    if token.redeemed_at.is_some() {
        return Err(refused(RedeemRefusal::Redeemed(token.id)));
    }
    if token.withdrawn_at.is_some() {
        return Err(refused(RedeemRefusal::Withdrawn(token.id)));
    }
    if redemption.at >= token.expires_at {
        return Err(refused(RedeemRefusal::Expired(token.id)));
    }
    let token = JoinToken { redeemed_at: Some(redemption.at), ..token };
    work.put(&token.id.to_bytes(), &token)?;
    let spiffe_id = SpiffeId::agent(work.tail.source.trust_domain().clone(), agent.name.clone());
    let by = By::new(spiffe_id.to_string(), redemption.at);
    let mut event = svid_event(&agent, &redemption.svid, &by, kind::AGENT_ENROLLED);
    event.body.insert("join_token".into(), json!(token.id));
    agent.state = AgentState::Enrolled;
    agent.svid = Some(redemption.svid);
    put_agent(work, &agent)?;
    // A sidecar on a new machine has no events of the old one: its chain may begin again.
    let mut source = work.source(&spiffe_id)?;
    source.may_restart = true;
    work.put_source(&spiffe_id, source);
    work.record(event)?;
    Ok(agent)
}

fn svid_event(agent: &Agent, svid: &Svid, by: &By, kind: &'static str) -> countersign_audit::EventDraft {
    let mut event = Work::draft(by, kind);
    event.body.insert("agent".into(), json!(agent.name));
    event.body.insert("agent_id".into(), json!(agent.id));
    event.body.insert("svid".into(), json!(svid));
    event
}

fn renew(work: &mut Work<'_>, id: AgentId, svid: Svid, by: &By) -> Result<Agent, CommandError<AgentRefusal>> {
    let mut agent = usable_agent(work, id)?;
    let event = svid_event(&agent, &svid, by, kind::AGENT_RENEWED);
    agent.svid = Some(svid);
    put_agent(work, &agent)?;
    work.record(event)?;
    Ok(agent)
}

fn revoke(
    work: &mut Work<'_>,
    id: AgentId,
    reason: Option<&str>,
    by: &By,
) -> Result<Agent, CommandError<AgentRefusal>> {
    let mut agent = agent_by_id(work, id)?.ok_or(refused(AgentRefusal::Unknown))?;
    if agent.state == AgentState::Revoked {
        return Ok(agent);
    }
    agent.state = AgentState::Revoked;
    agent.revoked = Some(Revocation { at: by.at, reason: reason.map(ToOwned::to_owned) });
    put_agent(work, &agent)?;
    let mut event = Work::draft(by, kind::AGENT_REVOKED);
    event.body.insert("agent".into(), json!(agent.name));
    event.body.insert("agent_id".into(), json!(agent.id));
    event.body.insert("reason".into(), json!(reason));
    work.record(event)?;
    Ok(agent)
}

fn note_liveness(work: &mut Work<'_>, heard: Vec<(AgentId, Liveness)>) -> Result<(), StoreError> {
    for (id, liveness) in heard {
        if let Some(mut agent) = agent_by_id(work, id)? {
            agent.liveness = Some(liveness);
            put_agent(work, &agent)?;
        }
    }
    Ok(())
}

#[async_trait]
impl AgentStore for EmbeddedStore {
    async fn add_agent(
        &self,
        agent: NewAgent,
        token: NewJoinToken,
        by: By,
    ) -> Result<(Agent, JoinToken), CommandError<AddAgentRefusal>> {
        self.writer.run(move |work| add_agent(work, agent, &token, &by)).await
    }

    async fn add_join_token(
        &self,
        agent: AgentId,
        token: NewJoinToken,
        by: By,
    ) -> Result<JoinToken, CommandError<AgentRefusal>> {
        self.writer
            .run(move |work| {
                let agent = usable_agent(work, agent)?;
                Ok(put_token(work, &agent, &token, &by)?)
            })
            .await
    }

    async fn withdraw_join_token(
        &self,
        id: JoinTokenId,
        by: By,
    ) -> Result<JoinToken, CommandError<JoinTokenRefusal>> {
        self.writer.run(move |work| withdraw(work, id, &by)).await
    }

    async fn redeem_join_token(&self, redemption: Redemption) -> Result<Agent, CommandError<RedeemRefusal>> {
        self.writer.run(move |work| redeem(work, redemption)).await
    }

    async fn renew_svid(&self, id: AgentId, svid: Svid, by: By) -> Result<Agent, CommandError<AgentRefusal>> {
        self.writer.run(move |work| renew(work, id, svid, &by)).await
    }

    async fn revoke_agent(
        &self,
        id: AgentId,
        reason: Option<String>,
        by: By,
    ) -> Result<Agent, CommandError<AgentRefusal>> {
        self.writer.run(move |work| revoke(work, id, reason.as_deref(), &by)).await
    }

    async fn note_liveness(&self, heard: Vec<(AgentId, Liveness)>) -> Result<(), StoreError> {
        self.writer.run(move |work| note_liveness(work, heard)).await
    }

    async fn agent(&self, id: AgentId) -> Result<Option<Agent>, StoreError> {
        self.read(move |view| agent_by_id(view, id)).await
    }

    async fn agent_by_name(&self, name: &AgentName) -> Result<Option<Agent>, StoreError> {
        let name = name.clone();
        self.read(move |view| agent_by_name(view, &name)).await
    }

    async fn agents(&self, page: PageRequest) -> Result<Page<Agent>, PageError> {
        self.read(move |view| view.page(&page, true, |_| true)).await
    }

    async fn join_token_by_hash(&self, hash: Digest) -> Result<Option<JoinToken>, StoreError> {
        self.read(move |view| join_token_by_hash(view, &hash)).await
    }

    async fn join_tokens(&self, page: PageRequest) -> Result<Page<JoinToken>, PageError> {
        self.read(move |view| view.page(&page, true, |_| true)).await
    }
}
