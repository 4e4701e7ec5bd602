//! What is configured, for people to look at: how this control plane was started. It has no secrets.

use std::sync::Arc;

use super::{MissingRight, Parts, overview_lists, require};
use crate::{
    config::{Config, ConsoleConfig},
    identity::{Actor, Right},
};

/// Settings that belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsGroup {
    /// What they are about.
    pub title: String,
    /// Each setting's name in the configuration, and its value in words.
    pub settings: Vec<(&'static str, String)>,
}

/// What is configured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overview {
    /// Group by group.
    pub groups: Vec<SettingsGroup>,
    trace_url: Option<String>,
}

impl Overview {
    /// What a configuration says, named setting by setting: what is not named here is not shown.
    pub(crate) fn of(config: &Config) -> Self {
        let or_not = |value: &Option<String>| value.clone().unwrap_or_else(|| "not set".to_owned());
        let yes = |value: bool| if value { "yes" } else { "no" }.to_owned();
        let group = |title: &str, settings| SettingsGroup { title: title.to_owned(), settings };
        let times = &config.times;
        let limits = &config.limits;
        let identity = &config.identity;
        let mut groups = vec![
            group(
                "Installation",
                vec![
                    ("trust_domain", config.trust_domain.to_string()),
                    ("api.listen", config.api.listen.to_string()),
                    ("api.public_url", or_not(&config.api.public_url)),
                    ("api.behind_tls_proxy", yes(config.api.behind_tls_proxy)),
                    ("link.listen", config.link.listen.to_string()),
                    ("link.max_sessions", config.link.max_sessions.to_string()),
                    ("console.trace_url", or_not(&config.console.trace_url)),
                ],
            ),
            group(
                "Sign-in",
                vec![
                    (
                        "people",
                        if config.people.is_some() { "from a file" } else { "not from a file" }.to_owned(),
                    ),
                    ("identity.local", yes(identity.local)),
                    ("identity.session_lifetime", identity.session_lifetime.to_string()),
                    ("identity.session_idle", identity.session_idle.to_string()),
                    ("identity.sign_in_max_age", identity.sign_in_max_age.to_string()),
                    ("identity.automation_max_age", identity.automation_max_age.to_string()),
                ],
            ),
            group(
                "Limits",
                vec![
                    ("limits.pending_per_agent", limits.pending.to_string()),
                    ("limits.requests_per_agent", format!("{} within {}", limits.requests, limits.per)),
                ],
            ),
            group(
                "Times",
                vec![
                    ("authority.svid_lifetime", config.authority.svid_lifetime.to_string()),
                    ("times.join_token", times.join_token.to_string()),
                    ("times.requester_lease", times.requester_lease.to_string()),
                    ("times.checkpoint", times.checkpoint.to_string()),
                    ("times.drain", times.drain.to_string()),
                ],
            ),
        ];
        groups.extend(overview_lists::groups(&identity.providers, &config.channels));
        Self { groups, trace_url: config.console.trace_url.clone() }
    }
}

/// Shows what is configured.
#[derive(Debug, Clone)]
pub struct SettingsService {
    parts: Arc<Parts>,
}

impl SettingsService {
    pub(super) fn new(parts: Arc<Parts>) -> Self {
        Self { parts }
    }

    /// What is configured.
    ///
    /// # Errors
    /// When the actor is no admin.
    pub fn overview(&self, actor: &Actor) -> Result<&Overview, MissingRight> {
        require(actor, Right::Admin)?;
        Ok(&self.parts.overview)
    }

    /// Where a trace can be looked at, if that is configured.
    #[must_use]
    pub fn trace_address(&self, trace: &str) -> Option<String> {
        let template = self.parts.overview.trace_url.as_ref()?;
        Some(template.replace(ConsoleConfig::TRACE_ID, trace))
    }
}
