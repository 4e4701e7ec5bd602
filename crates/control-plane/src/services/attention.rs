//! Where reviewers' attention goes: how long decisions take, how they turn out, and what is always approved.
//!
//! What is always approved is a question that policy could answer by itself. For it the report proposes, as
//! text, the narrowest exception that would have let exactly those operations through. Each proposal has
//! been tried on what is on record: it permits every one that was approved and none that was denied, or it
//! is not made. Nobody but a person puts it into a policy.

use std::{collections::BTreeMap, sync::Arc};

use countersign_approval::{Approval, State, VoteDecision};
use countersign_model::{PersonId, RequirementName, Seconds, Timestamp};
use countersign_store::{ApprovalFilter, PageRequest};
use serde::Serialize;
use utoipa::ToSchema;

use super::{MissingRight, Parts, exceptions, require};
use crate::{
    distribution::Edition,
    identity::{Actor, Right},
};

/// The period when none is named.
const DEFAULT_PERIOD: Seconds = Seconds::new(30 * 86_400);
/// The most approvals that one report looks at.
const MAX_APPROVALS: usize = 20_000;
/// How many are read at a time.
const BATCH: usize = 500;
/// How often something must have been approved before that says anything.
const ENOUGH: usize = 5;
/// A vote within this was hardly a look.
const A_GLANCE: Seconds = Seconds::new(5);

/// Where reviewers' attention went.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct AttentionReport {
    /// From when on.
    #[schema(value_type = String)]
    pub since: Timestamp,
    /// Until when.
    #[schema(value_type = String)]
    pub until: Timestamp,
    /// How many requests there were.
    pub requests: u64,
    /// Whether that is all of them: of very many only the latest are looked at.
    pub is_complete: bool,
    /// By the policy that asked, the busiest first.
    pub policies: Vec<PolicyAttention>,
    /// By reviewer, the busiest first.
    pub reviewers: Vec<ReviewerAttention>,
    /// The requirements that were always approved.
    pub always_approved: Vec<AlwaysApproved>,
}

/// What became of the requests of one policy.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
pub struct PolicyAttention {
    /// The policy's id.
    pub policy: String,
    /// How many requests it made.
    pub requests: u64,
    /// How many were approved.
    pub approved: u64,
    /// How many were denied.
    pub denied: u64,
    /// How many nobody decided in time.
    pub expired: u64,
    /// How much of what was decided was approved, from 0 to 1.
    pub approval_rate: Option<f64>,
    /// How long the decision took, in seconds: half were faster.
    pub median_seconds: Option<f64>,
    /// Nine of ten were faster than this.
    pub p90_seconds: Option<f64>,
}

/// What one person decided.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ReviewerAttention {
    /// Who.
    #[schema(value_type = String)]
    pub person: PersonId,
    /// How many votes they cast.
    pub votes: u64,
    /// How many of them were approvals.
    pub approvals: u64,
    /// How many of these came within five seconds of the request.
    pub glances: u64,
    /// How many of their votes were approvals, from 0 to 1.
    pub approval_rate: Option<f64>,
    /// How long they took from the request to the vote, in seconds: half were faster.
    pub median_seconds: Option<f64>,
}

/// A requirement that nobody ever denied.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct AlwaysApproved {
    /// The requirement.
    #[schema(value_type = String)]
    pub requirement: RequirementName,
    /// How often it was approved.
    pub approved: u64,
    /// The policies as they would have to be, to permit exactly those operations without asking.
    pub proposal: Vec<ProposedPolicy>,
    /// Why there is no proposal.
    pub no_proposal: Option<String>,
}

/// A policy with an exception.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ProposedPolicy {
    /// The policy's id.
    pub policy: String,
    /// The bundle's file that it is in.
    pub file: String,
    /// Its text, with the exception.
    pub text: String,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The actor may not.
    #[error(transparent)]
    Right(#[from] MissingRight),
    /// The store cannot answer. The text is for the log, not for the caller.
    #[error("the store cannot answer: {0}")]
    Store(String),
}

/// Reports.
#[derive(Debug, Clone)]
pub struct Reports {
    parts: Arc<Parts>,
}

impl Reports {
    pub(super) fn new(parts: Arc<Parts>) -> Self {
        Self { parts }
    }

    /// Where reviewers' attention went since then, or in the last thirty days.
    ///
    /// # Errors
    /// When the actor may not read, or the store cannot answer.
    pub async fn attention(
        &self,
        actor: &Actor,
        since: Option<Timestamp>,
    ) -> Result<AttentionReport, ReportError> {
        require(actor, Right::Read)?;
        let until = self.parts.clock.now();
        let since = since.unwrap_or_else(|| until.minus(DEFAULT_PERIOD));
        let (approvals, is_complete) = self.since(since).await?;
        let edition = self.parts.catalogue.active();
        let always_approved = match edition {
            Some(edition) if is_complete => self.always_approved(&approvals, &edition).await?,
            // What was not looked at could have been denied.
            _ => Vec::new(),
        };
        Ok(AttentionReport {
            since,
            until,
            requests: count(approvals.len()),
            is_complete,
            policies: policies(&approvals),
            reviewers: reviewers(&approvals),
            always_approved,
        })
    }

    /// The approvals that were asked for since then, newest first, and whether these are all.
    async fn since(&self, since: Timestamp) -> Result<(Vec<Approval>, bool), ReportError> {
        let store = |error: &dyn std::fmt::Display| ReportError::Store(error.to_string());
        let mut found = Vec::new();
        let mut page = PageRequest::first(BATCH);
        loop {
            let next = self.parts.store.approvals(ApprovalFilter::default(), page).await;
            let next = next.map_err(|error| store(&error))?;
            let before = found.len();
            let read = next.items.len();
            found.extend(next.items.into_iter().take_while(|one| one.request.submitted_at >= since));
            let Some(after) = next.next.filter(|_| found.len() - before == read) else {
                return Ok((found, true));
            };
            if found.len() >= MAX_APPROVALS {
                return Ok((found, false));
            }
            page = PageRequest { limit: BATCH, after: Some(after) };
        }
    }

    async fn always_approved(
        &self,
        approvals: &[Approval],
        edition: &Arc<Edition>,
    ) -> Result<Vec<AlwaysApproved>, ReportError> {
        let mut by_requirement: BTreeMap<&RequirementName, Vec<&Approval>> = BTreeMap::new();
        for approval in approvals {
            for requirement in &approval.request.requirements {
                by_requirement.entry(&requirement.name).or_default().push(approval);
            }
        }
        let always = |asked: &&Vec<&Approval>| {
            asked.iter().filter(|approval| is_approved(approval)).count() >= ENOUGH
                && !asked.iter().any(|approval| is_refused(approval))
        };
        let mut found = Vec::new();
        for (name, asked) in by_requirement.iter().filter(|(_, asked)| always(asked)) {
            let approved: Vec<Approval> = asked
                .iter()
                .filter(|approval| is_approved(approval))
                .map(|one| Approval::clone(one))
                .collect();
            let refused: Vec<Approval> = approvals.iter().filter(|one| is_refused(one)).cloned().collect();
            let stored = self.parts.store.bundle(edition.revision).await;
            let stored = stored.map_err(|error| ReportError::Store(error.to_string()))?;
            let (requirement, times) = ((*name).clone(), count(approved.len()));
            let proposed = match stored {
                Some(stored) => {
                    let name = requirement.clone();
                    let work = move || exceptions::propose(stored.files, &name, &approved, &refused);
                    let done = tokio::task::spawn_blocking(work).await;
                    done.unwrap_or_else(|error| Err(error.to_string()))
                }
                None => Err("the policy in force cannot be read".to_owned()),
            };
            let (proposal, no_proposal) = match proposed {
                Ok(proposal) => (proposal, None),
                Err(why) => (Vec::new(), Some(why)),
            };
            found.push(AlwaysApproved { requirement, approved: times, proposal, no_proposal });
        }
        Ok(found)
    }
}

/// Whether people let it run, whatever became of it then.
fn is_approved(approval: &Approval) -> bool {
    approval.terms.is_some() && !is_refused(approval)
}

/// Whether somebody said no: denied it, took it back, or let it run with other arguments only.
fn is_refused(approval: &Approval) -> bool {
    matches!(approval.state, State::Denied { .. } | State::Revoked { .. })
        || approval.edited.is_some()
        || approval.votes.iter().any(|vote| vote.decision == VoteDecision::Deny)
}

fn policies(approvals: &[Approval]) -> Vec<PolicyAttention> {
    let mut all: BTreeMap<&str, (PolicyAttention, Vec<i64>)> = BTreeMap::new();
    for approval in approvals {
        for policy in approval.request.submission.policies.iter().filter(|one| one.approval.is_some()) {
            let (counted, times) = all.entry(&policy.id).or_default();
            counted.policy.clone_from(&policy.id);
            counted.requests += 1;
            counted.approved += u64::from(approval.terms.is_some());
            counted.denied += u64::from(matches!(approval.state, State::Denied { .. }));
            counted.expired += u64::from(approval.state == State::Expired);
            times.extend(decided_after(approval));
        }
    }
    let mut all: Vec<_> = all.into_values().collect();
    all.sort_by_key(|(counted, _)| std::cmp::Reverse(counted.requests));
    let measured = all.into_iter().map(|(counted, mut times)| PolicyAttention {
        approval_rate: rate(counted.approved, counted.approved + counted.denied),
        median_seconds: quantile(&mut times, 50),
        p90_seconds: quantile(&mut times, 90),
        ..counted
    });
    measured.collect()
}

/// How long people took, in milliseconds, if they decided.
fn decided_after(approval: &Approval) -> Option<i64> {
    let at = match (&approval.terms, &approval.state) {
        (Some(terms), _) => terms.approved_at,
        (None, State::Denied { .. }) => approval.votes.last()?.at,
        _ => return None,
    };
    Some(at.millis_since(approval.request.submitted_at))
}

fn reviewers(approvals: &[Approval]) -> Vec<ReviewerAttention> {
    let mut all: BTreeMap<&PersonId, (Vec<i64>, u64, u64)> = BTreeMap::new();
    for approval in approvals {
        for vote in &approval.votes {
            let (times, approving, glances) = all.entry(&vote.person).or_default();
            let took = vote.at.millis_since(approval.request.submitted_at);
            let is_approval = vote.decision == VoteDecision::Approve;
            times.push(took);
            *approving += u64::from(is_approval);
            *glances += u64::from(is_approval && took < A_GLANCE.as_millis());
        }
    }
    let mut all: Vec<_> = all.into_iter().collect();
    all.sort_by_key(|(_, (times, ..))| std::cmp::Reverse(times.len()));
    let measured = all.into_iter().map(|(person, (mut times, approvals, glances))| {
        let votes = count(times.len());
        ReviewerAttention {
            person: person.clone(),
            votes,
            approvals,
            glances,
            approval_rate: rate(approvals, votes),
            median_seconds: quantile(&mut times, 50),
        }
    });
    measured.collect()
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[expect(clippy::cast_precision_loss, reason = "a share, for people to read")]
fn rate(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// The time that so many of a hundred stay below, in seconds.
#[expect(clippy::cast_precision_loss, reason = "a span of time, for people to read")]
fn quantile(times: &mut [i64], percent: usize) -> Option<f64> {
    times.sort_unstable();
    let last = times.len().checked_sub(1)?;
    times.get(last * percent / 100).map(|millis| *millis as f64 / 1_000.0)
}
