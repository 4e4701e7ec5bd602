//! `[[identity.providers]]`: which identity providers vouch for people, and what their word is worth.

use std::{collections::BTreeSet, path::PathBuf};

use countersign_model::{PersonId, ReviewerSelector};
use countersign_settings::Settings;
use reqwest::Url;

use super::super::{Role, Standing};

/// Where Google's accounts are.
const GOOGLE: &str = "https://accounts.google.com";
/// The most providers there can be.
const MOST: usize = 20;

/// What is particular about a provider.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ProviderKind {
    /// Nothing: any standard provider.
    #[default]
    Generic,
    /// Okta: groups come with the scope `groups`.
    Okta,
    /// Google: one Workspace organisation (`hd`), and no groups.
    Google,
}

impl std::str::FromStr for ProviderKind {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "generic" => Ok(Self::Generic),
            "okta" => Ok(Self::Okta),
            "google" => Ok(Self::Google),
            _ => Err("there are generic, okta and google"),
        }
    }
}

/// One identity provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderConfig {
    /// Its name in addresses.
    pub id: String,
    /// Its name on the sign-in page.
    pub name: String,
    /// What is particular about it.
    pub kind: ProviderKind,
    /// Its issuer, exactly as its tokens say it.
    pub issuer: String,
    /// What it calls this control plane.
    pub client_id: String,
    /// The file with the client's secret; a public client, which has PKCE only, when not set.
    pub client_secret_file: Option<PathBuf>,
    /// What is asked for.
    pub scopes: Vec<String>,
    /// Where in its claims the groups are: a name, a dotted path or a JSON Pointer.
    pub groups_claim: Option<String>,
    /// Put before its groups, so that those of two providers are told apart.
    pub group_prefix: String,
    /// The Google Workspace organisation whose members may sign in (`hd`).
    pub hosted_domain: Option<String>,
    /// The domains of e-mail addresses that it is authoritative for; any, but not with authority, when empty.
    pub allowed_domains: Vec<String>,
    /// Whether it must say that it has verified an e-mail address.
    pub require_verified_email: bool,
    /// Who has which role, by the provider's own names of its groups.
    pub roles: Vec<(Role, ReviewerSelector)>,
}

impl ProviderConfig {
    /// Whether the operator has said that addresses of that domain are this provider's to vouch for.
    #[must_use]
    pub fn is_authoritative_for(&self, domain: &str) -> bool {
        self.allowed_domains.iter().any(|allowed| allowed == domain)
    }

    /// What somebody may do by this provider's word: roles by its own groups, and the groups as policy
    /// names them.
    pub(in crate::identity) fn standing(&self, person: &PersonId, groups: &[String]) -> Standing {
        let names = |selector: &ReviewerSelector| match selector {
            ReviewerSelector::Anyone => true,
            ReviewerSelector::User(named) => named == person,
            ReviewerSelector::Group(named) => groups.contains(named),
        };
        let roles: BTreeSet<Role> =
            self.roles.iter().filter(|(_, who)| names(who)).map(|(role, _)| *role).collect();
        let groups = groups.iter().map(|group| format!("{}{group}", self.group_prefix)).collect();
        Standing { roles, groups, also: Vec::new() }
    }

    /// Whether its issuer is on this machine, where plain HTTP and no proxy will do.
    pub(super) fn is_loopback(&self) -> bool {
        is_plain_loopback(&self.issuer)
    }
}

/// Reads `[[identity.providers]]`.
pub(in crate::identity) fn read(settings: &mut Settings) -> Vec<ProviderConfig> {
    let mut providers: Vec<ProviderConfig> = Vec::new();
    for number in 0..MOST {
        let place = format!("identity.providers.{number}");
        if !settings.has(&place) {
            break;
        }
        let provider = read_one(settings, &place);
        if providers.iter().any(|other| other.id == provider.id || other.issuer == provider.issuer) {
            settings.problem(format!("{place}: there is another provider with that id or issuer"));
        }
        providers.push(provider);
    }
    providers
}

fn read_one(settings: &mut Settings, place: &str) -> ProviderConfig {
    let key = |name: &str| format!("{place}.{name}");
    let id = settings.required(&key("id"), "its name in addresses, such as \"okta\"");
    let kind: ProviderKind = settings.take(&key("kind")).unwrap_or_default();
    let name: Option<String> = settings.take(&key("name"));
    let issuer: Option<String> = settings.take(&key("issuer"));
    let mut scopes = settings.take_list(&key("scopes"));
    if scopes.is_empty() {
        scopes = default_scopes(kind);
    }
    let mut provider = ProviderConfig {
        name: name.unwrap_or_else(|| id.clone()),
        kind,
        issuer: issuer.unwrap_or_else(|| default_issuer(kind).to_owned()),
        client_id: settings.required(&key("client_id"), "what the provider calls this control plane"),
        client_secret_file: settings.take::<String>(&key("client_secret_file")).map(PathBuf::from),
        scopes,
        groups_claim: settings.take(&key("groups_claim")).or_else(|| default_groups_claim(kind)),
        group_prefix: settings.take(&key("group_prefix")).unwrap_or_default(),
        hosted_domain: settings.take(&key("hosted_domain")),
        allowed_domains: settings.take_list(&key("allowed_domains")),
        require_verified_email: settings.take(&key("require_verified_email")).unwrap_or(true),
        roles: read_roles(settings, place),
        id,
    };
    if provider.allowed_domains.is_empty() {
        provider.allowed_domains.extend(provider.hosted_domain.clone());
    }
    for problem in problems(&provider) {
        settings.problem(format!("{place}: {problem}"));
    }
    provider
}

fn default_issuer(kind: ProviderKind) -> &'static str {
    if kind == ProviderKind::Google { GOOGLE } else { "" }
}

fn default_groups_claim(kind: ProviderKind) -> Option<String> {
    (kind != ProviderKind::Google).then(|| "groups".to_owned())
}

fn default_scopes(kind: ProviderKind) -> Vec<String> {
    let groups: &[&str] = if kind == ProviderKind::Okta { &["groups"] } else { &[] };
    ["openid", "email", "profile"].iter().chain(groups).map(ToString::to_string).collect()
}

fn read_roles(settings: &mut Settings, place: &str) -> Vec<(Role, ReviewerSelector)> {
    let mut roles = Vec::new();
    for role in Role::ALL {
        let key = format!("{place}.roles.{role}");
        for number in 0.. {
            let item = format!("{key}.{number}");
            if !settings.has(&item) {
                break;
            }
            roles.extend(settings.take(&item).map(|who| (*role, who)));
        }
    }
    if roles.is_empty() {
        settings.problem(format!("{place}.roles: names nobody, so nobody could sign in"));
    }
    roles
}

/// What is wrong with a provider, once its settings are read.
fn problems(provider: &ProviderConfig) -> Vec<String> {
    let mut problems = Vec::new();
    let mut check = |holds: bool, problem: &str| {
        if !holds {
            problems.push(problem.to_owned());
        }
    };
    check(is_name(&provider.id), "id has 1 to 32 lower-case letters, digits and hyphens");
    check(
        is_issuer(&provider.issuer),
        "issuer is an https:// address without a query (http:// on loopback only)",
    );
    check(provider.scopes.iter().any(|scope| scope == "openid"), "scopes must have \"openid\"");
    check(
        provider.require_verified_email || !provider.allowed_domains.is_empty(),
        "require_verified_email = false needs allowed_domains: say whose addresses it knows",
    );
    check(
        provider.kind != ProviderKind::Google || provider.hosted_domain.is_some(),
        "hosted_domain must be set for google: anybody can have a Google account",
    );
    check(
        provider.allowed_domains.iter().all(|domain| is_domain(domain)),
        "allowed_domains are domains in lower case, such as \"example.com\"",
    );
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:/".contains(c);
    check(provider.group_prefix.chars().all(plain), "group_prefix has letters, digits and -_.:/ only");
    problems
}

fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=32).contains(&text.len()) && text.bytes().all(plain)
}

fn is_domain(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte);
    !text.is_empty() && text.bytes().all(plain)
}

fn is_issuer(text: &str) -> bool {
    let Ok(url) = Url::parse(text) else { return false };
    let bare = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    bare && (url.scheme() == "https" || is_plain_loopback(text))
}

/// Whether an address is plain HTTP on this machine.
pub(super) fn is_plain_loopback(text: &str) -> bool {
    let Ok(url) = Url::parse(text) else { return false };
    let host = url.host_str().unwrap_or_default();
    let ip = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    url.scheme() == "http" && (host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback()))
}

#[cfg(test)]
mod tests {
    use countersign_settings::Sources;

    use super::*;

    fn load(toml: &str) -> Result<Vec<ProviderConfig>, String> {
        let sources = Sources { toml: Some(toml.to_owned()), ..Sources::default() };
        let mut settings = sources.merge("X_", &[]);
        let providers = read(&mut settings);
        settings.finish().map_err(|problems| problems.to_string())?;
        Ok(providers)
    }

    const OKTA: &str = "[[identity.providers]]\nid = \"okta\"\nkind = \"okta\"\nissuer = \"https://okta.example.com\"\n\
        client_id = \"c\"\ngroup_prefix = \"okta:\"\nroles = { reviewer = [\"group:sre\"], admin = [\"user:owner@example.com\"] }\n";

    #[test]
    fn roles_come_from_groups_and_names_and_groups_are_told_apart() {
        let providers = load(OKTA).unwrap();
        let okta = &providers[0];
        assert_eq!((okta.name.as_str(), okta.scopes.len()), ("okta", 4));
        let standing = |person: &str, groups: &[&str]| {
            let groups: Vec<_> = groups.iter().map(ToString::to_string).collect();
            okta.standing(&person.parse().unwrap(), &groups)
        };
        let reviewer = standing("reviewer-one@example.com", &["sre", "dev"]);
        assert_eq!(reviewer.roles, BTreeSet::from([Role::Reviewer]));
        assert_eq!(reviewer.groups, ["okta:sre", "okta:dev"]);
        assert_eq!(standing("owner@example.com", &[]).roles, BTreeSet::from([Role::Admin]));
        // The prefixed name is policy's, not the provider's: a group cannot call itself that.
        assert!(standing("x@example.com", &["okta:sre", "user:owner@example.com", "*"]).roles.is_empty());
    }

    #[test]
    fn every_mistake_is_reported_at_once() {
        let problems = load(
            "[[identity.providers]]\nid = \"Bad Id\"\nissuer = \"http://idp.example.com\"\nscopes = [\"email\"]\n\
             require_verified_email = false\nroles = { reviewer = [\"sre\"], king = [\"*\"] }\n\
             [[identity.providers]]\nid = \"google\"\nkind = \"google\"\nclient_id = \"c\"\nclient_secret = \"s\"\n\
             allowed_domains = [\"Example.com\"]\n",
        )
        .unwrap_err();
        for expected in [
            "client_id must be set",
            "id has 1 to 32",
            "issuer is an https:// address",
            "scopes must have",
            "needs allowed_domains",
            "identity.providers.0.roles.reviewer.0 = \"sre\"",
            "there is no setting identity.providers.0.roles.king",
            "hosted_domain must be set for google",
            "there is no setting identity.providers.1.client_secret",
            "allowed_domains are domains in lower case",
            "identity.providers.1.roles: names nobody",
        ] {
            assert!(problems.contains(expected), "{expected}\n{problems}");
        }
    }

    #[test]
    fn plain_http_is_for_this_machine_only_and_issuers_are_one_of_each() {
        let with = |issuer: &str| load(&OKTA.replace("https://okta.example.com", issuer));
        for good in
            ["http://127.0.0.1:9000", "http://localhost:9000/realm", "http://[::1]:1", "https://a.example/b"]
        {
            with(good).unwrap();
        }
        for bad in
            ["http://127.0.0.1.evil.example", "http://localhost.example", "https://a?x=y", "ftp://a", "a"]
        {
            with(bad).unwrap_err();
        }
        load(&format!("{OKTA}{OKTA}")).unwrap_err();
    }
}
