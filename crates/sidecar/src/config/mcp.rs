//! `[mcp]`: the MCP servers that agents reach through the sidecar over HTTP.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use countersign_intercept::mcp::{PATIENCE, servers::is_name};
use countersign_model::Seconds;
use countersign_settings::Settings;
use http::{HeaderName, Uri, header};

/// The most servers.
const MAX_SERVERS: usize = 256;
/// The most clients that are known by their names.
const MAX_CLIENTS: usize = 256;
/// How many sessions of a command there may be, unless something else is said: each is a process.
const MAX_SESSIONS: usize = 16;
/// After how long a session that nobody uses ends, unless something else is said.
const IDLE: Seconds = Seconds::new(30 * 60);

/// The MCP servers behind the sidecar. Without any, nothing listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct McpConfig {
    /// Where it listens: a loopback address.
    pub listen: SocketAddr,
    /// The servers.
    pub servers: Vec<McpServerConfig>,
    /// How long clients wait that are known, by the names they give themselves.
    pub clients: BTreeMap<String, Seconds>,
}

impl Default for McpConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 7703)),
            servers: Vec::new(),
            clients: BTreeMap::new(),
        }
    }
}

/// One MCP server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct McpServerConfig {
    /// The name that policy knows it by.
    pub name: String,
    /// Where it is.
    pub upstream: UpstreamConfig,
    /// Its path on the listener.
    pub path: String,
    /// Origins of web pages that may call it.
    pub origins: Vec<String>,
    /// Names that requests may be addressed to.
    pub hosts: Vec<String>,
    /// How long a client waits before it gives up.
    pub patience: Seconds,
}

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpstreamConfig {
    /// At a URL.
    Url {
        /// The URL.
        url: Uri,
        /// What authenticates the sidecar to it.
        credential: Option<CredentialConfig>,
    },
    /// It is a command of this machine.
    Command(CommandConfig),
}

/// A command that speaks MCP on its standard input and output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandConfig {
    /// The program and its arguments.
    pub words: Vec<String>,
    /// The names of the sidecar's variables that it gets, besides those that every program needs.
    pub env: Vec<String>,
    /// The folder that it works in.
    pub cwd: Option<PathBuf>,
    /// The most sessions at a time, with a process each.
    pub max_sessions: usize,
    /// After how long a session ends that nobody uses.
    pub idle: Seconds,
}

/// What authenticates the sidecar to a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialConfig {
    /// The header that carries it.
    pub header: HeaderName,
    /// Where it is kept.
    pub source: SecretSource,
}

/// Where a secret is kept. It is never a setting itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// In a file that only its owner can read.
    File(PathBuf),
    /// In an environment variable of the sidecar.
    Variable(String),
}

pub(super) fn read(settings: &mut Settings) -> McpConfig {
    let mut config = McpConfig::default();
    settings.read_into("mcp.listen", &mut config.listen);
    if !config.listen.ip().is_loopback() {
        settings.problem(format!(
            "mcp.listen = \"{}\": the token would travel in the clear, and the agent is on this machine; \
             listen on a loopback address",
            config.listen
        ));
    }
    for number in 0..MAX_SERVERS {
        let key = format!("mcp.servers.{number}");
        if !settings.has(&key) {
            break;
        }
        config.servers.extend(server(settings, &key));
    }
    for number in 0..MAX_CLIENTS {
        let key = format!("mcp.clients.{number}");
        if !settings.has(&key) {
            break;
        }
        let name = settings.required(&format!("{key}.name"), "the name that the client gives itself");
        let patience = patience(settings, &key);
        config.clients.insert(name, patience);
    }
    let mut seen = std::collections::BTreeSet::new();
    for server in &config.servers {
        if !seen.insert(server.path.clone()) || !seen.insert(server.name.clone()) {
            settings
                .problem(format!("mcp.servers: {:?} has the name or path of another server", server.name));
        }
    }
    config
}

fn server(settings: &mut Settings, key: &str) -> Option<McpServerConfig> {
    let of = |name: &str| format!("{key}.{name}");
    let name: Option<String> = settings.take(&of("name"));
    let name = name.unwrap_or_default();
    let path: String = settings.take(&of("path")).unwrap_or_else(|| format!("/mcp/{name}"));
    let upstream = upstream(settings, key);
    let (origins, hosts) = (settings.take_list(&of("origins")), settings.take_list(&of("hosts")));
    let patience = patience(settings, key);
    if !is_name(&name) {
        settings.problem(format!("{key}.name = {name:?}: 1 to 64 letters, digits, '.', '-' or '_'"));
    }
    let is_path = path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_path || path.contains(['{', '}', '*', '?', '#']) {
        settings
            .problem(format!("{key}.path = {path:?}: write an absolute path, for example \"/mcp/{name}\""));
    }
    Some(McpServerConfig { name, upstream: upstream?, path, origins, hosts, patience })
}

fn upstream(settings: &mut Settings, key: &str) -> Option<UpstreamConfig> {
    let had_url = settings.has(&format!("{key}.url"));
    let url: Option<Uri> = settings.take(&format!("{key}.url"));
    let (credential, command) = (credential(settings, key), command(settings, key));
    let is_web = |url: &Uri| url.authority().is_some() && matches!(url.scheme_str(), Some("http" | "https"));
    let problem = match (url.filter(is_web), command) {
        (Some(url), None) => return Some(UpstreamConfig::Url { url, credential }),
        (None, Some(command)) if !had_url && credential.is_none() => {
            return Some(UpstreamConfig::Command(command));
        }
        (None, Some(_)) if !had_url => format!(
            "{key}: a command has its credentials in the variables that env names, not in credential_env or \
             credential_file"
        ),
        (_, Some(_)) => format!("{key}: give url or command, not both"),
        (None, None) if had_url => {
            format!("{key}.url must be set: the server's address, from https:// or http:// on")
        }
        (None, None) => format!("{key}.url or {key}.command must be set: where the server is"),
    };
    settings.problem(problem);
    None
}

fn command(settings: &mut Settings, key: &str) -> Option<CommandConfig> {
    let of = |name: &str| format!("{key}.{name}");
    let words = settings.take_list(&of("command"));
    let has_more = ["env", "cwd", "max_sessions", "idle"].iter().any(|name| settings.has(&of(name)));
    let (env, cwd) = (settings.take_list(&of("env")), settings.take::<String>(&of("cwd")));
    let (mut max_sessions, mut idle) = (MAX_SESSIONS, IDLE);
    settings.read_into(&of("max_sessions"), &mut max_sessions);
    settings.bounded(&of("max_sessions"), max_sessions, 1, 1_024);
    settings.read_into(&of("idle"), &mut idle);
    settings.bounded(&of("idle"), idle, Seconds::new(1), Seconds::new(86_400));
    if let Some(name) = env.iter().find(|name| name.is_empty() || name.contains(['=', '\0'])) {
        settings.problem(format!("{key}.env: {name:?} is not the name of a variable"));
    }
    if settings.has(&of("command")) {
        let line: Option<String> = settings.take(&of("command"));
        settings
            .problem(format!("{key}.command = {line:?}: write a list, for example [\"npx\", \"-y\", \"…\"]"));
        return None;
    }
    if words.is_empty() {
        if has_more {
            settings.problem(format!("{key}: env, cwd, max_sessions and idle belong to a command"));
        }
        return None;
    }
    Some(CommandConfig { words, env, cwd: cwd.map(PathBuf::from), max_sessions, idle })
}

/// How long a client waits before it gives up.
fn patience(settings: &mut Settings, key: &str) -> Seconds {
    let key = format!("{key}.patience");
    let mut patience = Seconds::new(u32::try_from(PATIENCE.as_secs()).unwrap_or(50));
    settings.read_into(&key, &mut patience);
    settings.bounded(&key, patience, Seconds::new(1), Seconds::new(3_600));
    patience
}

fn credential(settings: &mut Settings, key: &str) -> Option<CredentialConfig> {
    let header = settings.take(&format!("{key}.credential_header")).unwrap_or(header::AUTHORIZATION);
    let file: Option<String> = settings.take(&format!("{key}.credential_file"));
    let variable: Option<String> = settings.take(&format!("{key}.credential_env"));
    let source = match (file, variable) {
        (None, None) => return None,
        (Some(file), None) => SecretSource::File(file.into()),
        (None, Some(variable)) => SecretSource::Variable(variable),
        (Some(_), Some(_)) => {
            settings.problem(format!("{key}: give credential_file or credential_env, not both"));
            return None;
        }
    };
    Some(CredentialConfig { header, source })
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Sources};
    use super::*;

    fn load(toml: &str) -> Result<Config, String> {
        let toml = format!("data = \"/a\"\ncontrol = \"a:1\"\n{toml}");
        Config::load(&Sources { toml: Some(toml), ..Sources::default() })
            .map_err(|problems| problems.to_string())
    }

    #[test]
    fn a_server_needs_a_name_and_an_address() {
        let config = load(
            "[[mcp.servers]]\nname = \"files\"\nurl = \"http://127.0.0.1:9/mcp\"\ncredential_env = \"TOKEN\"\n\
             origins = [\"https://ide.example\"]\npatience = \"4m\"\n\
             [[mcp.clients]]\nname = \"ide\"\npatience = \"5m\"\n",
        )
        .unwrap();
        assert_eq!(config.mcp.clients, BTreeMap::from([("ide".to_owned(), Seconds::new(300))]));
        let server = &config.mcp.servers[0];
        assert_eq!((server.path.as_str(), server.patience), ("/mcp/files", Seconds::new(240)));
        let UpstreamConfig::Url { credential: Some(credential), .. } = &server.upstream else {
            panic!("{server:?}")
        };
        assert_eq!(credential.source, SecretSource::Variable("TOKEN".to_owned()));
        assert_eq!(server.origins, ["https://ide.example"]);
    }

    #[test]
    fn a_server_may_be_a_command() {
        let config = load(
            "[[mcp.servers]]\nname = \"files\"\ncommand = [\"npx\", \"-y\", \"a b\"]\nenv = [\"FILES_TOKEN\"]\n\
             cwd = \"/srv\"\nidle = \"1h\"\n",
        )
        .unwrap();
        let expected = CommandConfig {
            words: ["npx", "-y", "a b"].map(str::to_owned).into(),
            env: vec!["FILES_TOKEN".to_owned()],
            cwd: Some("/srv".into()),
            max_sessions: MAX_SESSIONS,
            idle: Seconds::new(3_600),
        };
        assert_eq!(config.mcp.servers[0].upstream, UpstreamConfig::Command(expected));
        let flags = ["name=x", "command.0=cat", "command.1=-u"]
            .map(|flag| flag.split_once('=').unwrap())
            .map(|(key, value)| (format!("mcp.servers.0.{key}"), value.to_owned()));
        let sources = Sources {
            toml: Some("data = \"/a\"\ncontrol = \"a:1\"".to_owned()),
            flags: flags.into(),
            ..Sources::default()
        };
        let config = Config::load(&sources).unwrap();
        let UpstreamConfig::Command(command) = &config.mcp.servers[0].upstream else { panic!("{config:?}") };
        assert_eq!(command.words, ["cat", "-u"]);
    }

    #[test]
    fn a_server_is_either_a_command_or_elsewhere() {
        for (server, expected) in [
            ("url = \"http://x/\"\ncommand = [\"a\"]", "give url or command, not both"),
            ("url = \"ftp://x/\"\ncommand = [\"a\"]", "give url or command, not both"),
            ("", "url or mcp.servers.0.command must be set"),
            ("command = []", "url or mcp.servers.0.command must be set"),
            ("command = \"npx x\"", "write a list"),
            ("command = [\"a\"]\ncredential_env = \"B\"", "the variables that env names"),
            ("url = \"http://x/\"\nenv = [\"A\"]", "belong to a command"),
            ("command = [\"a\"]\nenv = [\"A=b\"]", "is not the name of a variable"),
            ("command = [\"a\"]\nmax_sessions = 0", "must be from 1 to 1024"),
            ("command = [\"a\"]\nidle = \"0s\"", "must be from"),
        ] {
            let problems = load(&format!("[[mcp.servers]]\nname = \"x\"\n{server}\n")).unwrap_err();
            assert!(problems.contains(expected), "{server}: {problems}");
        }
    }

    #[test]
    fn mistakes_are_told_by_the_server_they_are_in() {
        let problems = load(
            "[mcp]\nlisten = \"0.0.0.0:1\"\n\
             [[mcp.servers]]\nname = \"a/b\"\nurl = \"ftp://x\"\n\
             [[mcp.servers]]\nname = \"c\"\nurl = \"http://x/\"\npath = \"mcp\"\ncolour = \"red\"\n\
             credential_file = \"a\"\ncredential_env = \"B\"\n\
             [[mcp.servers]]\nname = \"c\"\nurl = \"http://y/\"\n",
        )
        .unwrap_err();
        for expected in [
            "listen on a loopback address",
            "mcp.servers.0.name",
            "mcp.servers.0.url must be set",
            "mcp.servers.1.path",
            "there is no setting mcp.servers.1.colour",
            "not both",
            "has the name or path of another",
        ] {
            assert!(problems.contains(expected), "{expected}\n{problems}");
        }
    }
}
