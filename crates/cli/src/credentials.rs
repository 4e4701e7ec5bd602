//! Which control plane, and as whom.
//!
//! The address comes from `--url` or `COUNTERSIGN_URL`, the token from `COUNTERSIGN_TOKEN` or the file
//! that `COUNTERSIGN_TOKEN_FILE` names; what is missing comes from what `countersign login` kept. A
//! token is never taken from the command line, where every process of the machine could read it, and
//! a kept token is sent to no address but the one that it was kept for.

use std::{
    fs,
    io::{self, BufRead as _, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

/// The address of a control plane on this machine.
const DEFAULT_URL: &str = "http://127.0.0.1:7700";
/// The longest token that is read.
const MAX_TOKEN: usize = 4_096;

/// A control plane, and a token for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Credentials {
    /// Where.
    pub(crate) url: String,
    /// The token. Never printed.
    pub(crate) token: String,
}

/// What the environment and the command line say.
#[derive(Debug, Clone, Default)]
pub(crate) struct Given {
    pub(crate) url: Option<String>,
    pub(crate) token: Option<String>,
    pub(crate) token_file: Option<PathBuf>,
}

impl Given {
    /// As given to this process.
    pub(crate) fn from_environment(url: Option<String>) -> Self {
        let text = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self {
            url,
            token: text("COUNTERSIGN_TOKEN"),
            token_file: text("COUNTERSIGN_TOKEN_FILE").map(PathBuf::from),
        }
    }

    /// Where to, and as whom.
    ///
    /// # Errors
    /// When there is no token for that address.
    pub(crate) fn resolve(self, kept: Option<Credentials>) -> Result<Credentials> {
        let own_token = match (self.token, self.token_file) {
            (Some(token), _) => Some(token),
            (None, Some(file)) => Some(read_token_file(&file)?),
            (None, None) => None,
        };
        let url = self.url.map(|url| normalise(&url)).transpose()?;
        let (url, token) = match (url, own_token, kept) {
            (Some(url), Some(token), _) => (url, token),
            (None, Some(token), kept) => (kept.map_or(DEFAULT_URL.to_owned(), |kept| kept.url), token),
            (None, None, Some(kept)) => (kept.url, kept.token),
            (Some(url), None, Some(kept)) if kept.url == url => (url, kept.token),
            (url, None, _) => {
                let url = url.unwrap_or_else(|| DEFAULT_URL.to_owned());
                bail!("no token for {url}: run `countersign login {url}`, or set COUNTERSIGN_TOKEN");
            }
        };
        Ok(Credentials { url, token })
    }
}

/// One spelling for one address, and only addresses to which a token may be sent.
///
/// # Errors
/// When it is no address, or the token would travel in the clear.
pub(crate) fn normalise(url: &str) -> Result<String> {
    let parsed =
        reqwest::Url::parse(url).with_context(|| format!("{url:?} is not a URL like https://HOST"))?;
    let host = parsed.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let address = host.parse::<std::net::IpAddr>();
    let local = host == "localhost" || address.is_ok_and(|address| address.is_loopback());
    match parsed.scheme() {
        "https" => {}
        "http" if local => {}
        "http" => bail!("{url}: a token would travel in the clear; use https://"),
        other => bail!("{url}: {other} is not http or https"),
    }
    if parsed.query().is_some() || parsed.fragment().is_some() || !parsed.username().is_empty() {
        bail!("{url}: give the address alone, without a query or a user");
    }
    Ok(parsed.as_str().trim_end_matches('/').to_owned())
}

/// Where `login` keeps credentials.
pub(crate) fn file() -> Result<PathBuf> {
    let folder = std::env::var_os("XDG_CONFIG_HOME").filter(|path| !path.is_empty()).map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config"));
    let folder = folder.or_else(home).context("neither XDG_CONFIG_HOME nor HOME is set")?;
    Ok(folder.join("countersign").join("credentials.toml"))
}

/// What `login` kept; `None` when it kept nothing.
///
/// # Errors
/// When the file cannot be read, or others can read it.
pub(crate) fn load(file: &Path) -> Result<Option<Credentials>> {
    let metadata = match file.metadata() {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| file.display().to_string()),
    };
    if metadata.permissions().mode() & 0o077 != 0 {
        bail!("{}: others can read it; run `chmod 600 {}` and log in anew", file.display(), file.display());
    }
    let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let kept = toml::from_str(&text)
        .with_context(|| format!("{}: run `countersign login` to write it anew", file.display()))?;
    Ok(Some(kept))
}

/// Keeps credentials, readable by this user alone.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn save(file: &Path, credentials: &Credentials) -> Result<()> {
    let folder = file.parent().context("the credentials file has no folder")?;
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let text = toml::to_string(credentials)?;
    // A fresh file that replaces the old one: its mode is right from its first byte on.
    let fresh = file.with_extension("new");
    let _ = fs::remove_file(&fresh);
    let mut out = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    out.write_all(text.as_bytes())?;
    out.sync_all()?;
    fs::rename(&fresh, file).with_context(|| file.display().to_string())
}

/// A token from a file; `-` is standard input.
///
/// # Errors
/// When there is none.
pub(crate) fn read_token_file(file: &Path) -> Result<String> {
    let text = if file == Path::new("-") {
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line)?;
        line
    } else {
        fs::read_to_string(file).with_context(|| file.display().to_string())?
    };
    checked(&text)
}

/// A token from the terminal, without showing it.
///
/// # Errors
/// When there is no terminal, or nothing was typed.
pub(crate) fn ask_token(url: &str) -> Result<String> {
    let terminal = fs::File::open("/dev/tty").ok().filter(io::IsTerminal::is_terminal);
    let terminal = terminal
        .context("there is no terminal to ask at; give the token with --token-file FILE, or - for stdin")?;
    eprint!("Token for {url}: ");
    let before = rustix::termios::tcgetattr(&terminal)?;
    let mut silent = before.clone();
    silent.local_modes.remove(rustix::termios::LocalModes::ECHO);
    rustix::termios::tcsetattr(&terminal, rustix::termios::OptionalActions::Flush, &silent)?;
    let mut line = String::new();
    let read = io::BufReader::new(&terminal).read_line(&mut line);
    rustix::termios::tcsetattr(&terminal, rustix::termios::OptionalActions::Flush, &before)?;
    eprintln!();
    read?;
    checked(&line)
}

fn checked(text: &str) -> Result<String> {
    let token = text.trim();
    if token.is_empty() || token.len() > MAX_TOKEN || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        bail!("that is not a token");
    }
    Ok(token.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept() -> Credentials {
        Credentials { url: "https://control.example.com".to_owned(), token: "kept".to_owned() }
    }

    fn given(url: Option<&str>, token: Option<&str>) -> Given {
        Given { url: url.map(str::to_owned), token: token.map(str::to_owned), token_file: None }
    }

    #[test]
    fn a_kept_token_goes_only_where_it_was_kept_for() {
        assert_eq!(given(None, None).resolve(Some(kept())).unwrap(), kept());
        let same = given(Some("https://control.example.com/"), None);
        assert_eq!(same.resolve(Some(kept())).unwrap(), kept());
        let other = given(Some("https://other.example.com"), None).resolve(Some(kept()));
        assert!(other.unwrap_err().to_string().contains("countersign login https://other.example.com"));
    }

    #[test]
    fn the_environment_goes_before_what_was_kept() {
        let own = given(None, Some("own")).resolve(Some(kept())).unwrap();
        assert_eq!((own.url.as_str(), own.token.as_str()), ("https://control.example.com", "own"));
        let own = given(None, Some("own")).resolve(None).unwrap();
        assert_eq!(own.url, DEFAULT_URL);
        assert!(given(None, None).resolve(None).is_err());
    }

    #[test]
    fn a_token_never_travels_in_the_clear() {
        for url in ["http://localhost:7700/", "http://127.0.0.1:1", "http://[::1]:1", "https://a.example.com"]
        {
            assert!(normalise(url).is_ok(), "{url}");
        }
        for url in [
            "http://a.example.com",
            "http://127.0.0.1.example.com",
            "ftp://a",
            "a.example.com",
            "https://me@a.example.com",
            "https://a.example.com/?x",
        ] {
            assert!(normalise(url).is_err(), "{url}");
        }
    }

    #[test]
    fn kept_credentials_are_for_this_user_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("countersign").join("credentials.toml");
        assert_eq!(load(&file).unwrap(), None);
        save(&file, &kept()).unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(load(&file).unwrap(), Some(kept()));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(load(&file).unwrap_err().to_string().contains("chmod 600"));
    }
}
