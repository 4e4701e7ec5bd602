//! Where reviewers are told besides the console: channels, each of a kind, and the routes to them.
//!
//! A channel is an item of the list of its kind, `[[channels.KIND]]`, with a `name` that routes give. Secrets
//! are never settings: a setting names the file that holds one.

mod email;
mod slack;
mod teams;
#[cfg(test)]
mod tests;
mod webhook;

use std::{collections::BTreeMap, path::PathBuf};

use countersign_model::RequirementName;
use countersign_settings::Settings;
use countersign_store::Destination;
use reqwest::Url;

use crate::channel::is_private;
pub use crate::channel::{
    EmailConfig, Route, Security, SlackConfig, TeamsBotConfig, TeamsWorkflowConfig, WebhookConfig,
};

/// The most channels of a kind, and the most routes.
const MAX_ITEMS: usize = 256;
/// The longest name of a room.
const MAX_ROOM: usize = 512;

/// Channels and routes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChannelsConfig {
    /// Webhooks.
    pub webhooks: Vec<WebhookConfig>,
    /// Mail servers.
    pub emails: Vec<EmailConfig>,
    /// Apps in Slack.
    pub slack: Vec<SlackConfig>,
    /// Workflows webhooks of Microsoft Teams.
    pub teams: Vec<TeamsWorkflowConfig>,
    /// Bots in Microsoft Teams.
    pub teams_bots: Vec<TeamsBotConfig>,
    /// Who is told where.
    pub routes: Vec<Route>,
}

/// The names of channels, and what each says of a room: what is wrong with it, if anything.
type Names = BTreeMap<String, fn(&str) -> Option<&'static str>>;

pub(super) fn read(settings: &mut Settings) -> ChannelsConfig {
    let mut names = Names::new();
    let webhooks =
        items(settings, "channels.webhook", |settings, key| webhook::read(settings, key, &mut names));
    let emails = items(settings, "channels.email", |settings, key| email::read(settings, key, &mut names));
    let slack = items(settings, "channels.slack", |settings, key| slack::read(settings, key, &mut names));
    let teams =
        items(settings, "channels.teams", |settings, key| teams::read_workflow(settings, key, &mut names));
    let teams_bots =
        items(settings, "channels.teams_bot", |settings, key| teams::read_bot(settings, key, &mut names));
    let routes = items(settings, "routes", |settings, key| route(settings, key, &names));
    ChannelsConfig { webhooks, emails, slack, teams, teams_bots, routes }
}

/// Reads every item of a list.
fn items<T>(
    settings: &mut Settings,
    list: &str,
    mut read: impl FnMut(&mut Settings, &str) -> Option<T>,
) -> Vec<T> {
    let mut found = Vec::new();
    for number in 0..MAX_ITEMS {
        let key = format!("{list}.{number}");
        if !settings.has(&key) {
            break;
        }
        found.extend(read(settings, &key));
    }
    found
}

/// Reads the name of a channel, which no other one may have.
fn name(
    settings: &mut Settings,
    key: &str,
    names: &mut Names,
    room_problem: fn(&str) -> Option<&'static str>,
) -> String {
    let name = settings.required(&format!("{key}.name"), "what routes call the channel");
    let is_name = (1..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    if !name.is_empty() && (!is_name || name == "console") {
        settings.problem(format!(
            "{key}.name = {name:?}: 1 to 64 letters, digits, '.', '-' or '_', and not \"console\", which is always there"
        ));
    }
    if names.insert(name.clone(), room_problem).is_some() {
        settings.problem(format!("{key}.name = {name:?}: another channel has this name"));
    }
    name
}

/// Reads the name of a file that there must be. `what` says what is in it.
fn required_file(settings: &mut Settings, key: &str, what: &str) -> PathBuf {
    settings.required(key, what).into()
}

fn optional_file(settings: &mut Settings, key: &str) -> Option<PathBuf> {
    settings.take::<String>(key).map(Into::into)
}

/// Reads an address that tokens are sent to, with a slash at its end.
fn address(settings: &mut Settings, key: &str, default: &str) -> Option<Url> {
    let text: Option<String> = settings.take(key);
    let text = text.unwrap_or_else(|| default.to_owned());
    match text.parse::<Url>() {
        Ok(url) if is_private(&url) && !url.cannot_be_a_base() => Some(url),
        _ => {
            settings
                .problem(format!("{key} = {text:?}: must start with https://, since tokens are sent there"));
            None
        }
    }
}

fn route(settings: &mut Settings, key: &str, names: &Names) -> Option<Route> {
    let requirement =
        settings.required(&format!("{key}.requirement"), "a requirement's name, or \"*\" for all");
    let requirement = match requirement.as_str() {
        "" => None,
        "*" => Some(None),
        name => match name.parse::<RequirementName>() {
            Ok(name) => Some(Some(name)),
            Err(error) => {
                settings.problem(format!("{key}.requirement: {error}"));
                None
            }
        },
    };
    let destination = destination(settings, key, names);
    let below = format!("{key}.fallback");
    let fallback = settings.has(&below).then(|| self::destination(settings, &below, names)).flatten();
    let destination = destination?;
    if fallback.as_ref() == Some(&destination) {
        settings.problem(format!("{key}.fallback: it leads to where the route leads anyway"));
    }
    Some(Route { requirement: requirement?, destination, fallback })
}

fn destination(settings: &mut Settings, key: &str, names: &Names) -> Option<Destination> {
    let channel = settings.required(&format!("{key}.channel"), "the name of a channel");
    let room: String = settings.take(&format!("{key}.room")).unwrap_or_default();
    match names.get(&channel) {
        None if channel.is_empty() => return None,
        None => {
            settings.problem(format!("{key}.channel = {channel:?}: there is no channel of that name"));
            return None;
        }
        Some(room_problem) => {
            if let Some(problem) = room_problem(&room) {
                settings.problem(format!("{key}.room = {room:?}: {problem}"));
            }
        }
    }
    if room.len() > MAX_ROOM || room.contains(char::is_control) {
        settings.problem(format!("{key}.room: at most {MAX_ROOM} characters, and no control characters"));
    }
    Some(Destination { channel, room })
}
