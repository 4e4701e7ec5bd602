//! What a grant for a task covers: other operations of the same kin, inside its budgets.
//!
//! Two operations are *kin* when the same agent wants to do the same, in the same way, for the same person, in the
//! same session: everything about them is the same but their arguments, and the resource where the task names
//! prefixes. It is judged by the form that binds, as people were shown it (I12): the control plane says of whom an
//! operation must be kin, and signs that; the sidecar judges each operation by what it really has.
//!
//! What the control plane cannot see it grants no more of: an operation whose amount or kin is redacted, that
//! comes to several operations, or that is not inside the budget itself, is granted once.

use countersign_model::{
    Charge, Digest, GrantShape, Provenance, TaskScope, amount::AmountError, canonical::to_canonical_json,
    redaction::REDACTED,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{
    edit::ARGUMENTS,
    request::{Request, Submission},
};

/// Where operations that are kin may differ, apart from the resource's id.
const VARYING: [&str; 10] = [
    ARGUMENTS,
    "/resource/properties/name",
    "/resource/properties/path",
    "/context/command/argv",
    "/context/diff",
    "/context/execution/files",
    "/context/hook/input",
    "/context/hook/line",
    "/context/files",
    "/context/unbound_files",
];
/// Where the resource's id is in an operation.
const RESOURCE: &str = "/resource/id";
/// Where an operation says that it comes to several.
const SEVERAL: &str = "/context/operations";

/// What a grant covers beyond the operation that was approved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantScope {
    /// What every operation has to be kin of.
    pub kin: Digest,
    /// The budgets, all of which every operation has to be inside.
    pub budgets: Vec<TaskScope>,
}

/// An operation that may be covered by a grant.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// Its digest.
    pub digest: Digest,
    /// Its bound form: canonical JSON.
    pub operation: &'a str,
    /// The interceptor that saw it.
    pub interceptor: &'a str,
    /// Why and where it comes from.
    pub provenance: &'a Provenance,
    /// The digest of the tool's own description, if it is pinned.
    pub tool_pin: Option<Digest>,
}

/// Why a grant for a task does not cover an operation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Uncovered {
    /// Its form cannot be read.
    #[error("the operation cannot be read")]
    Unreadable,
    /// It comes to several operations.
    #[error("the operation comes to several")]
    Several,
    /// Something is redacted that would have to be compared.
    #[error("what would have to be compared is redacted")]
    Redacted,
    /// Another action, tool, person, session, …
    #[error("it differs in more than a task may")]
    Other,
    /// A resource outside of the prefixes.
    #[error("its resource is not one that the task names")]
    Resource,
    /// It lacks an argument.
    #[error("it has no argument {0}")]
    Missing(String),
    /// Its amount cannot be read.
    #[error("its argument {0}: {1}")]
    Amount(String, AmountError),
    /// Its amount is more than any one may have.
    #[error("its argument {0} is more than one operation of the task may have")]
    TooMuch(String),
}

impl<'a> Candidate<'a> {
    /// The operation that was submitted, as reviewers are shown it.
    #[must_use]
    pub fn of(submission: &'a Submission) -> Self {
        Self {
            digest: submission.digest,
            operation: &submission.operation,
            interceptor: &submission.interceptor,
            provenance: &submission.provenance,
            tool_pin: submission.tool_pin,
        }
    }

    fn form(&self) -> Result<Value, Uncovered> {
        serde_json::from_str(self.operation).map_err(|_| Uncovered::Unreadable)
    }
}

impl GrantScope {
    /// What an approval of the request grants beyond its operation. `None` when any of its requirements grants no
    /// task, or the operation itself is outside of it.
    #[must_use]
    pub fn of(request: &Request) -> Option<Self> {
        let budgets = request.requirements.iter().map(|requirement| match &requirement.grant {
            GrantShape::Task(scope) => Some(scope.clone()),
            GrantShape::Once | GrantShape::Uses { .. } | GrantShape::Window(_) => None,
        });
        let budgets: Vec<TaskScope> = budgets.collect::<Option<_>>()?;
        let candidate = Candidate::of(&request.submission);
        let scope = Self { kin: kin(&budgets, &candidate).ok()?, budgets };
        let charges = scope.charges(&candidate).ok()?;
        charges.iter().all(|charge| charge.amount <= charge.total).then_some(scope)
    }

    /// Whether an operation is one of the task, whatever it comes to.
    ///
    /// # Errors
    /// When it is not.
    pub fn check_kin(&self, candidate: &Candidate<'_>) -> Result<(), Uncovered> {
        if kin(&self.budgets, candidate)? == self.kin { Ok(()) } else { Err(Uncovered::Other) }
    }

    /// What an operation takes of each budget that has an amount.
    ///
    /// # Errors
    /// When its resource or its amount is outside of a budget.
    pub fn charges(&self, candidate: &Candidate<'_>) -> Result<Vec<Charge>, Uncovered> {
        let form = candidate.form()?;
        let resource = form.pointer(RESOURCE).and_then(Value::as_str).ok_or(Uncovered::Unreadable)?;
        let is_covered = |budget: &TaskScope| {
            budget.resources.is_empty() || budget.resources.iter().any(|prefix| prefix.covers(resource))
        };
        if !self.budgets.iter().all(is_covered) {
            return Err(Uncovered::Resource);
        }
        self.budgets.iter().filter_map(|budget| charge(budget, &form).transpose()).collect()
    }
}

fn charge(budget: &TaskScope, form: &Value) -> Result<Option<Charge>, Uncovered> {
    let Some(limit) = &budget.amount else { return Ok(None) };
    let name = || limit.argument.as_str().to_owned();
    let argument = form.pointer(&format!("{ARGUMENTS}{}", limit.argument.pointer()));
    let argument = argument.ok_or_else(|| Uncovered::Missing(name()))?;
    let amount = countersign_model::Amount::of(argument).map_err(|error| Uncovered::Amount(name(), error))?;
    if limit.each.is_some_and(|each| amount > each) {
        return Err(Uncovered::TooMuch(name()));
    }
    Ok(Some(Charge { amount, total: limit.total }))
}

/// The digest of all that operations of a task have in common.
fn kin(budgets: &[TaskScope], candidate: &Candidate<'_>) -> Result<Digest, Uncovered> {
    let mut form = candidate.form()?;
    if form.pointer(SEVERAL).is_some() {
        return Err(Uncovered::Several);
    }
    let mut same = Map::new();
    for argument in budgets.iter().flat_map(|budget| &budget.same) {
        let pointer = argument.pointer();
        let value = form.pointer(&format!("{ARGUMENTS}{pointer}"));
        let value = value.ok_or_else(|| Uncovered::Missing(argument.as_str().to_owned()))?.clone();
        same.insert(pointer, value);
    }
    VARYING.iter().for_each(|pointer| remove(&mut form, pointer));
    if budgets.iter().all(|budget| !budget.resources.is_empty()) {
        remove(&mut form, RESOURCE);
    }
    let all = json!({
        "operation": form,
        "same": same,
        "interceptor": candidate.interceptor,
        "initiator": candidate.provenance.initiator,
        "session": candidate.provenance.session,
        "tool_pin": candidate.tool_pin,
    });
    let text = to_canonical_json(&all).map_err(|_| Uncovered::Unreadable)?;
    if text.contains(REDACTED) {
        return Err(Uncovered::Redacted);
    }
    Ok(Digest::of_parts(&[b"countersign task v1", text.as_bytes()]))
}

fn remove(form: &mut Value, pointer: &str) {
    let Some((parent, name)) = pointer.rsplit_once('/') else { return };
    if let Some(Value::Object(members)) = form.pointer_mut(parent) {
        members.remove(name);
    }
}
