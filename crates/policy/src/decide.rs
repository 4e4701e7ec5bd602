//! The decision: permit, deny, or hold with exactly the requirements that stand in the way.

use std::collections::BTreeSet;

use countersign_model::{DecidingPolicy, Decision, PolicyEffect, RequirementName};
use serde::Serialize;

use crate::{
    bundle::Bundle,
    evaluate::{Compiled, Outcome, evaluate},
    request::{Call, Prepared, RequestError},
};

/// A decision, and the policies that determined it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// The decision.
    pub decision: Decision,
    /// Who determined it. Empty when the operation is denied because no policy permits it.
    pub policies: Vec<DecidingPolicy>,
}

impl Verdict {
    /// What the verdicts on several operations come to, all of which must be permitted; a denial when
    /// there is none.
    #[must_use]
    pub fn of_all(verdicts: impl Iterator<Item = Self>) -> Self {
        verdicts.reduce(Self::and).unwrap_or_else(|| Self::deny(Vec::new()))
    }

    /// The stricter of two decides, and its policies are the ones that determine it.
    fn and(self, other: Self) -> Self {
        let decision = match (self.decision, other.decision) {
            (Decision::Permit, Decision::Permit) => Decision::Permit,
            (Decision::Deny, Decision::Deny) => Decision::Deny,
            (Decision::Hold { mut requirements }, Decision::Hold { requirements: others }) => {
                requirements.extend(others);
                requirements.sort();
                requirements.dedup();
                Decision::Hold { requirements }
            }
            (decision @ Decision::Deny, _) | (decision @ Decision::Hold { .. }, Decision::Permit) => {
                return Self { decision, policies: self.policies };
            }
            (_, decision) => return Self { decision, policies: other.policies },
        };
        let mut policies = self.policies;
        for policy in other.policies {
            if !policies.contains(&policy) {
                policies.push(policy);
            }
        }
        Self { decision, policies }
    }

    fn deny(policies: Vec<DecidingPolicy>) -> Self {
        Self { decision: Decision::Deny, policies }
    }

    /// An operation that cannot be put to policy at all (I6).
    fn unaskable(error: &RequestError) -> Self {
        Self::deny(vec![DecidingPolicy {
            id: UNASKABLE.to_owned(),
            effect: PolicyEffect::Error,
            reason: Some(error.to_string()),
            approval: None,
        }])
    }
}

/// The id that stands in for a policy when an operation cannot be put to policy at all.
pub const UNASKABLE: &str = "countersign:request";

/// How one policy answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "answer")]
pub enum PolicyAnswer {
    /// Its condition holds.
    Applies,
    /// Its condition does not hold.
    Silent,
    /// It failed, which denies (I6).
    Failed {
        /// Why.
        error: String,
    },
}

/// A policy that was asked, and what it said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConsideredPolicy {
    /// The policy.
    #[serde(flatten)]
    pub policy: DecidingPolicy,
    /// Its file.
    pub file: String,
    /// Its line.
    pub line: u32,
    /// What it said, with the requirements met so far.
    #[serde(flatten)]
    pub answer: PolicyAnswer,
}

/// Why an operation is decided as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The decision and who determined it.
    pub verdict: Verdict,
    /// Every policy that could apply to this action and resource, in the order of the bundle.
    pub considered: Vec<ConsideredPolicy>,
    /// How many policies the bundle has in all.
    pub policies_in_bundle: usize,
    /// How many entities policy could look into.
    pub entities_in_reach: usize,
}

impl Bundle {
    /// Decides an operation. Total: whatever cannot be decided is denied (I6).
    #[must_use]
    pub fn decide(&self, call: &Call<'_>) -> Verdict {
        match Prepared::new(call, &self.store, &self.index) {
            Ok(mut prepared) => {
                let outcome = self.evaluate(&prepared);
                self.conclude(call, &mut prepared, &outcome)
            }
            Err(error) => Verdict::unaskable(&error),
        }
    }

    /// Decides an operation, and tells what every policy that could apply said.
    #[must_use]
    pub fn explain(&self, call: &Call<'_>) -> Explanation {
        let mut explanation = Explanation {
            verdict: Verdict::deny(Vec::new()),
            considered: Vec::new(),
            policies_in_bundle: self.policies.len(),
            entities_in_reach: 0,
        };
        match Prepared::new(call, &self.store, &self.index) {
            Ok(mut prepared) => {
                let outcome = self.evaluate(&prepared);
                explanation.entities_in_reach = prepared.entities.len();
                explanation.considered = considered(&outcome);
                explanation.verdict = self.conclude(call, &mut prepared, &outcome);
            }
            Err(error) => explanation.verdict = Verdict::unaskable(&error),
        }
        explanation
    }

    /// Whether an operation could be permitted or held, if the properties of its action were the right
    /// ones: it is asked about before they are known. Policies that read them count as they would have to,
    /// so the answer may be a hopeful yes, and is never a no about what would be let through.
    #[must_use]
    pub fn could(&self, call: &Call<'_>) -> bool {
        let Ok(prepared) = Prepared::new(call, &self.store, &self.index) else { return false };
        let outcome = self.evaluate(&prepared);
        if outcome.errors.iter().any(|(policy, _)| !policy.reads_properties) {
            return false;
        }
        let stands = |forbid: &&Compiled| !forbid.reads_properties && forbid.approval.is_none();
        if outcome.forbids.iter().any(stands) {
            return false;
        }
        let open = outcome.silent.iter().chain(outcome.errors.iter().map(|(policy, _)| policy));
        let hopeful = |policy: &&Compiled| policy.reads_properties && policy.effect == PolicyEffect::Permit;
        !outcome.permits.is_empty() || open.copied().any(|policy| hopeful(&policy))
    }

    pub(crate) fn evaluate(&self, prepared: &Prepared) -> Outcome<'_> {
        let slice = self.index.slice(&prepared.action, prepared.resource.entity_type());
        evaluate(&self.policies, slice, prepared)
    }

    fn conclude(&self, call: &Call<'_>, prepared: &mut Prepared, outcome: &Outcome<'_>) -> Verdict {
        if !outcome.errors.is_empty() {
            return Verdict::deny(failed(outcome));
        }
        if !outcome.forbids.is_empty() {
            return self.hold_or_deny(call, prepared, outcome);
        }
        let policies = deciding(&outcome.permits);
        let decision = if policies.is_empty() { Decision::Deny } else { Decision::Permit };
        Verdict { decision, policies }
    }

    /// Something forbids. Holds when all that do ask for approvals, and the operation would be
    /// permitted had it these approvals.
    fn hold_or_deny(&self, call: &Call<'_>, prepared: &mut Prepared, outcome: &Outcome<'_>) -> Verdict {
        let mut asked: Vec<&Compiled> = Vec::new();
        let mut missing: BTreeSet<RequirementName> = BTreeSet::new();
        let mut standing: Vec<&Compiled> = outcome.forbids.clone();
        loop {
            let before = missing.len();
            missing.extend(standing.iter().filter_map(|forbid| forbid.approval.clone()));
            missing.retain(|name| !call.met.contains(name));
            // A forbid that no approval lifts, or that stands although it has its own: nothing to ask for.
            let liftable = standing.iter().all(|forbid| forbid.approval.is_some());
            if !liftable || missing.len() == before {
                asked.extend(standing);
                return Verdict::deny(deciding(&asked));
            }
            asked.append(&mut standing);
            prepared.assume(call.met.iter().chain(&missing));
            let assumed = self.evaluate(prepared);
            if !assumed.errors.is_empty() {
                return Verdict::deny(failed(&assumed));
            }
            if assumed.forbids.is_empty() {
                if assumed.permits.is_empty() {
                    return Verdict::deny(deciding(&asked));
                }
                let requirements = missing.into_iter().collect();
                return Verdict { decision: Decision::Hold { requirements }, policies: deciding(&asked) };
            }
            // Had they been met, something else would forbid: it may be asked for, too.
            standing = assumed.forbids;
        }
    }
}

fn deciding(policies: &[&Compiled]) -> Vec<DecidingPolicy> {
    in_order(policies.to_vec()).into_iter().map(Compiled::deciding).collect()
}

fn failed(outcome: &Outcome<'_>) -> Vec<DecidingPolicy> {
    let mut errors: Vec<_> = outcome.errors.iter().collect();
    errors.sort_by_key(|(policy, _)| (&policy.file, policy.line));
    errors.into_iter().map(|(policy, error)| policy.failed(error)).collect()
}

fn in_order(mut policies: Vec<&Compiled>) -> Vec<&Compiled> {
    policies.sort_by_key(|policy| (&policy.file, policy.line));
    policies
}

fn considered(outcome: &Outcome<'_>) -> Vec<ConsideredPolicy> {
    let applies =
        outcome.permits.iter().chain(&outcome.forbids).map(|policy| (*policy, PolicyAnswer::Applies));
    let silent = outcome.silent.iter().map(|policy| (*policy, PolicyAnswer::Silent));
    let failed =
        outcome.errors.iter().map(|(policy, error)| (*policy, PolicyAnswer::Failed { error: error.clone() }));
    let mut considered: Vec<ConsideredPolicy> = applies
        .chain(silent)
        .chain(failed)
        .map(|(policy, answer)| ConsideredPolicy {
            policy: policy.deciding(),
            file: policy.file.clone(),
            line: policy.line,
            answer,
        })
        .collect();
    considered.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
    considered
}
