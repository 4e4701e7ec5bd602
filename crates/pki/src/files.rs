//! Files with secrets in them: whole or not there at all, and readable by their owner only.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use crate::random;

/// The largest file that is read here; an identity is a few kilobytes.
const MAX_FILE: u64 = 1024 * 1024;

/// Why a key or certificate file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The operating system refused.
    #[error("{path}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
    /// Others than the owner may read the private key in it.
    #[error("{path} holds a private key and can be read by others; run: chmod 600 {path}")]
    Exposed {
        /// The file.
        path: PathBuf,
    },
    /// It is far larger than such a file can be.
    #[error("{path} is larger than {MAX_FILE} bytes, which no key or certificate file is")]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
}

impl FileError {
    fn io(path: &Path, error: io::Error) -> Self {
        Self::Io { path: path.to_owned(), error }
    }

    /// Whether the file is simply not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { error, .. } if error.kind() == io::ErrorKind::NotFound)
    }

    /// Whether the file was there already and was meant to be new.
    #[must_use]
    pub fn is_already_there(&self) -> bool {
        matches!(self, Self::Io { error, .. } if error.kind() == io::ErrorKind::AlreadyExists)
    }
}

/// Reads a file that holds a private key. Refuses one that others can read.
pub(crate) fn read_secret(path: &Path) -> Result<Zeroizing<Vec<u8>>, FileError> {
    let fail = |error| FileError::io(path, error);
    let file = File::open(path).map_err(fail)?;
    let metadata = file.metadata().map_err(fail)?;
    if exposed(&metadata) {
        return Err(FileError::Exposed { path: path.to_owned() });
    }
    read_bounded(file, path)
}

/// Reads a file without secrets.
pub(crate) fn read_public(path: &Path) -> Result<Zeroizing<Vec<u8>>, FileError> {
    read_bounded(File::open(path).map_err(|error| FileError::io(path, error))?, path)
}

fn read_bounded(file: File, path: &Path) -> Result<Zeroizing<Vec<u8>>, FileError> {
    let mut content = Zeroizing::new(Vec::new());
    file.take(MAX_FILE + 1).read_to_end(&mut content).map_err(|error| FileError::io(path, error))?;
    if content.len() as u64 > MAX_FILE {
        return Err(FileError::TooLarge { path: path.to_owned() });
    }
    Ok(content)
}

/// Puts a file in place of whatever was there. After a crash there is the old one or the new one.
pub(crate) fn replace(path: &Path, content: &[u8]) -> Result<(), FileError> {
    let temporary = write_temporary(path, content)?;
    let put = fs::rename(&temporary, path).and_then(|()| sync_folder(path));
    put.map_err(|error| {
        // The temporary file may be gone already; its removal is a courtesy.
        let _ = fs::remove_file(&temporary);
        FileError::io(path, error)
    })
}

/// Puts a file where there is none. Of two processes that try, one succeeds.
pub(crate) fn create(path: &Path, content: &[u8]) -> Result<(), FileError> {
    let temporary = write_temporary(path, content)?;
    // A link, unlike a rename, fails when the name is taken.
    let put = fs::hard_link(&temporary, path).and_then(|()| sync_folder(path));
    let _ = fs::remove_file(&temporary);
    put.map_err(|error| FileError::io(path, error))
}

fn write_temporary(path: &Path, content: &[u8]) -> Result<PathBuf, FileError> {
    let mut random = [0; 12];
    random::fill(&mut random).map_err(|error| FileError::io(path, io::Error::other(error)))?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", URL_SAFE_NO_PAD.encode(random)));
    let temporary = path.with_file_name(name);
    let write = || -> io::Result<()> {
        let mut file = private_file().open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()
    };
    write().map_err(|error| {
        let _ = fs::remove_file(&temporary);
        FileError::io(path, error)
    })?;
    Ok(temporary)
}

fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

#[cfg(unix)]
fn private_file() -> OpenOptions {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    options
}

#[cfg(unix)]
fn exposed(metadata: &fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;
    metadata.permissions().mode() & 0o077 != 0
}

#[cfg(not(unix))]
fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    options
}

#[cfg(not(unix))]
fn exposed(_metadata: &fs::Metadata) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_secret_file_is_private_and_an_exposed_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        create(&path, b"one").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(read_secret(&path).unwrap().as_slice(), b"one");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(read_secret(&path), Err(FileError::Exposed { .. })));
    }

    #[test]
    fn a_new_file_never_replaces_one_and_nothing_is_left_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        create(&path, b"one").unwrap();
        assert!(create(&path, b"two").unwrap_err().is_already_there());
        assert_eq!(read_secret(&path).unwrap().as_slice(), b"one");
        replace(&path, b"three").unwrap();
        assert_eq!(read_secret(&path).unwrap().as_slice(), b"three");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
