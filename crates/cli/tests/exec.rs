//! `countersign exec` and `countersign mcp` as real processes, beside a sidecar whose gate is real and whose
//! control plane is not.

#![allow(clippy::unwrap_used, clippy::panic, reason = "this is test code, and a panic is how a test fails")]

use std::{
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use countersign_approval::{CancelReason, Input, State};
use countersign_gate::record::Kind;
use countersign_intercept::{
    exec::normalise::ProgramFolders,
    local::{self, Settings},
    mcp::{Servers, servers::Shared},
};
use countersign_model::Seconds;
use countersign_testkit::{
    World,
    world::{REQUIREMENTS, eventually},
};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::UnixListener,
    process::{Child, Command},
};

/// Everything runs, but what is called `held` waits, and what is called `forbidden` is denied.
const POLICIES: &str = r#"
permit (principal, action == Exec::Action::"run", resource);
@id("held") @approval("sre") @reason("That needs an SRE")
forbid (principal, action == Exec::Action::"run", resource == Exec::Program::"held")
unless { context.approvals.contains("sre") };
@id("forbidden") @reason("That is not for agents")
forbid (principal, action == Exec::Action::"run", resource == Exec::Program::"forbidden");
permit (principal, action in [Mcp::Action::"initialize", Mcp::Action::"tools/call"], resource);
@id("no-delete") @reason("Nothing is deleted")
forbid (principal, action == Mcp::Action::"tools/call", resource == Mcp::Tool::"files/delete_file");
"#;

struct Beside {
    world: World,
    folder: tempfile::TempDir,
}

impl Beside {
    fn start() -> Self {
        let world = World::new();
        world.activate(2, POLICIES, REQUIREMENTS);
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("sidecar.sock")).unwrap();
        let programs = folder.path().join("bin");
        let folders = ProgramFolders::of_path(programs.as_os_str());
        let settings = Settings { folders, ..Settings::default() };
        let servers = Servers::new(world.gate.clone(), Shared::default());
        let router = local::router(world.gate.clone(), servers, settings);
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        std::fs::create_dir(&programs).unwrap();
        let beside = Self { world, folder };
        for name in ["held", "forbidden"] {
            beside.script(name, "touch ran; echo done");
        }
        beside
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Puts a script where the sidecar's `PATH` has programs.
    fn script(&self, name: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt as _;

        let path = self.path("bin").join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn ran(&self) -> bool {
        self.path("ran").exists()
    }

    fn countersign(&self, verb: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
        let search = format!("{}:{}", self.path("bin").display(), std::env::var("PATH").unwrap());
        command.arg(verb).env("COUNTERSIGN_SOCKET", self.path("sidecar.sock")).env("PATH", search);
        // Cargo sets it for its tests.
        command.env_remove("LD_LIBRARY_PATH");
        command.current_dir(self.folder.path()).kill_on_drop(true).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    async fn exec(&self, words: &[&str]) -> Output {
        self.countersign("exec").arg("--").args(words).output().await.unwrap()
    }

    /// Starts a command that is held, until people are asked.
    async fn held(&self) -> Child {
        let child = self.countersign("exec").args(["--", "held"]).spawn().unwrap();
        let control = self.world.control.clone();
        eventually("people are asked", || !control.approvals().is_empty()).await;
        child
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

async fn ended(child: Child) -> Output {
    tokio::time::timeout(Duration::from_secs(60), child.wait_with_output()).await.unwrap().unwrap()
}

fn send(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_permitted_runs_with_its_own_output_and_exit_code() {
    let beside = Beside::start();
    let output = beside.exec(&["sh", "-c", "echo out; echo err >&2; exit 7"]).await;
    assert_eq!(output.status.code(), Some(7), "{}", stderr(&output));
    assert_eq!(
        (output.stdout.as_slice(), output.stderr.as_slice()),
        (b"out\n".as_slice(), b"err\n".as_slice())
    );
    assert_eq!(beside.world.audit.kinds(), [Kind::Permitted, Kind::Failed]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_forbidden_does_not_run_and_says_why() {
    let beside = Beside::start();
    let output = beside.exec(&["forbidden"]).await;
    assert_eq!(output.status.code(), Some(77));
    assert!(stderr(&output).contains("policy forbidden: That is not for agents"), "{}", stderr(&output));
    assert!(!beside.ran());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_runs_once_it_is_approved() {
    let beside = Beside::start();
    let child = beside.held().await;
    assert!(!beside.ran());
    beside.world.control.approve(beside.world.control.last());
    let output = ended(child).await;
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(output.stdout, b"done\n");
    assert!(
        stderr(&output).contains("held Exec::run") && stderr(&output).contains("group:sre"),
        "{}",
        stderr(&output)
    );
    assert!(beside.ran());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_77_and_an_expiry_is_75() {
    let beside = Beside::start();
    let child = beside.held().await;
    beside.world.control.deny(beside.world.control.last());
    assert_eq!(ended(child).await.status.code(), Some(77));

    let beside = Beside::start();
    let child = beside.held().await;
    beside.world.clock.advance(Seconds::new(15 * 60));
    beside.world.control.apply(beside.world.control.last(), &Input::Tick);
    let output = ended(child).await;
    assert_eq!(output.status.code(), Some(75), "{}", stderr(&output));
    assert!(stderr(&output).contains("not decided"), "{}", stderr(&output));
    assert!(!beside.ran());

    let beside = Beside::start();
    beside.world.control.set_unreachable(true);
    assert_eq!(beside.exec(&["held"]).await.status.code(), Some(75));
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_while_held_takes_the_request_back() {
    let beside = Beside::start();
    let child = beside.held().await;
    send(&child, Signal::INT);
    assert_eq!(ended(child).await.status.code(), Some(130));
    let state = beside.world.control.approvals().remove(0).state;
    assert!(matches!(state, State::Cancelled { why: CancelReason::Requester, .. }), "{state:?}");
    assert!(!beside.ran());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_requester_cancels_its_request() {
    let beside = Beside::start();
    let mut child = beside.held().await;
    child.kill().await.unwrap();
    let control = beside.world.control.clone();
    let gone =
        || matches!(control.approvals()[0].state, State::Cancelled { why: CancelReason::RequesterGone, .. });
    eventually("it is cancelled", gone).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_that_is_changed_while_it_is_held_does_not_run() {
    let beside = Beside::start();
    let child = beside.held().await;
    beside.script("held", "touch ran; echo something else");
    beside.world.control.approve(beside.world.control.last());
    let output = ended(child).await;
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("has changed"), "{}", stderr(&output));
    assert!(!beside.ran());
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_reach_the_command_and_its_end_by_one_is_told() {
    let beside = Beside::start();
    for (signal, code) in [(Signal::TERM, 143), (Signal::HUP, 129), (Signal::INT, 130)] {
        let mut child = beside
            .countersign("exec")
            .args(["--", "sh", "-c", "echo ready; exec sleep 600"])
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("ready"));
        send(&child, signal);
        assert_eq!(ended(child).await.status.code(), Some(code));
    }
    let trap = "trap 'exit 42' TERM; echo ready; while :; do sleep 0.05; done";
    let mut child = beside.countersign("exec").args(["--", "sh", "-c", trap]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("ready"));
    send(&child, Signal::TERM);
    assert_eq!(ended(child).await.status.code(), Some(42));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_program_of_the_same_name_earlier_in_path_is_not_taken_for_it() {
    let beside = Beside::start();
    let evil = beside.path("evil");
    std::fs::create_dir(&evil).unwrap();
    std::fs::copy(beside.path("bin").join("held"), evil.join("sh")).unwrap();
    let search = format!("{}:{}", evil.display(), std::env::var("PATH").unwrap());
    let output = beside.countersign("exec").env("PATH", search).args(["--", "sh"]).output().await.unwrap();
    assert_eq!(output.status.code(), Some(0));
    let record = format!("{:?}", beside.world.audit.records().remove(0));
    assert!(record.contains(&evil.join("sh").display().to_string()), "policy sees where it is: {record}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_run_other_code_is_not_handed_on() {
    let beside = Beside::start();
    let mut command = beside.countersign("exec");
    command.env("LD_PRELOAD", "/nowhere/evil.so").env("BASH_ENV", "/nowhere/evil.sh");
    let output = command.args(["--", "env"]).output().await.unwrap();
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!out.contains("evil") && out.contains("PATH="), "{out}");
    assert!(stderr(&output).contains("BASH_ENV, LD_PRELOAD"), "{}", stderr(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_executed_says_so_as_a_shell_does() {
    let beside = Beside::start();
    std::fs::write(beside.path("data"), "x").unwrap();
    assert_eq!(beside.exec(&["no-such-program"]).await.status.code(), Some(127));
    assert_eq!(beside.exec(&["./data"]).await.status.code(), Some(126));
    let mut command = beside.countersign("exec");
    let output =
        command.env("COUNTERSIGN_SOCKET", "/nowhere.sock").args(["--", "ls"]).output().await.unwrap();
    assert_eq!(output.status.code(), Some(69), "{}", stderr(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_mcp_server_is_wrapped_and_its_exit_code_is_passed_on() {
    let beside = Beside::start();
    std::fs::write(beside.path("a.txt"), "hello").unwrap();
    let server = Path::new(env!("CARGO_BIN_EXE_countersign"));
    let mut command = beside.countersign("mcp");
    command
        .args(["--name", "files", "--"])
        .arg(server)
        .args(["demo-files", "--root"])
        .arg(beside.folder.path());
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    for (id, tool) in [(1, "read_text_file"), (2, "delete_file")] {
        let call = format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"tools/call\",\"params\":{{\"name\":\"{tool}\",\"arguments\":{{\"path\":\"a.txt\"}}}}}}\n"
        );
        input.write_all(call.as_bytes()).await.unwrap();
    }
    drop(input);
    let output = ended(child).await;
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(out.contains("hello") && out.contains("Nothing is deleted"), "{out}");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(beside.path("a.txt").exists());

    let mut command = beside.countersign("mcp");
    let output = command.args(["--name", "files", "--", "sh", "-c", "exit 3"]).output().await.unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
}
