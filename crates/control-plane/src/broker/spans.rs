//! The control plane's part of an operation's trace: request, notify, each vote, grant.
//!
//! The parent is the `traceparent` that the sidecar submitted, kept with the approval, so that the
//! trace is one however much later and in whichever process a part of it happens.

use countersign_approval::Approval;
use countersign_model::{
    names::{attribute, span},
    operation::Operation,
};
use countersign_telemetry::adopt_parent;
use tracing::Span;

/// The span of taking in a request.
pub(crate) fn request(traceparent: Option<&str>) -> Span {
    let span = tracing::info_span!(
        span::REQUEST,
        { attribute::APPROVAL_ID } = tracing::field::Empty,
        { attribute::APPROVAL_STATE } = tracing::field::Empty,
        { attribute::OPERATION_DIGEST } = tracing::field::Empty,
        { attribute::ACTION } = tracing::field::Empty,
        { attribute::RESOURCE } = tracing::field::Empty,
        { attribute::AGENT } = tracing::field::Empty,
        { attribute::REQUIREMENTS } = tracing::field::Empty,
        { attribute::REVISION } = tracing::field::Empty,
    );
    parented(span, traceparent)
}

/// Adds what a request turned out to be.
pub(crate) fn describe(span: &Span, approval: &Approval) {
    if span.is_disabled() {
        return;
    }
    let request = &approval.request;
    let submission = &request.submission;
    span.record(attribute::APPROVAL_ID, tracing::field::display(request.id));
    span.record(attribute::APPROVAL_STATE, approval.phase().as_str());
    span.record(attribute::OPERATION_DIGEST, tracing::field::display(submission.digest));
    span.record(attribute::AGENT, request.agent_name.as_str());
    span.record(attribute::REVISION, submission.revision.0);
    let names: Vec<_> = submission.requirements.iter().map(|name| name.as_str()).collect();
    span.record(attribute::REQUIREMENTS, names.join(","));
    if let Ok(operation) = serde_json::from_str::<Operation>(&submission.operation) {
        span.record(attribute::ACTION, &operation.action.name);
        let resource = format!("{}::{:?}", operation.resource.kind, operation.resource.id);
        span.record(attribute::RESOURCE, resource);
    }
}

/// Adds where the approval stands.
pub(crate) fn state(span: &Span, approval: &Approval) {
    span.record(attribute::APPROVAL_STATE, approval.phase().as_str());
}

/// The span of telling reviewers.
pub(crate) fn notify(approval: &Approval) -> Span {
    let span = tracing::info_span!(
        span::NOTIFY,
        { attribute::APPROVAL_ID } = %approval.request.id,
        { attribute::APPROVAL_STATE } = approval.phase().as_str(),
    );
    parented(span, trace(approval))
}

/// The span of telling them through one channel.
pub(crate) fn deliver(approval: &Approval, channel: &str) -> Span {
    let span = tracing::info_span!(
        span::DELIVER,
        { attribute::APPROVAL_ID } = %approval.request.id,
        { attribute::APPROVAL_STATE } = approval.phase().as_str(),
        { attribute::CHANNEL } = channel,
    );
    parented(span, trace(approval))
}

/// The span of one person's vote.
pub(crate) fn vote(approval: &Approval, voter: &str, decision: &'static str) -> Span {
    let span = tracing::info_span!(
        span::VOTE,
        { attribute::APPROVAL_ID } = %approval.request.id,
        { attribute::APPROVAL_STATE } = tracing::field::Empty,
        { attribute::VOTER } = voter,
        { attribute::VOTE } = decision,
    );
    parented(span, trace(approval))
}

/// The span of signing a grant.
pub(crate) fn grant(approval: &Approval) -> Span {
    let span = tracing::info_span!(
        span::GRANT,
        { attribute::APPROVAL_ID } = %approval.request.id,
        { attribute::OPERATION_DIGEST } = %approval.request.submission.digest,
    );
    parented(span, trace(approval))
}

fn trace(approval: &Approval) -> Option<&str> {
    approval.request.submission.trace.as_deref()
}

fn parented(span: Span, traceparent: Option<&str>) -> Span {
    if let Some(traceparent) = traceparent {
        adopt_parent(&span, traceparent);
    }
    span
}
