//! Puts the hook into a host's configuration, and takes it out again.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use countersign_intercept::hook::host::Host;
use serde_json::{Value, json};

use super::{
    configuration::{is_bare, with_hook, without_hook},
    places::{Place, Scope},
};
use crate::{cli::Common, verbs::socket::SocketArguments};

/// Which configuration is meant.
#[derive(Debug, Args)]
pub(crate) struct PlaceArguments {
    /// The host: claude-code, codex, copilot, gemini or cursor.
    #[arg(value_name = "HOST")]
    pub(super) host: Host,
    /// Whose configuration: this user's, a project's, or the machine's.
    #[arg(long, value_enum, default_value_t = Scope::User)]
    pub(super) scope: Scope,
    /// Another folder in the place of the home directory, the project, or the root of the machine.
    #[arg(long, value_name = "DIR")]
    pub(super) dir: Option<PathBuf>,
}

impl PlaceArguments {
    pub(super) fn place(&self) -> Result<Place> {
        Place::of(self.host, self.scope, self.dir.as_deref())
    }
}

/// Puts the hook into a host's configuration.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: PlaceArguments,
    #[command(flatten)]
    socket: SocketArguments,
    /// How long the host waits for the hook, in seconds. People have a little less than that.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(10..=86_400))]
    timeout: Option<u64>,
    /// Shows what would be written, and writes nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Takes the hook out of a host's configuration.
#[derive(Debug, Args)]
pub(crate) struct UninstallArguments {
    #[command(flatten)]
    place: PlaceArguments,
    /// Shows what would be written, and writes nothing.
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn install(common: &Common, arguments: &Arguments) -> Result<ExitCode> {
    let host = arguments.place.host;
    let place = arguments.place.place()?;
    let time_out = arguments.timeout.unwrap_or_else(|| host.time_out().as_secs());
    let command = command(host, &arguments.socket, time_out)?;
    let before = read(&place.path)?;
    let after = with_hook(host, before.clone().unwrap_or_else(|| json!({})), &command, time_out)
        .with_context(|| odd(&place.path))?;
    let changed = before.as_ref() != Some(&after);
    if changed && !arguments.dry_run {
        write(&place, &after)?;
    }
    report(common, &place.path, changed, arguments.dry_run, Some(&after));
    if !common.json {
        println!("{}", advice(host, arguments.place.scope));
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn uninstall(common: &Common, arguments: &UninstallArguments) -> Result<ExitCode> {
    let place = arguments.place.place()?;
    let before = read(&place.path)?;
    let after = match before.clone() {
        None => None,
        Some(before) => {
            let after = without_hook(arguments.place.host, before).with_context(|| odd(&place.path))?;
            (!(place.own && is_bare(&after))).then_some(after)
        }
    };
    let changed = before != after;
    if changed && !arguments.dry_run {
        match &after {
            Some(after) => write(&place, after)?,
            None => fs::remove_file(&place.path).with_context(|| place.path.display().to_string())?,
        }
    }
    report(common, &place.path, changed, arguments.dry_run, after.as_ref());
    Ok(ExitCode::SUCCESS)
}

/// The command line that the host runs, through a shell.
fn command(host: Host, socket: &SocketArguments, time_out: u64) -> Result<String> {
    let program = std::env::current_exe().context("the path of this program is not known")?;
    let socket = socket.path();
    let socket = std::path::absolute(&socket).with_context(|| socket.display().to_string())?;
    let (program, socket) = (quoted(&program)?, quoted(&socket)?);
    Ok(format!("{program} hook {host} --timeout {time_out} --socket {socket}"))
}

/// A path as one word of a shell.
fn quoted(path: &Path) -> Result<String> {
    let text = path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?;
    Ok(format!("'{}'", text.replace('\'', r"'\''")))
}

fn odd(path: &Path) -> String {
    format!(
        "{}: it has not the form that the host wants; mend it, or put the hook in by hand",
        path.display()
    )
}

/// A host's configuration; `None` if there is none.
pub(super) fn read(path: &Path) -> Result<Option<Value>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| path.display().to_string()),
    };
    if text.trim().is_empty() {
        return Ok(Some(json!({})));
    }
    match serde_json::from_str(&text) {
        Ok(value) => Ok(Some(value)),
        Err(error) => bail!("{}: no JSON ({error}); nothing was changed", path.display()),
    }
}

/// Writes a configuration at once, and keeps the first one that was found.
fn write(place: &Place, configuration: &Value) -> Result<()> {
    // A link stays a link: what it leads to is written.
    let path = place.path.canonicalize().unwrap_or_else(|_| place.path.clone());
    let shown = || path.display().to_string();
    let folder = path.parent().with_context(shown)?;
    fs::create_dir_all(folder).with_context(shown)?;
    let mut mode = place.mode;
    if let Ok(metadata) = fs::metadata(&path) {
        mode = metadata.permissions().mode() & 0o777;
        let mut backup = path.as_os_str().to_owned();
        backup.push(".before-countersign");
        let backup = PathBuf::from(backup);
        if !backup.exists() {
            fs::copy(&path, &backup).with_context(|| backup.display().to_string())?;
        }
    }
    let mut file = tempfile::NamedTempFile::new_in(folder).with_context(shown)?;
    file.write_all(format!("{configuration:#}\n").as_bytes())?;
    file.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
    file.as_file().sync_all()?;
    file.persist(&path).with_context(shown)?;
    Ok(())
}

fn report(common: &Common, path: &Path, changed: bool, dry_run: bool, after: Option<&Value>) {
    if common.json {
        println!(
            "{}",
            json!({ "file": path, "changed": changed, "written": changed && !dry_run, "configuration": after })
        );
    } else if dry_run {
        println!("# {} ({})", path.display(), if changed { "would be changed to" } else { "stays" });
        println!("{}", after.map_or_else(|| "(no file)".to_owned(), |after| format!("{after:#}")));
    } else {
        println!("{} {}", path.display(), if changed { "is written" } else { "is as it should be" });
    }
}

/// What is still to be done by hand.
fn advice(host: Host, scope: Scope) -> String {
    let own = match (host, scope) {
        (Host::ClaudeCode, _) => {
            "Fails closed from Claude Code 2.1.295 on (onFailure); before, a hook that crashes lets a call pass."
        }
        (Host::Codex, Scope::System) => "Codex lets a call pass when its hook crashes or is too late.",
        (Host::Codex, _) => {
            "Open Codex and trust this hook in /hooks: until then it is not run. Codex lets a call pass when its hook crashes or is too late."
        }
        (Host::Copilot, Scope::System) => {
            "Copilot lets a call pass when its hook is too late; this one answers before."
        }
        (Host::Copilot, _) => {
            "disableAllHooks in a settings.json turns this off; --scope system is not affected. Copilot lets a call pass when its hook is too late."
        }
        (Host::Gemini, _) => "Gemini CLI lets a call pass when its hook crashes or is too late.",
        (Host::Cursor, _) => "Fails closed (failClosed).",
    };
    format!("{own}\nNow see what holds: countersign hook doctor {host}")
}
