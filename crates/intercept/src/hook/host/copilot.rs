//! GitHub Copilot CLI, read at 1.0.101 (<https://docs.github.com/en/copilot/reference/hooks-reference>).
//!
//! In: `sessionId`, `timestamp`, `cwd`, `toolName`, `toolArgs` (mostly JSON in a text) for an event that is
//! configured in camelCase; `hook_event_name`, `tool_name`, `tool_input` for one in PascalCase. The
//! payload does not mark the tools of MCP servers: they are tools like any other here.

use serde_json::{Map, Value, json};

use super::{
    super::{
        call::{CallError, Event, Members, ToolCall, What, file, patch, search},
        part::Access,
    },
    Verdict,
};

pub(super) fn read(members: &Members) -> Result<ToolCall, CallError> {
    let event = match members.text("hook_event_name").as_deref() {
        None | Some("PreToolUse" | "preToolUse") => Event::Before,
        Some("PermissionRequest" | "permissionRequest") => Event::Permission,
        Some(other) => return Err(CallError::Event(other.to_owned())),
    };
    let snake = members.0.contains_key("tool_name");
    let (tool, arguments, session) =
        if snake { ("tool_name", "tool_input", "session_id") } else { ("toolName", "toolArgs", "sessionId") };
    let tool = members.need(tool)?;
    // A patch comes as it is, without JSON around it.
    let plain =
        members.text(arguments).filter(|_| tool == "apply_patch").filter(|text| !text.starts_with('{'));
    let input = match plain {
        Some(text) => Members(Map::from_iter([("input".to_owned(), json!(text))])),
        None => members.object(arguments)?,
    };
    Ok(ToolCall {
        event,
        what: what(&tool, &input)?,
        cwd: members.cwd(),
        project: None,
        provenance: members.provenance(session, &input),
        tool,
        input: input.0,
        is_editable: false,
    })
}

fn what(tool: &str, input: &Members) -> Result<What, CallError> {
    Ok(match tool {
        "bash" | "local_shell" => What::Shell(input.need("command")?),
        "powershell" | "write_powershell" => What::ForeignShell,
        // Keys for a program that runs already: what they do depends on it.
        "write_bash" => What::ForeignShell,
        "view" => return file(Access::Read, input, "path"),
        "create" => return file(Access::Write, input, "path"),
        "str_replace_editor" if input.text("command").as_deref() == Some("view") => {
            return file(Access::Read, input, "path");
        }
        "edit" | "str_replace" | "str_replace_editor" => return file(Access::Edit, input, "path"),
        "apply_patch" => patch(&input.need("input").or_else(|_| input.need("patch"))?),
        "grep" | "rg" | "glob" => search(input, &["paths", "path"]),
        "web_fetch" => What::Fetch(vec![input.need("url")?]),
        _ => What::Tool,
    })
}

pub(super) fn answer(event: Event, verdict: &Verdict) -> Option<Value> {
    let decision = match verdict {
        Verdict::Allow => None,
        Verdict::AllowInstead { why, .. } | Verdict::Deny(why) | Verdict::Fail(why) | Verdict::Defer(why) => {
            Some(why)
        }
    };
    Some(match (event, decision) {
        (Event::Before, None) => json!({ "permissionDecision": "allow" }),
        (Event::Before, Some(why)) => {
            json!({ "permissionDecision": "deny", "permissionDecisionReason": why })
        }
        (Event::Permission, None) => json!({ "behavior": "allow" }),
        (Event::Permission, Some(why)) => json!({ "behavior": "deny", "message": why }),
    })
}
