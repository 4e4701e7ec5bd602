//! The hosts: how each one tells what it is about to do, and how it wants to be answered.
//!
//! | host | version read | before a tool | allow | deny | when the hook fails or is too late |
//! |---|---|---|---|---|---|
//! | Claude Code | 2.1.302 | `PreToolUse` | `permissionDecision: "allow"` | `"deny"`, or exit code 2 | goes on, unless `onFailure: "block"` (2.1.295) |
//! | Codex | 0.166 | `PreToolUse` | no output | `"deny"` with a reason, or exit code 2 with one | goes on |
//! | Copilot CLI | 1.0.101 | `preToolUse` | `permissionDecision: "allow"` | `"deny"` | a failure blocks, a time-out goes on |
//! | Gemini CLI | 0.65.0 | `BeforeTool` | `decision: "allow"` | `"deny"`, or exit code 2 | goes on |
//! | Cursor | 3.13 | `preToolUse`, `before…` | `permission: "allow"` | `"deny"`, or exit code 2 | goes on, unless `failClosed: true` |
//!
//! Of these only Claude Code is told of what a reviewer made of a call (`updatedInput`), and only by releases that say
//! which use of a tool they mean: for all others an edit is not offered.
//!
//! So a hook always answers by itself, before the host stops waiting. What it cannot do anything about
//! is a host that kills it, or never starts it.

mod claude_code;
mod codex;
mod copilot;
mod cursor;
mod gemini;
mod reaction;

#[cfg(test)]
mod tests;

use std::{fmt, str::FromStr, time::Duration};

use countersign_model::Object;
use serde_json::{Value, json};

use super::call::{CallError, Event, Members, ToolCall};

pub use reaction::{Ended, Reaction};

/// A coding agent that this hook answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Host {
    /// Anthropic's Claude Code.
    ClaudeCode,
    /// OpenAI's Codex CLI.
    Codex,
    /// GitHub's Copilot CLI.
    Copilot,
    /// Google's Gemini CLI.
    Gemini,
    /// Cursor, the editor and its CLI.
    Cursor,
}

/// What the host is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The tool may be used.
    Allow,
    /// It may be used with this input, which a reviewer made. Only for calls that are editable.
    AllowInstead {
        /// The whole input.
        input: Object,
        /// Who changed it.
        why: String,
    },
    /// It may not.
    Deny(String),
    /// Nobody could be asked, or nothing could be read: it may not, and the host is told so in every way it
    /// understands.
    Fail(String),
    /// It waits: the host ends, and asks again when it is resumed.
    Defer(String),
}

/// What the hook's process says and how it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
    /// Its exit code.
    pub code: u8,
}

impl Host {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::ClaudeCode, Self::Codex, Self::Copilot, Self::Gemini, Self::Cursor];

    /// Its name on the command line and in operations.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClaudeCode => "claude-code",
            Self::Codex => "codex",
            Self::Copilot => "copilot",
            Self::Gemini => "gemini",
            Self::Cursor => "cursor",
        }
    }

    /// How long it waits for a hook, if it is not told otherwise.
    #[must_use]
    pub const fn time_out(self) -> Duration {
        Duration::from_secs(match self {
            Self::ClaudeCode | Self::Codex => 600,
            Self::Copilot => 30,
            Self::Gemini | Self::Cursor => 60,
        })
    }

    /// How long people may take before the hook answers that they have not decided yet, when the host
    /// waits for that long.
    #[must_use]
    pub fn patience(time_out: Duration) -> Duration {
        // A tenth, but not less than it takes to answer on a busy machine.
        let margin = (time_out / 10).clamp(Duration::from_secs(5), Duration::from_secs(30));
        time_out.saturating_sub(margin).max(Duration::from_secs(1))
    }

    /// Reads what the host sent.
    ///
    /// # Errors
    /// When it is not what this host sends before a tool is used.
    pub fn read(self, bytes: &[u8]) -> Result<ToolCall, CallError> {
        let members = Members::read(bytes)?;
        match self {
            Self::ClaudeCode => claude_code::read(&members),
            Self::Codex => codex::read(&members),
            Self::Copilot => copilot::read(&members),
            Self::Gemini => gemini::read(&members),
            Self::Cursor => cursor::read(&members),
        }
    }

    /// A call with another input: what the host would have sent, and the whole input that it is told to use.
    ///
    /// # Errors
    /// When the host cannot be told, or what it sent is not what it sends before a tool is used.
    pub fn edited(
        self,
        bytes: &[u8],
        line: Option<&str>,
        input: &Object,
    ) -> Result<(Vec<u8>, Object), CallError> {
        let members = Members::read(bytes)?;
        let (sent, updated) = match self {
            Self::ClaudeCode => claude_code::edited(&members, line, input)?,
            Self::Codex | Self::Copilot | Self::Gemini | Self::Cursor => {
                return Err(CallError::Missing("way to be told of another input"));
            }
        };
        Ok((Value::Object(sent.0).to_string().into_bytes(), updated))
    }

    /// What to answer.
    #[must_use]
    pub fn answer(self, event: Event, verdict: &Verdict) -> Answer {
        let said = match self {
            Self::ClaudeCode => claude_code::answer(event, verdict),
            Self::Codex => codex::answer(event, verdict),
            Self::Copilot => copilot::answer(event, verdict),
            Self::Gemini => gemini::answer(verdict),
            Self::Cursor => cursor::answer(verdict),
        };
        let stdout = said.map(|said| said.to_string()).unwrap_or_default();
        match verdict {
            // Copilot takes exit code 2 for a warning in some releases, and heeds its JSON in all.
            Verdict::Fail(why) if self != Self::Copilot => Answer { stdout, stderr: why.clone(), code: 2 },
            _ => Answer { stdout, stderr: String::new(), code: 0 },
        }
    }
}

impl Verdict {
    /// The decision in one word, and why.
    const fn parts(&self) -> (&'static str, &String) {
        const PERMITTED: &String = &String::new();
        match self {
            Self::Allow => ("allow", PERMITTED),
            // Who cannot be told of another input would use the one that nobody has approved.
            Self::Deny(why) | Self::Fail(why) | Self::AllowInstead { why, .. } => ("deny", why),
            Self::Defer(why) => ("defer", why),
        }
    }
}

/// The answer that Claude Code has made common.
fn hook_specific(event: &str, verdict: &Verdict) -> Value {
    let (decision, why) = verdict.parts();
    let mut output = json!({ "hookEventName": event, "permissionDecision": decision });
    if let (false, Value::Object(members)) = (why.is_empty(), &mut output) {
        members.insert("permissionDecisionReason".to_owned(), json!(why));
    }
    json!({ "hookSpecificOutput": output })
}

/// The answer to a question for permission, in the same form.
fn permission(verdict: &Verdict) -> Value {
    let (decision, why) = verdict.parts();
    let decision = match decision {
        "allow" => json!({ "behavior": "allow" }),
        _ => json!({ "behavior": "deny", "message": why }),
    };
    json!({ "hookSpecificOutput": { "hookEventName": "PermissionRequest", "decision": decision } })
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// No host has that name.
#[derive(Debug, thiserror::Error)]
#[error("no host is called {0:?}: claude-code, codex, copilot, gemini or cursor")]
pub struct UnknownHost(String);

impl FromStr for Host {
    type Err = UnknownHost;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|host| host.as_str() == name).ok_or_else(|| UnknownHost(name.to_owned()))
    }
}
