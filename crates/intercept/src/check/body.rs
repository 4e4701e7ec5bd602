//! Reading request bodies: bounded in size, time and shape.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use countersign_model::{Action, Object, Resource, Subject, strict_json};
use http::{HeaderMap, StatusCode, header};
use serde_json::Value;

use super::problem::Rejection;

/// The largest body of a request, in bytes.
pub(super) const MAX_BODY: usize = 1024 * 1024;
/// How long a caller may take to send it.
const BODY_WITHIN: Duration = Duration::from_secs(10);
/// The longest type or name, in bytes.
const MAX_NAME: usize = 512;
/// The longest id, in bytes.
const MAX_ID: usize = 4_096;

/// Reads the JSON object that a request carries (AuthZEN §10.1).
pub(super) async fn json_object(headers: &HeaderMap, body: Body) -> Result<Object, Rejection> {
    demand_json(headers)?;
    object_of(&bytes(body).await?)
}

/// Reads an optional JSON object: nothing at all stands for an empty one.
pub(super) async fn optional_object(headers: &HeaderMap, body: Body) -> Result<Object, Rejection> {
    let bytes = bytes(body).await?;
    if bytes.is_empty() {
        return Ok(Object::new());
    }
    demand_json(headers)?;
    object_of(&bytes)
}

fn demand_json(headers: &HeaderMap) -> Result<(), Rejection> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(Rejection {
        status: StatusCode::UNSUPPORTED_MEDIA_TYPE,
        message: "send a body of Content-Type application/json".to_owned(),
    })
}

async fn bytes(body: Body) -> Result<axum::body::Bytes, Rejection> {
    match tokio::time::timeout(BODY_WITHIN, to_bytes(body, MAX_BODY)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        // The caller broke off, or went on for too long; it reads at most one of these answers.
        Ok(Err(_)) => Err(Rejection {
            status: StatusCode::PAYLOAD_TOO_LARGE,
            message: format!("a body may have at most {MAX_BODY} bytes"),
        }),
        Err(_) => Err(Rejection {
            status: StatusCode::REQUEST_TIMEOUT,
            message: "the body did not arrive in time".to_owned(),
        }),
    }
}

fn object_of(bytes: &[u8]) -> Result<Object, Rejection> {
    match strict_json::parse(bytes) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) => Err(Rejection::bad_request("the body must be a JSON object")),
        Err(error) => Err(Rejection::bad_request(error.to_string())),
    }
}

/// Takes a subject out of a request (AuthZEN §5.1).
pub(super) fn subject(value: Value) -> Result<Subject, Rejection> {
    let mut members = object("subject", value)?;
    Ok(Subject {
        kind: text("subject", &mut members, "type", MAX_NAME)?,
        id: text("subject", &mut members, "id", MAX_ID)?,
        properties: properties("subject", &mut members)?,
    })
}

/// Takes an action out of a request (AuthZEN §5.3).
pub(super) fn action(value: Value) -> Result<Action, Rejection> {
    let mut members = object("action", value)?;
    Ok(Action {
        name: text("action", &mut members, "name", MAX_NAME)?,
        properties: properties("action", &mut members)?,
    })
}

/// Takes a resource out of a request (AuthZEN §5.2).
pub(super) fn resource(value: Value) -> Result<Resource, Rejection> {
    let mut members = object("resource", value)?;
    Ok(Resource {
        kind: text("resource", &mut members, "type", MAX_NAME)?,
        id: text("resource", &mut members, "id", MAX_ID)?,
        properties: properties("resource", &mut members)?,
    })
}

/// Takes a member that must be there out of an object.
pub(super) fn required(members: &mut Object, name: &str) -> Result<Value, Rejection> {
    members.remove(name).ok_or_else(|| Rejection::bad_request(format!("`{name}` is missing")))
}

/// Takes an object out of an object; absent and null stand for an empty one.
pub(super) fn optional_member(members: &mut Object, name: &str) -> Result<Object, Rejection> {
    match members.remove(name) {
        None | Some(Value::Null) => Ok(Object::new()),
        Some(value) => object(name, value),
    }
}

fn object(name: &str, value: Value) -> Result<Object, Rejection> {
    match value {
        Value::Object(members) => Ok(members),
        _ => Err(Rejection::bad_request(format!("`{name}` must be an object"))),
    }
}

fn properties(of: &str, members: &mut Object) -> Result<Object, Rejection> {
    match members.remove("properties") {
        None | Some(Value::Null) => Ok(Object::new()),
        Some(Value::Object(properties)) => Ok(properties),
        Some(_) => Err(Rejection::bad_request(format!("`{of}.properties` must be an object"))),
    }
}

fn text(of: &str, members: &mut Object, name: &str, limit: usize) -> Result<String, Rejection> {
    match members.remove(name) {
        Some(Value::String(text)) if !text.is_empty() && text.len() <= limit => Ok(text),
        None => Err(Rejection::bad_request(format!("`{of}.{name}` is missing"))),
        Some(_) => Err(Rejection::bad_request(format!("`{of}.{name}` must be a text of 1 to {limit} bytes"))),
    }
}
