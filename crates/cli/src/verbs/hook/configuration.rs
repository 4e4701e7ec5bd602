//! A host's configuration as JSON, with and without this hook in it. Everything else in it stays.

use countersign_intercept::hook::host::Host;
use serde_json::{Map, Value, json};

/// The hook as it is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Configured {
    /// The event that it is configured for.
    pub(super) event: String,
    /// Its command line.
    pub(super) command: String,
    /// How long the host waits for it, in seconds.
    pub(super) time_out: u64,
    /// Whether the host is told to fail closed.
    pub(super) fails_closed: bool,
}

/// The events that the host must ask at.
pub(super) const fn events(host: Host) -> &'static [&'static str] {
    match host {
        Host::ClaudeCode | Host::Codex => &["PreToolUse"],
        Host::Copilot => &["preToolUse"],
        Host::Gemini => &["BeforeTool"],
        Host::Cursor => &["beforeShellExecution", "beforeMCPExecution", "beforeReadFile", "preToolUse"],
    }
}

/// The entry of one event.
fn entry(host: Host, command: &str, time_out: u64) -> Value {
    match host {
        Host::ClaudeCode => json!({
            "matcher": "*",
            "hooks": [{ "type": "command", "command": command, "timeout": time_out, "onFailure": "block" }],
        }),
        Host::Codex => json!({ "hooks": [{ "type": "command", "command": command, "timeout": time_out }] }),
        Host::Copilot => json!({ "type": "command", "bash": command, "timeoutSec": time_out }),
        Host::Gemini => json!({
            "matcher": "*",
            "hooks": [{
                "name": "countersign", "type": "command", "command": command, "timeout": time_out * 1000,
            }],
        }),
        Host::Cursor => json!({ "command": command, "timeout": time_out, "failClosed": true }),
    }
}

/// The configuration with the hook in it, once.
pub(super) fn with_hook(host: Host, configuration: Value, command: &str, time_out: u64) -> Option<Value> {
    let Value::Object(mut members) = without_hook(host, configuration)? else { return None };
    if matches!(host, Host::Copilot | Host::Cursor) {
        members.entry("version").or_insert(json!(1));
    }
    let hooks = members.entry("hooks").or_insert_with(|| json!({})).as_object_mut()?;
    for event in events(host) {
        let entries = hooks.entry(*event).or_insert_with(|| json!([])).as_array_mut()?;
        // First: some hosts run them one after another, and stop at a denial.
        entries.insert(0, entry(host, command, time_out));
    }
    Some(Value::Object(members))
}

/// The configuration without the hook. `None` when it has not the form that the host wants.
pub(super) fn without_hook(host: Host, configuration: Value) -> Option<Value> {
    let Value::Object(mut members) = configuration else { return None };
    let Some(hooks) = members.get_mut("hooks") else { return Some(Value::Object(members)) };
    let hooks = hooks.as_object_mut()?;
    for event in events(host) {
        let Some(entries) = hooks.get_mut(*event) else { continue };
        let entries = entries.as_array_mut()?;
        entries.iter_mut().for_each(|entry| remove_nested(host, entry));
        entries.retain(|entry| !is_ours(host, entry) && !is_empty_group(entry));
    }
    hooks.retain(|event, entries| !(events(host).contains(&event.as_str()) && entries == &json!([])));
    if hooks.is_empty() {
        members.remove("hooks");
    }
    Some(Value::Object(members))
}

/// Takes the hook out of a group that holds others, too.
fn remove_nested(host: Host, entry: &mut Value) {
    if let Some(commands) = entry.get_mut("hooks").and_then(Value::as_array_mut) {
        commands.retain(|command| !is_ours(host, command));
    }
}

fn is_empty_group(entry: &Value) -> bool {
    entry.get("hooks").and_then(Value::as_array).is_some_and(Vec::is_empty)
}

fn is_ours(host: Host, entry: &Value) -> bool {
    command_of(entry).is_some_and(|command| {
        let marks = format!("hook {host}");
        command.contains("countersign") && command.contains(&marks)
    })
}

fn command_of(entry: &Value) -> Option<&str> {
    entry.get("command").or_else(|| entry.get("bash"))?.as_str()
}

/// Whether nothing is left that somebody else could want.
pub(super) fn is_bare(configuration: &Value) -> bool {
    configuration.as_object().is_none_or(|members: &Map<String, Value>| {
        members.iter().all(|(name, value)| name == "version" && value == &json!(1))
    })
}

/// The hook as a configuration has it, for every event; an event without it is missing.
pub(super) fn configured(host: Host, configuration: &Value) -> Vec<Configured> {
    let hooks = configuration.get("hooks");
    let found = events(host).iter().filter_map(|event| {
        let entries = hooks?.get(*event)?.as_array()?;
        let nested = entries.iter().filter_map(|entry| entry.get("hooks")?.as_array()).flatten();
        let entry = entries.iter().chain(nested).find(|entry| is_ours(host, entry))?;
        let seconds = |name: &str| entry.get(name).and_then(Value::as_u64);
        let usual = host.time_out().as_secs();
        Some(Configured {
            event: (*event).to_owned(),
            command: command_of(entry)?.to_owned(),
            time_out: match host {
                Host::Gemini => seconds("timeout").map_or(usual, |thousandths| thousandths / 1000),
                _ => seconds("timeout").or_else(|| seconds("timeoutSec")).unwrap_or(usual),
            },
            fails_closed: match host {
                Host::ClaudeCode => entry.get("onFailure") == Some(&json!("block")),
                Host::Cursor => entry.get("failClosed") == Some(&json!(true)),
                Host::Codex | Host::Copilot | Host::Gemini => false,
            },
        })
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMAND: &str = "'/usr/bin/countersign' hook HOST --timeout 600";

    fn command(host: Host) -> String {
        COMMAND.replace("HOST", host.as_str())
    }

    #[test]
    fn a_hook_is_put_in_once_and_taken_out_without_a_trace() {
        for host in Host::ALL {
            let event = events(host)[0];
            let theirs = json!({
                "model": "best",
                "version": 1,
                "hooks": { event: [{ "matcher": "Bash", "hooks": [{ "type": "command", "command": "their own" }] }],
                           "Stop": [{ "hooks": [] }] },
            });
            let command = command(host);
            let once = with_hook(host, theirs.clone(), &command, 600).unwrap();
            let twice = with_hook(host, once.clone(), &command, 600).unwrap();
            assert_eq!(once, twice, "{host}");
            assert_eq!(configured(host, &once).len(), events(host).len(), "{host}");
            for found in configured(host, &once) {
                assert_eq!((found.command.as_str(), found.time_out), (command.as_str(), 600), "{host}");
                assert_eq!(found.fails_closed, matches!(host, Host::ClaudeCode | Host::Cursor), "{host}");
            }
            assert_eq!(without_hook(host, once).unwrap(), theirs, "{host}");
            let alone = with_hook(host, json!({}), &command, 600).unwrap();
            assert!(is_bare(&without_hook(host, alone).unwrap()), "{host}");
        }
    }

    #[test]
    fn a_hook_within_somebody_elses_group_is_found_and_taken_out() {
        let group = json!({ "hooks": { "PreToolUse": [{ "matcher": "Bash", "hooks": [
            { "type": "command", "command": command(Host::ClaudeCode) },
            { "type": "command", "command": "their own" },
        ] }] } });
        assert_eq!(configured(Host::ClaudeCode, &group).len(), 1);
        let without = without_hook(Host::ClaudeCode, group).unwrap();
        assert_eq!(without["hooks"]["PreToolUse"][0]["hooks"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn a_configuration_of_another_form_is_left_alone() {
        for odd in [json!([]), json!({ "hooks": [] }), json!({ "hooks": { "PreToolUse": {} } })] {
            assert_eq!(with_hook(Host::ClaudeCode, odd, "x", 1), None);
        }
    }
}
