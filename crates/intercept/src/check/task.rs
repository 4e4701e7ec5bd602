//! Tasks: where a request for approval stands (ARAP §6), and taking it back.
//!
//! | approval | task |
//! |---|---|
//! | pending | `pending` |
//! | approved, claimed, executed, failed, outcome_unknown | `approved` |
//! | denied | `denied` |
//! | expired, lapsed | `expired` |
//! | cancelled, revoked, invalidated | `cancelled` |

use std::time::Duration;

use axum::{
    body::Body,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use countersign_gate::{Phase, Status, ports::BrokerError};
use countersign_model::{ApprovalId, Object};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Check, answer::json_response, body, problem::Problem};

/// How long the control plane may take to say where an approval stands.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// The longest that a caller may wait in one request, in seconds.
const MAX_WAIT: u64 = 60;

/// `GET /access/v1/requests/{id}`
pub(super) async fn status(
    State(check): State<Check>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let id = task_id(&id)?;
    let wait = preferred_wait(&headers);
    let mut status = check.desk.gate.wait(id, 0, ANSWER_WITHIN).await?;
    if let Some(wait) = wait {
        let until = Instant::now() + wait;
        while status.phase == Phase::Pending && Instant::now() < until {
            status = check.desk.gate.wait(id, status.version, until - Instant::now()).await?;
        }
    }
    let mut response = json_response(&body_of(&check, &status));
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    match wait {
        Some(wait) => {
            if let Ok(applied) = HeaderValue::try_from(format!("wait={}", wait.as_secs())) {
                headers.insert(HeaderName::from_static("preference-applied"), applied);
            }
        }
        None if status.phase == Phase::Pending => {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        None => {}
    }
    Ok(response)
}

/// `POST /access/v1/requests/{id}/cancel`
pub(super) async fn cancel(
    State(check): State<Check>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let id = task_id(&id)?;
    body::optional_object(&headers, body).await?;
    let gate = &check.desk.gate;
    let known = gate.wait(id, 0, ANSWER_WITHIN).await?;
    if known.phase.is_decided() {
        return Err(over(&known));
    }
    match gate.cancel(id).await {
        Ok(status) if task_status(status.phase) == "cancelled" => {
            Ok(json_response(&body_of(&check, &status)))
        }
        Ok(status) => Err(over(&status)),
        Err(BrokerError::Refused(why)) => Err(Problem::invalid_task_state(why)),
        Err(error) => Err(error.into()),
    }
}

fn over(status: &Status) -> Problem {
    Problem::invalid_task_state(format!("the task is {} already", task_status(status.phase)))
}

fn task_id(text: &str) -> Result<ApprovalId, Problem> {
    text.parse().map_err(|_| Problem::unknown_task("that is not the id of a task"))
}

/// `Prefer: wait=N` (RFC 7240 §4.3).
fn preferred_wait(headers: &HeaderMap) -> Option<Duration> {
    let lines = headers.get_all("prefer").iter().filter_map(|line| line.to_str().ok());
    let mut preferences = lines.flat_map(|line| line.split([',', ';']));
    let seconds: u64 = preferences.find_map(|preference| {
        let (name, value) = preference.split_once('=')?;
        name.trim().eq_ignore_ascii_case("wait").then(|| value.trim().trim_matches('"').parse().ok())?
    })?;
    Some(Duration::from_secs(seconds.min(MAX_WAIT)))
}

/// The answer to a submission: `201 Created` when nothing is left to wait for.
pub(super) fn accepted(check: &Check, status: &Status) -> Response {
    let code = if status.phase == Phase::Pending { StatusCode::ACCEPTED } else { StatusCode::CREATED };
    let mut response = (code, json_response(&body_of(check, status))).into_response();
    if let Ok(location) = HeaderValue::try_from(endpoint(check, status.id)) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

const fn task_status(phase: Phase) -> &'static str {
    match phase {
        Phase::Pending => "pending",
        Phase::Approved | Phase::Claimed | Phase::Executed | Phase::Failed | Phase::OutcomeUnknown => {
            "approved"
        }
        Phase::Denied => "denied",
        Phase::Expired | Phase::Lapsed => "expired",
        Phase::Cancelled | Phase::Revoked | Phase::Invalidated => "cancelled",
    }
}

fn endpoint(check: &Check, id: ApprovalId) -> String {
    format!("{}/access/v1/requests/{id}", check.base)
}

fn body_of(check: &Check, status: &Status) -> Value {
    let endpoint = endpoint(check, status.id);
    let mut task = Object::new();
    let mut put = |name: &str, value: Value| task.insert(name.to_owned(), value);
    put("id", json!(status.id));
    put("status", json!(task_status(status.phase)));
    put("status_endpoint", json!(endpoint));
    put("display", display(status));
    if status.phase == Phase::Pending {
        put("expires_at", json!(status.decide_by));
        put("progress", progress(status));
        put("links", json!({"cancel": format!("{endpoint}/cancel")}));
    }
    if task_status(status.phase) == "approved" {
        json!({"task": task, "result": result(check, status)})
    } else {
        json!({"task": task})
    }
}

/// An approval that the decision point resolves by its id and verifies by its grant (ARAP §7).
fn result(check: &Check, status: &Status) -> Value {
    let until = check.desk.gate.grant_ends(status).or(status.execute_by).unwrap_or(status.decide_by);
    let mut approval = json!({"id": status.id, "approved_until": until});
    if let (Some(grant), Value::Object(members)) = (&status.grant, &mut approval) {
        members.insert("state".to_owned(), json!(grant));
    }
    json!({"mode": "reevaluate", "approval": approval})
}

/// How far it is. Who may vote is nothing that an agent needs to know.
fn progress(status: &Status) -> Value {
    let met = status.progress.iter().filter(|requirement| requirement.have >= requirement.need).count();
    let current = status.progress.iter().find(|requirement| requirement.have < requirement.need);
    json!({
        "current_step": (met + 1).min(status.progress.len().max(1)),
        "total_steps": status.progress.len(),
        "step_name": current.map(|requirement| requirement.requirement.as_str()),
    })
}

fn display(status: &Status) -> Value {
    let title = match status.phase {
        Phase::Pending => "Waiting for approval",
        Phase::Approved | Phase::Claimed => "Approved",
        Phase::Executed | Phase::Failed | Phase::OutcomeUnknown => "Approved and used",
        Phase::Denied => "Refused by a reviewer",
        Phase::Expired => "Not decided in time",
        Phase::Lapsed => "Approved, but not started in time",
        Phase::Cancelled => "Cancelled",
        Phase::Revoked => "Approval revoked",
        Phase::Invalidated => "Approval no longer applies",
    };
    match &status.reason {
        Some(reason) => json!({"title": title, "description": reason}),
        None => json!({"title": title}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preferred_wait_is_read_and_bounded() {
        let wait = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("prefer", HeaderValue::from_static(text));
            preferred_wait(&headers).map(|wait| wait.as_secs())
        };
        assert_eq!(wait("wait=10"), Some(10));
        assert_eq!(wait("respond-async, WAIT = 7"), Some(7));
        assert_eq!(wait("wait=\"3\""), Some(3));
        assert_eq!(wait("wait=100000"), Some(MAX_WAIT));
        assert_eq!(wait("wait=-1"), None);
        assert_eq!(wait("waiting=5"), None);
    }
}
