//! Claude Code, read at 2.1.302 (<https://code.claude.com/docs/en/hooks>).
//!
//! In: `session_id`, `cwd`, `hook_event_name`, `tool_name`, `tool_input`, `tool_use_id`, … on stdin.

use std::path::PathBuf;

use countersign_model::Object;
use serde_json::{Value, json};

use super::{
    super::{
        call::{CallError, Event, Members, ONLY_WORDS, ToolCall, What, file, mcp, search},
        part::Access,
    },
    Verdict, hook_specific, permission,
};

pub(super) fn read(members: &Members) -> Result<ToolCall, CallError> {
    let call = read_with(members, what)?;
    // A release that does not know `updatedInput` (before 2.0.10) would go on with what nobody has approved. The
    // event has had this member for a shorter time.
    let knows_updates = members.text("tool_use_id").is_some_and(|id| !id.is_empty());
    Ok(ToolCall { is_editable: call.event == Event::Before && knows_updates, ..call })
}

/// The input that the host is told to use instead, and what it would have sent with that.
pub(super) fn edited(
    members: &Members,
    line: Option<&str>,
    input: &Object,
) -> Result<(Members, Object), CallError> {
    let mut updated = input.clone();
    if let Some(line) = line {
        let Members(given) = members.object("tool_input")?;
        updated.extend(given.into_iter().filter(|(name, _)| ONLY_WORDS.contains(&name.as_str())));
        updated.insert("command".to_owned(), json!(line));
    }
    let mut sent = members.clone();
    sent.0.insert("tool_input".to_owned(), Value::Object(updated.clone()));
    Ok((sent, updated))
}

/// Reads the form that Claude Code has made common, with the tools of a host.
pub(super) fn read_with(
    members: &Members,
    what: impl Fn(&str, &Members) -> Result<What, CallError>,
) -> Result<ToolCall, CallError> {
    let event = match members.need("hook_event_name")?.as_str() {
        "PreToolUse" => Event::Before,
        "PermissionRequest" => Event::Permission,
        other => return Err(CallError::Event(other.to_owned())),
    };
    let (tool, input) = (members.need("tool_name")?, members.object("tool_input")?);
    Ok(ToolCall {
        event,
        what: what(&tool, &input)?,
        cwd: members.cwd(),
        project: std::env::var_os("CLAUDE_PROJECT_DIR").map(PathBuf::from),
        provenance: members.provenance("session_id", &input),
        tool,
        input: input.0,
        is_editable: false,
    })
}

fn what(tool: &str, input: &Members) -> Result<What, CallError> {
    Ok(match tool {
        "Bash" => What::Shell(input.need("command")?),
        "Monitor" if input.text("command").is_some() => What::Shell(input.need("command")?),
        "PowerShell" => What::ForeignShell,
        "Read" => return file(Access::Read, input, "file_path"),
        "Write" => return file(Access::Write, input, "file_path"),
        "Edit" | "MultiEdit" => return file(Access::Edit, input, "file_path"),
        "NotebookRead" => return file(Access::Read, input, "notebook_path"),
        "NotebookEdit" => return file(Access::Edit, input, "notebook_path"),
        "Glob" | "Grep" | "LS" => search(input, &["path"]),
        "WebFetch" => What::Fetch(vec![input.need("url")?]),
        _ => mcp(tool).unwrap_or(What::Tool),
    })
}

pub(super) fn answer(event: Event, verdict: &Verdict) -> Option<Value> {
    Some(match (event, verdict) {
        (Event::Before, Verdict::AllowInstead { input, why }) => json!({ "hookSpecificOutput": {
            "hookEventName": "PreToolUse",
            "permissionDecision": "allow",
            "permissionDecisionReason": why,
            "updatedInput": input,
            // The reason is for the user; this is for the agent.
            "additionalContext": why,
        }}),
        (Event::Before, _) => hook_specific("PreToolUse", verdict),
        (Event::Permission, _) => permission(verdict),
    })
}
