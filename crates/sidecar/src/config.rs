//! The sidecar's configuration: a TOML file, overridden by the environment, overridden by flags.

mod initiators;
mod mcp;

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    str::FromStr,
};

use countersign_intercept::initiator::IssuerSettings;
use countersign_model::{AgentName, Seconds};
use countersign_pki::JoinToken;
use countersign_settings::Settings;
pub use countersign_settings::{ConfigProblems, Sources};
use countersign_telemetry::LogConfig;

pub use self::mcp::{
    CommandConfig, CredentialConfig, McpConfig, McpServerConfig, SecretSource, UpstreamConfig,
};

/// What an environment variable must start with to be a setting.
const ENVIRONMENT_PREFIX: &str = "COUNTERSIGN_SIDECAR_";

/// The sidecar's configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the identity, the spool and the last bundle live. Made with mode 0700.
    pub data: PathBuf,
    /// The control plane: host and port (UDP).
    pub control: String,
    /// The agent's name that is expected, to notice a mix-up of join tokens.
    pub agent: Option<AgentName>,
    /// Where reviewers decide, for the links that people are shown.
    pub console: Option<String>,
    /// What gets an identity at first start. Never a setting: it is a secret.
    pub join_token: Option<JoinToken>,
    /// The check API on TCP.
    pub check: CheckConfig,
    /// The unix socket.
    pub socket: SocketConfig,
    /// The MCP servers that agents reach through the sidecar over HTTP.
    pub mcp: McpConfig,
    /// The identity providers whose word about the initiating human counts.
    pub initiators: Vec<IssuerSettings>,
    /// How many bytes of audit events may wait for the control plane before operations are denied.
    pub spool_max_bytes: u64,
    /// Spans of time.
    pub times: Times,
    /// Logs.
    pub log: LogConfig,
}

/// The check API on TCP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckConfig {
    /// Where it listens: a loopback address.
    pub listen: SocketAddr,
    /// Whether callers are trusted enforcement points, so that the subject they assert is the principal.
    pub trust_subject: bool,
}

/// The unix socket, for the check API and for Countersign's own clients.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SocketConfig {
    /// Where it is; `sidecar.sock` in the data folder when not set.
    pub path: Option<PathBuf>,
    /// User ids that may use it besides the sidecar's own.
    pub users: Users,
}

/// User ids, as `1000, 1001`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Users(pub Vec<u32>);

impl FromStr for Users {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let ids = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        let ids: Result<Vec<u32>, _> = ids.map(str::parse).collect();
        ids.map(Self).map_err(|_| "write numeric user ids, separated by commas")
    }
}

/// Spans of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// For how long a reviewer's refusal answers the same operation again.
    pub refusal_stands: Seconds,
    /// How long a shutdown may take.
    pub drain: Seconds,
}

impl Default for Times {
    fn default() -> Self {
        Self { refusal_stands: Seconds::new(15 * 60), drain: Seconds::new(10) }
    }
}

/// Every setting there is.
const KEYS: [&str; 14] = [
    "data",
    "control",
    "agent",
    "console",
    "check.listen",
    "check.trust_subject",
    "socket.path",
    "socket.users",
    "mcp.listen",
    "spool.max_bytes",
    "times.refusal_stands",
    "times.drain",
    "log.format",
    "log.filter",
];

impl Config {
    /// The configuration with every default, data in `data`, for the control plane at `control`.
    #[must_use]
    pub fn new(data: impl Into<PathBuf>, control: impl Into<String>) -> Self {
        Self {
            data: data.into(),
            control: control.into(),
            agent: None,
            console: None,
            join_token: None,
            check: CheckConfig {
                listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 7702)),
                trust_subject: false,
            },
            socket: SocketConfig::default(),
            mcp: McpConfig::default(),
            initiators: Vec::new(),
            spool_max_bytes: 256 * 1024 * 1024,
            times: Times::default(),
            log: LogConfig::default(),
        }
    }

    /// Reads a configuration.
    ///
    /// # Errors
    /// With every mistake there is, not just the first.
    pub fn load(sources: &Sources) -> Result<Self, ConfigProblems> {
        let mut settings = sources.merge(ENVIRONMENT_PREFIX, &KEYS);
        let config = read(&mut settings);
        settings.finish()?;
        Ok(config)
    }

    /// Where the unix socket is.
    #[must_use]
    pub fn socket_path(&self) -> PathBuf {
        self.socket.path.clone().unwrap_or_else(|| self.data.join("sidecar.sock"))
    }
}

fn read(settings: &mut Settings) -> Config {
    let data = settings.required("data", "the folder for the identity and the spool");
    let control = settings.required("control", "the control plane's host and port");
    if !control.is_empty() && !is_host_and_port(&control) {
        settings.problem(format!(
            "control = {control:?}: write host and port, for example \"control.example.org:7701\""
        ));
    }
    let mut config = Config::new(data, control);
    config.agent = settings.take("agent");
    config.console = settings.take("console");
    settings.web_address("console", config.console.as_deref());
    read_listeners(settings, &mut config);
    settings.read_into("spool.max_bytes", &mut config.spool_max_bytes);
    if config.spool_max_bytes < 1024 * 1024 {
        settings.problem(format!("spool.max_bytes = {}: must be at least 1048576", config.spool_max_bytes));
    }
    settings.read_into("times.refusal_stands", &mut config.times.refusal_stands);
    settings.read_into("times.drain", &mut config.times.drain);
    settings.bounded(
        "times.refusal_stands",
        config.times.refusal_stands,
        Seconds::new(1),
        Seconds::new(86_400),
    );
    settings.bounded("times.drain", config.times.drain, Seconds::new(1), Seconds::new(600));
    settings.read_into("log.format", &mut config.log.format);
    settings.read_into("log.filter", &mut config.log.filter);
    config
}

fn read_listeners(settings: &mut Settings, config: &mut Config) {
    settings.read_into("check.listen", &mut config.check.listen);
    settings.read_into("check.trust_subject", &mut config.check.trust_subject);
    let path: Option<String> = settings.take("socket.path");
    config.socket.path = path.map(PathBuf::from);
    settings.read_into("socket.users", &mut config.socket.users);
    config.mcp = mcp::read(settings);
    config.initiators = initiators::read(settings);
    if !config.check.listen.ip().is_loopback() {
        settings.problem(format!(
            "check.listen = \"{}\": the check token would travel in the clear, and the agent is on this \
             machine; listen on a loopback address",
            config.check.listen
        ));
    }
}

fn is_host_and_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

impl fmt::Display for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<String> = self.0.iter().map(u32::to_string).collect();
        f.write_str(&ids.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(toml: &str) -> Result<Config, ConfigProblems> {
        Config::load(&Sources { toml: Some(toml.to_owned()), ..Sources::default() })
    }

    #[test]
    fn the_example_is_valid_and_names_every_setting() {
        let example = include_str!("../../../config/sidecar.toml");
        let config = load(example).unwrap();
        let plain = Config::new(&config.data, &config.control);
        assert_eq!((config.times, config.check), (plain.times, plain.check));
        assert_eq!(config.spool_max_bytes, plain.spool_max_bytes);
        for key in KEYS {
            let name = key.rsplit('.').next().unwrap();
            assert!(example.contains(&format!("{name} =")), "{key}");
        }
        let all: String = example.lines().map(|line| uncommented(line) + "\n").collect();
        load(&all).unwrap();
    }

    fn uncommented(line: &str) -> String {
        match line.strip_prefix("# ") {
            Some(table) if table.starts_with("[[") => table.to_owned(),
            Some(setting) if setting.split(" = ").next().is_some_and(is_word) => setting.to_owned(),
            _ => line.to_owned(),
        }
    }

    fn is_word(text: &str) -> bool {
        text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    }

    #[test]
    fn every_mistake_is_reported_at_once_with_its_place() {
        let problems = load(
            "control = \"nowhere\"\nlatency = 3\nagent = \"Not A Name\"\n[check]\nlisten = \"0.0.0.0:1\"\n\
             [socket]\nusers = \"root\"\n[times]\ndrain = \"soon\"\n",
        )
        .unwrap_err()
        .to_string();
        for expected in [
            "data must be set",
            "write host and port",
            "line 2: there is no setting latency",
            "line 3: agent",
            "the check token would travel in the clear",
            "line 7: socket.users",
            "line 9: times.drain",
        ] {
            assert!(problems.contains(expected), "{expected}\n{problems}");
        }
    }

    #[test]
    fn the_environment_and_flags_override_the_file() {
        let pair = |key: &str, text: &str| (key.to_owned(), text.to_owned());
        let config = Config::load(&Sources {
            toml: Some("data = \"/a\"\ncontrol = \"a:1\"".to_owned()),
            environment: vec![pair("COUNTERSIGN_SIDECAR_CHECK_TRUST_SUBJECT", "true")],
            flags: vec![pair("control", "b:2")],
        })
        .unwrap();
        assert!(config.check.trust_subject);
        assert_eq!(config.control, "b:2");
        assert_eq!(config.socket_path(), PathBuf::from("/a/sidecar.sock"));
    }
}
