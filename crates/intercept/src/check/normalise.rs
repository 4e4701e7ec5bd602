//! From an AuthZEN request to an intent.

use countersign_gate::{Act, Arguments, Gate, Intent, Interceptor};
use countersign_model::{
    ApprovalId, Object, Operation, Projection, Provenance, Subject, provenance::Initiator,
};
use http::HeaderMap;
use serde_json::Value;

use super::{Check, Settings, body, problem::Rejection};
use crate::initiator;

/// An evaluation that is asked for.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) intent: Intent,
    pub(super) approval: Option<Presented>,
}

/// The approval that a caller presents (`context.approval`).
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Presented {
    /// One that can be looked up.
    Reference {
        /// Its id.
        id: ApprovalId,
        /// Its grant, if the caller sends that along.
        grant: Option<String>,
    },
    /// Something else.
    Unverifiable,
}

/// What a request says of whoever makes it, for all that it asks.
#[derive(Debug, Default)]
pub(super) struct Caller {
    /// Their span.
    trace: Option<String>,
    /// The person on whose behalf they ask, if a token vouches for one.
    initiator: Option<Initiator>,
}

impl Caller {
    pub(super) fn of(check: &Check, headers: &HeaderMap) -> Result<Self, Rejection> {
        let desk = &check.desk;
        let initiator = desk.settings.initiators.of(headers, desk.gate.now());
        let initiator = initiator.map_err(|refused| Rejection::bad_request(refused.to_string()))?;
        Ok(Self { trace: traceparent(headers).map(str::to_owned), initiator })
    }
}

/// Reads one evaluation (AuthZEN §6.1). Unknown members are ignored (§10.1.1).
pub(super) fn evaluation(
    gate: &Gate,
    settings: &Settings,
    mut members: Object,
    caller: &Caller,
) -> Result<Asked, Rejection> {
    let asserted = body::subject(body::required(&mut members, "subject")?)?;
    let action = body::action(body::required(&mut members, "action")?)?;
    let resource = body::resource(body::required(&mut members, "resource")?)?;
    let mut context = body::optional_member(&mut members, "context")?;
    let approval = context.remove("approval").as_ref().map(presented);
    let mut provenance = provenance(settings, &asserted, context.remove("provenance"))?;
    if caller.initiator.is_some() {
        let settled = initiator::settled(caller.initiator.as_ref(), provenance.initiator);
        provenance.initiator = settled.map_err(|refused| Rejection::bad_request(refused.to_string()))?;
    }
    let (subject, asserted_subject) =
        if settings.trust_subject { (asserted, None) } else { (gate.agent().clone(), Some(asserted)) };
    let operation = Operation { subject, action, resource, context };
    let intent = Intent {
        interceptor: Interceptor::Check,
        act: Act::Operation { operation: Box::new(operation), projection: Projection::default() },
        provenance,
        asserted_subject,
        trace: caller.trace.clone(),
        tool_pin: None,
        arguments: Arguments::AsGiven,
    };
    Ok(Asked { intent, approval })
}

/// The caller's span: a `traceparent` of the form of W3C Trace Context §3.2, or none.
pub(super) fn traceparent(headers: &HeaderMap) -> Option<&str> {
    let text = headers.get("traceparent")?.to_str().ok()?;
    (text.len() == 55 && countersign_gate::record::trace_id(text).is_some()).then_some(text)
}

/// Reads `context.approval` (ARAP §7). What cannot be read is not approved by it.
fn presented(value: &Value) -> Presented {
    let id = value.get("id").and_then(Value::as_str).and_then(|id| id.parse().ok());
    match (id, value.get("state")) {
        (Some(id), None | Some(Value::Null)) => Presented::Reference { id, grant: None },
        (Some(id), Some(Value::String(grant))) => Presented::Reference { id, grant: Some(grant.clone()) },
        _ => Presented::Unverifiable,
    }
}

/// Reads `context.provenance`: the caller's own word, but for a subject that a trusted caller vouches for.
fn provenance(
    settings: &Settings,
    asserted: &Subject,
    given: Option<Value>,
) -> Result<Provenance, Rejection> {
    let mut members = match given {
        None | Some(Value::Null) => Object::new(),
        Some(Value::Object(members)) => members,
        Some(_) => return Err(Rejection::bad_request("`context.provenance` must be an object")),
    };
    let mut text = |name: &str| match members.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Rejection::bad_request(format!("`context.provenance.{name}` must be a text"))),
    };
    let claimed = text("initiator")?;
    Ok(Provenance {
        initiator: named(settings, asserted, claimed.as_deref())?,
        model: text("model")?,
        session: text("session")?,
        reason: text("reason")?,
        prompt: text("prompt")?,
    }
    .bounded())
}

/// The human on whose behalf this is done: the asserted user, else whom the caller names. That person may
/// not approve (I3), so naming nobody is the most that a caller gains by lying.
fn named(
    settings: &Settings,
    asserted: &Subject,
    claimed: Option<&str>,
) -> Result<Option<Initiator>, Rejection> {
    let is_user = asserted.kind.rsplit("::").next().is_some_and(|kind| kind.eq_ignore_ascii_case("user"));
    if is_user {
        // An id that is no person's cannot belong to a voter either.
        if let Ok(person) = asserted.id.parse() {
            return Ok(Some(Initiator { person, verified: settings.trust_subject }));
        }
    }
    let Some(claimed) = claimed else {
        return Ok(None);
    };
    let person = claimed
        .parse()
        .map_err(|error| Rejection::bad_request(format!("`context.provenance.initiator`: {error}")))?;
    Ok(Some(Initiator { person, verified: false }))
}
