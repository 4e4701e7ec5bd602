//! Where each host's configuration is.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use countersign_intercept::hook::host::Host;

/// Whose configuration it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scope {
    /// This user's, on every project.
    User,
    /// That of everybody who works in one folder.
    Project,
    /// The machine's, which its users cannot turn off.
    System,
}

/// A configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) path: PathBuf,
    /// Whether the whole file is this hook's: the host reads every file of a folder.
    pub(super) own: bool,
    /// The mode of a new file.
    pub(super) mode: u32,
}

impl Place {
    /// The host's file in a scope. `folder` takes the place of the scope's own root.
    pub(super) fn of(host: Host, scope: Scope, folder: Option<&Path>) -> Result<Self> {
        let (variable, within_home) = match host {
            Host::ClaudeCode => ("CLAUDE_CONFIG_DIR", ".claude/settings.json"),
            Host::Codex => ("CODEX_HOME", ".codex/hooks.json"),
            Host::Copilot => ("COPILOT_HOME", ".copilot/hooks/countersign.json"),
            // Its variable names the home directory, not the folder in it.
            Host::Gemini => ("", ".gemini/settings.json"),
            Host::Cursor => ("CURSOR_CONFIG_DIR", ".cursor/hooks.json"),
        };
        let path = match scope {
            Scope::User => match (folder, std::env::var_os(variable).filter(|named| !named.is_empty())) {
                (None, Some(named)) => {
                    let within = within_home.split_once('/').map_or(within_home, |(_, within)| within);
                    PathBuf::from(named).join(within)
                }
                (folder, _) => home(host, folder)?.join(within_home),
            },
            Scope::Project => {
                let within =
                    if host == Host::Copilot { ".github/hooks/countersign.json" } else { within_home };
                let here = std::env::current_dir()?;
                folder.unwrap_or(&here).join(within)
            }
            Scope::System => folder.unwrap_or(Path::new("/")).join(match host {
                Host::ClaudeCode => "etc/claude-code/managed-settings.d/50-countersign.json",
                Host::Codex => "etc/codex/hooks.json",
                Host::Copilot => "etc/github-copilot/policy.d/countersign.json",
                Host::Gemini => "etc/gemini-cli/settings.json",
                Host::Cursor => "etc/cursor/hooks.json",
            }),
        };
        let own = path.file_name().is_some_and(|name| name.to_string_lossy().contains("countersign"));
        let mode = if scope == Scope::User { 0o600 } else { 0o644 };
        Ok(Self { path, own, mode })
    }
}

fn home(host: Host, folder: Option<&Path>) -> Result<PathBuf> {
    let gemini = (host == Host::Gemini).then(|| std::env::var_os("GEMINI_CLI_HOME")).flatten();
    let home = folder.map(PathBuf::from).or_else(|| gemini.map(PathBuf::from));
    home.or_else(|| std::env::var_os("HOME").map(PathBuf::from))
        .context("HOME is not set; name a folder with --dir")
}
