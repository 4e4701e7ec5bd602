//! Codex, read at 0.166 (its `codex-rs/hooks`, and <https://developers.openai.com/codex/hooks>).
//!
//! In: as Claude Code, with `turn_id` and `model`. Out: it refuses properties that it does not know, and a
//! bare `allow`, after which it goes on as if there were no hook; to say nothing is what lets a call pass
//! on to its own rules. Exit code 2 blocks only with a reason on stderr.

use serde_json::Value;

use super::{
    super::call::{CallError, Event, Members, ToolCall, What, mcp, patch},
    Verdict, claude_code, hook_specific, permission,
};

pub(super) fn read(members: &Members) -> Result<ToolCall, CallError> {
    let call = claude_code::read_with(members, what)?;
    Ok(ToolCall { project: None, ..call })
}

fn what(tool: &str, input: &Members) -> Result<What, CallError> {
    Ok(match tool {
        "Bash" => What::Shell(input.need("command")?),
        "apply_patch" => patch(&input.need("command")?),
        _ => mcp(tool).unwrap_or(What::Tool),
    })
}

pub(super) fn answer(event: Event, verdict: &Verdict) -> Option<Value> {
    match (event, verdict) {
        (Event::Before, Verdict::Allow) => None,
        // What it does not know would be an error, and errors let calls pass.
        (Event::Before, Verdict::Defer(why)) => {
            Some(hook_specific("PreToolUse", &Verdict::Deny(why.clone())))
        }
        (Event::Before, verdict) => Some(hook_specific("PreToolUse", verdict)),
        (Event::Permission, verdict) => Some(permission(verdict)),
    }
}
