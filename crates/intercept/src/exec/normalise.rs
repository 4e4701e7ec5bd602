//! From what a client submits to what the gate decides about, on the sidecar's side.

use std::path::{Path, PathBuf};

use countersign_gate::{Act, Arguments, Intent, Interceptor};
use countersign_model::{Object, Provenance};
use countersign_policy::mapping::CommandLine;
use serde_json::json;

use crate::local::wire::Command;

/// The member of an operation's context that says exactly what would be executed. No mapping can take
/// it away, so it always binds (I2).
pub const EXECUTION: &str = "execution";

/// The folders whose programs go by their names.
///
/// They come from the sidecar's environment, which the agent does not set. A program that was found
/// elsewhere is put to policy by its path, however it was called.
#[derive(Debug, Clone, Default)]
pub struct ProgramFolders(Vec<PathBuf>);

impl ProgramFolders {
    /// The absolute folders of a `PATH`.
    #[must_use]
    pub fn of_path(path: &std::ffi::OsStr) -> Self {
        Self(std::env::split_paths(path).filter(|folder| folder.is_absolute()).collect())
    }

    /// What policy knows a program by.
    pub(crate) fn name_of(&self, found: &str) -> String {
        let path = Path::new(found);
        let known = path.parent().is_some_and(|folder| self.0.iter().any(|known| known == folder));
        let name = path.file_name().filter(|_| known).and_then(|name| name.to_str());
        name.unwrap_or(found).to_owned()
    }
}

/// The intent of running a command. What it means is up to the bundle's mappings.
#[must_use]
pub fn intent(
    mut command: Command,
    folders: &ProgramFolders,
    provenance: Provenance,
    trace: Option<String>,
) -> Intent {
    let execution = json!({
        "found": command.found,
        "program": command.program,
        "program_digest": command.program_digest,
        "files": command.files,
        "env_digest": command.env_digest,
        "stdin": command.stdin.as_str(),
    });
    if let Some(name) = command.argv.first_mut() {
        *name = folders.name_of(&command.found);
    }
    let line = CommandLine { argv: command.argv, cwd: command.cwd, env: command.env };
    Intent {
        interceptor: Interceptor::Exec,
        act: Act::Command { command: line, facts: Object::from_iter([(EXECUTION.to_owned(), execution)]) },
        provenance,
        asserted_subject: None,
        trace,
        tool_pin: None,
        arguments: Arguments::AsGiven,
    }
}

#[cfg(test)]
mod tests {
    use countersign_model::Digest;

    use super::*;
    use crate::local::wire::Stdin;

    fn command(name: &str, found: &str) -> Command {
        Command {
            found: found.to_owned(),
            program: found.to_owned(),
            program_digest: Digest::ZERO,
            argv: vec![name.to_owned(), "-l".to_owned()],
            files: std::collections::BTreeMap::new(),
            cwd: "/".to_owned(),
            env: std::collections::BTreeMap::new(),
            env_digest: Digest::ZERO,
            stdin: Stdin::Empty,
        }
    }

    fn program(name: &str, found: &str) -> String {
        let folders = ProgramFolders::of_path("/usr/bin:bin:/opt/tools/bin".as_ref());
        match intent(command(name, found), &folders, Provenance::default(), None).act {
            Act::Command { command, .. } => command.argv[0].clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_program_goes_by_its_name_only_from_the_sidecars_own_path() {
        assert_eq!(program("ls", "/usr/bin/ls"), "ls");
        assert_eq!(program("aws", "/opt/tools/bin/aws"), "aws");
        assert_eq!(program("ls", "/tmp/evil/ls"), "/tmp/evil/ls");
        assert_eq!(program("./ls", "/home/agent/ls"), "/home/agent/ls");
        assert_eq!(program("/usr/bin/ls", "/usr/bin/ls"), "ls");
        assert_eq!(program("ls", "/usr/bin/../../tmp/ls"), "/usr/bin/../../tmp/ls");
        assert_eq!(program("ls", "bin/ls"), "bin/ls");
        // A client that lies about the name gains nothing.
        assert_eq!(program("ls", "/usr/bin/rm"), "rm");
    }

    #[test]
    fn another_environment_file_or_program_is_another_operation() {
        let facts = |command: Command| {
            let folders = ProgramFolders::default();
            match intent(command, &folders, Provenance::default(), None).act {
                Act::Command { facts, .. } => facts,
                other => panic!("{other:?}"),
            }
        };
        let plain = command("ls", "/usr/bin/ls");
        let base = facts(plain.clone());
        let other = Digest::of(b"other");
        for changed in [
            Command { program_digest: other, ..plain.clone() },
            Command { env_digest: other, ..plain.clone() },
            Command { program: "/usr/bin/busybox".to_owned(), ..plain.clone() },
            Command { stdin: Stdin::Stream, ..plain.clone() },
            Command { files: [("a".to_owned(), other)].into(), ..plain },
        ] {
            assert_ne!(facts(changed), base);
        }
    }
}
