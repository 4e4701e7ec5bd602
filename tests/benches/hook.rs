//! `countersign hook` as a host runs it: the whole process, from its start to its end, for lines that are
//! allowed, beside a process that does nothing.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a bench that cannot go on should stop")]

use std::{
    io::Write as _,
    path::PathBuf,
    process::{Command, Stdio},
    time::Instant,
};

use countersign_tests::{
    Site, binary,
    measure::{quantile, quick},
};
use serde_json::json;

/// What lets the lines pass.
const POLICY: &str = r#"
@id("commands")
permit (principal, action in [Exec::Action::"run", Exec::Action::"unclear"], resource);
@id("files")
permit (principal, action in [Agent::Action::"read", Agent::Action::"write"], resource);
"#;

struct Run {
    name: &'static str,
    program: PathBuf,
    arguments: Vec<String>,
    input: String,
    samples: Vec<f64>,
}

impl Run {
    fn sample(&mut self) {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let start = Instant::now();
        let mut child = command.spawn().expect("it starts");
        // A process that reads nothing may be gone already.
        let _ = child.stdin.take().expect("a pipe").write_all(self.input.as_bytes());
        let output = child.wait_with_output().expect("it ends");
        self.samples.push(start.elapsed().as_secs_f64() * 1e3);
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && (self.input.is_empty() || said.contains("allow")), "{said}");
    }
}

#[tokio::main]
async fn main() {
    let site = Site::start(|files| {
        if let Some(policies) = files.get_mut("policies/story.cedar") {
            policies.push_str(POLICY);
        }
    })
    .await;
    site.until_connected().await;
    let socket = site.socket().to_string_lossy().into_owned();
    let hook = |name, line: &str| Run {
        name,
        program: binary("countersign"),
        arguments: ["hook", "claude-code", "--socket", &socket].map(str::to_owned).into(),
        input: json!({
            "session_id": "bench", "cwd": "/tmp", "hook_event_name": "PreToolUse", "tool_name": "Bash",
            "tool_input": { "command": line },
        })
        .to_string(),
        samples: Vec::new(),
    };
    let nothing = Run {
        name: "`true`",
        program: "/bin/true".into(),
        arguments: Vec::new(),
        input: String::new(),
        samples: Vec::new(),
    };
    let long = "cd /tmp && ls -la src | grep -v '^d' | head -20 > out.txt; for f in a b; do cat \"$f\" 2>&1 | tail -5; done && echo \"$(date)\"";
    let mut runs = [nothing, hook("hook, `ls -la`", "ls -la"), hook("hook, a line of eight commands", long)];
    let rounds = if quick() { 100 } else { 1_000 };
    for round in 0..=rounds {
        for run in &mut runs {
            run.sample();
            if round == 0 {
                run.samples.clear();
            }
        }
    }
    println!("\n### Hook, the whole process, allowed\n\n| what | p50 | p99 |\n|---|---|---|");
    for run in &mut runs {
        let (p50, p99) = (quantile(&mut run.samples, 0.5), quantile(&mut run.samples, 0.99));
        println!("| {} | {p50:.1} ms | {p99:.1} ms |", run.name);
    }
    println!("\naimed for: p50 under 10 ms");
}
