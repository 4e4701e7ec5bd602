//! What the ledger says about an approval. Everything in it was redacted at the sidecar (I10).

use countersign_approval::{Approval, Occurrence, State};
use countersign_audit::{EventDraft, kind};
use serde_json::{Value, json};

use super::work::Work;
use crate::By;

/// The event of something that happened to an approval.
pub(super) fn occurred(approval: &Approval, occurrence: Occurrence, by: &By) -> EventDraft {
    let (kind, body) = match occurrence {
        Occurrence::Requested => (kind::APPROVAL_REQUESTED, requested(approval)),
        Occurrence::Voted => (kind::APPROVAL_VOTED, json!({"vote": approval.votes.last()})),
        Occurrence::StageOpened { stage } => (kind::APPROVAL_STAGE_OPENED, json!({"stage": stage})),
        Occurrence::Escalated { requirement } => (kind::APPROVAL_ESCALATED, escalated(approval, requirement)),
        Occurrence::GlassBroken => (kind::APPROVAL_GLASS_BROKEN, json!({"glass": approval.glass})),
        Occurrence::GlassReviewed => (kind::APPROVAL_GLASS_REVIEWED, json!({"glass": approval.glass})),
        Occurrence::Approved => (kind::APPROVAL_APPROVED, json!({"terms": approval.terms})),
        Occurrence::Denied => (kind::APPROVAL_DENIED, ended(approval)),
        Occurrence::Expired => (kind::APPROVAL_EXPIRED, ended(approval)),
        Occurrence::Edited => (kind::APPROVAL_EDITED, json!({"edit": approval.edited})),
        Occurrence::Cancelled => (kind::APPROVAL_CANCELLED, ended(approval)),
        Occurrence::Lapsed => (kind::APPROVAL_LAPSED, ended(approval)),
        Occurrence::Revoked => (kind::APPROVAL_REVOKED, ended(approval)),
        Occurrence::Invalidated => (kind::APPROVAL_INVALIDATED, ended(approval)),
        Occurrence::Claimed { use_number } => (kind::APPROVAL_CLAIMED, used(approval, use_number)),
        Occurrence::Finished { use_number, .. } => (kind::APPROVAL_FINISHED, used(approval, use_number)),
    };
    draft(approval, kind, body, by)
}

/// The event of a grant. The grant itself is signed from the same terms whenever it is asked for.
pub(super) fn grant_issued(approval: &Approval, by: &By) -> EventDraft {
    let body = json!({"audience": approval.request.audience, "terms": approval.terms});
    draft(approval, kind::GRANT_ISSUED, body, by)
}

fn draft(approval: &Approval, kind: &'static str, body: Value, by: &By) -> EventDraft {
    let request = &approval.request;
    let mut event = Work::draft(by, kind);
    event.approval = Some(request.id);
    event.digest = Some(request.submission.digest);
    // One trace tells the whole story: the operation's own, if it has one.
    event.trace_id = request.submission.trace.as_deref().and_then(trace_id).or(event.trace_id);
    if let Value::Object(body) = body {
        event.body.extend(body);
    }
    event.body.insert("agent".into(), json!(request.agent_name));
    event.body.insert("version".into(), json!(approval.version));
    event
}

fn requested(approval: &Approval) -> Value {
    let request = &approval.request;
    let submission = &request.submission;
    json!({
        "agent_id": request.agent,
        "audience": request.audience,
        "owner": request.owner,
        "requirements": request.requirements,
        "decide_by": request.decide_by(),
        "evaluation": submission.evaluation,
        "interceptor": submission.interceptor,
        "operation": submission.operation,
        "redacted": submission.redacted,
        "provenance": submission.provenance,
        "policies": submission.policies,
        "revision": submission.revision,
        "tool_pin": submission.tool_pin,
        "follows": submission.follows,
        "edited_by": request.edited_by,
    })
}

fn escalated(approval: &Approval, requirement: usize) -> Value {
    let requirement = approval.request.requirements.get(requirement);
    json!({
        "requirement": requirement.map(|requirement| &requirement.name),
        "escalation": requirement.and_then(|requirement| requirement.escalate.as_ref()),
    })
}

fn ended(approval: &Approval) -> Value {
    let state = match &approval.state {
        State::Cancelled { why } => json!({"why": why}),
        State::Denied { by, reason } => json!({"by": by, "reason": reason}),
        State::Revoked { by, reason } => json!({"by": by, "reason": reason}),
        State::Invalidated { why } => json!({"why": why}),
        _ => json!({}),
    };
    json!({"phase": approval.phase(), "details": state})
}

fn used(approval: &Approval, use_number: u32) -> Value {
    json!({"use": approval.uses.iter().find(|one| one.number == use_number)})
}

/// The trace id of a W3C `traceparent`: its second part.
fn trace_id(traceparent: &str) -> Option<String> {
    traceparent.split('-').nth(1).map(ToOwned::to_owned)
}
