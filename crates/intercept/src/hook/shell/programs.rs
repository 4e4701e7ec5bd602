//! Programs that run other programs, and how their command lines look.

use super::{assign, words::Word};

/// How a program takes the command that it runs.
pub(super) struct Wrapper {
    name: &'static str,
    /// Options without a value.
    flags: &'static [&'static str],
    /// Options with one.
    values: &'static [&'static str],
    /// How many words come before the command.
    operands: usize,
    /// Whether `NAME=value` may come before it.
    assignments: bool,
}

const WRAPPERS: [Wrapper; 10] = [
    plain("nohup", &[], &[], 0),
    plain("nice", &[], &["-n", "--adjustment"], 0),
    plain("ionice", &["-t", "--ignore"], &["-c", "--class", "-n", "--classdata"], 0),
    plain(
        "timeout",
        &["--foreground", "--preserve-status", "-v", "--verbose"],
        &["-k", "--kill-after", "-s", "--signal"],
        1,
    ),
    plain("stdbuf", &[], &["-i", "--input", "-o", "--output", "-e", "--error"], 0),
    plain("setsid", &["-c", "--ctty", "-f", "--fork", "-w", "--wait"], &[], 0),
    plain("time", &["-p", "-v", "--verbose", "--portability"], &["-f", "--format"], 0),
    Wrapper {
        name: "sudo",
        flags: &[
            "-n",
            "--non-interactive",
            "-E",
            "--preserve-env",
            "-H",
            "--set-home",
            "-k",
            "-S",
            "--stdin",
        ],
        values: &["-u", "--user", "-g", "--group"],
        operands: 0,
        assignments: true,
    },
    plain("doas", &["-n"], &["-u"], 0),
    Wrapper {
        name: "env",
        flags: &["-i", "-", "--ignore-environment", "-v", "--debug"],
        values: &["-u", "--unset"],
        operands: 0,
        assignments: true,
    },
];

/// How `xargs` takes its command.
pub(super) const XARGS: Wrapper = plain(
    "xargs",
    &["-0", "--null", "-r", "--no-run-if-empty", "-t", "--verbose", "-x", "--exit", "--replace"],
    &[
        "-n",
        "--max-args",
        "-P",
        "--max-procs",
        "-L",
        "--max-lines",
        "-I",
        "-d",
        "--delimiter",
        "-s",
        "--max-chars",
        "-a",
        "--arg-file",
        "-E",
    ],
    0,
);

const fn plain(
    name: &'static str,
    flags: &'static [&'static str],
    values: &'static [&'static str],
    operands: usize,
) -> Wrapper {
    Wrapper { name, flags, values, operands, assignments: false }
}

/// The wrapper of that name.
pub(super) fn wrapper(name: &str) -> Option<&'static Wrapper> {
    WRAPPERS.iter().find(|wrapper| wrapper.name == name)
}

/// The command within a wrapper's arguments.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Inner<'a> {
    /// There is none.
    None,
    /// It cannot be told where it begins.
    Unknown,
    /// The variables that it is given, and its words.
    Command(Vec<(&'a str, &'a str)>, &'a [Word]),
}

impl Wrapper {
    /// Finds the command.
    pub(super) fn inner<'a>(&self, arguments: &'a [Word]) -> Inner<'a> {
        let mut assignments = Vec::new();
        let mut rest = arguments;
        while let [first, others @ ..] = rest {
            let Some(text) = first.known() else { return Inner::Unknown };
            if text == "--" {
                rest = others;
                break;
            }
            if let (true, Some(pair)) = (self.assignments, assign::split(text)) {
                assignments.push(pair);
                rest = others;
            } else if !text.starts_with('-') || (text == "-" && !self.flags.contains(&"-")) {
                break;
            } else {
                match self.option(text, others) {
                    Some(after) => rest = after,
                    None => return Inner::Unknown,
                }
            }
        }
        let (operands, command) = match rest.split_at_checked(self.operands) {
            Some(split) => split,
            None => return Inner::None,
        };
        if operands.iter().any(|operand| operand.known().is_none()) {
            return Inner::Unknown;
        }
        if command.is_empty() { Inner::None } else { Inner::Command(assignments, command) }
    }

    /// The words behind an option, or nothing if it is not known.
    fn option<'a>(&self, text: &str, others: &'a [Word]) -> Option<&'a [Word]> {
        if self.flags.contains(&text) {
            return Some(others);
        }
        if self.values.contains(&text) {
            // A value that is not known may be several words, and so the command.
            return others.split_first().filter(|(value, _)| value.known().is_some()).map(|(_, rest)| rest);
        }
        let (name, joined) = match text.split_once('=') {
            Some((name, _)) if name.starts_with("--") => (name, true),
            _ if text.starts_with("--") => (text, false),
            _ => (text.get(..2).unwrap_or_default(), text.len() > 2),
        };
        (joined && self.values.contains(&name)).then_some(others)
    }
}

/// Whether it is a shell, whose `-c` takes a line.
pub(super) fn is_shell(name: &str) -> bool {
    matches!(name, "sh" | "bash" | "dash" | "zsh" | "ksh" | "mksh" | "ash" | "rbash")
}

/// Programs that run commands in ways that are not followed here.
pub(super) fn runs_what_it_likes(name: &str) -> bool {
    matches!(
        name,
        "parallel"
            | "watch"
            | "entr"
            | "su"
            | "script"
            | "expect"
            | "chroot"
            | "nsenter"
            | "unshare"
            | "flock"
            | "busybox"
            | "toybox"
            | "fish"
            | "csh"
            | "tcsh"
            | "pwsh"
            | "at"
            | "batch"
            | "crontab"
            | "systemd-run"
            | "strace"
            | "ltrace"
            | "gdb"
            | "setarch"
            | "runuser"
            | "pkexec"
            | "dbus-run-session"
            | "start-stop-daemon"
    )
}

/// Words that some shell takes for a part of its language, and that are no programs.
pub(super) fn is_of_some_shell(name: &str) -> bool {
    matches!(
        name,
        "-" | "noglob"
            | "nocorrect"
            | "repeat"
            | "foreach"
            | "end"
            | "select"
            | "function"
            | "coproc"
            | "always"
            | "autoload"
            | "zmodload"
            | "zcompile"
            | "functions"
            | "aliases"
            | "emulate"
            | "sched"
            | "zle"
    )
}

/// What a shell does by itself, without a program.
pub(in crate::hook) fn is_builtin(name: &str) -> bool {
    matches!(
        name,
        ":" | "."
            | "["
            | "alias"
            | "bg"
            | "break"
            | "builtin"
            | "cd"
            | "command"
            | "continue"
            | "declare"
            | "dirs"
            | "disown"
            | "echo"
            | "eval"
            | "exec"
            | "exit"
            | "export"
            | "false"
            | "fg"
            | "getopts"
            | "hash"
            | "jobs"
            | "kill"
            | "local"
            | "logout"
            | "mapfile"
            | "popd"
            | "printf"
            | "pushd"
            | "pwd"
            | "read"
            | "readarray"
            | "readonly"
            | "return"
            | "set"
            | "shift"
            | "source"
            | "suspend"
            | "test"
            | "times"
            | "trap"
            | "true"
            | "type"
            | "typeset"
            | "ulimit"
            | "umask"
            | "unalias"
            | "unset"
            | "wait"
    )
}
