//! Files by the names that an agent gives them.

use std::path::{Component, Path, PathBuf};

use super::part::{Access, NamedFile, Part};

/// Where names are meant.
#[derive(Debug)]
pub(super) struct Files {
    cwd: PathBuf,
    home: Option<PathBuf>,
    project: PathBuf,
}

impl Files {
    pub(super) fn new(cwd: &Path, project: Option<&Path>) -> Self {
        let project = real(project.unwrap_or(cwd));
        Self { cwd: cwd.to_owned(), home: std::env::var_os("HOME").map(PathBuf::from), project }
    }

    /// What is done to a file, by its name.
    pub(super) fn part(&self, access: Access, name: &str) -> Part {
        Part::File { access, file: self.named(name) }
    }

    /// The file of a name.
    pub(super) fn named(&self, name: &str) -> NamedFile {
        let home = self.home.as_deref().zip(name.strip_prefix("~/"));
        let path = match home {
            Some((home, rest)) => home.join(rest),
            None => self.cwd.join(name),
        };
        let path = real(&path);
        let inside = path.starts_with(&self.project);
        NamedFile { path: path.to_string_lossy().into_owned(), inside }
    }
}

/// A path without symbolic links, as far as it exists. What does not exist yet is made where it would be.
fn real(path: &Path) -> PathBuf {
    let mut components: Vec<Component<'_>> = path.components().collect();
    let mut rest = Vec::new();
    loop {
        let existing: PathBuf = components.iter().collect();
        if let Ok(mut real) = existing.canonicalize() {
            for component in rest.iter().rev() {
                match component {
                    Component::ParentDir => {
                        real.pop();
                    }
                    Component::CurDir => {}
                    other => real.push(other),
                }
            }
            return real;
        }
        match components.pop() {
            Some(component) => rest.push(component),
            None => return path.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_where_its_links_lead() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        std::fs::create_dir(root.join("project")).unwrap();
        std::os::unix::fs::symlink("/etc", root.join("project/link")).unwrap();
        let files = Files::new(&root.join("project"), None);
        let named = |name: &str| {
            let file = files.named(name);
            (file.path, file.inside)
        };
        let within = root.join("project/new/file").to_string_lossy().into_owned();
        assert_eq!(named("new/./x/../file"), (within, true));
        assert_eq!(named("link/passwd"), ("/etc/passwd".to_owned(), false));
        assert_eq!(named("link/not-there/x"), ("/etc/not-there/x".to_owned(), false));
        assert_eq!(named("/etc/../etc/passwd"), ("/etc/passwd".to_owned(), false));
        assert!(!named("../project-two/x").1);
        assert_eq!(named("no/../../x"), (root.join("x").to_string_lossy().into_owned(), false));
    }
}
