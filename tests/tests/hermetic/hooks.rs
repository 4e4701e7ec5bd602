//! The hooks of coding agents: the real command, as a host runs it, against a real sidecar.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::net::UnixListener,
    path::Path,
    process::{Child, Command, Output, Stdio},
};

use countersign_tests::{Answer, Dev, DevOptions, binary, bundle};
use serde_json::{Value, json};

const HOSTS: [&str; 5] = ["claude-code", "codex", "copilot", "gemini", "cursor"];

fn dev() -> Dev {
    Dev::start(DevOptions { bundle: Some(bundle("hooks")), ..DevOptions::default() })
}

/// A shell line, as a host tells it.
fn shell(host: &str, line: &str, cwd: &str) -> Value {
    let input = json!({ "command": line, "description": "as a model puts it" });
    let tool = if host == "gemini" { "run_shell_command" } else { "Bash" };
    let event = if host == "gemini" { "BeforeTool" } else { "PreToolUse" };
    match host {
        "copilot" => json!({
            "sessionId": "s", "timestamp": 1, "cwd": cwd, "toolName": "bash", "toolArgs": input.to_string(),
        }),
        "cursor" => json!({
            "conversation_id": "c", "hook_event_name": "beforeShellExecution", "workspace_roots": [cwd],
            "command": line, "cwd": cwd, "sandbox": false,
        }),
        _ => json!({
            "session_id": "s", "cwd": cwd, "hook_event_name": event, "tool_name": tool, "tool_input": input,
        }),
    }
}

/// A tool of Claude Code.
fn claude(tool: &str, input: &Value) -> Value {
    json!({ "session_id": "s", "cwd": "/tmp", "hook_event_name": "PreToolUse", "tool_name": tool, "tool_input": input })
}

fn start(mut command: Command, arguments: &[&str], payload: &str) -> Child {
    let command = command.arg("hook").args(arguments);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    child.stdin.take().expect("a pipe").write_all(payload.as_bytes()).expect("it reads");
    child
}

/// What a hook said: whether the host goes on, why not, and the exit code.
#[derive(Debug)]
struct Said {
    goes_on: bool,
    why: String,
    code: i32,
}

fn said(host: &str, output: &Output) -> Said {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let answer: Value = serde_json::from_str(&text).unwrap_or_default();
    let (decision, why) = match host {
        "claude-code" | "codex" => {
            let own = &answer["hookSpecificOutput"];
            (own["permissionDecision"].clone(), own["permissionDecisionReason"].clone())
        }
        "copilot" => (answer["permissionDecision"].clone(), answer["permissionDecisionReason"].clone()),
        "gemini" => (answer["decision"].clone(), answer["reason"].clone()),
        _ => (answer["permission"].clone(), answer["agent_message"].clone()),
    };
    let code = output.status.code().expect("an exit code");
    // To say nothing is how Codex is told to go on.
    let goes_on = code == 0 && (decision == "allow" || (host == "codex" && text.is_empty()));
    assert!(goes_on || decision == "deny" || decision == "defer", "{host}: {output:?}");
    Said { goes_on, why: why.as_str().unwrap_or_default().to_owned(), code }
}

fn ask(command: Command, host: &str, arguments: &[&str], payload: &Value) -> Said {
    let arguments: Vec<&str> = std::iter::once(host).chain(arguments.iter().copied()).collect();
    let child = start(command, &arguments, &payload.to_string());
    said(host, &child.wait_with_output().expect("it ends"))
}

/// Asks as Claude Code does, with people having a second.
fn ask_shortly(dev: &Dev, line: &str, cwd: &str) -> Said {
    ask(dev.countersign(), "claude-code", &["--timeout", "6"], &shell("claude-code", line, cwd))
}

/// The approval that an answer says is pending.
fn pending(said: &Said) -> String {
    assert!(!said.goes_on && said.why.contains("pending"), "{said:?}");
    let rest = said.why.split("id ").nth(1).unwrap_or_else(|| panic!("no id in {}", said.why));
    rest.split([' ', '.']).next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn ordinary_lines_flow_and_forbidden_ones_do_not_in_every_host() {
    let dev = dev();
    for host in HOSTS {
        let ask = |line: &str| ask(dev.countersign(), host, &[], &shell(host, line, "/tmp"));
        for line in [
            "ls",
            "ls -la && echo 'a b' | cat 2>/dev/null",
            "timeout 5 sh -c 'ls; true'",
            "cat < notes > other",
        ] {
            let said = ask(line);
            assert!(said.goes_on, "{host}: {line}: {said:?}");
        }
        for line in [
            "cp a b",
            "ls && cp a b",
            "echo $(cp a b)",
            "sh -c 'ls; cp a b'",
            "find . -exec cp {} b \\;",
            "echo x > /etc/x",
        ] {
            let said = ask(line);
            assert!(!said.goes_on && said.code == 0, "{host}: {line}: {said:?}");
        }
        assert!(ask("true; cp a b").why.contains("Nothing is copied"));
    }
}

#[tokio::test]
async fn files_pages_and_tools_are_decided_about_by_what_they_are() {
    let dev = dev();
    for (tool, input, goes_on) in [
        ("Read", json!({ "file_path": "/tmp/a" }), true),
        ("Write", json!({ "file_path": "/tmp/a", "content": "x" }), true),
        ("Write", json!({ "file_path": "/tmp/../etc/a", "content": "x" }), false),
        ("Edit", json!({ "file_path": "/etc/passwd", "old_string": "a", "new_string": "b" }), false),
        ("Grep", json!({ "pattern": "x", "path": "/" }), false),
        ("WebFetch", json!({ "url": "https://docs.example.com/x", "prompt": "x" }), true),
        ("WebFetch", json!({ "url": "https://docs.example.com@evil.example/x", "prompt": "x" }), false),
        ("mcp__github__delete_repository", json!({ "name": "x" }), false),
        ("Task", json!({ "prompt": "x" }), false),
    ] {
        let payload = claude(tool, &input);
        let mut command = dev.countersign();
        command.env_remove("CLAUDE_PROJECT_DIR");
        let said = ask(command, "claude-code", &[], &payload);
        assert_eq!(said.goes_on, goes_on, "{payload}: {said:?}");
    }
}

#[tokio::test]
async fn a_held_line_waits_for_people_and_goes_on_once() {
    let dev = dev();
    for host in HOSTS {
        let payload = shell(host, "ls; rm precious", "/tmp").to_string();
        let child = start(dev.countersign(), &[host], &payload);
        let approval = dev.decide_next(&[0], "approve").await;
        let said = said(host, &child.wait_with_output().expect("it ends"));
        assert!(said.goes_on, "{host}: {said:?}");
        let shown = approval.to_string();
        assert!(shown.contains("ls; rm precious") && shown.contains("Exec::line"), "{shown}");
        dev.until(approval["id"].as_str().unwrap_or_default(), "executed").await;
    }
}

#[tokio::test]
async fn a_refusal_is_told_with_its_reason() {
    let dev = dev();
    let child = start(dev.countersign(), &["claude-code"], &shell("claude-code", "rm a", "/tmp").to_string());
    dev.decide_next(&[0], "deny").await;
    let said = said("claude-code", &child.wait_with_output().expect("it ends"));
    assert!(!said.goes_on && said.why.contains("refused by a reviewer"), "{said:?}");
    // Asking again does not ask people again.
    let again = ask_shortly(&dev, "rm a", "/tmp");
    assert!(!again.goes_on && again.why.contains("refused by a reviewer"), "{again:?}");
}

#[tokio::test]
async fn what_is_not_decided_in_time_is_denied_and_the_same_call_attaches_to_it() {
    let dev = dev();
    let id = pending(&ask_shortly(&dev, "rm a", "/tmp"));
    assert_eq!(pending(&ask_shortly(&dev, "rm a", "/tmp")), id, "the same request");
    let reworded = json!({ "command": "rm a", "description": "put in other words", "timeout": 9 });
    let reworded = claude("Bash", &reworded);
    assert_eq!(pending(&ask(dev.countersign(), "claude-code", &["--timeout", "6"], &reworded)), id);

    dev.vote(&dev.reviewer(0), &id, "approve").await.ok();
    dev.until(&id, "approved").await;
    assert!(ask_shortly(&dev, "rm a", "/tmp").goes_on);
    dev.until(&id, "executed").await;
    assert_ne!(pending(&ask_shortly(&dev, "rm a", "/tmp")), id, "once is once");
}

#[tokio::test]
async fn an_approval_covers_the_whole_line_as_it_is_and_nothing_else() {
    let dev = dev();
    let line = "rm a && mv b c";
    let id = pending(&ask_shortly(&dev, line, "/tmp"));
    // One part's requirement is not the other's.
    dev.vote(&dev.reviewer(0), &id, "approve").await.ok();
    assert_eq!(pending(&ask_shortly(&dev, line, "/tmp")), id);
    dev.vote(&dev.reviewer(1), &id, "approve").await.ok();
    dev.until(&id, "approved").await;
    for other in
        ["rm a", "mv b c", "rm a; mv b c", "rm a && mv b d", "rm a && mv b c && rm d", "mv b c && rm a"]
    {
        assert_ne!(pending(&ask_shortly(&dev, other, "/tmp")), id, "{other}");
    }
    assert_ne!(pending(&ask_shortly(&dev, line, "/")), id, "another directory");
    let other = claude("Bash", &json!({ "command": line, "dangerouslyDisableSandbox": true }));
    assert_ne!(pending(&ask(dev.countersign(), "claude-code", &["--timeout", "6"], &other)), id);
    assert!(ask_shortly(&dev, line, "/tmp").goes_on);
}

#[tokio::test]
async fn what_cannot_be_read_as_shell_is_held_as_a_whole() {
    let dev = dev();
    for line in
        ["eval \"$(echo ls)\"", "ls 'unclosed", "PATH=/tmp/evil; ls", "x=ls; $x", "ls *.c", "echo ls | sh"]
    {
        let said = ask_shortly(&dev, line, "/tmp");
        pending(&said);
        assert!(said.why.contains("What is not certain is looked at first"), "{line}: {said:?}");
    }
}

#[tokio::test]
async fn a_deferred_call_waits_outside_of_the_host() {
    let dev = dev();
    let payload = shell("claude-code", "rm a", "/tmp").to_string();
    let child = start(dev.countersign(), &["claude-code", "--defer"], &payload);
    let output = child.wait_with_output().expect("it ends");
    assert!(
        String::from_utf8_lossy(&output.stdout).contains(r#""permissionDecision":"defer""#),
        "{output:?}"
    );
    dev.decide_next(&[0], "approve").await;
    // Resuming asks again.
    assert!(
        ask(dev.countersign(), "claude-code", &["--defer"], &shell("claude-code", "rm a", "/tmp")).goes_on
    );
}

#[test]
fn without_a_sidecar_every_host_is_told_no() {
    for host in HOSTS {
        let mut command = Command::new(binary("countersign"));
        command.env("COUNTERSIGN_SOCKET", "/nowhere/sidecar.sock");
        let said = ask(command, host, &[], &shell(host, "ls", "/tmp"));
        assert!(!said.goes_on && said.why.contains("no sidecar answers"), "{host}: {said:?}");
        assert_eq!(said.code, if host == "copilot" { 0 } else { 2 }, "{host}");
    }
}

#[tokio::test]
async fn a_sidecar_that_dies_while_a_line_is_held_is_no_approval() {
    let dev = dev();
    let child = start(dev.countersign(), &["gemini"], &shell("gemini", "rm a", "/tmp").to_string());
    dev.next_pending().await;
    let _folder = dev.kill();
    let said = said("gemini", &child.wait_with_output().expect("it ends"));
    assert!(!said.goes_on && said.code == 2, "{said:?}");
}

#[test]
fn input_that_cannot_be_read_is_denied() {
    for host in HOSTS {
        for payload in ["", "not json", "{}", "{\"a\":1,\"a\":2}", "\u{0}"] {
            let mut command = Command::new(binary("countersign"));
            command.env("COUNTERSIGN_SOCKET", "/nowhere/sidecar.sock");
            let output = start(command, &[host], payload).wait_with_output().expect("it ends");
            let said = said(host, &output);
            assert!(!said.goes_on && said.why.contains("what the host sent"), "{host}: {payload}: {said:?}");
        }
    }
}

#[test]
fn a_sidecar_that_an_agent_puts_into_its_folder_is_not_asked() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("countersign-data/sidecar/sidecar.sock");
    fs::create_dir_all(socket.parent().expect("a folder")).expect("folders");
    let listener = UnixListener::bind(&socket).expect("a socket");
    listener.set_nonblocking(true).expect("no blocking");
    let mut command = Command::new(binary("countersign"));
    command.current_dir(folder.path()).env_remove("COUNTERSIGN_SOCKET").env("XDG_RUNTIME_DIR", folder.path());
    assert!(!ask(command, "claude-code", &[], &shell("claude-code", "ls", "/tmp")).goes_on);
    assert_eq!(listener.accept().expect_err("nobody came").kind(), io::ErrorKind::WouldBlock);
}

fn verb(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(binary("countersign"));
    command.arg("hook").args(arguments).arg("--dir").arg(folder);
    command.env("COUNTERSIGN_SOCKET", "/run/countersign/sidecar.sock").output().expect("it starts")
}

#[test]
fn a_hook_is_installed_tried_and_removed_in_every_host() {
    for host in HOSTS {
        let folder = tempfile::tempdir().expect("a folder");
        let installed = verb(folder.path(), &["install", host]);
        assert!(installed.status.success(), "{installed:?}");
        let again = verb(folder.path(), &["install", host]);
        assert!(String::from_utf8_lossy(&again.stdout).contains("is as it should be"), "{again:?}");

        let doctor = verb(folder.path(), &["doctor", host, "--json"]);
        let told: Value = serde_json::from_slice(&doctor.stdout).unwrap_or_else(|_| panic!("{doctor:?}"));
        let trials = told["trials"].as_array().expect("trials");
        let open: Vec<&str> = trials
            .iter()
            .filter(|trial| trial["hosts_limit"] == true)
            .filter_map(|trial| trial["what"].as_str())
            .collect();
        // What each host does by itself is told; what the hook does is to deny, every time.
        let (code, limits) = match host {
            "claude-code" | "cursor" => (0, Vec::new()),
            "copilot" => (10, vec!["time-out"]),
            _ => (10, vec!["crash", "time-out"]),
        };
        assert_eq!((doctor.status.code(), open), (Some(code), limits), "{told:#}");
        for what in ["denial", "sidecar down", "time-out"] {
            let closed = trials
                .iter()
                .filter(|trial| trial["what"] == what)
                .all(|trial| trial["fails_closed"] == true);
            assert!(closed, "{what}: {told:#}");
        }

        let removed = verb(folder.path(), &["uninstall", host]);
        assert!(removed.status.success(), "{removed:?}");
        let doctor = verb(folder.path(), &["doctor", host]);
        assert_eq!(doctor.status.code(), Some(1), "{doctor:?}");
    }
}

#[test]
fn a_configuration_keeps_what_is_not_the_hooks() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join(".claude/settings.json");
    fs::create_dir_all(file.parent().expect("a folder")).expect("folders");
    let theirs = r#"{ "model": "best", "hooks": { "Stop": [] }, "permissions": { "deny": ["Read(.env)"] } }"#;
    fs::write(&file, theirs).expect("a file");
    let dry = verb(folder.path(), &["install", "claude-code", "--dry-run"]);
    assert!(String::from_utf8_lossy(&dry.stdout).contains("onFailure"), "{dry:?}");
    assert_eq!(fs::read_to_string(&file).expect("a file"), theirs);

    verb(folder.path(), &["install", "claude-code"]);
    let with: Value = serde_json::from_str(&fs::read_to_string(&file).expect("a file")).expect("JSON");
    let hook = &with["hooks"]["PreToolUse"][0]["hooks"][0];
    assert_eq!((&hook["onFailure"], &hook["timeout"]), (&json!("block"), &json!(600)));
    assert!(
        hook["command"].as_str().expect("a command").contains("--socket '/run/countersign/sidecar.sock'")
    );
    verb(folder.path(), &["uninstall", "claude-code"]);
    let without: Value = serde_json::from_str(&fs::read_to_string(&file).expect("a file")).expect("JSON");
    assert_eq!(without, serde_json::from_str::<Value>(theirs).expect("JSON"));
    assert_eq!(
        fs::read_to_string(folder.path().join(".claude/settings.json.before-countersign")).expect("a copy"),
        theirs
    );

    fs::write(&file, "{ // a comment\n}").expect("a file");
    let refused = verb(folder.path(), &["install", "claude-code"]);
    assert!(
        !refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("nothing was changed")
    );
}

#[test]
fn a_hook_that_is_configured_to_fail_open_is_found_out() {
    let folder = tempfile::tempdir().expect("a folder");
    verb(folder.path(), &["install", "claude-code"]);
    let file = folder.path().join(".claude/settings.json");
    let text = fs::read_to_string(&file).expect("a file");
    fs::write(&file, text.replace("\"block\"", "\"continue\"")).expect("a file");
    let doctor = verb(folder.path(), &["doctor", "claude-code"]);
    assert_eq!(doctor.status.code(), Some(1), "{doctor:?}");
    // A hook that says yes to everything.
    fs::write(&file, text.replace("'/", "true '/")).expect("a file");
    assert_eq!(verb(folder.path(), &["doctor", "claude-code"]).status.code(), Some(1));
    // One that is told that the host waits longer than it does.
    fs::write(&file, text.replace("\"timeout\": 600", "\"timeout\": 60")).expect("a file");
    assert_eq!(verb(folder.path(), &["doctor", "claude-code"]).status.code(), Some(1));
}

/// A shell line of Claude Code, by a release that says which use of a tool it means.
fn by_id(line: &str) -> Value {
    let mut payload = shell("claude-code", line, "/tmp");
    payload["tool_use_id"] = json!("toolu_01ABC");
    payload
}

/// A reviewer changes the line of what waits.
async fn edit(dev: &Dev, number: usize, line: &str) -> (String, Answer) {
    let asked = dev.next_pending().await;
    let id = asked["id"].as_str().expect("an id").to_owned();
    let body = json!({ "changes": { "/context/hook/line": line }, "reason": "not that one" });
    let answer = dev.reviewer(number).post(&format!("/api/v1/approvals/{id}/edit"), &body).await;
    (id, answer)
}

fn told(child: Child) -> Value {
    let output = child.wait_with_output().expect("it ends");
    serde_json::from_slice::<Value>(&output.stdout).expect("an answer")["hookSpecificOutput"].clone()
}

#[tokio::test]
async fn what_a_reviewer_makes_of_a_line_is_read_as_shell_and_decided_about_anew() {
    let dev = dev();
    let ask = |line: &str| start(dev.countersign(), &["claude-code"], &by_id(line).to_string());

    // What policy permits runs, and the agent is told who changed it.
    let child = ask("rm precious");
    edit(&dev, 0, "ls precious").await.1.ok();
    let answer = told(child);
    assert_eq!(answer["permissionDecision"], "allow", "{answer}");
    let expected = json!({ "command": "ls precious", "description": "as a model puts it" });
    assert_eq!(answer["updatedInput"], expected);
    let why = answer["additionalContext"].as_str().expect("a reason");
    assert!(why.contains(&dev.reviewer_name(0)) && why.contains("not that one"), "{why}");

    // What policy forbids does not run, however it is put into the line.
    for line in ["ls; cp a b", "echo $(cp a b)", "sh -c 'cp a b'"] {
        let child = ask("rm precious");
        edit(&dev, 0, line).await.1.ok();
        let answer = told(child);
        assert_eq!(answer["permissionDecision"], "deny", "{line}: {answer}");
        assert!(
            answer["permissionDecisionReason"].to_string().contains("Nothing is copied"),
            "{line}: {answer}"
        );
        assert!(answer.get("updatedInput").is_none(), "{answer}");
    }

    // What policy holds is a new request, on which whoever wrote it has no vote.
    let child = ask("rm precious");
    let (first, answer) = edit(&dev, 0, "rm other && mv a b").await;
    answer.ok();
    let second = dev.next_pending().await;
    let id = second["id"].as_str().expect("an id");
    assert_eq!((second["follows"].as_str(), id == first), (Some(&*first), false), "{second}");
    assert!(second["operation_text"].to_string().contains("Exec::line"), "{second}");
    let own = dev.vote(&dev.reviewer(0), id, "approve").await;
    assert_eq!(own.status, 403, "{}", own.text);
    dev.vote(&dev.reviewer(1), id, "deny").await.ok();
    let answer = told(child);
    assert_eq!(answer["permissionDecision"], "deny", "{answer}");
}

/// Claude Code comes back with the line that it knows.
#[tokio::test]
async fn a_host_that_comes_back_gets_what_was_made_of_its_line_once() {
    let dev = dev();
    let ask = || {
        let child =
            start(dev.countersign(), &["claude-code", "--timeout", "6"], &by_id("rm precious").to_string());
        told(child)
    };
    assert!(ask()["permissionDecisionReason"].to_string().contains("pending"));
    edit(&dev, 0, "rm other").await.1.ok();
    let waits = ask();
    assert!(waits["permissionDecisionReason"].to_string().contains("rm other"), "{waits}");
    let pending = dev.next_pending().await["id"].as_str().expect("an id").to_owned();
    dev.vote(&dev.reviewer(1), &pending, "approve").await.ok();
    dev.until(&pending, "approved").await;
    let runs = ask();
    assert_eq!(runs["updatedInput"]["command"], "rm other", "{runs}");
    dev.until(&pending, "executed").await;
    assert!(ask()["permissionDecisionReason"].to_string().contains("pending"), "once is once");
}

/// Where a host cannot be told of another line, reviewers are not offered to change it.
#[tokio::test]
async fn a_host_that_cannot_be_told_is_not_offered_edits() {
    let dev = dev();
    for host in HOSTS {
        let child = start(dev.countersign(), &[host], &shell(host, "rm precious", "/tmp").to_string());
        let asked = dev.next_pending().await;
        assert_eq!(asked["editable"], false, "{host}: {asked}");
        let (id, refused) = edit(&dev, 0, "ls").await;
        assert_eq!(refused.status, 409, "{host}: {}", refused.text);
        dev.vote(&dev.reviewer(1), &id, "deny").await.ok();
        child.wait_with_output().expect("it ends");
        dev.until(&id, "denied").await;
    }
}
