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
    pub url: Uri,
    /// Its path on the listener.
    pub path: String,
    /// What authenticates the sidecar to it.
    pub credential: Option<CredentialConfig>,
    /// Origins of web pages that may call it.
    pub origins: Vec<String>,
    /// Names that requests may be addressed to.
    pub hosts: Vec<String>,
    /// How long a client waits before it gives up.
    pub patience: Seconds,
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
    let url: Option<Uri> = settings.take(&of("url"));
    let name = name.unwrap_or_default();
    let path: String = settings.take(&of("path")).unwrap_or_else(|| format!("/mcp/{name}"));
    let credential = credential(settings, key);
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
    let is_web = |url: &Uri| url.authority().is_some() && matches!(url.scheme_str(), Some("http" | "https"));
    match url {
        Some(url) if is_web(&url) => {
            Some(McpServerConfig { name, url, path, credential, origins, hosts, patience })
        }
        _ => {
            settings
                .problem(format!("{key}.url must be set: the server's address, from https:// or http:// on"));
            None
        }
    }
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
        let credential = server.credential.as_ref().unwrap();
        assert_eq!(credential.source, SecretSource::Variable("TOKEN".to_owned()));
        assert_eq!(server.origins, ["https://ide.example"]);
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
