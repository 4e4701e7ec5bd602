//! What a client or server is told in place of what was refused.

use serde_json::{Value, json};

use super::envelope::EnvelopeError;
use crate::local::wire::DeniedEvent;

/// COAZ-MCP's code for an authorization denial.
pub const DENIED: i32 = -32001;
/// COAZ-MCP's code for a decision that could not be had.
pub const UNAVAILABLE: i32 = -32603;

/// The code of what people are still deciding about.
pub const PENDING: &str = "pending";

/// The code of a result that an output rule withholds. What was asked for has been done.
pub const WITHHELD: &str = "output_withheld";

/// A tool result that says why the call was refused, so that the model can read it.
#[must_use]
pub fn tool_result(id: &str, denied: &DeniedEvent) -> Vec<u8> {
    let text = describe(denied);
    let result = json!({
        "content": [{"type": "text", "text": text}],
        "isError": true,
        // Demanded from 2026-07-28 on, and unknown to clients before.
        "resultType": "complete",
        "_meta": {"countersign/denial": denied},
    });
    line(id, "result", &result)
}

/// A JSON-RPC error that says why a request was refused.
#[must_use]
pub fn error(id: &str, denied: &DeniedEvent) -> Vec<u8> {
    let code = if denied.retry { UNAVAILABLE } else { DENIED };
    let error = json!({"code": code, "message": describe(denied), "data": denied});
    line(id, "error", &error)
}

/// A JSON-RPC error for a message that is not acceptable; `null` is the id of one that has none.
#[must_use]
pub fn unacceptable(refused: &EnvelopeError) -> Vec<u8> {
    let error =
        json!({"code": refused.code, "message": format!("refused by Countersign: {}", refused.message)});
    line(refused.id.as_deref().unwrap_or("null"), "error", &error)
}

/// What was refused, why, and by what, in one text.
#[must_use]
pub fn describe(denied: &DeniedEvent) -> String {
    let message = denied.message.trim_end_matches('.');
    let mut text = match denied.code.as_str() {
        PENDING | WITHHELD => format!("{message}."),
        _ => format!("Countersign did not let this through: {message}."),
    };
    for policy in &denied.policies {
        text.push_str(&format!("\nPolicy {}", policy.id));
        if let Some(reason) = &policy.reason {
            text.push_str(&format!(": {reason}"));
        }
    }
    if let Some(evaluation) = denied.evaluation {
        text.push_str(&format!("\nDecision {evaluation}"));
    }
    if let Some(approval) = denied.approval {
        text.push_str(&format!("\nApproval {approval}"));
    }
    if [PENDING, WITHHELD].contains(&denied.code.as_str()) {
        return text;
    }
    let advice = if denied.retry {
        "\nNothing was executed. The same call may be made again later."
    } else {
        "\nNothing was executed. Do not try to get the same effect in another way; ask the person you work for."
    };
    text.push_str(advice);
    text
}

/// One message, with the id exactly as it was written.
fn line(id: &str, member: &str, value: &Value) -> Vec<u8> {
    format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"{member}\":{value}}}\n").into_bytes()
}
