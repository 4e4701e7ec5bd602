//! Who may sign in, and how long that is trusted, as the operator sets it.

use countersign_model::Seconds;
use countersign_settings::Settings;

use super::{ProviderConfig, oidc};

/// Every setting of `[identity]` but its providers.
pub(crate) const KEYS: [&str; 5] = [
    "identity.local",
    "identity.session_lifetime",
    "identity.session_idle",
    "identity.sign_in_max_age",
    "identity.automation_max_age",
];

const DAY: u32 = 24 * 60 * 60;

/// How people sign in, and how long that is trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityConfig {
    /// Whether this installation knows people itself and takes tokens at the console's sign-in. Without,
    /// identity providers vouch for everybody.
    pub local: bool,
    /// A session ends so long after the sign-in, whatever was done in it.
    pub session_lifetime: Seconds,
    /// A session ends when nothing was done in it for so long.
    pub session_idle: Seconds,
    /// How old a person's latest sign-in may be for what goes by it: a vote from a chat, and the tokens of people
    /// for whom an identity provider vouches.
    pub sign_in_max_age: Seconds,
    /// The same for tokens of programs, which can never vote.
    pub automation_max_age: Seconds,
    /// Who vouches for people.
    pub providers: Vec<ProviderConfig>,
}

impl Default for IdentityConfig {
    fn default() -> Self {
        Self {
            local: true,
            session_lifetime: Seconds::new(DAY / 2),
            session_idle: Seconds::new(2 * 60 * 60),
            sign_in_max_age: Seconds::new(7 * DAY),
            automation_max_age: Seconds::new(90 * DAY),
            providers: Vec::new(),
        }
    }
}

impl IdentityConfig {
    /// Reads `[identity]`.
    pub(crate) fn read(settings: &mut Settings) -> Self {
        let mut config = Self::default();
        settings.read_into("identity.local", &mut config.local);
        let spans = [
            ("identity.session_lifetime", &mut config.session_lifetime, 30),
            ("identity.session_idle", &mut config.session_idle, 30),
            ("identity.sign_in_max_age", &mut config.sign_in_max_age, 90),
            ("identity.automation_max_age", &mut config.automation_max_age, 366),
        ];
        for (key, span, most_days) in spans {
            settings.read_into(key, span);
            settings.bounded(key, *span, Seconds::new(60), Seconds::new(most_days * DAY));
        }
        if config.session_idle > config.session_lifetime {
            settings.problem("identity.session_idle is longer than identity.session_lifetime");
        }
        config.providers = oidc::read(settings);
        if !config.local && config.providers.is_empty() {
            settings.problem("identity.local = false needs identity.providers, or nobody could sign in");
        }
        config
    }
}
