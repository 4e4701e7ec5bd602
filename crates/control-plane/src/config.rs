//! The control plane's configuration: a TOML file, overridden by the environment, overridden by flags.
//!
//! Every mistake is reported at once, unknown settings included: a misspelt setting that is
//! silently ignored is a security setting that is not in force.

mod channels;

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use countersign_model::{Seconds, TrustDomain};
use countersign_settings::Settings;
pub use countersign_settings::{ConfigProblems, Sources};
use countersign_telemetry::LogConfig;

pub use self::channels::{
    ChannelsConfig, EmailConfig, Route, Security, SlackConfig, TeamsBotConfig, TeamsWorkflowConfig,
    WebhookConfig,
};
use crate::identity::{IdentityConfig, settings::KEYS as IDENTITY_KEYS};

/// The control plane's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where keys and the store live. Made with mode 0700.
    pub data: PathBuf,
    /// The trust domain that this control plane vouches for. Fixed at first start.
    pub trust_domain: TrustDomain,
    /// The people of a small installation ([`crate::identity::people_file`]); whoever was made known
    /// otherwise stays when not set.
    pub people: Option<PathBuf>,
    /// The REST API and the console.
    pub api: ApiConfig,
    /// The link to sidecars.
    pub link: LinkConfig,
    /// Where certificates come from.
    pub authority: AuthorityConfig,
    /// Where reviewers are told, besides the console.
    pub channels: ChannelsConfig,
    /// Spans of time.
    pub times: Times,
    /// How much one agent may ask of people.
    pub limits: AgentLimits,
    /// How people sign in.
    pub identity: IdentityConfig,
    /// The console.
    pub console: ConsoleConfig,
    /// Logs.
    pub log: LogConfig,
}

/// The console.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConsoleConfig {
    /// Where traces are looked at: an address with [`ConsoleConfig::TRACE_ID`] in the place of a trace's id.
    pub trace_url: Option<String>,
}

impl ConsoleConfig {
    /// What stands for a trace's id.
    pub const TRACE_ID: &str = "{trace_id}";
}

/// The REST API and the console.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiConfig {
    /// Where it listens.
    pub listen: SocketAddr,
    /// How people reach it, for links; `http://` and the address when not set.
    pub public_url: Option<String>,
    /// Whether something in front of it terminates TLS. Without it only a loopback address is taken,
    /// since tokens would travel in the clear.
    pub behind_tls_proxy: bool,
}

impl ApiConfig {
    /// Whether people reach it over HTTPS.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.behind_tls_proxy || self.public_url.as_deref().is_some_and(|url| url.starts_with("https://"))
    }
}

/// The link to sidecars.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkConfig {
    /// Where it listens (UDP).
    pub listen: SocketAddr,
    /// How many sidecars may be connected at once.
    pub max_sessions: usize,
}

/// Where certificates come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorityConfig {
    /// The operator's own CA; made at first start when not set.
    pub files: Option<AuthorityFiles>,
    /// How long a sidecar's certificate lasts. It is renewed at half of it.
    pub svid_lifetime: Seconds,
}

/// A CA that the operator brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorityFiles {
    /// Its certificate, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM, readable by nobody else.
    pub key: PathBuf,
}

/// Spans of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Times {
    /// How long a join token can be redeemed.
    pub join_token: Seconds,
    /// How long a requester may be away before its requests are cancelled.
    pub requester_lease: Seconds,
    /// How often the ledger's head is signed, when it has grown.
    pub checkpoint: Seconds,
    /// How long a shutdown may take.
    pub drain: Seconds,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            join_token: Seconds::new(3_600),
            requester_lease: Seconds::new(60),
            checkpoint: Seconds::new(10),
            drain: Seconds::new(10),
        }
    }
}

/// How much one agent may ask of people. Their attention is what it would wear out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AgentLimits {
    /// How many of its requests may wait for people at a time.
    pub pending: u32,
    /// How many requests it may make…
    pub requests: u32,
    /// …within so long.
    pub per: Seconds,
}

impl Default for AgentLimits {
    fn default() -> Self {
        Self { pending: 20, requests: 60, per: Seconds::new(600) }
    }
}

/// What an environment variable must start with to be a setting.
const ENVIRONMENT_PREFIX: &str = "COUNTERSIGN_CONTROL_";

/// Every setting there is, but for those of `[identity]`.
const KEYS: [&str; 21] = [
    "data",
    "trust_domain",
    "people",
    "api.listen",
    "api.public_url",
    "api.behind_tls_proxy",
    "link.listen",
    "link.max_sessions",
    "authority.certificate",
    "authority.key",
    "authority.svid_lifetime",
    "times.join_token",
    "times.requester_lease",
    "times.checkpoint",
    "times.drain",
    "limits.pending_per_agent",
    "limits.requests_per_agent.count",
    "limits.requests_per_agent.per",
    "console.trace_url",
    "log.format",
    "log.filter",
];

impl Config {
    /// The configuration with every default, data in `data`, on the usual loopback ports.
    #[must_use]
    pub fn new(data: impl Into<PathBuf>, trust_domain: TrustDomain) -> Self {
        let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self {
            data: data.into(),
            trust_domain,
            people: None,
            api: ApiConfig { listen: loopback(7700), public_url: None, behind_tls_proxy: false },
            link: LinkConfig { listen: loopback(7701), max_sessions: 20_000 },
            authority: AuthorityConfig { files: None, svid_lifetime: Seconds::new(3_600) },
            channels: ChannelsConfig::default(),
            times: Times::default(),
            limits: AgentLimits::default(),
            identity: IdentityConfig::default(),
            console: ConsoleConfig::default(),
            log: LogConfig::default(),
        }
    }

    /// Reads a configuration.
    ///
    /// # Errors
    /// With every mistake there is, not just the first.
    pub fn load(sources: &Sources) -> Result<Self, ConfigProblems> {
        let keys = [KEYS.as_slice(), IDENTITY_KEYS.as_slice()].concat();
        let mut settings = sources.merge(ENVIRONMENT_PREFIX, &keys);
        let config = read(&mut settings);
        settings.finish()?;
        config.ok_or_else(|| ConfigProblems(vec!["data and trust_domain must be set".to_owned()]))
    }

    /// Where keys live.
    pub(crate) fn keys_dir(&self) -> PathBuf {
        self.data.join("keys")
    }
}

fn read(settings: &mut Settings) -> Option<Config> {
    let data = settings.required("data", "the folder for keys and the store");
    let trust_domain: Option<TrustDomain> = settings.take("trust_domain");
    if trust_domain.is_none() {
        settings.problem("trust_domain must be set, for example \"example.org\"");
    }
    // Loading fails without one; the other settings are checked all the same.
    let unset = || "unset.invalid".parse().ok();
    let mut config = Config::new(data, trust_domain.or_else(unset)?);
    config.people = settings.take::<String>("people").map(PathBuf::from);
    read_api(settings, &mut config.api);
    settings.read_into("link.listen", &mut config.link.listen);
    settings.read_into("link.max_sessions", &mut config.link.max_sessions);
    read_authority(settings, &mut config.authority);
    config.channels = channels::read(settings);
    read_times(settings, &mut config.times);
    read_limits(settings, &mut config.limits);
    config.identity = IdentityConfig::read(settings);
    read_console(settings, &mut config.console);
    let reached_elsewhere = config.api.behind_tls_proxy && config.api.public_url.is_none();
    if reached_elsewhere && !config.identity.providers.is_empty() {
        settings.problem("api.public_url must be set: identity.providers send browsers back there");
    }
    if config.people.is_some() && !config.identity.local {
        settings.problem("people and identity.local = false contradict each other: set one of them");
    }
    settings.read_into("log.format", &mut config.log.format);
    settings.read_into("log.filter", &mut config.log.filter);
    Some(config)
}

fn read_console(settings: &mut Settings, console: &mut ConsoleConfig) {
    console.trace_url = settings.take("console.trace_url");
    settings.web_address("console.trace_url", console.trace_url.as_deref());
    if console.trace_url.as_ref().is_some_and(|url| !url.contains(ConsoleConfig::TRACE_ID)) {
        let place = ConsoleConfig::TRACE_ID;
        settings.problem(format!("console.trace_url: write {place} where a trace's id belongs"));
    }
}

fn read_api(settings: &mut Settings, api: &mut ApiConfig) {
    settings.read_into("api.listen", &mut api.listen);
    settings.read_into("api.behind_tls_proxy", &mut api.behind_tls_proxy);
    api.public_url = settings.take("api.public_url");
    settings.web_address("api.public_url", api.public_url.as_deref());
    if !api.listen.ip().is_loopback() && !api.behind_tls_proxy {
        settings.problem(format!(
            "api.listen = \"{}\": tokens would travel in the clear; listen on a loopback address, or put a \
             TLS proxy in front and set api.behind_tls_proxy = true",
            api.listen
        ));
    }
}

fn read_authority(settings: &mut Settings, authority: &mut AuthorityConfig) {
    let certificate: Option<String> = settings.take("authority.certificate");
    let key: Option<String> = settings.take("authority.key");
    authority.files = match (certificate, key) {
        (Some(certificate), Some(key)) => {
            Some(AuthorityFiles { certificate: certificate.into(), key: key.into() })
        }
        (None, None) => None,
        _ => {
            settings.problem("authority.certificate and authority.key go together: set both or neither");
            None
        }
    };
    settings.read_into("authority.svid_lifetime", &mut authority.svid_lifetime);
    settings.bounded(
        "authority.svid_lifetime",
        authority.svid_lifetime,
        Seconds::new(60),
        Seconds::new(7 * 86_400),
    );
}

fn read_times(settings: &mut Settings, times: &mut Times) {
    settings.read_into("times.join_token", &mut times.join_token);
    settings.read_into("times.requester_lease", &mut times.requester_lease);
    settings.read_into("times.checkpoint", &mut times.checkpoint);
    settings.read_into("times.drain", &mut times.drain);
    settings.bounded("times.join_token", times.join_token, Seconds::new(60), Seconds::new(7 * 86_400));
    settings.bounded("times.requester_lease", times.requester_lease, Seconds::new(5), Seconds::new(86_400));
    settings.bounded("times.checkpoint", times.checkpoint, Seconds::new(1), Seconds::new(3_600));
    settings.bounded("times.drain", times.drain, Seconds::new(1), Seconds::new(600));
}

fn read_limits(settings: &mut Settings, limits: &mut AgentLimits) {
    let (count, per) = ("limits.requests_per_agent.count", "limits.requests_per_agent.per");
    settings.read_into("limits.pending_per_agent", &mut limits.pending);
    settings.read_into(count, &mut limits.requests);
    settings.read_into(per, &mut limits.per);
    settings.bounded("limits.pending_per_agent", limits.pending, 1, 10_000);
    settings.bounded(count, limits.requests, 1, 100_000);
    settings.bounded(per, limits.per, Seconds::new(1), Seconds::new(86_400));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(toml: &str) -> Result<Config, ConfigProblems> {
        Config::load(&Sources { toml: Some(toml.to_owned()), ..Sources::default() })
    }

    #[test]
    fn the_example_is_valid_and_names_every_setting() {
        let example = include_str!("../../../config/control.toml");
        let config = load(example).unwrap();
        assert_eq!((config.times, config.identity), (Times::default(), IdentityConfig::default()));
        assert_eq!(config.limits, AgentLimits::default());
        for key in KEYS.into_iter().chain(IDENTITY_KEYS) {
            let name = key.rsplit('.').next().unwrap();
            assert!(example.contains(&format!("{name} =")), "{key}");
        }
    }

    #[test]
    fn every_mistake_is_reported_at_once_with_its_place() {
        let problems = load(
            "data = \"/tmp/x\"\ntrust_domain = \"Not A Domain\"\nlatency = 3\n\
             [api]\nlisten = \"0.0.0.0:1\"\n[times]\ndrain = \"soon\"\njoin_token = [1]\n[authority]\nkey = \"k\"\n",
        )
        .unwrap_err()
        .to_string();
        for expected in [
            "line 2: trust_domain",
            "line 3: there is no setting latency",
            "tokens would travel in the clear",
            "line 7: times.drain",
            "line 8: times.join_token takes",
            "set both or neither",
        ] {
            assert!(problems.contains(expected), "{expected}\n{problems}");
        }
    }

    #[test]
    fn flags_win_over_the_environment_and_the_environment_over_the_file() {
        let pair = |key: &str, text: &str| (key.to_owned(), text.to_owned());
        let config = Config::load(&Sources {
            toml: Some("data = \"/a\"\ntrust_domain = \"example.org\"\n[log]\nfilter = \"warn\"".to_owned()),
            environment: vec![
                pair("COUNTERSIGN_CONTROL_DATA", "/b"),
                pair("COUNTERSIGN_CONTROL_LINK_LISTEN", "127.0.0.1:0"),
                pair("HOME", "/root"),
            ],
            flags: vec![pair("data", "/c")],
        })
        .unwrap();
        assert_eq!(config.data, PathBuf::from("/c"));
        assert_eq!(config.link.listen.port(), 0);
        assert_eq!(config.log.filter, "warn");
    }

    #[test]
    fn a_misspelt_environment_variable_is_a_mistake() {
        let problems = Config::load(&Sources {
            toml: Some("data = \"/a\"\ntrust_domain = \"example.org\"".to_owned()),
            environment: vec![("COUNTERSIGN_CONTROL_LNIK_LISTEN".to_owned(), "x".to_owned())],
            flags: vec![],
        })
        .unwrap_err();
        assert!(problems.to_string().contains("COUNTERSIGN_CONTROL_LNIK_LISTEN"));
    }
}
