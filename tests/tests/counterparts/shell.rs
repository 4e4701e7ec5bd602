//! Shell lines as a real bash reads them: no command that it would run is missing from what a line comes to.
//!
//! Bash runs each line where there are no programs, and tells by `command_not_found_handle` which ones it looks
//! for. Each of them must be among the parts of the line, or the line must have an opaque part.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use countersign_intercept::hook::{
    part::Part,
    shell::{Surroundings, read},
};

const CORPUS: &str = include_str!("../../../crates/intercept/src/hook/shell/corpus.txt");

/// Ways to run a command within a line. Nothing in them is a program that bash could find.
const CONSTRUCTS: [&str; 58] = [
    "@",
    "one; @",
    "@ && two",
    "false || @",
    "one | @",
    "@ & wait",
    "(@)",
    "{ @; }",
    "if @; then two; fi",
    "if true; then @; fi",
    "if false; then one; else @; fi",
    "until @; do break; done",
    "for i in 1 2; do @; done",
    "echo $(@)",
    "echo \"x $(@) y\"",
    "echo `@`",
    "cat <(@)",
    "! @",
    "time @",
    "case a in b) one;; a) @;; esac",
    "case a in (a) @;; esac",
    "@ > out",
    "LANG=C @",
    "one\n@",
    "one # two\n@",
    "one \\\n two; @",
    "cat <<X\n$(@)\nX\n",
    "cat <<'X' && @\n$(two)\nX\n",
    "echo 'a' \"b\" \\; ; @",
    "x=$(@)",
    "[[ a == b ]] || @",
    "eval '@'",
    "f() { @; }; f",
    "echo ${x:-$(@)}",
    "cat <<'X'; @\nbody\nX\n",
    "cat <<'X' | { @; }\nbody\nX\n",
    "cat <<A <<B; @\na\nA\nb\nB\n",
    "@ <<'X'\nbody\nX\n",
    "if cat <<'X'; then @; fi\nb\nX\n",
    "(cat <<'X'; @)\nb\nX\n",
    "cat <<-X; @\n\tb\n\tX\n",
    "cat <<X \\\n; @\nb\nX\n",
    "echo \"a\n$(@)\nb\"",
    "echo $( (@) )",
    "case $(@) in *) ;; esac",
    "for i in $(@); do :; done",
    "echo \"${x:-\"$(@)\"}\"",
    "{ @; } 2>&1 | one",
    "[ -z \"$(@)\" ]",
    "echo a#b; @",
    "echo $#; @",
    "echo '#'; @",
    "echo \\# ; @",
    "x=(a $(@))",
    "x=1 @",
    "echo $'a\\'b' ; @",
    "echo \"a'b\"; @",
    "echo a\\\nb; @",
];

/// The programs that bash looks for.
fn looked_for(line: &str, folder: &Path) -> BTreeSet<String> {
    // A log of its own: what runs in the background of one line may write while the next one runs.
    let log = tempfile::NamedTempFile::new_in(folder).unwrap().into_temp_path();
    // Some lines loop for ever once nothing in them is found.
    let handler = "ulimit -t 1; command_not_found_handle() { printf '%s\\n' \"$1\" >> \"$LOG\"; return 0; }";
    let status = Command::new("/bin/bash")
        .args(["--norc", "--noprofile", "-c", &format!("{handler}\n{line}\n")])
        .env_clear()
        .envs([("PATH", "/nowhere"), ("HOME", "/nowhere"), ("EDITOR", "none")])
        .env("LOG", &log)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.expect("bash is installed");
    fs::read_to_string(&log).unwrap().lines().map(str::to_owned).collect()
}

fn check(line: &str, folder: &Path) -> Result<(), String> {
    let surroundings = Surroundings {
        cwd: PathBuf::from("/w"),
        home: Some("/home/u".to_owned()),
        exported: ["PATH", "HOME", "EDITOR"].map(str::to_owned).into(),
    };
    let parts = read(line, &surroundings);
    if parts.iter().any(|part| matches!(part, Part::Opaque { .. })) {
        return Ok(());
    }
    let seen: BTreeSet<&str> = parts
        .iter()
        .filter_map(|part| match part {
            Part::Command { command, .. } => command.argv.first().map(String::as_str),
            _ => None,
        })
        .collect();
    let missing: Vec<String> =
        looked_for(line, folder).into_iter().filter(|name| !seen.contains(name.as_str())).collect();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(format!("{line}\n  bash runs {missing:?}, which is not in {parts:?}"))
    }
}

/// Whether a line does nothing outside of the folder when no program is found.
fn is_safe(line: &str) -> bool {
    !["/dev/", "/bin/", "/etc/", "/home/"].iter().any(|text| line.contains(text))
}

#[test]
fn bash_runs_nothing_that_was_not_seen() {
    let folder = tempfile::tempdir().unwrap();
    let corpus = CORPUS.split("\n\n").map(|block| {
        let lines = block.lines().filter_map(|line| line.strip_prefix('>'));
        lines.map(|line| line.strip_prefix(' ').unwrap_or(line)).collect::<Vec<_>>().join("\n")
    });
    let mut lines: Vec<String> = corpus.filter(|line| !line.is_empty() && is_safe(line)).collect();
    for outer in CONSTRUCTS {
        for inner in CONSTRUCTS {
            lines.push(outer.replace('@', &inner.replace('@', "precious")));
        }
    }
    let wrong: Vec<String> = lines.iter().filter_map(|line| check(line, folder.path()).err()).collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), lines.len(), wrong.join("\n"));
    // The check itself would notice.
    let found = looked_for("precious", folder.path());
    assert!(found.contains("precious"), "{found:?}");
}
