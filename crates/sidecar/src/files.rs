//! The data folder and the small files in it: for their owner only, whole or not there at all.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// The largest file that is read here.
const MAX_FILE: u64 = 1024 * 1024;

/// Why a file or folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The operating system refused.
    #[error("{path}: {error}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
    /// Others than the owner can use it.
    #[error("{path} holds secrets and can be read by others; run: chmod go= {path}")]
    Exposed {
        /// The file or folder.
        path: PathBuf,
    },
    /// It does not hold what it should.
    #[error("{path} is damaged: {why}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// In what way.
        why: String,
    },
}

impl FileError {
    pub(crate) fn io(path: &Path, error: io::Error) -> Self {
        Self::Io { path: path.to_owned(), error }
    }
}

/// Makes a folder that only its owner can enter, or refuses one that others can.
pub(crate) fn private_folder(path: &Path) -> Result<(), FileError> {
    let fail = |error| FileError::io(path, error);
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(fail)?;
    refuse_exposed(path, &fs::metadata(path).map_err(fail)?)
}

fn refuse_exposed(path: &Path, metadata: &fs::Metadata) -> Result<(), FileError> {
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(FileError::Exposed { path: path.to_owned() });
    }
    Ok(())
}

/// Reads a private file; `None` when there is none.
pub(crate) fn read_private(path: &Path) -> Result<Option<String>, FileError> {
    let fail = |error| FileError::io(path, error);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fail(error)),
    };
    refuse_exposed(path, &file.metadata().map_err(fail)?)?;
    let mut text = String::new();
    file.take(MAX_FILE).read_to_string(&mut text).map_err(fail)?;
    Ok(Some(text))
}

/// Writes a private file: after a crash there is the old one or the new one.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> Result<(), FileError> {
    let temporary = path.with_extension("new");
    let write = || -> io::Result<()> {
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    };
    write().map_err(|error| FileError::io(path, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_private_and_what_is_exposed_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        private_folder(&data).unwrap();
        let file = data.join("secret");
        assert_eq!(read_private(&file).unwrap(), None);
        write_private(&file, b"one").unwrap();
        write_private(&file, b"two").unwrap();
        assert_eq!(read_private(&file).unwrap().as_deref(), Some("two"));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(read_private(&file), Err(FileError::Exposed { .. })));
        fs::set_permissions(&data, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(matches!(private_folder(&data), Err(FileError::Exposed { .. })));
    }
}
