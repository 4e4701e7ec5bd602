//! What a host does about how its hook ended, as far as its documents and sources say.

use serde_json::Value;

use super::Host;

/// How a hook's process ended, as its host sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// By itself.
    Answered {
        /// Its standard output.
        stdout: String,
        /// Its standard error.
        stderr: String,
        /// Its exit code.
        code: i32,
    },
    /// By a signal, or it could not be started.
    Crashed,
    /// The host stopped waiting.
    TimedOut,
}

/// What the host does then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reaction {
    /// The tool is not used.
    Blocks,
    /// The tool is used, or the host's own rules decide.
    GoesOn,
}

impl Host {
    /// What the host does. `fails_closed` is whether its configuration tells it to block when a hook fails.
    #[must_use]
    pub fn reaction(self, fails_closed: bool, ended: &Ended) -> Reaction {
        let on_failure = if fails_closed { Reaction::Blocks } else { Reaction::GoesOn };
        match (self, ended) {
            (_, Ended::Answered { stdout, code: 0, .. }) => self.heeds(stdout),
            (Self::Codex, Ended::Answered { stderr, code: 2, .. }) if stderr.trim().is_empty() => {
                Reaction::GoesOn
            }
            (_, Ended::Answered { code: 2, .. }) => Reaction::Blocks,
            // Since 1.0.57.
            (Self::Copilot, Ended::Answered { .. } | Ended::Crashed) => Reaction::Blocks,
            (Self::Copilot, Ended::TimedOut) => Reaction::GoesOn,
            (Self::ClaudeCode | Self::Cursor, _) => on_failure,
            (Self::Codex | Self::Gemini, _) => Reaction::GoesOn,
        }
    }

    fn heeds(self, stdout: &str) -> Reaction {
        let said: Value = serde_json::from_str(stdout).unwrap_or_default();
        let text = |pointer: &str| said.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let decision = match self {
            Self::ClaudeCode => text("/hookSpecificOutput/permissionDecision"),
            // A denial without a reason is an error there.
            Self::Codex if text("/hookSpecificOutput/permissionDecisionReason").trim().is_empty() => "",
            Self::Codex => text("/hookSpecificOutput/permissionDecision"),
            Self::Copilot => text("/permissionDecision"),
            Self::Gemini => text("/decision"),
            Self::Cursor => text("/permission"),
        };
        if decision == "deny" { Reaction::Blocks } else { Reaction::GoesOn }
    }
}
