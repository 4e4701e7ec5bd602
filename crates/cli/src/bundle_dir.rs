//! A bundle's directory: read it whole, write it out.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use countersign_policy::{BundleFiles, MAX_BYTES, MAX_FILES};

/// Reads a bundle from its directory. Hidden files and folders are passed over.
///
/// # Errors
/// When it is no directory, cannot be read, or is too large.
pub(crate) fn read(root: &Path) -> Result<BundleFiles> {
    if !root.join("bundle.toml").is_file() {
        bail!(
            "{}: there is no bundle.toml; `countersign policy init DIR` writes a bundle to start from",
            root.display()
        );
    }
    let mut files = BTreeMap::new();
    let mut size = 0;
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let here = root.join(&folder);
        for entry in fs::read_dir(&here).with_context(|| here.display().to_string())? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_str().with_context(|| format!("{name:?} is not UTF-8"))?;
            if name.starts_with('.') {
                continue;
            }
            let relative = folder.join(name);
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(relative);
            } else if kind.is_file() {
                let bytes = fs::read(entry.path()).with_context(|| entry.path().display().to_string())?;
                size += bytes.len();
                files.insert(relative.to_string_lossy().into_owned(), bytes);
            } else {
                bail!("{}: neither a file nor a folder; a bundle has no links", entry.path().display());
            }
            if files.len() > MAX_FILES || size > MAX_BYTES {
                bail!(
                    "{}: more than {MAX_FILES} files or {MAX_BYTES} bytes: is this a bundle?",
                    root.display()
                );
            }
        }
    }
    BundleFiles::new(files).with_context(|| root.display().to_string())
}

/// Writes a bundle into a directory, which must be new or empty.
///
/// # Errors
/// When there is something in it already, or it cannot be written.
pub(crate) fn write<'a>(root: &Path, files: impl Iterator<Item = (&'a str, &'a [u8])>) -> Result<()> {
    if root.exists() && fs::read_dir(root).with_context(|| root.display().to_string())?.next().is_some() {
        bail!("{} is not empty; name a new folder", root.display());
    }
    for (name, bytes) in files {
        let path = root.join(name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
        fs::write(&path, bytes).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("bundle");
        let files = [("bundle.toml", b"name = \"x\"".as_slice()), ("policies/a.cedar", b"// none")];
        write(&root, files.into_iter()).unwrap();
        fs::write(root.join(".hidden"), "x").unwrap();
        let read = read(&root).unwrap();
        assert_eq!(read.iter().collect::<Vec<_>>(), files);
        assert!(write(&root, files.into_iter()).unwrap_err().to_string().contains("not empty"));
    }

    #[test]
    fn links_and_folders_without_a_bundle_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(read(folder.path()).unwrap_err().to_string().contains("policy init"));
        fs::write(folder.path().join("bundle.toml"), "").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("link.toml")).unwrap();
        assert!(read(folder.path()).unwrap_err().to_string().contains("no links"));
    }
}
