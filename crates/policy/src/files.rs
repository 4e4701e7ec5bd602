//! The files of a bundle: bounded, with paths that mean the same everywhere.

use std::collections::BTreeMap;

use countersign_model::Digest;

/// The most files a bundle can have.
pub const MAX_FILES: usize = 2_000;
/// The most bytes a bundle can have, paths included.
pub const MAX_BYTES: usize = 16 * 1024 * 1024;
/// The longest path in a bundle, in bytes.
pub const MAX_PATH: usize = 200;

/// Why some files are not a bundle's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilesError {
    /// A path that is absolute, climbs, is hidden, or has characters that file systems disagree about.
    #[error(
        "{0:?} is not a path of a bundle: use relative paths of letters, digits, '.', '-' and '_', \
         separated by '/', where no part starts with '.'"
    )]
    Path(String),
    /// Too many files.
    #[error("a bundle can have at most {MAX_FILES} files")]
    TooMany,
    /// Too many bytes.
    #[error("a bundle can have at most {MAX_BYTES} bytes")]
    TooLarge,
}

/// The files of a bundle, by their path relative to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BundleFiles(BTreeMap<String, Vec<u8>>);

impl BundleFiles {
    /// Takes files that have not been looked at yet.
    ///
    /// # Errors
    /// When a path is not acceptable, or there is more than a bundle can have.
    pub fn new(files: BTreeMap<String, Vec<u8>>) -> Result<Self, FilesError> {
        if files.len() > MAX_FILES {
            return Err(FilesError::TooMany);
        }
        if let Some(path) = files.keys().find(|path| !is_bundle_path(path)) {
            return Err(FilesError::Path(path.chars().take(MAX_PATH).collect()));
        }
        let size = |(path, bytes): (&String, &Vec<u8>)| path.len().saturating_add(bytes.len());
        if files.iter().map(size).fold(0, usize::saturating_add) > MAX_BYTES {
            return Err(FilesError::TooLarge);
        }
        Ok(Self(files))
    }

    /// Files that are part of the program.
    pub(crate) fn trusted(files: BTreeMap<String, Vec<u8>>) -> Self {
        Self(files)
    }

    /// The content of one file.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&[u8]> {
        self.0.get(path).map(Vec::as_slice)
    }

    /// The files in the order of their paths.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice()))
    }

    /// The files, for storing and shipping.
    #[must_use]
    pub fn into_inner(self) -> BTreeMap<String, Vec<u8>> {
        self.0
    }

    /// SHA-256 over all paths and contents, each preceded by its length so that none can run into another.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let lengths: Vec<[[u8; 8]; 2]> =
            self.0.iter().map(|(path, bytes)| [length(path.as_bytes()), length(bytes)]).collect();
        let mut parts: Vec<&[u8]> = vec![b"countersign-bundle-v1\0"];
        for ((path, bytes), [path_length, length]) in self.0.iter().zip(&lengths) {
            parts.extend([path_length.as_slice(), path.as_bytes(), length.as_slice(), bytes]);
        }
        Digest::of_parts(&parts)
    }
}

fn length(bytes: &[u8]) -> [u8; 8] {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_be_bytes()
}

fn is_bundle_path(path: &str) -> bool {
    let part_fits = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
    };
    path.len() <= MAX_PATH && path.split('/').all(part_fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(paths: &[(&str, &str)]) -> Result<BundleFiles, FilesError> {
        BundleFiles::new(paths.iter().map(|(path, text)| ((*path).into(), (*text).into())).collect())
    }

    #[test]
    fn paths_that_leave_the_bundle_or_differ_between_systems_are_refused() {
        for path in
            ["../x", "/etc/passwd", "a//b", "", "a/", ".git/config", "a\\b", "C:x", "a b", "a/../b", "ä"]
        {
            assert!(matches!(files(&[(path, "")]), Err(FilesError::Path(_))), "{path:?}");
        }
        assert!(files(&[("policies/a-b_c.cedar", "")]).is_ok());
    }

    #[test]
    fn a_bundle_is_bounded() {
        let many = (0..=MAX_FILES).map(|n| (format!("tests/{n}.toml"), Vec::new())).collect();
        assert_eq!(BundleFiles::new(many), Err(FilesError::TooMany));
        let large = BTreeMap::from([("bundle.toml".to_owned(), vec![b' '; MAX_BYTES])]);
        assert_eq!(BundleFiles::new(large), Err(FilesError::TooLarge));
    }

    #[test]
    fn content_cannot_move_between_files_without_changing_the_digest() {
        let digest = |paths| files(paths).unwrap().digest();
        assert_ne!(digest(&[("a", "bc"), ("d", "")]), digest(&[("a", "b"), ("cd", "")]));
        assert_ne!(digest(&[("a", "b")]), digest(&[("a", "b"), ("c", "")]));
        assert_eq!(digest(&[("a", "b"), ("c", "")]), digest(&[("c", ""), ("a", "b")]));
    }
}
