//! The canonical view: what a reviewer sees of a request, the same in every channel.
//!
//! [`Review`] is derived from the canonical operation that the digest binds (I12) and from what the control
//! plane itself knows, and knows of no markup: the console, chats and mails each render it their own way. Two
//! things are done here once, so that no renderer has to think of them:
//!
//! - Whatever somebody else wrote is [`Untrusted`]: it shows exactly its characters, stays on one line, and is
//!   of another type than our own words, so it never stands where our labels stand.
//! - All words that say what a thing is or what follows are chosen here; [`Review::outline`] gives them in
//!   order, label by label, for channels that have no layout of their own.

mod difference;
mod edited;
mod glass;
mod operation;
mod outline;
mod past;
mod people;
mod text;
mod timeline;
mod value;

#[cfg(test)]
mod tests;

use countersign_approval::Approval;
use countersign_model::{AgentName, ApprovalId, DecidingPolicy, Digest, PolicyEffect, Timestamp};
use countersign_store::{Store, StoreError};
use serde::Serialize;
use serde_json::Value;

pub use self::{
    difference::{Difference, Fate, Line},
    edited::Edited,
    glass::{Glass, GlassReview},
    operation::{Command, Headline, Target, Verb, Whole, Word},
    outline::{Section, Span},
    past::{Activity, Before, LATELY, Past, Recent, Tally},
    people::{Cast, Consequence, Need, Standing, Tone},
    text::{Mark, Rest, Run, Untrusted, visible_json},
    timeline::Step,
    value::{Labelled, Shown},
};
use self::{people::person, value::Reader};
use crate::trace::trace_id;

/// A request as a reviewer sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Review {
    /// Its id.
    pub id: ApprovalId,
    /// Grows with every change.
    pub version: u64,
    /// Where it stands.
    pub standing: Standing,
    /// Why it ended as it did, when there is more to say than where it stands.
    pub ended: Option<Untrusted>,
    /// The action in words.
    pub headline: Headline,
    /// Whether what it is done to belongs to production.
    pub is_production: bool,
    /// What it is done to.
    pub target: Target,
    /// The command, if it is one.
    pub command: Option<Command>,
    /// The action's arguments, in order.
    pub arguments: Vec<Labelled>,
    /// What would be different afterwards, as far as the operation tells.
    pub differences: Vec<Difference>,
    /// The agent.
    pub agent: AgentName,
    /// Who answers for the agent, and so never votes here (I3).
    pub owner: Untrusted,
    /// On whose behalf it acts, if that is known.
    pub initiator: Option<Initiator>,
    /// What the agent says about it. Nobody vouches for it.
    pub said: Said,
    /// Why policy asks.
    pub why: Vec<Why>,
    /// Who approved it alone, and what became of that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub glass: Option<Glass>,
    /// What a reviewer made of its arguments, which ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub edited: Option<Edited>,
    /// The request whose arguments were changed into these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub follows: Option<ApprovalId>,
    /// Who changed the arguments into these, and so never votes here (I3).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub edited_by: Vec<Untrusted>,
    /// What must be met, and how far it is.
    pub needs: Vec<Need>,
    /// The votes so far.
    pub votes: Vec<Cast>,
    /// What has happened so far, oldest first.
    pub timeline: Vec<Step>,
    /// When it was submitted.
    pub submitted_at: Timestamp,
    /// Until when it can be decided.
    pub decide_by: Timestamp,
    /// Until when it may start, once approved.
    pub execute_by: Option<Timestamp>,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// What follows from a vote, while there can be one.
    pub consequence: Option<Consequence>,
    /// What the same agent did lately.
    pub activity: Option<Activity>,
    /// What the same agent asked lately, newest first.
    pub recent: Vec<Recent>,
    /// How often the same was asked before.
    pub before: Before,
    /// Everything that the digest binds.
    pub whole: Whole,
    /// SHA-256 over the canonical form, with its secrets.
    pub digest: Digest,
    /// Whether the sidecar took secrets out of what is shown.
    pub is_redacted: bool,
    /// The interceptor that saw it.
    pub interceptor: Untrusted,
    /// The policy revision that held it.
    pub revision: u64,
    /// The trace that tells its story.
    pub trace_id: Option<String>,
}

/// The human on whose behalf the agent acts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Initiator {
    /// Who.
    pub person: Untrusted,
    /// Whether an identity provider vouched for it. Otherwise it is the agent's word.
    pub is_verified: bool,
}

/// What the agent says. None of it is vouched for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Said {
    /// Why it does this.
    pub reason: Option<Untrusted>,
    /// What it was told to do, shortened.
    pub prompt: Option<Untrusted>,
    /// The model that drives it.
    pub model: Option<Untrusted>,
    /// The conversation or session.
    pub session: Option<Untrusted>,
}

/// A policy that holds the operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Why {
    /// The policy's id.
    pub policy: Untrusted,
    /// Its `@reason`.
    pub reason: Option<Untrusted>,
}

impl Review {
    /// The view of an approval, as of now.
    #[must_use]
    pub fn of(approval: &Approval, past: &Past, now: Timestamp) -> Self {
        let request = &approval.request;
        let submission = &request.submission;
        let canonical: Value = serde_json::from_str(&submission.operation).unwrap_or_default();
        let operation = Reader::new(&canonical, &submission.redacted);
        let needs = people::needs(approval);
        Self {
            id: request.id,
            version: approval.version,
            standing: Standing::of(approval.phase()),
            ended: approval.reason().as_deref().map(Untrusted::prose),
            headline: Headline::of(&operation),
            is_production: operation::is_in_production(&operation, &request.labels),
            target: Target::of(&operation).with(&request.labels),
            command: Command::of(&operation, &submission.interceptor),
            arguments: operation.labelled("/action/properties"),
            differences: difference::differences(&operation),
            agent: request.agent_name.clone(),
            owner: person(&request.owner),
            initiator: submission.provenance.initiator.as_ref().map(|initiator| Initiator {
                person: person(&initiator.person),
                is_verified: initiator.verified,
            }),
            said: said(approval),
            why: why(&submission.policies),
            glass: approval.glass.as_ref().map(Glass::of),
            edited: approval.edited.as_ref().map(|edit| Edited::of(edit, &canonical, past.made_of(approval))),
            follows: submission.follows,
            edited_by: request.edited_by.iter().map(person).collect(),
            consequence: people::consequence(approval, &needs),
            needs,
            votes: people::votes(approval),
            timeline: timeline::timeline(approval),
            submitted_at: request.submitted_at,
            decide_by: request.decide_by(),
            execute_by: approval.terms.as_ref().map(|terms| terms.execute_by),
            updated_at: approval.updated_at,
            activity: past.activity(approval),
            recent: past.recent(approval, now),
            before: past.before(approval),
            whole: Whole::of(&operation, &submission.operation),
            digest: submission.digest,
            is_redacted: !submission.redacted.is_empty(),
            interceptor: Untrusted::exact(&submission.interceptor),
            revision: submission.revision.0,
            trace_id: submission.trace.as_deref().and_then(trace_id),
        }
    }

    /// The view of one approval, with what the store knows of earlier times.
    ///
    /// # Errors
    /// When the store cannot answer.
    pub async fn read(store: &dyn Store, approval: &Approval, now: Timestamp) -> Result<Self, StoreError> {
        let past = Past::read(store, std::slice::from_ref(approval), now).await?;
        Ok(Self::of(approval, &past, now))
    }
}

fn said(approval: &Approval) -> Said {
    let provenance = &approval.request.submission.provenance;
    let prose = |text: &Option<String>| text.as_deref().map(Untrusted::prose);
    Said {
        reason: prose(&provenance.reason),
        prompt: prose(&provenance.prompt),
        model: prose(&provenance.model),
        session: prose(&provenance.session),
    }
}

fn why(policies: &[DecidingPolicy]) -> Vec<Why> {
    let asking = policies.iter().filter(|policy| policy.effect != PolicyEffect::Permit);
    let why = |policy: &DecidingPolicy| Why {
        policy: Untrusted::exact(&policy.id),
        reason: policy.reason.as_deref().map(Untrusted::prose),
    };
    asking.map(why).collect()
}
