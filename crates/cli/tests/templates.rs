//! `countersign policy init --template NAME` as a process: what it writes passes its own checks and tests, and
//! lets a coding agent work, whose hook asks.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "this is test code, and a panic is how a test fails"
)]

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, Command, Output, Stdio},
};

use countersign_policy::Template;
use serde_json::{Value, json};

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.args(arguments);
    // Cargo sets the first for its tests; the others would be of the machine's own set-up.
    for name in ["LD_LIBRARY_PATH", "COUNTERSIGN_URL", "COUNTERSIGN_TOKEN", "COUNTERSIGN_SOCKET"] {
        command.env_remove(name);
    }
    command
}

fn countersign(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn init(folder: &Path, template: Template) -> Output {
    countersign(&["policy", "init", folder.to_str().unwrap(), "--template", template.name()])
}

#[test]
fn every_template_is_written_and_passes_its_own_checks() {
    let root = tempfile::tempdir().unwrap();
    for template in Template::ALL {
        let folder = root.path().join(template.name());
        let written = init(&folder, template);
        assert!(written.status.success(), "{}", text(&written.stderr));
        assert!(text(&written.stdout).contains("countersign policy test"), "it says what to do next");
        for verb in ["check", "test"] {
            let done = countersign(&["policy", verb, folder.to_str().unwrap()]);
            assert!(done.status.success(), "{} {verb}: {}", template.name(), text(&done.stderr));
        }
        assert!(folder.join("README.md").is_file(), "it explains itself");
    }
}

#[test]
fn a_folder_with_something_in_it_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("bundle.toml"), "mine").unwrap();
    let refused = init(folder.path(), Template::Minimal);
    assert!(!refused.status.success());
    assert!(text(&refused.stderr).contains("not empty"), "{}", text(&refused.stderr));
    assert_eq!(fs::read_to_string(folder.path().join("bundle.toml")).unwrap(), "mine");
}

#[test]
fn the_choices_are_told() {
    let help = text(&countersign(&["policy", "init", "--help"]).stdout);
    let unknown = countersign(&["policy", "init", "x", "--template", "unheard-of"]);
    for template in Template::ALL {
        assert!(help.contains(template.name()), "{help}");
        assert!(text(&unknown.stderr).contains(template.name()), "{}", text(&unknown.stderr));
    }
    assert_eq!(unknown.status.code(), Some(2));
}

/// A control plane and a sidecar that enforce a bundle.
struct Dev {
    child: Child,
    socket: String,
}

impl Dev {
    fn start(data: &Path, bundle: &Path) -> Self {
        let mut child = command(&["dev", "--json", "--api", "0", "--link", "0", "--check", "0", "--data"])
            .arg(data)
            .arg("--bundle")
            .arg(bundle)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap();
        Self { child, socket: ready["check_socket"].as_str().unwrap().to_owned() }
    }

    /// Whether Claude Code goes on, when people do not decide in time.
    fn goes_on(&self, folder: &Path, tool: &str, input: &Value) -> bool {
        let payload = json!({
            "session_id": "s", "cwd": folder, "hook_event_name": "PreToolUse", "tool_name": tool,
            "tool_input": input,
        });
        let mut hook = command(&["hook", "claude-code", "--timeout", "4"])
            .env("COUNTERSIGN_SOCKET", &self.socket)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        hook.stdin.take().unwrap().write_all(payload.to_string().as_bytes()).unwrap();
        let output = hook.wait_with_output().unwrap();
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
        answer["hookSpecificOutput"]["permissionDecision"] == "allow"
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_coding_agent_works_and_what_it_may_not_do_by_itself_waits() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path().canonicalize().unwrap();
    assert!(init(&root.join("policy"), Template::CodingAgent).status.success());
    let dev = Dev::start(&root.join("data"), &root.join("policy"));
    let project = root.join("project");
    fs::create_dir(&project).unwrap();
    fs::write(project.join("notes.txt"), "x").unwrap();
    let file = |name: &str| json!({ "file_path": project.join(name) });

    let line = |line: &str| dev.goes_on(&project, "Bash", &json!({ "command": line }));
    assert!(line("ls -la && cat notes.txt | head -5 > copy.txt; grep -rn x ."));
    for held in ["cat .env", "ls $TOKEN", "sort -o ../x notes.txt", "echo x > /etc/x", "sh -c \"rm x\""] {
        assert!(!line(held), "{held}");
    }
    assert!(dev.goes_on(&project, "Read", &file("notes.txt")));
    assert!(!dev.goes_on(&project, "Read", &file(".env")));
    assert!(!dev.goes_on(&project, "Write", &file(".git/hooks/pre-commit")));
    assert!(dev.goes_on(&project, "mcp__files__read_text_file", &json!({ "path": "x" })));
    assert!(!dev.goes_on(&project, "mcp__files__delete_file", &json!({ "path": "x" })));
}
