//! Claude Code, read at 2.1.302 (<https://code.claude.com/docs/en/hooks>).
//!
//! In: `session_id`, `cwd`, `hook_event_name`, `tool_name`, `tool_input`, `tool_use_id`, … on stdin.

use std::path::PathBuf;

use serde_json::Value;

use super::{
    super::{
        call::{CallError, Event, Members, ToolCall, What, file, mcp, search},
        part::Access,
    },
    Verdict, hook_specific, permission,
};

pub(super) fn read(members: &Members) -> Result<ToolCall, CallError> {
    read_with(members, what)
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
    Some(match event {
        Event::Before => hook_specific("PreToolUse", verdict),
        Event::Permission => permission(verdict),
    })
}
