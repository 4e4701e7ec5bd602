//! What the control plane knows of earlier times: what the same agent did lately, and how often the same was
//! asked before. It looks back so far and no further, and says how far.

use std::collections::BTreeMap;

use countersign_approval::{Approval, Phase};
use countersign_audit::kind;
use countersign_model::{AgentId, ApprovalId, Digest, Seconds, SpiffeId, Timestamp};
use countersign_store::{ApprovalFilter, EventFilter, PageError, PageRequest, Store, StoreError};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    operation::{Headline, same_matter},
    people::Standing,
    value::Reader,
};

/// What counts as lately.
pub const LATELY: Seconds = Seconds::new(15 * 60);
/// How many of the newest requests are looked at.
const MOST_REQUESTS: usize = 300;
/// How many of an agent's newest events are looked at.
const MOST_EVENTS: usize = 500;
/// How many agents' events are looked at for one page.
const MOST_AGENTS: usize = 24;
/// How many of an agent's requests are shown.
const MOST_SHOWN: usize = 5;

/// A request of the same agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Recent {
    /// Which.
    pub id: ApprovalId,
    /// What was asked, on one line with its marks spelt out.
    pub headline: String,
    /// What became of it.
    pub standing: Standing,
    /// When it last changed.
    pub at: Timestamp,
}

/// What an agent did within [`LATELY`], as far as its sidecar has shipped it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Activity {
    /// How many operations policy let run at once, or people had approved.
    pub permitted: usize,
    /// How many it denied.
    pub denied: usize,
    /// How many it held.
    pub held: usize,
    /// Whether there were more than were looked at.
    pub is_more: bool,
}

/// How often people decided.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// How many requests they approved.
    pub approved: usize,
    /// How many they denied.
    pub denied: usize,
}

/// How often the same was asked before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Before {
    /// The same action on the same resource.
    pub same_matter: Tally,
    /// The very same operation, by its digest.
    pub same_operation: Tally,
    /// Among how many requests.
    pub among: usize,
}

/// The newest requests, and what agents did lately.
#[derive(Debug, Clone, Default)]
pub struct Past {
    requests: Vec<Earlier>,
    activity: BTreeMap<AgentId, Activity>,
}

#[derive(Debug, Clone)]
struct Earlier {
    id: ApprovalId,
    agent: AgentId,
    digest: Digest,
    matter: Option<[String; 3]>,
    follows: Option<ApprovalId>,
    headline: String,
    phase: Phase,
    was_approved: bool,
    submitted_at: Timestamp,
    updated_at: Timestamp,
}

impl Past {
    /// What is known before these approvals, which are shown together.
    ///
    /// # Errors
    /// When the store cannot answer.
    pub async fn read(store: &dyn Store, shown: &[Approval], now: Timestamp) -> Result<Self, StoreError> {
        let agents: BTreeMap<AgentId, &SpiffeId> =
            shown.iter().map(|approval| (approval.request.agent, &approval.request.audience)).collect();
        let agent = if agents.len() == 1 { agents.keys().next().copied() } else { None };
        let filter = ApprovalFilter { agent, ..ApprovalFilter::default() };
        let page = store.approvals(filter, PageRequest::first(MOST_REQUESTS)).await.map_err(of_store)?;
        let mut past = Self { requests: page.items.iter().map(Earlier::of).collect(), ..Self::default() };
        for (agent, sidecar) in agents.into_iter().take(MOST_AGENTS) {
            past.activity.insert(agent, activity(store, sidecar, now).await?);
        }
        Ok(past)
    }

    pub(super) fn activity(&self, approval: &Approval) -> Option<Activity> {
        self.activity.get(&approval.request.agent).copied()
    }

    pub(super) fn recent(&self, approval: &Approval, now: Timestamp) -> Vec<Recent> {
        let since = now.minus(LATELY);
        let others = self.of_agent(approval).filter(|earlier| earlier.updated_at >= since);
        let recent = |earlier: &Earlier| Recent {
            id: earlier.id,
            headline: earlier.headline.clone(),
            standing: Standing::of(earlier.phase),
            at: earlier.updated_at,
        };
        others.take(MOST_SHOWN).map(recent).collect()
    }

    pub(super) fn before(&self, approval: &Approval) -> Before {
        let submission = &approval.request.submission;
        let matter = same_matter(&submission.operation);
        let earlier = || {
            let asked = approval.request.submitted_at;
            self.of_agent(approval).filter(move |earlier| earlier.submitted_at <= asked)
        };
        Before {
            same_matter: tally(earlier().filter(|one| matter.is_some() && one.matter == matter)),
            same_operation: tally(earlier().filter(|one| one.digest == submission.digest)),
            among: earlier().count(),
        }
    }

    /// The request that came of a reviewer's changes to this one.
    pub(super) fn made_of(&self, approval: &Approval) -> Option<ApprovalId> {
        let follows = Some(approval.request.id);
        self.of_agent(approval).find(|later| later.follows == follows).map(|later| later.id)
    }

    /// The other requests of the same agent, newest first.
    fn of_agent(&self, approval: &Approval) -> impl Iterator<Item = &Earlier> {
        let (id, agent) = (approval.request.id, approval.request.agent);
        self.requests.iter().filter(move |earlier| earlier.agent == agent && earlier.id != id)
    }
}

impl Earlier {
    fn of(approval: &Approval) -> Self {
        let request = &approval.request;
        let operation: Value = serde_json::from_str(&request.submission.operation).unwrap_or_default();
        Self {
            id: request.id,
            agent: request.agent,
            digest: request.submission.digest,
            matter: same_matter(&request.submission.operation),
            follows: request.submission.follows,
            headline: Headline::of(&Reader::new(&operation, &[])).one_line(),
            phase: approval.phase(),
            was_approved: approval.terms.is_some(),
            submitted_at: request.submitted_at,
            updated_at: approval.updated_at,
        }
    }
}

fn tally<'a>(requests: impl Iterator<Item = &'a Earlier>) -> Tally {
    requests.fold(Tally::default(), |tally, one| Tally {
        approved: tally.approved + usize::from(one.was_approved),
        denied: tally.denied + usize::from(one.phase == Phase::Denied),
    })
}

async fn activity(store: &dyn Store, sidecar: &SpiffeId, now: Timestamp) -> Result<Activity, StoreError> {
    #[derive(Deserialize)]
    struct Kind {
        kind: String,
    }
    let filter = EventFilter {
        kind: Some("operation.".to_owned()),
        source: Some(sidecar.to_string()),
        from: Some(now.minus(LATELY)),
        ..EventFilter::default()
    };
    let page = store.query_events(filter, PageRequest::first(MOST_EVENTS)).await.map_err(of_store)?;
    let mut activity = Activity { is_more: page.next.is_some(), ..Activity::default() };
    for event in &page.items {
        match serde_json::from_slice::<Kind>(&event.bytes).map(|event| event.kind).as_deref() {
            Ok(kind::OPERATION_PERMITTED) => activity.permitted += 1,
            Ok(kind::OPERATION_DENIED) => activity.denied += 1,
            Ok(kind::OPERATION_HELD) => activity.held += 1,
            _ => {}
        }
    }
    Ok(activity)
}

fn of_store(error: PageError) -> StoreError {
    match error {
        PageError::Store(error) => error,
        PageError::Cursor(error) => StoreError::Damaged(error.to_string()),
    }
}
