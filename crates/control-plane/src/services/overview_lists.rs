//! What is configured item by item: identity providers, channels and routes. Each setting is named here by itself, so
//! that none is shown by accident; of an address only where it leads, because its path may be a secret.

use http::Uri;
use reqwest::Url;

use super::SettingsGroup;
use crate::{
    config::{ChannelsConfig, EmailConfig, Route, Security, SlackConfig, TeamsBotConfig},
    identity::{ProviderConfig, ProviderKind},
};

type Named = (&'static str, String);

/// A group for each provider, each channel, and the routes.
pub(super) fn groups(providers: &[ProviderConfig], channels: &ChannelsConfig) -> Vec<SettingsGroup> {
    let mut groups: Vec<SettingsGroup> = providers.iter().map(provider).collect();
    let channel = |kind: &str, name: &str, settings: Vec<Named>| SettingsGroup {
        title: format!("Channel {name}: {kind}"),
        settings,
    };
    groups.extend(channels.slack.iter().map(|one| channel("Slack", &one.name, slack(one))));
    groups.extend(channels.teams_bots.iter().map(|one| channel("Teams bot", &one.name, teams_bot(one))));
    groups.extend(channels.teams.iter().map(|one| {
        let clicks = "none: a card links to the console".to_owned();
        channel("Teams workflow", &one.name, vec![("clicks come", clicks)])
    }));
    groups.extend(channels.webhooks.iter().map(|one| {
        let secrets = one.secret_files.len().to_string();
        let settings = vec![
            ("url", place(&one.url)),
            ("secret_files", secrets),
            ("allow_private", yes(one.allow_private)),
        ];
        channel("webhook", &one.name, settings)
    }));
    groups.extend(channels.emails.iter().map(|one| channel("e-mail", &one.name, email(one))));
    if !channels.routes.is_empty() {
        let title = "Routes".to_owned();
        groups.push(SettingsGroup { title, settings: channels.routes.iter().map(route).collect() });
    }
    groups
}

fn yes(value: bool) -> String {
    if value { "yes" } else { "no" }.to_owned()
}

fn listed(items: &[String]) -> String {
    if items.is_empty() { "any".to_owned() } else { items.join(", ") }
}

fn provider(provider: &ProviderConfig) -> SettingsGroup {
    let kind = match provider.kind {
        ProviderKind::Generic => "generic",
        ProviderKind::Okta => "okta",
        ProviderKind::Google => "google",
    };
    let or_not = |value: &Option<String>| value.clone().unwrap_or_else(|| "not set".to_owned());
    let roles = provider.roles.iter().map(|(role, who)| format!("{role}: {who}")).collect::<Vec<_>>();
    let settings = vec![
        ("kind", kind.to_owned()),
        ("issuer", provider.issuer.clone()),
        ("client_id", provider.client_id.clone()),
        ("client_secret_file", yes(provider.client_secret_file.is_some())),
        ("scopes", provider.scopes.join(" ")),
        ("groups_claim", or_not(&provider.groups_claim)),
        ("group_prefix", provider.group_prefix.clone()),
        ("hosted_domain", or_not(&provider.hosted_domain)),
        ("allowed_domains", listed(&provider.allowed_domains)),
        ("require_verified_email", yes(provider.require_verified_email)),
        ("roles", roles.join(", ")),
    ];
    SettingsGroup { title: format!("Identity provider {}: {}", provider.id, provider.name), settings }
}

fn slack(slack: &SlackConfig) -> Vec<Named> {
    let clicks = match (&slack.app_token_file, &slack.signing_secret_file) {
        (Some(_), Some(_)) => "over sockets and by HTTP",
        (Some(_), None) => "over sockets",
        (None, Some(_)) => "by HTTP",
        (None, None) => "none: a card links to the console",
    };
    vec![("clicks come", clicks.to_owned()), ("api", host(&slack.api))]
}

fn teams_bot(bot: &TeamsBotConfig) -> Vec<Named> {
    vec![
        ("app_id", bot.app_id.clone()),
        ("tenant", bot.tenant.clone()),
        ("service", host(&bot.service)),
        ("metadata", host(&bot.metadata)),
        ("authority", host(&bot.authority)),
    ]
}

fn email(email: &EmailConfig) -> Vec<Named> {
    let security = match email.security {
        Security::StartTls => "starttls",
        Security::Tls => "tls",
        Security::None => "none",
    };
    vec![
        ("host", email.host.clone()),
        ("port", email.port.to_string()),
        ("security", security.to_owned()),
        ("signs in", yes(email.credentials.is_some())),
        ("from", email.from.to_string()),
    ]
}

fn route(route: &Route) -> Named {
    let to = |to: &countersign_store::Destination| match to.room.as_str() {
        "" => to.channel.clone(),
        // What a room is called may be an address with a secret in it; channels show theirs.
        _ => format!("{}, a room of it", to.channel),
    };
    let requirement = route.requirement.as_ref().map_or("every requirement", |name| name.as_str());
    let fallback =
        route.fallback.as_ref().map(|fallback| format!("; instead, if that fails: {}", to(fallback)));
    ("route", format!("{requirement} → {}{}", to(&route.destination), fallback.unwrap_or_default()))
}

/// Where an address leads, without its path, its query and whoever signs in there.
fn place(uri: &Uri) -> String {
    let scheme = uri.scheme_str().unwrap_or_default();
    let port = uri.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{scheme}://{}{port}/…", uri.host().unwrap_or_default())
}

fn host(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}", url.scheme(), url.host_str().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Sources};

    #[test]
    fn what_is_configured_is_shown_and_no_secret_is() {
        let toml = r#"
            data = "/tmp/x"
            trust_domain = "example.org"
            [api]
            public_url = "https://console.example.org"
            [[identity.providers]]
            id = "okta"
            kind = "okta"
            issuer = "https://login.example.org"
            client_id = "0oa1"
            client_secret_file = "/etc/very/secret-one"
            allowed_domains = ["example.org"]
            roles = { reviewer = ["group:sre"] }
            [[channels.slack]]
            name = "chat"
            bot_token_file = "/etc/very/secret-two"
            app_token_file = "/etc/very/secret-three"
            [[channels.webhook]]
            name = "hook"
            url = "https://hooks.example.org/services/secret-four?key=secret-five"
            secret_files = ["/etc/very/secret-six"]
            [[routes]]
            requirement = "*"
            channel = "chat"
            room = "C024BE91L"
            fallback = { channel = "hook" }
        "#;
        let config = Config::load(&Sources { toml: Some(toml.to_owned()), ..Sources::default() }).unwrap();
        let shown = format!("{:?}", groups(&config.identity.providers, &config.channels));
        for expected in [
            "Identity provider okta",
            "https://login.example.org",
            "0oa1",
            "example.org",
            "reviewer: group:sre",
            "over sockets",
            "https://hooks.example.org/…",
            "every requirement → chat",
            "if that fails: hook",
        ] {
            assert!(shown.contains(expected), "{expected} in {shown}");
        }
        assert!(!shown.contains("secret-") && !shown.contains("/etc"), "{shown}");
    }
}
