//! From what a client submits to what the gate decides about, on the sidecar's side.

use countersign_gate::{Act, Intent, Interceptor};
use countersign_model::{Object, Provenance};
use countersign_policy::mapping::CommandLine;
use serde_json::json;

use crate::local::wire::Command;

/// The member of an operation's context that says exactly what would be executed. No mapping can take
/// it away, so it always binds (I2).
pub const EXECUTION: &str = "execution";

/// The intent of running a command. What it means is up to the bundle's mappings.
#[must_use]
pub fn intent(command: Command, provenance: Provenance, trace: Option<String>) -> Intent {
    let execution = json!({
        "program": command.program,
        "program_digest": command.program_digest,
        "files": command.files,
        "env_digest": command.env_digest,
        "stdin": command.stdin.as_str(),
    });
    let line = CommandLine { argv: command.argv, cwd: command.cwd, env: command.env };
    Intent {
        interceptor: Interceptor::Exec,
        act: Act::Command { command: line, facts: Object::from_iter([(EXECUTION.to_owned(), execution)]) },
        provenance,
        asserted_subject: None,
        trace,
        tool_pin: None,
    }
}
