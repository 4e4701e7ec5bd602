//! The files that a command names: their content binds, too.
//!
//! `sh deploy.sh` or `kubectl apply -f app.yaml` says little without the file. So every word that names
//! a file that exists binds the digest of its content, in the spellings that command lines know:
//! `FILE`, `--option=FILE`, `-oFILE`, `@FILE`, `file://FILE`. The content itself is not sent anywhere, as it may be
//! a secret. What is held is checked again before it is started; what runs at once is not, since a file
//! that grows by itself (a log) is no reason not to read it.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read as _},
    path::Path,
};

use countersign_model::Digest;
use sha2::{Digest as _, Sha256};

/// The most files that bind. A command that names more binds the first ones.
const MAX_FILES: usize = 64;
/// The largest file that binds by its content.
const MAX_FILE_BYTES: u64 = 256 * 1024 * 1024;
/// What may stand before a file's name.
const PREFIXES: [&str; 3] = ["fileb://", "file://", "@"];

/// The files that the words of a command name, by their names as they are written, with the digest of
/// their content.
#[must_use]
pub fn named_files(words: &[String], folder: &Path) -> BTreeMap<String, Digest> {
    let mut files = BTreeMap::new();
    for name in words.iter().flat_map(|word| candidates(word)) {
        if files.len() >= MAX_FILES {
            break;
        }
        if let Some(digest) = digest(&folder.join(name)) {
            files.insert(name.to_owned(), digest);
        }
    }
    files
}

/// Whether the files are as they were.
#[must_use]
pub fn unchanged(files: &BTreeMap<String, Digest>, folder: &Path) -> bool {
    files.iter().all(|(name, known)| digest(&folder.join(name)) == Some(*known))
}

fn candidates(word: &str) -> impl Iterator<Item = &str> {
    let value = word.split_once('=').map(|(_, value)| value);
    let short =
        word.strip_prefix('-').filter(|option| !option.starts_with('-')).and_then(|option| option.get(1..));
    [Some(word), value, short].into_iter().flatten().map(without_prefix).filter(|name| !name.is_empty())
}

fn without_prefix(word: &str) -> &str {
    PREFIXES.iter().find_map(|prefix| word.strip_prefix(prefix)).unwrap_or(word)
}

fn digest(path: &Path) -> Option<Digest> {
    // Only plain files: opening a pipe or a device could block or have effects.
    let metadata = path.metadata().ok()?;
    if !metadata.is_file() || metadata.len() > MAX_FILE_BYTES {
        return None;
    }
    let mut hasher = Sha256::new();
    let mut content = File::open(path).ok()?.take(MAX_FILE_BYTES);
    io::copy(&mut content, &mut hasher).ok()?;
    Some(Digest::from_bytes(hasher.finalize().into()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn files_are_found_in_every_spelling_and_their_content_binds() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.yaml", "b.json", "c.txt", "d.sql"] {
            fs::write(folder.path().join(name), name).unwrap();
        }
        let line =
            words(&["apply", "-f", "a.yaml", "--policy=file://b.json", "-d", "@c.txt", "-id.sql", "."]);
        let files = named_files(&line, folder.path());
        assert_eq!(files.keys().collect::<Vec<_>>(), ["a.yaml", "b.json", "c.txt", "d.sql"]);
        assert!(unchanged(&files, folder.path()));
        fs::write(folder.path().join("b.json"), "changed after the approval").unwrap();
        assert!(!unchanged(&files, folder.path()));
        assert_ne!(named_files(&line, folder.path()), files);
    }

    #[test]
    fn what_is_no_plain_file_is_not_opened() {
        let files = named_files(&words(&["/dev/zero", "/", "missing", "", "="]), Path::new("/"));
        assert!(files.is_empty());
    }
}
