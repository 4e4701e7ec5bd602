//! Putting a request to the policies of its slice.
//!
//! Cedar's evaluator answers for one policy; how the answers combine is Cedar's rule (any satisfied
//! forbid denies, else any satisfied permit allows), with one change: a policy that fails is not
//! skipped, it denies (I6). Going below `cedar_policy::Authorizer` saves building a policy set and
//! its report for each request. Property tests hold the two to the same answers.

use std::collections::HashMap;

use cedar_policy_core::{ast::Expr, ast::Policy, evaluator::Evaluator, extensions::Extensions};
use countersign_model::{DecidingPolicy, PolicyEffect, RequirementName};

use crate::{expr::depends_on, index::Bucket, policies::LoadedPolicy, request::Prepared, value::as_bool};

/// A policy, ready to be evaluated.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) id: String,
    pub(crate) effect: PolicyEffect,
    pub(crate) reason: Option<String>,
    pub(crate) approval: Option<RequirementName>,
    pub(crate) file: String,
    pub(crate) line: u32,
    pub(crate) policy: Policy,
    /// Whether its answer can depend on the properties of the action.
    pub(crate) reads_properties: bool,
    /// Scope and clauses as one expression. Cedar builds it anew at each evaluation.
    condition: Expr,
}

impl Compiled {
    pub(crate) fn new(loaded: LoadedPolicy) -> Self {
        let policy: &Policy = loaded.policy.as_ref();
        let condition = policy.condition();
        Self {
            reads_properties: depends_on(&condition, "action"),
            condition,
            policy: policy.clone(),
            id: loaded.id,
            effect: loaded.effect,
            reason: loaded.reason,
            approval: loaded.approval,
            file: loaded.file,
            line: loaded.line,
        }
    }

    pub(crate) fn condition(&self) -> &Expr {
        &self.condition
    }

    /// The policy as one that decided.
    pub(crate) fn deciding(&self) -> DecidingPolicy {
        DecidingPolicy {
            id: self.id.clone(),
            effect: self.effect,
            reason: self.reason.clone(),
            approval: self.approval.clone(),
        }
    }

    /// The policy as one that failed.
    pub(crate) fn failed(&self, error: &str) -> DecidingPolicy {
        let reason = format!("it failed to evaluate: {error}");
        DecidingPolicy { effect: PolicyEffect::Error, reason: Some(reason), ..self.deciding() }
    }
}

/// What the policies of a slice said.
#[derive(Debug, Default)]
pub(crate) struct Outcome<'b> {
    pub(crate) permits: Vec<&'b Compiled>,
    pub(crate) forbids: Vec<&'b Compiled>,
    pub(crate) errors: Vec<(&'b Compiled, String)>,
    pub(crate) silent: Vec<&'b Compiled>,
}

/// Evaluates every policy of the slice. None is left out once the answer seems clear: one that
/// fails must be found.
pub(crate) fn evaluate<'b>(
    policies: &'b [Compiled],
    slice: impl Iterator<Item = &'b Bucket>,
    prepared: &Prepared,
) -> Outcome<'b> {
    let evaluator = Evaluator::new(prepared.request(), &prepared.entities, Extensions::all_available());
    let no_slots = HashMap::new();
    let mut outcome = Outcome::default();
    let sliced = slice.flat_map(|bucket| &bucket.policies).filter_map(|position| policies.get(*position));
    for policy in sliced {
        match evaluator.interpret(&policy.condition, &no_slots) {
            Ok(value) => match (as_bool(&value), policy.effect) {
                (Some(false), _) => outcome.silent.push(policy),
                (Some(true), PolicyEffect::Permit) => outcome.permits.push(policy),
                (Some(true), PolicyEffect::Forbid) => outcome.forbids.push(policy),
                (_, _) => outcome.errors.push((policy, "its condition is not a boolean".to_owned())),
            },
            Err(error) => outcome.errors.push((policy, error.to_string())),
        }
    }
    outcome
}
