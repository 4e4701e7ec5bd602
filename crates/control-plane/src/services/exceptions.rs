//! Exceptions from policies that always end in an approval, tried on what is on record before anybody sees them.

use std::collections::{BTreeMap, BTreeSet};

use countersign_approval::Approval;
use countersign_model::{Decision, Operation, RequirementName, Subject};
use countersign_policy::{
    Bundle, BundleFiles, Call, Verdict,
    narrow::{self, Recorded},
};
use serde_json::Value;

use super::attention::ProposedPolicy;

/// The policies with the narrowest exception that permits everything that was approved.
///
/// # Errors
/// Why none is proposed, in words for people.
pub(super) fn propose(
    files: BTreeMap<String, Vec<u8>>,
    requirement: &RequirementName,
    approved: &[Approval],
    refused: &[Approval],
) -> Result<Vec<ProposedPolicy>, String> {
    if approved.iter().any(|approval| approval.request.requirements.len() > 1) {
        return Err("other requirements were asked for along with it".to_owned());
    }
    let recorded: Option<Vec<Recorded>> = approved.iter().map(recorded).collect();
    let recorded = recorded.ok_or("an operation on record cannot be read")?;
    let condition = narrow::condition(&recorded).map_err(|error| error.to_string())?;
    let asking = approved.iter().flat_map(|approval| &approval.request.submission.policies);
    let asking: BTreeSet<&str> = asking
        .filter(|policy| policy.approval.as_ref() == Some(requirement))
        .map(|policy| policy.id.as_str())
        .collect();
    if asking.is_empty() {
        return Err("it is not on record which policy asked for it".to_owned());
    }
    let mut files = BundleFiles::new(files).map_err(|error| error.to_string())?;
    let mut proposed = Vec::new();
    for id in asking {
        let excepted = Bundle::except(&files, id, &condition).map_err(|error| error.to_string())?;
        files = excepted.files;
        proposed.push(ProposedPolicy { policy: id.to_owned(), file: excepted.file, text: excepted.text });
    }
    let bundle =
        Bundle::load(&files).map_err(|problems| format!("the exception does not load: {problems}"))?;
    if approved.iter().any(|approval| !permits(&bundle, approval)) {
        return Err(
            "no exception that can be told from the record would have permitted all of them".to_owned()
        );
    }
    if refused.iter().any(|approval| permits(&bundle, approval)) {
        return Err("whatever permits them would have permitted something that was refused, too".to_owned());
    }
    Ok(proposed)
}

fn recorded(approval: &Approval) -> Option<Recorded> {
    let submission = &approval.request.submission;
    let operation: Operation = serde_json::from_str(&submission.operation).ok()?;
    Some(Recorded { operation, redacted: submission.redacted.clone() })
}

/// Whether a bundle would have permitted what an approval was asked for, with nothing approved.
fn permits(bundle: &Bundle, approval: &Approval) -> bool {
    let Some(Recorded { operation, .. }) = recorded(approval) else { return false };
    let asserted: Option<Subject> =
        operation.context.get("subject").and_then(|subject| serde_json::from_value(subject.clone()).ok());
    let verdicts = parts(operation).into_iter().map(|operation| {
        bundle.decide(&Call {
            operation: &operation,
            agent: &approval.request.agent_name,
            asserted_subject: asserted.as_ref(),
            met: &BTreeSet::new(),
            now: approval.request.submitted_at,
        })
    });
    Verdict::of_all(verdicts).decision == Decision::Permit
}

/// What policy is asked about: the operation, or everything that it comes to.
fn parts(operation: Operation) -> Vec<Operation> {
    let Some(Value::Array(parts)) = operation.context.get("operations") else { return vec![operation] };
    let part = |part: &Value| {
        let mut part = part.as_object()?.clone();
        part.insert("subject".to_owned(), serde_json::to_value(&operation.subject).ok()?);
        serde_json::from_value(Value::Object(part)).ok()
    };
    // Of one that cannot be read nothing is known, so that nothing is taken for permitted.
    parts.iter().map(part).collect::<Option<Vec<_>>>().unwrap_or_default()
}
