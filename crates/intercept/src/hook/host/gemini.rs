//! Gemini CLI, read at 0.65.0 (<https://geminicli.com/docs/hooks/reference>).
//!
//! In: `session_id`, `cwd`, `hook_event_name` (`BeforeTool`), `timestamp`, `tool_name`, `tool_input`, and
//! `mcp_context` for a tool of an MCP server. Out: `decision`, `reason`.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::{
    super::{
        call::{CallError, Event, Members, ToolCall, What, file, mcp, search},
        part::Access,
    },
    Verdict,
};

pub(super) fn read(members: &Members) -> Result<ToolCall, CallError> {
    let event = members.need("hook_event_name")?;
    if event != "BeforeTool" {
        return Err(CallError::Event(event));
    }
    let (tool, input) = (members.need("tool_name")?, members.object("tool_input")?);
    let what = if members.0.get("mcp_context").is_some_and(Value::is_object) {
        let context = members.object("mcp_context")?;
        What::Mcp { server: context.need("server_name")?, tool: context.need("tool_name")? }
    } else {
        what(&tool, &input)?
    };
    let mut cwd = members.cwd();
    if let (What::Shell(_), Some(folder)) = (&what, input.text("dir_path")) {
        cwd.push(folder);
    }
    Ok(ToolCall {
        event: Event::Before,
        what,
        cwd,
        project: std::env::var_os("GEMINI_PROJECT_DIR").map(PathBuf::from),
        provenance: members.provenance("session_id", &input),
        tool,
        input: input.0,
        is_editable: false,
    })
}

fn what(tool: &str, input: &Members) -> Result<What, CallError> {
    Ok(match tool {
        "run_shell_command" => What::Shell(input.need("command")?),
        "read_file" => return file(Access::Read, input, "file_path"),
        "write_file" => return file(Access::Write, input, "file_path"),
        "replace" => return file(Access::Edit, input, "file_path"),
        "list_directory" | "glob" | "grep_search" | "search_file_content" | "read_many_files" => {
            search(input, &["dir_path", "path", "include"])
        }
        "web_fetch" => {
            // It fetches every address in a text.
            let text = input.need("prompt")?;
            let urls: Vec<String> =
                text.split_whitespace().filter(|word| word.contains("://")).map(str::to_owned).collect();
            if urls.is_empty() { What::Tool } else { What::Fetch(urls) }
        }
        _ => mcp(tool).unwrap_or(What::Tool),
    })
}

pub(super) fn answer(verdict: &Verdict) -> Option<Value> {
    Some(match verdict {
        Verdict::Allow => json!({ "decision": "allow" }),
        Verdict::AllowInstead { why, .. } | Verdict::Deny(why) | Verdict::Fail(why) | Verdict::Defer(why) => {
            json!({ "decision": "deny", "reason": why })
        }
    })
}
