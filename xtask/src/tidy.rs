//! `cargo xtask tidy`: what the compiler does not look at.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use crate::command::{output, root};

/// A file longer than this wants a split.
const MAX_LINES: usize = 600;

pub(crate) fn run() -> Result<()> {
    let mut complaints = Vec::new();
    let files = tracked_files()?;
    for file in &files {
        let text = fs::read_to_string(root().join(file)).with_context(|| format!("{}", file.display()))?;
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("rs") => complaints.extend(rust(file, &text)),
            _ if file.ends_with("Cargo.toml") => complaints.extend(manifest(file, &text)),
            _ => {}
        }
    }
    if !complaints.is_empty() {
        bail!("tidy:\n  {}", complaints.join("\n  "));
    }
    eprintln!("── tidy: {} files", files.len());
    Ok(())
}

fn tracked_files() -> Result<Vec<PathBuf>> {
    let list = ["ls-files", "--cached", "--others", "--exclude-standard", "*.rs", "*Cargo.toml"];
    let mut git = std::process::Command::new("git");
    let listed = output("git ls-files", git.args(list).current_dir(root()))?;
    Ok(listed.lines().map(PathBuf::from).filter(|file| root().join(file).is_file()).collect())
}

fn rust(file: &Path, text: &str) -> Vec<String> {
    let name = file.display();
    let mut complaints = Vec::new();
    if !text.trim_start().starts_with("//!") {
        complaints.push(format!("{name}: begin with //! and say what the file is for"));
    }
    let lines = text.lines().count();
    if lines > MAX_LINES {
        complaints.push(format!("{name}: {lines} lines; split it (at most {MAX_LINES})"));
    }
    if !file.starts_with("xtask") {
        let unfinished = ["todo!(", "unimplemented!(", "dbg!(", "#[ignore", "FIXME"];
        for word in unfinished.iter().filter(|word| text.contains(*word)) {
            complaints.push(format!("{name}: has {word}"));
        }
    }
    complaints
}

fn manifest(file: &Path, text: &str) -> Vec<String> {
    let standalone = text.contains("[workspace]");
    let inherits = text.contains("[lints]\nworkspace = true");
    if standalone || inherits {
        Vec::new()
    } else {
        vec![format!("{}: inherit the lints ([lints] workspace = true)", file.display())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn untidy_files_are_named() {
        let file = Path::new("crates/x/src/lib.rs");
        assert!(rust(file, "//! Fine.\n").is_empty());
        assert_eq!(rust(file, "fn f() { todo!() }\n").len(), 2);
        assert_eq!(rust(file, &format!("//! Long.\n{}", "\n".repeat(MAX_LINES))).len(), 1);
        assert_eq!(manifest(Path::new("crates/x/Cargo.toml"), "[package]\n").len(), 1);
    }
}
