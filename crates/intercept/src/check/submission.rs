//! Asking people about a requestable denial (ARAP §5.1).
//!
//! The denial is looked up by its `evaluation_id`; what was recorded then is what people are asked
//! about. The subject, action, resource and context that the caller sends must be those of the denied
//! evaluation, or it means another one.

use std::sync::Arc;

use axum::{body::Body, extract::State, response::Response};
use countersign_gate::{Held, HoldError};
use countersign_model::{Digest, Object, Timestamp, canonical::to_canonical_json};
use http::HeaderMap;
use serde_json::Value;

use super::{
    Check, Desk, body,
    memory::Denied,
    normalise::{self, Asked, Caller},
    problem::{Problem, Rejection},
    task,
};

/// The longest idempotency key, in bytes.
const MAX_KEY: usize = 255;

/// `POST /access/v1/requests`
pub(super) async fn submit(
    State(check): State<Check>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let members = body::json_object(&headers, body).await?;
    let key = idempotency_key(&headers)?;
    let content = digest_of(&members)?;
    let desk = &check.desk;
    if let Some((submitted, approval)) = key.and_then(|key| desk.keys.find(key)) {
        if submitted != content {
            return Err(Problem::duplicate_request("the key was used for a request with another body"));
        }
        let status = desk.gate.wait(approval, 0, task::ANSWER_WITHIN).await?;
        return Ok(task::accepted(&check, &status));
    }
    let held = bound(desk, members)?;
    let status = desk.gate.request(&held).await.map_err(|error| match error {
        HoldError::Busy => Problem::unavailable(error.to_string()),
        HoldError::Broker(error) => error.into(),
    })?;
    if let Some(key) = key {
        desk.keys.remember(key, content, status.id, desk.gate.now());
    }
    Ok(task::accepted(&check, &status))
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<Digest>, Problem> {
    let Some(key) = headers.get("idempotency-key") else {
        return Ok(None);
    };
    if (1..=MAX_KEY).contains(&key.len()) {
        Ok(Some(Digest::of(key.as_bytes())))
    } else {
        Err(Problem::malformed(format!("an Idempotency-Key has 1 to {MAX_KEY} bytes")))
    }
}

/// Two bodies are the same when their canonical JSON is.
fn digest_of(members: &Object) -> Result<Digest, Problem> {
    let canonical = to_canonical_json(&Value::Object(members.clone()));
    canonical.map(|text| Digest::of(text.as_bytes())).map_err(|error| Problem::malformed(error.to_string()))
}

/// Finds the denied evaluation that a submission is about.
fn bound(desk: &Desk, mut members: Object) -> Result<Held, Problem> {
    if members.contains_key("items") {
        return Err(Problem::malformed("bundled requests (`items`) are not offered; submit one at a time"));
    }
    let denial = body::optional_member(&mut members, "denial")?;
    let (held, until) = find(desk, &denial)?;
    check_time(&denial, until, desk.gate.now())?;
    let reason = justification(&members);
    let matches = same_operation(desk, members, &held)?;
    if !matches {
        return Err(Problem::invalid_denial_binding(
            "subject, action, resource and context must be those of the denied evaluation",
        ));
    }
    Ok(Held::clone(&held).with_reason(reason))
}

fn find(desk: &Desk, denial: &Object) -> Result<(Arc<Held>, Timestamp), Problem> {
    let evaluation = denial
        .get("evaluation_id")
        .and_then(Value::as_str)
        .ok_or_else(|| Problem::invalid_denial_binding("`denial.evaluation_id` is missing"))?;
    let known = evaluation.parse().ok().and_then(|evaluation| desk.denials.find(evaluation));
    match known {
        Some(Denied::Requestable { held, until }) => Ok((held, until)),
        Some(Denied::Final) => Err(Problem::not_requestable("no approval would change this denial")),
        None => Err(Problem::invalid_denial_binding(
            "no denial of that `evaluation_id` is known (any more); evaluate again",
        )),
    }
}

/// The recorded deadline counts, and an echoed one that is even earlier (ARAP §5.1). The profile wants
/// it echoed; a caller that does not loses nothing, since the record is ours.
fn check_time(denial: &Object, until: Timestamp, now: Timestamp) -> Result<(), Problem> {
    let echoed = match denial.get("expires_at") {
        None => until,
        Some(echoed) => echoed
            .as_str()
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| Problem::malformed("`denial.expires_at` is not an RFC 3339 time"))?,
    };
    if now >= until.min(echoed) {
        return Err(Problem::expired_denial("the denial can no longer be asked about; evaluate again"));
    }
    Ok(())
}

/// Why the requester wants it, in its own words.
fn justification(members: &Object) -> Option<String> {
    let context = members.get("context")?;
    context.get("business_justification")?.as_str().map(str::to_owned)
}

/// Whether a submission is about the operation that was held. Members that its context has on top were
/// added for the submission; they change nothing of what is approved.
fn same_operation(desk: &Desk, members: Object, held: &Held) -> Result<bool, Rejection> {
    let Asked { intent, .. } =
        normalise::evaluation(&desk.gate, &desk.settings, members, &Caller::default())?;
    Ok(held.is_meant_by(&intent))
}
