//! Cursor, read at 3.13 (<https://cursor.com/docs/hooks>).
//!
//! In: `conversation_id`, `workspace_roots`, `hook_event_name`, and what the event has. Shell lines, tools
//! of MCP servers and reading files have events of their own; `preToolUse` tells them, too, and is
//! answered there without asking, so that nothing is asked twice. Out: `permission`, `user_message`,
//! `agent_message`.

use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::{
    super::{
        call::{CallError, Event, Members, ToolCall, What, file, search},
        part::Access,
    },
    Verdict,
};

/// Members of an input that name a file or a folder.
const PATHS: [&str; 5] = ["path", "file_path", "target_file", "target_directory", "target_directories"];

pub(super) fn read(members: &Members) -> Result<ToolCall, CallError> {
    let event = members.need("hook_event_name")?;
    let (tool, input, what) = match event.as_str() {
        "beforeShellExecution" => {
            let line = members.need("command")?;
            ("Shell".to_owned(), only(members, &["command", "sandbox"]), What::Shell(line))
        }
        "beforeMCPExecution" => {
            let server = members.text("mcp_server_name").unwrap_or_else(|| "unknown".to_owned());
            let tool = members.need("tool_name")?;
            let what = What::Mcp { server, tool: tool.clone() };
            (tool, members.object("tool_input")?, what)
        }
        "beforeReadFile" => {
            ("Read".to_owned(), only(members, &["file_path"]), file(Access::Read, members, "file_path")?)
        }
        "preToolUse" => {
            let (tool, input) = (members.need("tool_name")?, members.object("tool_input")?);
            let what = before_tool(&tool, &input)?;
            (tool, input, what)
        }
        _ => return Err(CallError::Event(event)),
    };
    let root = members.0.get("workspace_roots").and_then(|roots| roots.get(0)).and_then(Value::as_str);
    let project = root.map(PathBuf::from);
    let told = members.text("cwd").is_some_and(|cwd| !cwd.is_empty());
    let cwd = project.clone().filter(|_| !told).unwrap_or_else(|| members.cwd());
    let provenance = members.provenance("conversation_id", &input);
    let (event, is_editable) = (Event::Before, false);
    Ok(ToolCall { event, tool, what, input: input.0, cwd, project, provenance, is_editable })
}

fn before_tool(tool: &str, input: &Members) -> Result<What, CallError> {
    Ok(match tool {
        "Shell" | "Read" => What::AskedElsewhere,
        _ if tool.starts_with("MCP:") => What::AskedElsewhere,
        "Write" => paths(Access::Write, input)?,
        "Edit" | "MultiEdit" | "StrReplace" => paths(Access::Edit, input)?,
        "Delete" => paths(Access::Delete, input)?,
        "Grep" | "Glob" | "LS" | "ListDir" | "SemanticSearch" => search(input, &PATHS),
        "WebFetch" => What::Fetch(vec![input.need("url")?]),
        _ => What::Tool,
    })
}

fn paths(access: Access, input: &Members) -> Result<What, CallError> {
    let named = PATHS.iter().filter_map(|name| input.text(name));
    let files: Vec<_> = named.map(|path| (access, path)).collect();
    if files.is_empty() { Err(CallError::Missing("file_path")) } else { Ok(What::Files(files)) }
}

fn only(members: &Members, names: &[&str]) -> Members {
    let kept = names.iter().filter_map(|name| Some(((*name).to_owned(), members.0.get(*name)?.clone())));
    Members(kept.collect::<Map<_, _>>())
}

pub(super) fn answer(verdict: &Verdict) -> Option<Value> {
    Some(match verdict {
        Verdict::Allow => json!({ "permission": "allow" }),
        Verdict::AllowInstead { why, .. } | Verdict::Deny(why) | Verdict::Fail(why) | Verdict::Defer(why) => {
            json!({ "permission": "deny", "user_message": why, "agent_message": why })
        }
    })
}
