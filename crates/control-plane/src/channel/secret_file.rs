//! Secrets of channels: each in a file of its own that only its owner can read, never a setting.

use std::{
    fs::File,
    io::{self, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

/// The longest secret.
const MAX_BYTES: u64 = 64 * 1024;

/// Why a secret cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    /// No file, or not for us.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Others can read it.
    #[error("{}: others can read it; run chmod 600 on it, and change the secret", .0.display())]
    Exposed(PathBuf),
    /// It holds no text, or too much of it.
    #[error("{}: it must hold the secret alone, as text of one line", .0.display())]
    Malformed(PathBuf),
}

/// The secret in a file, without the white space around it.
pub(crate) fn read_secret_file(path: &Path) -> Result<String, SecretFileError> {
    let failed = |error| SecretFileError::Io { path: path.to_owned(), error };
    let file = File::open(path).map_err(failed)?;
    if file.metadata().map_err(failed)?.permissions().mode() & 0o077 != 0 {
        return Err(SecretFileError::Exposed(path.to_owned()));
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(failed)?;
    let text = String::from_utf8(bytes).map_err(|_| SecretFileError::Malformed(path.to_owned()))?;
    let secret = text.trim();
    if secret.is_empty() || secret.contains(char::is_control) {
        return Err(SecretFileError::Malformed(path.to_owned()));
    }
    Ok(secret.to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_secret_is_one_line_that_only_its_owner_can_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        fs::write(&path, "whsec_abc\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(read_secret_file(&path), Err(SecretFileError::Exposed(_))));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(read_secret_file(&path).unwrap(), "whsec_abc");
        for nothing in ["", " \n", "two\nlines"] {
            fs::write(&path, nothing).unwrap();
            let error = read_secret_file(&path).unwrap_err().to_string();
            assert!(error.contains("alone"), "{error}");
        }
        assert!(read_secret_file(&folder.path().join("none")).is_err());
    }
}
