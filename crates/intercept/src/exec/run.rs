//! The client's side of a command: prepare it, start exactly that, pass signals on, tell how it ended.

use std::{
    ffi::{OsStr, OsString},
    io,
    os::{
        fd::AsFd,
        unix::process::{CommandExt as _, ExitStatusExt as _},
    },
    path::Path,
    process::ExitStatus,
};

use rustix::process::{Pid, Signal as Number};
use tokio::{
    process::Child,
    signal::unix::{Signal, SignalKind, signal},
};

use super::{
    environment::{Environment, EnvironmentError, TRACEPARENT},
    inputs,
    program::{Program, ProgramError},
};
use crate::local::wire::{Command, OutcomeReport, Stdin};

/// Why a command cannot be asked about.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// It has no program.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// Its environment cannot be bound.
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    /// A word or path is not text, so it could not be shown.
    #[error("{0:?} is not UTF-8, so it cannot be shown to anybody")]
    NotText(OsString),
    /// The working directory is gone.
    #[error("the working directory cannot be found: {0}")]
    WorkingDirectory(io::Error),
    /// There is no command at all.
    #[error("there is no command")]
    Empty,
}

/// Why a permitted command did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The program is not what it was.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// A file that the command names is not what it was.
    #[error(
        "a file that the command names has changed since it was approved; nothing was executed: run the command again"
    )]
    Inputs,
    /// The system refused.
    #[error("cannot be started: {0}")]
    Spawn(#[from] io::Error),
}

/// A command that is ready to be asked about, and then to be started.
#[derive(Debug)]
pub struct Prepared {
    command: Command,
    program: Program,
    given: Environment,
}

impl Prepared {
    /// Finds out what would be executed in this process's environment and working directory.
    ///
    /// # Errors
    /// When there is no such program, or something about the command could not be shown.
    pub fn new(words: &[OsString], also_shown: &[String]) -> Result<Self, PrepareError> {
        let folder = std::env::current_dir().and_then(|folder| folder.canonicalize());
        let folder = folder.map_err(PrepareError::WorkingDirectory)?;
        let stdin = stdin_kind(io::stdin());
        Self::in_place(words, also_shown, std::env::vars_os(), &folder, stdin)
    }

    fn in_place(
        words: &[OsString],
        also_shown: &[String],
        variables: impl Iterator<Item = (OsString, OsString)>,
        folder: &Path,
        stdin: Stdin,
    ) -> Result<Self, PrepareError> {
        let argv = words.iter().map(|word| text(word)).collect::<Result<Vec<_>, _>>()?;
        let name = argv.first().ok_or(PrepareError::Empty)?;
        let given = Environment::of(variables, also_shown)?;
        let search = given.given.get(OsStr::new("PATH"));
        let program = Program::find(name, search.map(OsString::as_os_str), folder)?;
        let command = Command {
            found: text(program.found.as_os_str())?,
            program: text(program.path.as_os_str())?,
            program_digest: program.digest,
            files: inputs::named_files(argv.get(1..).unwrap_or_default(), folder),
            argv,
            cwd: text(folder.as_os_str())?,
            env: given.shown.clone(),
            env_digest: given.digest,
            stdin,
        };
        Ok(Self { command, program, given })
    }

    /// What is asked about.
    #[must_use]
    pub fn command(&self) -> &Command {
        &self.command
    }

    /// The names of the variables that the command is not given.
    #[must_use]
    pub fn stripped(&self) -> &[String] {
        &self.given.stripped
    }

    /// Starts exactly what was asked about: this file, these words, there, with that environment.
    /// `held` says whether there was time for the files that it names to change.
    ///
    /// # Errors
    /// When the program or a file has changed in the meantime, or the system refuses.
    pub fn start(&self, held: bool, trace: Option<&str>) -> Result<Child, StartError> {
        self.program.check_unchanged()?;
        if held && !inputs::unchanged(&self.command.files, Path::new(&self.command.cwd)) {
            return Err(StartError::Inputs);
        }
        let mut command = std::process::Command::new(&self.program.path);
        let mut words = self.command.argv.iter();
        if let Some(name) = words.next() {
            // Programs with many names act by the name that they were called by.
            command.arg0(name);
        }
        command.args(words).current_dir(&self.command.cwd).env_clear().envs(&self.given.given);
        command.env("PWD", &self.command.cwd);
        if let Some(trace) = trace {
            command.env(TRACEPARENT, trace);
        }
        Ok(tokio::process::Command::from(command).spawn()?)
    }
}

fn text(word: &OsStr) -> Result<String, PrepareError> {
    word.to_str().map(str::to_owned).ok_or_else(|| PrepareError::NotText(word.to_owned()))
}

/// What kind of thing a command would read from.
fn stdin_kind(input: impl AsFd) -> Stdin {
    use rustix::fs::{FileType, fstat, major, minor};

    let Ok(stat) = fstat(&input) else {
        return Stdin::Empty;
    };
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Stdin::File,
        FileType::CharacterDevice if (major(stat.st_rdev), minor(stat.st_rdev)) == (1, 3) => Stdin::Empty,
        FileType::CharacterDevice if io::IsTerminal::is_terminal(&input.as_fd()) => Stdin::Terminal,
        _ => Stdin::Stream,
    }
}

/// The signals that are passed on to a command, or withdraw it while it is held.
#[derive(Debug)]
pub struct Signals {
    streams: Vec<(Number, Signal)>,
}

impl Signals {
    /// Starts to listen. From then on these signals no longer end this process by themselves.
    ///
    /// # Errors
    /// When the system does not let this process listen.
    pub fn listen() -> io::Result<Self> {
        let kinds = [
            (Number::INT, SignalKind::interrupt()),
            (Number::TERM, SignalKind::terminate()),
            (Number::HUP, SignalKind::hangup()),
            (Number::QUIT, SignalKind::quit()),
            (Number::USR1, SignalKind::user_defined1()),
            (Number::USR2, SignalKind::user_defined2()),
        ];
        let streams = kinds.into_iter().map(|(number, kind)| Ok((number, signal(kind)?)));
        Ok(Self { streams: streams.collect::<io::Result<_>>()? })
    }

    /// The next signal.
    pub async fn next(&mut self) -> Number {
        let waits = self.streams.iter_mut().map(|(number, stream)| {
            let number = *number;
            Box::pin(async move {
                if stream.recv().await.is_none() {
                    std::future::pending::<()>().await;
                }
                number
            })
        });
        futures::future::select_all(waits).await.0
    }
}

/// Waits for a command to end, passing signals on to it in the meantime.
///
/// # Errors
/// When the system cannot say how it ended.
pub async fn wait(child: &mut Child, signals: &mut Signals) -> io::Result<ExitStatus> {
    loop {
        tokio::select! {
            status = child.wait() => return status,
            number = signals.next() => pass_on(child, number),
        }
    }
}

fn pass_on(child: &Child, number: Number) {
    let from_terminal = number == Number::INT || number == Number::QUIT;
    if from_terminal && in_foreground() {
        // The terminal has sent it to the whole foreground group, the command included.
        return;
    }
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // It may have ended just now.
        let _ = rustix::process::kill_process(pid, number);
    }
}

/// Whether this process is in the foreground of its terminal.
fn in_foreground() -> bool {
    let Ok(terminal) = std::fs::File::open("/dev/tty") else {
        return false;
    };
    rustix::termios::tcgetpgrp(&terminal).is_ok_and(|group| group == rustix::process::getpgrp())
}

/// The exit code that stands for how a command ended, as a shell reports it: 128 and the signal's
/// number when a signal ended it.
#[must_use]
pub fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code & 0xff).ok()).unwrap_or(1)
}

/// How a command ended, for the record.
#[must_use]
pub fn outcome(status: ExitStatus) -> OutcomeReport {
    match (status.code(), status.signal()) {
        (Some(0), _) => OutcomeReport::executed(),
        (Some(code), _) => OutcomeReport::Failed { reason: format!("exit code {code}") },
        (None, Some(signal)) => OutcomeReport::Failed { reason: format!("ended by signal {signal}") },
        (None, None) => OutcomeReport::Failed { reason: "ended in an unknown way".to_owned() },
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _, process::Stdio};

    use super::*;

    fn words(words: &[&str]) -> Vec<OsString> {
        words.iter().map(OsString::from).collect()
    }

    fn prepare(line: &[&str], variables: &[(&str, &str)], folder: &std::path::Path) -> Prepared {
        let path = std::env::var("PATH").unwrap();
        let variables = [("PATH", path.as_str())].into_iter().chain(variables.iter().copied());
        let variables = variables.map(|(name, value)| (name.into(), value.into()));
        let folder = folder.canonicalize().unwrap();
        Prepared::in_place(&words(line), &[], variables, &folder, Stdin::Empty).unwrap()
    }

    #[tokio::test]
    async fn what_runs_is_what_was_prepared_and_nothing_of_this_process() {
        let folder = tempfile::tempdir().unwrap();
        let script = r#"printf '%s|' "$0" "$1" "$SECRET" "$LD_PRELOAD" "$CARGO" "$PWD" "$TRACEPARENT" > out"#;
        let variables = [("SECRET", "s"), ("LD_PRELOAD", "/nowhere.so")];
        let prepared = prepare(&["sh", "-c", script, "zero", "o n e"], &variables, folder.path());
        assert_eq!(prepared.stripped(), ["LD_PRELOAD"]);
        let mut child = prepared.start(false, Some("00-trace")).unwrap();
        let status = child.wait().await.unwrap();
        let cwd = folder.path().canonicalize().unwrap();
        let out = fs::read_to_string(folder.path().join("out")).unwrap();
        assert_eq!(out, format!("zero|o n e|s|||{}|00-trace|", cwd.display()));
        assert_eq!((exit_code(status), outcome(status)), (0, OutcomeReport::executed()));
    }

    #[tokio::test]
    async fn a_program_that_was_swapped_after_the_decision_does_not_run() {
        let folder = tempfile::tempdir().unwrap();
        let tool = folder.path().join("tool");
        let write = |text: &str| {
            fs::write(&tool, text).unwrap();
            fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
        };
        write("#!/bin/sh\nexit 0\n");
        let prepared = prepare(&["./tool"], &[], folder.path());
        write("#!/bin/sh\ntouch owned\n");
        assert!(matches!(prepared.start(true, None), Err(StartError::Program(ProgramError::Changed { .. }))));
        assert!(!folder.path().join("owned").exists());
    }

    #[tokio::test]
    async fn exit_codes_and_signals_are_reported_as_a_shell_does() {
        let folder = tempfile::tempdir().unwrap();
        let run = async |script: &str| {
            let prepared = prepare(&["sh", "-c", script], &[], folder.path());
            let mut child = prepared.start(true, None).unwrap();
            let status = child.wait().await.unwrap();
            (exit_code(status), outcome(status))
        };
        let failed = |reason: &str| OutcomeReport::Failed { reason: reason.to_owned() };
        assert_eq!(run("exit 3").await, (3, failed("exit code 3")));
        assert_eq!(run("kill -TERM $$").await, (143, failed("ended by signal 15")));
    }

    #[tokio::test]
    async fn a_script_that_was_changed_while_its_command_was_held_does_not_run() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("deploy.sh"), "exit 0").unwrap();
        let prepared = prepare(&["sh", "deploy.sh"], &[], folder.path());
        fs::write(folder.path().join("deploy.sh"), "touch owned").unwrap();
        assert!(matches!(prepared.start(true, None), Err(StartError::Inputs)));
        assert!(!folder.path().join("owned").exists());
    }

    #[test]
    fn standard_input_is_told_by_its_kind() {
        let folder = tempfile::tempdir().unwrap();
        let file = fs::File::create(folder.path().join("file")).unwrap();
        assert_eq!(stdin_kind(file), Stdin::File);
        assert_eq!(stdin_kind(fs::File::open("/dev/null").unwrap()), Stdin::Empty);
        let mut cat = std::process::Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        assert_eq!(stdin_kind(cat.stdin.take().unwrap()), Stdin::Stream);
        cat.wait().unwrap();
    }

    #[test]
    fn what_cannot_be_shown_is_not_asked_about() {
        use std::os::unix::ffi::OsStringExt as _;

        let odd = OsString::from_vec(vec![0xff]);
        let folder = std::env::temp_dir();
        let prepared = Prepared::in_place(&[odd], &[], std::iter::empty(), &folder, Stdin::Empty);
        assert!(matches!(prepared, Err(PrepareError::NotText(_))));
        let prepared = Prepared::in_place(&[], &[], std::iter::empty(), &folder, Stdin::Empty);
        assert!(matches!(prepared, Err(PrepareError::Empty)));
    }
}
