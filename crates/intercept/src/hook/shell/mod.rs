//! A shell line as the operations that it comes to.
//!
//! The line is parsed as bash parses it (the `brush-parser` crate), and every simple command in it becomes
//! an operation: in pipelines, lists, loops, substitutions, here-documents, and in the text of `sh -c`,
//! `bash -c` and `eval`. So does every redirection to or from a file.
//!
//! Reading a shell line without running it has limits. The rule is: **what is not known is said to be
//! unknown.** A word that is computed at run time makes its command unclear. Where not even the program is
//! known, or where a construct could change what other parts mean, one opaque operation is added, and the
//! line runs only if policy permits that, too. So nothing here has to follow how one part of a line
//! affects another: `PATH=/tmp/x; ls` comes to `ls` and an opaque operation.
//!
//! Parsing happens in the process of the hook, on a thread of its own with a deadline and a large stack: a line that makes the
//! parser hang or fail is opaque, and nobody but this one hook has to do with it.

mod assign;
mod commands;
mod guard;
mod programs;
mod walk;
mod words;

pub(super) use programs::is_builtin;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::mpsc,
    time::Duration,
};

use super::part::{Part, Why};

#[cfg(test)]
mod tests;

/// How long reading a line may take. Ordinary lines take less than a millisecond.
const DEADLINE: Duration = Duration::from_secs(2);
/// The stack for it: what the deepest nesting that is let through needs, several times over.
const STACK: usize = 256 * 1024 * 1024;
/// The most parts that a line may have.
pub(super) const MAX_PARTS: usize = 128;

/// Where a line would run.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// The working directory, absolute.
    pub cwd: PathBuf,
    /// The home directory.
    pub home: Option<String>,
    /// The names of the variables in the environment.
    pub exported: BTreeSet<String>,
}

impl Surroundings {
    /// The environment of this process, in that directory.
    #[must_use]
    pub fn here(cwd: &Path) -> Self {
        let exported = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).collect();
        Self { cwd: cwd.to_owned(), home: std::env::var("HOME").ok(), exported }
    }
}

/// What a line comes to. Never empty.
#[must_use]
pub fn read(line: &str, surroundings: &Surroundings) -> Vec<Part> {
    if let Err(why) = guard::check(line) {
        return vec![Part::Opaque { why }];
    }
    let (sender, parts) = mpsc::channel();
    let (line, surroundings) = (line.to_owned(), surroundings.clone());
    let reader = std::thread::Builder::new().stack_size(STACK).spawn(move || {
        // Nobody listens any more once the deadline has passed.
        let _ = sender.send(walk::read(&line, &surroundings));
    });
    let parts = reader.map_err(|_| Why::TooLarge).and_then(|_| {
        parts.recv_timeout(DEADLINE).map_err(|error| match error {
            mpsc::RecvTimeoutError::Timeout => Why::TooSlow,
            // It has panicked.
            mpsc::RecvTimeoutError::Disconnected => Why::Unparsed,
        })
    });
    match parts {
        Ok(parts) if parts.is_empty() => vec![Part::Opaque { why: Why::Empty }],
        Ok(parts) if parts.len() > MAX_PARTS => vec![Part::Opaque { why: Why::TooLarge }],
        Ok(parts) => parts,
        Err(why) => vec![Part::Opaque { why }],
    }
}
