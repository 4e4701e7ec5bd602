//! Where the programs of a shell line are.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use super::{
    files::Files,
    part::{Part, Why},
    shell,
};

/// Finds the program of every command, and the file of every redirection. A command whose program is
/// neither the shell's own nor anywhere in the `PATH` is opaque: it may be an alias or a function of the
/// user's shell, or what an earlier part of the line puts there.
pub(super) fn find_all(parts: Vec<Part>, files: &Files) -> Vec<Part> {
    let folders: Vec<PathBuf> = env::var_os("PATH").iter().flat_map(env::split_paths).collect();
    let mut found = Vec::with_capacity(parts.len());
    for part in parts {
        let part = match part {
            Part::Command { mut command, clarity } => {
                let name = command.argv.first().map(String::as_str).unwrap_or_default();
                let path = find(name, &command.cwd, &folders);
                match path {
                    None if shell::is_builtin(name) => Part::Command { command, clarity },
                    None => Part::Opaque { why: Why::NotFound },
                    Some(_) if shell::is_builtin(name) && !name.contains('/') => {
                        Part::Command { command, clarity }
                    }
                    Some(path) => {
                        command.found = Some(path);
                        Part::Command { command, clarity }
                    }
                }
            }
            Part::File { access, file } => files.part(access, &file.path),
            other => other,
        };
        if !matches!(part, Part::Opaque { .. }) || !found.contains(&part) {
            found.push(part);
        }
    }
    found
}

fn find(name: &str, cwd: &str, folders: &[PathBuf]) -> Option<String> {
    if name.contains('/') {
        let path = Path::new(name);
        let path =
            if path.is_absolute() || !cwd.is_empty() { Path::new(cwd).join(path) } else { return None };
        return is_program(&path).then(|| path.to_string_lossy().into_owned());
    }
    let place = |folder: &PathBuf| Path::new(cwd).join(folder).join(name);
    let found = folders.iter().map(place).find(|path| is_program(path))?;
    found.into_os_string().into_string().ok()
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}
