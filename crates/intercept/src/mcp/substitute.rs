//! Calls that run with other arguments than they came with, because a reviewer changed them.
//!
//! The message that is forwarded is read once more, as if it had come like that: what runs is what policy and
//! people were asked about, or nothing. Its sender is told, with the result, who changed what.

use std::sync::Arc;

use countersign_gate::{Act, Permit, intent::Replaced};
use serde_json::{Value, json};

use super::{
    edit::Members,
    normalise::{self, Seen},
    ruling::{Asked, Call},
};
use crate::local::wire::Direction;

/// The member of a result's `_meta` that says who changed the arguments.
const EDITS: &str = "countersign/edits";

/// The permitted message cannot be put together. It is not forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the changed arguments cannot be put into the message")]
pub(crate) struct Unfit;

/// Puts the arguments of a permit into a call and its message. Returns the message; `None` when it goes on
/// as it came.
///
/// # Errors
/// When what would be forwarded is not what was permitted.
pub(crate) fn substitute(call: &mut Call, message: &str, permit: &Permit) -> Result<Option<String>, Unfit> {
    let Some(replaced) = permit.edited() else { return Ok(None) };
    let arguments = Value::Object(replaced.arguments.clone()).to_string();
    let mut members = Members::parse(message).map_err(|_| Unfit)?;
    let mut params = Members::parse(members.raw("params").ok_or(Unfit)?).map_err(|_| Unfit)?;
    params.set("arguments", arguments);
    let params = params.to_string();
    members.set("params", params.clone());
    let message = members.to_string();
    check(&message, replaced)?;
    call.params = Some(params);
    Ok(Some(message))
}

fn check(message: &str, replaced: &Replaced) -> Result<(), Unfit> {
    let Call { method, params, .. } = normalise::call_in("", message).map_err(|_| Unfit)?;
    let seen =
        Seen { server: "", direction: Direction::ToServer, method: &method, params: params.as_deref() };
    match normalise::act(&seen) {
        Ok((Act::Tool { arguments, .. }, _)) if arguments == replaced.arguments => Ok(()),
        _ => Err(Unfit),
    }
}

/// The answer to a call, with word of who changed its arguments. `None` when there is nothing to tell.
pub(super) fn tell(asked: &Asked, answer: &str) -> Option<String> {
    let replaced = asked.edited.as_ref()?;
    let mut message = Members::parse(answer).ok()?;
    if let Some(mut result) = message.raw("result").and_then(|result| Members::parse(result).ok()) {
        if let Some(mut content) =
            result.get("content").and_then(|content| serde_json::from_str(content).ok())
        {
            let Value::Array(items) = &mut content else { return None };
            items.push(json!({"type": "text", "text": words(replaced)}));
            result.set("content", content.to_string());
        }
        let meta = result.get("_meta").and_then(|meta| serde_json::from_str(meta).ok());
        let mut meta: serde_json::Map<String, Value> = meta.unwrap_or_default();
        meta.insert(EDITS.to_owned(), edits(replaced));
        result.set("_meta", Value::Object(meta).to_string());
        message.set("result", result.to_string());
    } else {
        let mut error: Value = serde_json::from_str(message.get("error")?).ok()?;
        let said = error.get("message").and_then(Value::as_str).unwrap_or_default();
        let told = format!("{said} ({})", words(replaced));
        error.as_object_mut()?.insert("message".to_owned(), told.into());
        message.set("error", error.to_string());
    }
    Some(message.to_string())
}

fn words(replaced: &Replaced) -> String {
    let edit = |edit: &countersign_gate::intent::MadeEdit| {
        let change = |change: &countersign_approval::ArgumentChange| {
            let name = change.pointer.strip_prefix(countersign_approval::edit::ARGUMENTS);
            format!("{} is now {}", name.unwrap_or(&change.pointer), change.value)
        };
        let changes: Vec<_> = edit.changes.iter().map(change).collect();
        let reason = edit.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
        format!(
            "{} changed the arguments of this call before it ran{reason}: {}",
            edit.by,
            changes.join(", ")
        )
    };
    let edits: Vec<_> = replaced.edits.iter().map(edit).collect();
    format!(
        "Countersign: {}. It ran with the changed arguments, not with those that you gave.",
        edits.join("; ")
    )
}

fn edits(replaced: &Arc<Replaced>) -> Value {
    let edit = |edit: &countersign_gate::intent::MadeEdit| json!({"approval": edit.approval, "by": edit.by, "changes": edit.changes, "reason": edit.reason});
    replaced.edits.iter().map(edit).collect()
}
