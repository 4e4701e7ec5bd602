//! AuthZEN evaluations, one at a time and several at once.

use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use countersign_gate::{Answer, Cause};
use countersign_model::{ApprovalId, Object};
use http::HeaderMap;
use serde_json::{Value, json};

use super::{
    Check,
    answer::{Decision, NextAction, after, json_response},
    body,
    normalise::{self, Asked, Caller, Presented},
    problem::Rejection,
};

/// The most evaluations in one request.
const MAX_EVALUATIONS: usize = 100;

/// `POST /access/v1/evaluation`
pub(super) async fn one(
    State(check): State<Check>,
    headers: HeaderMap,
    body: Body,
) -> Result<Decision, Rejection> {
    let members = body::json_object(&headers, body).await?;
    evaluate(&check, members, &Caller::of(&check, &headers)?).await
}

/// `POST /access/v1/evaluations`
pub(super) async fn many(
    State(check): State<Check>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Rejection> {
    let mut members = body::json_object(&headers, body).await?;
    let caller = Caller::of(&check, &headers)?;
    let semantic = semantic(members.remove("options"))?;
    let items = match members.remove("evaluations") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(items)) => items,
        Some(_) => return Err(Rejection::bad_request("`evaluations` must be an array")),
    };
    if items.is_empty() {
        // AuthZEN §7.1: without evaluations, this is a request for one.
        return Ok(evaluate(&check, members, &caller).await?.into_response());
    }
    if items.len() > MAX_EVALUATIONS {
        return Err(Rejection::bad_request(format!(
            "`evaluations` may have at most {MAX_EVALUATIONS} items"
        )));
    }
    let mut decisions = Vec::with_capacity(items.len());
    for item in items {
        let decision = evaluate_item(&check, &members, item, &caller).await;
        let last = semantic.stops_at(decision.decision);
        decisions.push(decision);
        if last {
            break;
        }
    }
    Ok(json_response(&json!({"evaluations": decisions})))
}

/// When a request for several evaluations is over (AuthZEN §7.1.2.1).
#[derive(Debug, Clone, Copy)]
enum Semantic {
    ExecuteAll,
    DenyOnFirstDeny,
    PermitOnFirstPermit,
}

impl Semantic {
    const fn stops_at(self, decision: bool) -> bool {
        match self {
            Self::ExecuteAll => false,
            Self::DenyOnFirstDeny => !decision,
            Self::PermitOnFirstPermit => decision,
        }
    }
}

fn semantic(options: Option<Value>) -> Result<Semantic, Rejection> {
    let name = match options {
        None | Some(Value::Null) => return Ok(Semantic::ExecuteAll),
        Some(Value::Object(mut options)) => options.remove("evaluations_semantic"),
        Some(_) => return Err(Rejection::bad_request("`options` must be an object")),
    };
    match name.as_ref().map(Value::as_str) {
        None | Some(Some("execute_all")) => Ok(Semantic::ExecuteAll),
        Some(Some("deny_on_first_deny")) => Ok(Semantic::DenyOnFirstDeny),
        Some(Some("permit_on_first_permit")) => Ok(Semantic::PermitOnFirstPermit),
        Some(_) => Err(Rejection::bad_request(
            "`options.evaluations_semantic` must be execute_all, deny_on_first_deny or permit_on_first_permit",
        )),
    }
}

/// One of several: whatever is wrong with it is its own answer, and a denial (AuthZEN §7.2.1).
async fn evaluate_item(check: &Check, defaults: &Object, item: Value, caller: &Caller) -> Decision {
    let Value::Object(mut members) = item else {
        return Decision::failed(&Rejection::bad_request("an evaluation must be an object"));
    };
    for name in ["subject", "action", "resource", "context"] {
        if let (None, Some(value)) = (members.get(name), defaults.get(name)) {
            members.insert(name.to_owned(), value.clone());
        }
    }
    match evaluate(check, members, caller).await {
        Ok(decision) => decision,
        Err(rejection) => Decision::failed(&rejection),
    }
}

async fn evaluate(check: &Check, members: Object, caller: &Caller) -> Result<Decision, Rejection> {
    let desk = &check.desk;
    let Asked { intent, approval } = normalise::evaluation(&desk.gate, &desk.settings, members, caller)?;
    match approval {
        None => Ok(plain(check, desk.gate.decide(intent).await).await),
        Some(Presented::Reference { id, grant }) => {
            let again = intent.clone();
            let answer = desk.gate.redeem(intent, id, grant.as_deref()).await;
            Ok(with_approval(check, answer, id, || desk.gate.decide(again)).await)
        }
        Some(Presented::Unverifiable) => {
            let decision = plain(check, desk.gate.decide(intent).await).await;
            Ok(not_approved(decision, "approval_unverifiable", NextAction::None))
        }
    }
}

/// The answer to an evaluation without an approval. The permit is used up before the caller hears of it.
async fn plain(check: &Check, answer: Answer) -> Decision {
    match answer {
        Answer::Permitted(permit) => {
            let decision = Decision::permitted(&permit);
            permit.hand_over().await;
            decision
        }
        Answer::Denied(denial) => Decision::denied(check, &denial),
        Answer::Held(held) => Decision::held(check, held),
    }
}

/// The answer to an evaluation with an approval (ARAP §7). An approval that does not help is no reason to
/// deny what policy allows without it, so the operation is then evaluated as if none had been presented.
async fn with_approval<F: Future<Output = Answer>>(
    check: &Check,
    answer: Answer,
    id: ApprovalId,
    decide: impl FnOnce() -> F,
) -> Decision {
    let denial = match answer {
        Answer::Permitted(_) => return plain(check, answer).await,
        Answer::Held(held) => {
            // Policy asks for more now than was approved.
            let decision = Decision::held(check, held).about_approval(id);
            return decision.after_approval("out_of_scope", NextAction::Request);
        }
        Answer::Denied(denial) => denial,
    };
    let (reason, next) = after(&denial.cause);
    match (&denial.cause, next) {
        (Cause::Policy | Cause::Malformed(_), _) | (_, NextAction::Retry) => {
            Decision::denied(check, &denial).about_approval(id).after_approval(reason, next)
        }
        _ => {
            let message = denial.to_string();
            let decision = not_approved(plain(check, decide().await).await, reason, next);
            decision.explained(&message)
        }
    }
}

/// Without a way to ask again, there is nothing to ask.
fn not_approved(mut decision: Decision, reason: &str, next: NextAction) -> Decision {
    if decision.decision {
        return decision;
    }
    if next == NextAction::None {
        decision.context.remove("access_request");
    }
    let requestable = decision.context.contains_key("access_request");
    let next = if next == NextAction::Request && !requestable { NextAction::None } else { next };
    decision.after_approval(reason, next)
}
