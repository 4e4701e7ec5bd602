//! Golden inputs and outputs of every host, with the version that they were read at. Inputs are payloads
//! as the hosts' documents and sources show them.

#![allow(clippy::needless_pass_by_value, reason = "payloads are written where they are used")]

use serde_json::json;

use super::{super::part::Access, *};
use crate::hook::call::What;

fn read(host: Host, payload: &Value) -> ToolCall {
    host.read(payload.to_string().as_bytes()).unwrap_or_else(|error| panic!("{host}: {error}: {payload}"))
}

fn claude(tool: &str, input: Value) -> Value {
    json!({
        "session_id": "7c1e4b2a", "prompt_id": "550e8400", "transcript_path": "/p/t.jsonl", "cwd": "/p",
        "permission_mode": "default", "hook_event_name": "PreToolUse", "tool_name": tool, "tool_input": input,
        "tool_use_id": "toolu_01ABC",
    })
}

fn codex(tool: &str, input: Value) -> Value {
    json!({
        "session_id": "codex-9a02", "turn_id": "t-17", "transcript_path": null, "cwd": "/p",
        "hook_event_name": "PreToolUse", "model": "gpt-5-codex", "permission_mode": "default", "tool_name": tool,
        "tool_input": input, "tool_use_id": "call_77",
    })
}

fn copilot(tool: &str, arguments: Value) -> Value {
    json!({
        "sessionId": "s-1", "timestamp": 1_792_540_800_000_u64, "cwd": "/p", "toolName": tool,
        "toolArgs": arguments.to_string(),
    })
}

fn gemini(tool: &str, input: Value) -> Value {
    json!({
        "session_id": "8f0d5c1e", "transcript_path": "", "cwd": "/p", "hook_event_name": "BeforeTool",
        "timestamp": "2026-10-20T10:00:11.000Z", "tool_name": tool, "tool_input": input,
    })
}

fn cursor(event: &str, own: Value) -> Value {
    let mut payload = json!({
        "conversation_id": "conv-42", "generation_id": "gen-7", "cursor_version": "3.13.25", "model": "x",
        "workspace_roots": ["/p"], "user_email": null, "transcript_path": null, "hook_event_name": event,
    });
    let own = own.as_object().unwrap().clone();
    payload.as_object_mut().unwrap().extend(own);
    payload
}

/// JSON whose members stand in any order; nothing at all is told apart from everything else.
fn json(text: &str) -> Option<Value> {
    (!text.is_empty()).then(|| serde_json::from_str(text).unwrap())
}

fn shell(line: &str) -> What {
    What::Shell(line.to_owned())
}

fn files(access: Access, path: &str) -> What {
    What::Files(vec![(access, path.to_owned())])
}

fn mcp(server: &str, tool: &str) -> What {
    What::Mcp { server: server.to_owned(), tool: tool.to_owned() }
}

#[test]
fn every_tool_of_every_host_is_read_as_what_it_does() {
    let patch = "*** Begin Patch\n*** Update File: src/lib.rs\n@@\n-old\n+new\n*** Add File: /etc/new\n+x\n  *** Delete File: old.rs\n*** End Patch\n";
    let patched = What::Files(vec![
        (Access::Edit, "src/lib.rs".to_owned()),
        (Access::Write, "/etc/new".to_owned()),
        (Access::Delete, "old.rs".to_owned()),
    ]);
    let url = "https://example.com/x";
    for (host, payload, expected) in [
        // Claude Code 2.1.302
        (
            Host::ClaudeCode,
            claude("Bash", json!({"command": "ls", "description": "List", "timeout": 120_000})),
            shell("ls"),
        ),
        (Host::ClaudeCode, claude("Read", json!({"file_path": "/p/a"})), files(Access::Read, "/p/a")),
        (
            Host::ClaudeCode,
            claude("Write", json!({"file_path": "/p/a", "content": "x"})),
            files(Access::Write, "/p/a"),
        ),
        (
            Host::ClaudeCode,
            claude("Edit", json!({"file_path": "/p/a", "old_string": "a", "new_string": "b"})),
            files(Access::Edit, "/p/a"),
        ),
        (
            Host::ClaudeCode,
            claude("NotebookEdit", json!({"notebook_path": "/p/n"})),
            files(Access::Edit, "/p/n"),
        ),
        (Host::ClaudeCode, claude("Grep", json!({"pattern": "x"})), files(Access::Search, ".")),
        (Host::ClaudeCode, claude("Glob", json!({"pattern": "/etc/**"})), files(Access::Search, "/etc/**")),
        (
            Host::ClaudeCode,
            claude("WebFetch", json!({"url": url, "prompt": "x"})),
            What::Fetch(vec![url.to_owned()]),
        ),
        (
            Host::ClaudeCode,
            claude("mcp__github__get_issue", json!({"number": 1})),
            mcp("github", "get_issue"),
        ),
        (Host::ClaudeCode, claude("PowerShell", json!({"command": "rm"})), What::ForeignShell),
        (Host::ClaudeCode, claude("Task", json!({"prompt": "x"})), What::Tool),
        // Codex 0.166
        (Host::Codex, codex("Bash", json!({"command": "ls"})), shell("ls")),
        (Host::Codex, codex("apply_patch", json!({"command": patch})), patched.clone()),
        (Host::Codex, codex("mcp__fs__read_file", json!({"path": "/x"})), mcp("fs", "read_file")),
        // Copilot CLI 1.0.101
        (Host::Copilot, copilot("bash", json!({"command": "ls", "description": "List"})), shell("ls")),
        (Host::Copilot, copilot("view", json!({"path": "/p/a"})), files(Access::Read, "/p/a")),
        (
            Host::Copilot,
            copilot("create", json!({"path": "/p/a", "file_text": "x"})),
            files(Access::Write, "/p/a"),
        ),
        (
            Host::Copilot,
            copilot("str_replace_editor", json!({"command": "view", "path": "/p/a"})),
            files(Access::Read, "/p/a"),
        ),
        (
            Host::Copilot,
            copilot("str_replace_editor", json!({"command": "create", "path": "/p/a"})),
            files(Access::Edit, "/p/a"),
        ),
        (
            Host::Copilot,
            json!({"sessionId": "s", "timestamp": 0, "cwd": "/p", "toolName": "apply_patch", "toolArgs": patch}),
            patched,
        ),
        (Host::Copilot, copilot("web_fetch", json!({"url": url})), What::Fetch(vec![url.to_owned()])),
        (Host::Copilot, copilot("write_bash", json!({"shellId": "1", "input": "rm\n"})), What::ForeignShell),
        (Host::Copilot, copilot("github-get_issue", json!({"number": 1})), What::Tool),
        (
            Host::Copilot,
            json!({"hook_event_name": "PreToolUse", "session_id": "s", "timestamp": "2026-10-20T10:00:11Z", "cwd": "/p", "tool_name": "bash", "tool_input": {"command": "ls"}}),
            shell("ls"),
        ),
        // Gemini CLI 0.65.0
        (
            Host::Gemini,
            gemini("run_shell_command", json!({"command": "ls", "is_background": false})),
            shell("ls"),
        ),
        (
            Host::Gemini,
            gemini("write_file", json!({"file_path": "/p/a", "content": "x"})),
            files(Access::Write, "/p/a"),
        ),
        (
            Host::Gemini,
            gemini("replace", json!({"file_path": "/p/a", "old_string": "a", "new_string": "b"})),
            files(Access::Edit, "/p/a"),
        ),
        (Host::Gemini, gemini("list_directory", json!({"dir_path": "/p"})), files(Access::Search, "/p")),
        (
            Host::Gemini,
            gemini("web_fetch", json!({"prompt": format!("Read {url} and http://b.test")})),
            What::Fetch(vec![url.to_owned(), "http://b.test".to_owned()]),
        ),
        // Cursor 3.13
        (
            Host::Cursor,
            cursor("beforeShellExecution", json!({"command": "ls", "cwd": "", "sandbox": false})),
            shell("ls"),
        ),
        (
            Host::Cursor,
            cursor(
                "beforeMCPExecution",
                json!({"tool_name": "fetch", "tool_input": "{\"url\":\"x\"}", "mcp_server_name": "web", "command": "npx"}),
            ),
            mcp("web", "fetch"),
        ),
        (
            Host::Cursor,
            cursor("beforeReadFile", json!({"file_path": "/p/a", "content": "secret", "attachments": []})),
            files(Access::Read, "/p/a"),
        ),
        (
            Host::Cursor,
            cursor(
                "preToolUse",
                json!({"tool_name": "Write", "tool_input": {"file_path": "/p/a"}, "tool_use_id": "t", "cwd": "/p"}),
            ),
            files(Access::Write, "/p/a"),
        ),
        (
            Host::Cursor,
            cursor("preToolUse", json!({"tool_name": "Delete", "tool_input": {"path": "/p/a"}})),
            files(Access::Delete, "/p/a"),
        ),
        (
            Host::Cursor,
            cursor(
                "preToolUse",
                json!({"tool_name": "Grep", "tool_input": {"file_path": "/p/a", "pattern": "x"}}),
            ),
            files(Access::Search, "/p/a"),
        ),
        (
            Host::Cursor,
            cursor("preToolUse", json!({"tool_name": "Shell", "tool_input": {"command": "ls"}})),
            What::AskedElsewhere,
        ),
        (
            Host::Cursor,
            cursor("preToolUse", json!({"tool_name": "RunNotebookCell", "tool_input": {"cell": 3}})),
            What::Tool,
        ),
    ] {
        let call = read(host, &payload);
        assert_eq!(call.what, expected, "{payload}");
        assert_eq!(call.cwd, std::path::Path::new("/p"), "{payload}");
        assert_eq!(call.event, Event::Before);
    }
}

#[test]
fn a_tool_of_an_mcp_server_is_known_by_what_gemini_says_of_it() {
    let mut payload = gemini("mcp_files_read_text_file", json!({"path": "/x"}));
    payload["mcp_context"] = json!({"server_name": "files", "tool_name": "read_text_file", "command": "npx"});
    assert_eq!(read(Host::Gemini, &payload).what, mcp("files", "read_text_file"));
    let payload = gemini("run_shell_command", json!({"command": "ls", "dir_path": "app"}));
    assert_eq!(read(Host::Gemini, &payload).cwd, std::path::Path::new("/p/app"));
}

#[test]
fn what_a_model_words_anew_does_not_bind_and_everything_else_does() {
    let prepared = |input: Value| read(Host::ClaudeCode, &claude("Bash", input)).prepare("claude-code").0;
    let base = prepared(json!({"command": "ls", "description": "List files", "timeout": 1}));
    assert_eq!(prepared(json!({"command": "ls", "description": "Look around", "timeout": 2})), base);
    assert_ne!(prepared(json!({"command": "ls", "dangerouslyDisableSandbox": true})), base);
    assert_ne!(prepared(json!({"command": "ls -a"})), base);
    // A description is what an issue says, and no wording of a model, where it is a tool's own argument.
    let mcp = |text: &str| {
        let payload = claude("mcp__github__create_issue", json!({"description": text}));
        read(Host::ClaudeCode, &payload).prepare("claude-code").0
    };
    assert_ne!(mcp("a"), mcp("b"));
    let reason = read(Host::ClaudeCode, &claude("Bash", json!({"command": "ls", "description": "List"})));
    assert_eq!(reason.provenance.reason.as_deref(), Some("List"));
    assert_eq!(reason.provenance.session.as_deref(), Some("7c1e4b2a"));
    assert_eq!(
        read(Host::Codex, &codex("Bash", json!({"command": "ls"}))).provenance.model.as_deref(),
        Some("gpt-5-codex")
    );
}

#[test]
fn what_is_not_read_with_certainty_is_not_read() {
    for host in Host::ALL {
        for payload in [
            "",
            "null",
            "[]",
            "{}",
            "{\"tool_name\":1}",
            "{\"hook_event_name\":\"Stop\",\"tool_name\":\"x\",\"tool_input\":{}}",
        ] {
            assert!(host.read(payload.as_bytes()).is_err(), "{host}: {payload}");
        }
    }
    // Two readers of the same bytes must not see two calls.
    let twice = claude("Bash", json!({"command": "ls"}))
        .to_string()
        .replace("\"command\":", "\"command\":\"rm\",\"command\":");
    assert!(Host::ClaudeCode.read(twice.as_bytes()).is_err());
    let within = json!({"sessionId": "s", "cwd": "/p", "toolName": "bash", "toolArgs": "{\"command\":\"ls\",\"command\":\"rm\"}"});
    assert!(Host::Copilot.read(within.to_string().as_bytes()).is_err());
    for (host, payload) in [
        (Host::ClaudeCode, claude("Bash", json!({"command": ["rm"]}))),
        (Host::ClaudeCode, claude("Write", json!({"content": "x"}))),
        (Host::ClaudeCode, claude("Bash", json!("ls"))),
        (Host::Gemini, gemini("read_file", json!({"absolute_path": "/x"}))),
        (
            Host::Cursor,
            cursor("beforeMCPExecution", json!({"tool_name": "x", "tool_input": "{\"unfinished"})),
        ),
        (Host::Cursor, cursor("preToolUse", json!({"tool_name": "Write", "tool_input": {}}))),
    ] {
        assert!(host.read(payload.to_string().as_bytes()).is_err(), "{payload}");
    }
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(9 * 1024 * 1024));
    assert!(matches!(Host::ClaudeCode.read(long.as_bytes()), Err(CallError::TooLong)));
}

#[test]
fn every_answer_is_in_the_hosts_own_words() {
    let deny = Verdict::Deny("no".to_owned());
    let defer = Verdict::Defer("later".to_owned());
    for (host, event, verdict, expected) in [
        // Claude Code 2.1.302
        (
            Host::ClaudeCode,
            Event::Before,
            &Verdict::Allow,
            r#"{"hookSpecificOutput":{"hookEventName":"PreToolUse","permissionDecision":"allow"}}"#,
        ),
        (
            Host::ClaudeCode,
            Event::Before,
            &deny,
            r#"{"hookSpecificOutput":{"hookEventName":"PreToolUse","permissionDecision":"deny","permissionDecisionReason":"no"}}"#,
        ),
        (
            Host::ClaudeCode,
            Event::Before,
            &defer,
            r#"{"hookSpecificOutput":{"hookEventName":"PreToolUse","permissionDecision":"defer","permissionDecisionReason":"later"}}"#,
        ),
        (
            Host::ClaudeCode,
            Event::Permission,
            &Verdict::Allow,
            r#"{"hookSpecificOutput":{"decision":{"behavior":"allow"},"hookEventName":"PermissionRequest"}}"#,
        ),
        (
            Host::ClaudeCode,
            Event::Permission,
            &deny,
            r#"{"hookSpecificOutput":{"decision":{"behavior":"deny","message":"no"},"hookEventName":"PermissionRequest"}}"#,
        ),
        // Codex 0.166: a bare allow, and whatever it does not know, would let the call pass as an error.
        (Host::Codex, Event::Before, &Verdict::Allow, ""),
        (
            Host::Codex,
            Event::Before,
            &deny,
            r#"{"hookSpecificOutput":{"hookEventName":"PreToolUse","permissionDecision":"deny","permissionDecisionReason":"no"}}"#,
        ),
        (
            Host::Codex,
            Event::Before,
            &defer,
            r#"{"hookSpecificOutput":{"hookEventName":"PreToolUse","permissionDecision":"deny","permissionDecisionReason":"later"}}"#,
        ),
        (
            Host::Codex,
            Event::Permission,
            &deny,
            r#"{"hookSpecificOutput":{"decision":{"behavior":"deny","message":"no"},"hookEventName":"PermissionRequest"}}"#,
        ),
        // Copilot CLI 1.0.101
        (Host::Copilot, Event::Before, &Verdict::Allow, r#"{"permissionDecision":"allow"}"#),
        (
            Host::Copilot,
            Event::Before,
            &deny,
            r#"{"permissionDecision":"deny","permissionDecisionReason":"no"}"#,
        ),
        (
            Host::Copilot,
            Event::Before,
            &defer,
            r#"{"permissionDecision":"deny","permissionDecisionReason":"later"}"#,
        ),
        (Host::Copilot, Event::Permission, &Verdict::Allow, r#"{"behavior":"allow"}"#),
        (Host::Copilot, Event::Permission, &deny, r#"{"behavior":"deny","message":"no"}"#),
        // Gemini CLI 0.65.0
        (Host::Gemini, Event::Before, &Verdict::Allow, r#"{"decision":"allow"}"#),
        (Host::Gemini, Event::Before, &deny, r#"{"decision":"deny","reason":"no"}"#),
        (Host::Gemini, Event::Before, &defer, r#"{"decision":"deny","reason":"later"}"#),
        // Cursor 3.13
        (Host::Cursor, Event::Before, &Verdict::Allow, r#"{"permission":"allow"}"#),
        (
            Host::Cursor,
            Event::Before,
            &deny,
            r#"{"agent_message":"no","permission":"deny","user_message":"no"}"#,
        ),
    ] {
        let answer = host.answer(event, verdict);
        assert_eq!(json(&answer.stdout), json(expected), "{host}");
        assert_eq!((answer.stderr.as_str(), answer.code), ("", 0), "{host}");
        // Nobody is asked where something is enforced.
        assert!(!answer.stdout.contains("\"ask\""));
    }
}

/// Who was told of an input that it does not understand would go on with the one that nobody has approved.
#[test]
fn only_a_host_that_can_be_told_is_told_of_another_input() {
    let line = json!({"command": "rm a", "description": "Remove", "timeout": 9, "run_in_background": false});
    let payload = claude("Bash", line.clone());
    assert!(read(Host::ClaudeCode, &payload).is_editable);
    let without = |name: &str| {
        let mut payload = payload.clone();
        payload.as_object_mut().unwrap().remove(name);
        payload
    };
    assert!(!read(Host::ClaudeCode, &without("tool_use_id")).is_editable, "a release that may not know how");
    let mut permission = without("tool_use_id");
    permission["hook_event_name"] = json!("PermissionRequest");
    assert!(!read(Host::ClaudeCode, &permission).is_editable);
    assert!(!read(Host::Codex, &codex("Bash", line.clone())).is_editable);
    assert!(!read(Host::Gemini, &gemini("run_shell_command", line.clone())).is_editable);
    assert!(!read(Host::Copilot, &copilot("bash", line.clone())).is_editable);

    let input = json!({"run_in_background": false}).as_object().unwrap().clone();
    let bytes = payload.to_string().into_bytes();
    let (sent, updated) = Host::ClaudeCode.edited(&bytes, Some("rm b"), &input).unwrap();
    let mut expected = line;
    expected["command"] = json!("rm b");
    assert_eq!(Value::Object(updated.clone()), expected);
    assert_eq!(read(Host::ClaudeCode, &serde_json::from_slice(&sent).unwrap()).what, shell("rm b"));
    let why = "reviewer-one@example.com changed it".to_owned();
    let verdict = Verdict::AllowInstead { input: updated, why };
    let answer = Host::ClaudeCode.answer(Event::Before, &verdict);
    assert_eq!(
        json(&answer.stdout),
        json(
            r#"{"hookSpecificOutput":{"hookEventName":"PreToolUse","permissionDecision":"allow",
            "permissionDecisionReason":"reviewer-one@example.com changed it",
            "additionalContext":"reviewer-one@example.com changed it",
            "updatedInput":{"command":"rm b","description":"Remove","timeout":9,"run_in_background":false}}}"#
        )
    );
    for host in [Host::Codex, Host::Copilot, Host::Gemini, Host::Cursor] {
        assert!(host.edited(&bytes, Some("rm b"), &input).is_err(), "{host}");
        let told = host.answer(Event::Before, &verdict);
        let ended = Ended::Answered { stdout: told.stdout, stderr: told.stderr, code: told.code.into() };
        assert_eq!(host.reaction(false, &ended), Reaction::Blocks, "{host}");
    }
}

#[test]
fn a_failure_blocks_by_every_way_that_the_host_knows() {
    let fail = Verdict::Fail("no sidecar".to_owned());
    for host in Host::ALL {
        let Answer { stdout, stderr, code } = host.answer(Event::Before, &fail);
        assert!(stdout.contains("no sidecar"), "{host}");
        let by_code = host != Host::Copilot;
        assert_eq!((stderr.is_empty(), code), if by_code { (false, 2) } else { (true, 0) }, "{host}");
        let ended = Ended::Answered { stdout, stderr, code: code.into() };
        assert_eq!(host.reaction(false, &ended), Reaction::Blocks, "{host}");
    }
}

#[test]
fn what_a_host_does_about_a_hook_that_fails_is_known() {
    let answered = |stdout: &str, stderr: &str, code| Ended::Answered {
        stdout: stdout.to_owned(),
        stderr: stderr.to_owned(),
        code,
    };
    for host in Host::ALL {
        let denial = host.answer(Event::Before, &Verdict::Deny("no".to_owned()));
        assert_eq!(host.reaction(false, &answered(&denial.stdout, "", 0)), Reaction::Blocks, "{host}");
        let permit = host.answer(Event::Before, &Verdict::Allow);
        assert_eq!(host.reaction(true, &answered(&permit.stdout, "", 0)), Reaction::GoesOn, "{host}");
        let can_be_told = matches!(host, Host::ClaudeCode | Host::Cursor);
        for ended in [Ended::Crashed, Ended::TimedOut, answered("", "", 1)] {
            let closed = match host {
                Host::Copilot => ended != Ended::TimedOut,
                _ => can_be_told,
            };
            let expected = if closed { Reaction::Blocks } else { Reaction::GoesOn };
            assert_eq!(host.reaction(true, &ended), expected, "{host} {ended:?}");
        }
    }
    // Codex heeds exit code 2 only with a reason, and a denial only with one.
    assert_eq!(Host::Codex.reaction(false, &answered("", "", 2)), Reaction::GoesOn);
    assert_eq!(Host::Codex.reaction(false, &answered("", "why", 2)), Reaction::Blocks);
}

#[test]
fn people_have_less_time_than_the_host_waits() {
    for host in Host::ALL {
        let patience = Host::patience(host.time_out());
        assert!(patience < host.time_out(), "{host}");
        assert!(host.time_out() - patience >= Duration::from_secs(5), "{host}");
    }
    assert_eq!(Host::patience(Host::Copilot.time_out()), Duration::from_secs(25));
    assert_eq!(Host::patience(Duration::from_secs(2)), Duration::from_secs(1));
}
