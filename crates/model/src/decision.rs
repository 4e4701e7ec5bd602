//! What was decided about an operation, and why.

use serde::{Deserialize, Serialize};

use crate::requirement::RequirementName;

/// The answer to an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "decision")]
pub enum Decision {
    /// It may run now.
    Permit,
    /// It may not run, and no approval would change that.
    Deny,
    /// It may run once these requirements are met (AuthZEN ARAP: a requestable denial).
    Hold {
        /// The requirements that must be met, sorted by name.
        requirements: Vec<RequirementName>,
    },
}

/// Whether a policy permits or forbids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PolicyEffect {
    /// A Cedar `permit`.
    Permit,
    /// A Cedar `forbid`.
    Forbid,
    /// A policy that failed to evaluate, which denies (I6).
    Error,
}

/// A policy that determined a decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecidingPolicy {
    /// The policy's id: its `@id`, or its file and position.
    pub id: String,
    /// What it did.
    pub effect: PolicyEffect,
    /// Its `@reason`, or the evaluation error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Its `@approval`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<RequirementName>,
}
