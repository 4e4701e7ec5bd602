//! Which file a command would execute, found once and checked again before it is started.
//!
//! A name such as `aws` means whatever `PATH` says, and a path may be a symbolic link; both can change
//! between the decision and the execution. So the name is resolved once, the links are followed once,
//! and what binds is the file at the end: its path and the digest of its content. The command is then
//! started by that path. Between the last check and the start there remain microseconds in which a
//! process with the right to write the file could replace it; such a process needs no approval anyway,
//! since `exec` relies on the host's cooperation.

use std::{
    ffi::OsStr,
    fs::File,
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use countersign_model::Digest;
use sha2::{Digest as _, Sha256};

/// The largest program that is accepted. Hashing is as fast as reading, but must end.
const MAX_PROGRAM_BYTES: u64 = 2 * 1024 * 1024 * 1024;

/// Why a command has no program.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// No such file.
    #[error("{name}: command not found")]
    NotFound {
        /// As it was written.
        name: String,
    },
    /// There is a file, but it is not a program.
    #[error("{}: {why}", path.display())]
    NotExecutable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The file is not what it was.
    #[error("{} has changed since it was decided about; nothing was executed: run the command again", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
}

/// A program, as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Where it was found, absolute; it may be a symbolic link.
    pub found: PathBuf,
    /// Its file, absolute, with symbolic links resolved.
    pub path: PathBuf,
    /// The digest of the file's content.
    pub digest: Digest,
}

impl Program {
    /// Finds a program as a shell would: a name with a slash is a path from `cwd`, any other is
    /// looked up in `search`.
    ///
    /// # Errors
    /// When there is none, or it cannot be read or executed.
    pub fn find(name: &str, search: Option<&OsStr>, cwd: &Path) -> Result<Self, ProgramError> {
        let not_found = || ProgramError::NotFound { name: name.to_owned() };
        let found = if name.contains('/') {
            cwd.join(name)
        } else {
            let search = search.ok_or_else(not_found)?;
            std::env::split_paths(search)
                .map(|folder| cwd.join(folder).join(name))
                .find(|path| !name.is_empty() && is_executable_file(path))
                .ok_or_else(not_found)?
        };
        let path = found.canonicalize().map_err(|_| not_found())?;
        let digest = read(&path)?;
        Ok(Self { found, path, digest })
    }

    /// Looks again, right before the program is started.
    ///
    /// # Errors
    /// [`ProgramError::Changed`] when it is another file, or the file has other content.
    pub fn check_unchanged(&self) -> Result<(), ProgramError> {
        let changed = || ProgramError::Changed { path: self.path.clone() };
        if self.path.canonicalize().map_err(|_| changed())? != self.path {
            return Err(changed());
        }
        // The content itself, not the file's times: those are too coarse to tell two quick writes apart.
        let digest = read(&self.path).map_err(|_| changed())?;
        if digest == self.digest { Ok(()) } else { Err(changed()) }
    }
}

fn is_executable_file(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

fn read(path: &Path) -> Result<Digest, ProgramError> {
    let refuse = |why: String| ProgramError::NotExecutable { path: path.to_owned(), why };
    if !is_executable_file(path) {
        return Err(refuse("not an executable file".to_owned()));
    }
    let unreadable = |error: io::Error| refuse(format!("cannot be read, so it cannot be bound: {error}"));
    let mut file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() || metadata.len() > MAX_PROGRAM_BYTES {
        return Err(refuse("not a file of at most 2 GiB".to_owned()));
    }
    let mut hasher = Sha256::new();
    io::copy(&mut file, &mut hasher).map_err(unreadable)?;
    Ok(Digest::from_bytes(hasher.finalize().into()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn program(folder: &Path, name: &str, content: &str) -> PathBuf {
        let path = folder.join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().canonicalize().unwrap();
        (folder, path)
    }

    #[test]
    fn another_program_earlier_in_path_is_another_program() {
        let (_guard, root) = folder();
        let (evil, good) = (root.join("evil"), root.join("good"));
        fs::create_dir(&evil).unwrap();
        fs::create_dir(&good).unwrap();
        program(&good, "tool", "#!/bin/sh\necho good\n");
        program(&evil, "tool", "#!/bin/sh\necho evil\n");
        let search = std::env::join_paths([&good]).unwrap();
        let honest = Program::find("tool", Some(&search), &root).unwrap();
        let search = std::env::join_paths([&evil, &good]).unwrap();
        let tricked = Program::find("tool", Some(&search), &root).unwrap();
        assert_eq!(honest.path, good.join("tool"));
        assert_ne!(tricked.path, honest.path);
        assert_ne!(tricked.digest, honest.digest);
    }

    #[test]
    fn a_symbolic_link_that_moves_does_not_move_the_program() {
        let (_guard, root) = folder();
        let good = program(&root, "good", "#!/bin/sh\necho good\n");
        let evil = program(&root, "evil", "#!/bin/sh\necho evil\n");
        let link = root.join("tool");
        std::os::unix::fs::symlink(&good, &link).unwrap();
        let found = Program::find("./tool", None, &root).unwrap();
        fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink(&evil, &link).unwrap();
        assert_eq!(found.path, good);
        found.check_unchanged().unwrap();
    }

    #[test]
    fn a_program_that_is_replaced_or_rewritten_is_noticed() {
        let (_guard, root) = folder();
        let path = program(&root, "tool", "#!/bin/sh\necho good\n");
        let found = Program::find("./tool", None, &root).unwrap();
        program(&root, "tool", "#!/bin/sh\necho evil\n");
        assert!(matches!(found.check_unchanged(), Err(ProgramError::Changed { .. })));
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/bin/sh", &path).unwrap();
        assert!(matches!(found.check_unchanged(), Err(ProgramError::Changed { .. })));
        fs::remove_file(&path).unwrap();
        program(&root, "tool", "#!/bin/sh\necho good\n");
        found.check_unchanged().unwrap();
    }

    #[test]
    fn what_is_no_program_says_so() {
        let (_guard, root) = folder();
        fs::write(root.join("data"), "x").unwrap();
        let search = std::env::join_paths([&root]).unwrap();
        for name in ["data", "", "missing"] {
            let result = Program::find(name, Some(&search), &root);
            assert!(matches!(result, Err(ProgramError::NotFound { .. })), "{name:?}");
        }
        for name in ["./data", "./"] {
            let result = Program::find(name, None, &root);
            assert!(matches!(result, Err(ProgramError::NotExecutable { .. })), "{name:?}");
        }
    }
}
