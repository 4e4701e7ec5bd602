//! Channels and routes as they are written down.

use super::super::{Config, Sources};
use super::*;

fn load(toml: &str) -> Result<ChannelsConfig, String> {
    let toml = format!("data = \"/a\"\ntrust_domain = \"example.org\"\n{toml}");
    let sources = Sources { toml: Some(toml), ..Sources::default() };
    Config::load(&sources).map(|config| config.channels).map_err(|problems| problems.to_string())
}

/// What stands in the example as a comment is right once it is no comment any more.
#[test]
fn the_example_is_valid() {
    let example = include_str!("../../../../../config/control.toml");
    let settings = example.lines().filter_map(|line| line.strip_prefix("# "));
    let is_setting = |line: &&str| line.starts_with("[[") || line.contains(" = ");
    let mut lines = settings.skip_while(|line| !line.starts_with("[[channels")).filter(is_setting);
    let until_routes: Vec<&str> = lines.by_ref().take_while(|line| !line.starts_with("[[routes]]")).collect();
    let route: Vec<&str> = lines.take_while(|line| !line.starts_with("[[")).take(4).collect();
    let config = load(&format!("{}\n[[routes]]\n{}\n", until_routes.join("\n"), route.join("\n"))).unwrap();
    assert_eq!((config.webhooks.len(), config.emails.len(), config.routes.len()), (1, 1, 1));
    assert_eq!(config.emails[0].security, Security::StartTls);
    assert!(config.routes[0].fallback.is_some());
    assert_eq!((config.slack.len(), config.teams.len(), config.teams_bots.len()), (1, 1, 1));
}

#[test]
fn every_mistake_is_reported_at_once() {
    let problems = load(
        "[[channels.webhook]]\nname = \"console\"\nurl = \"http://hooks.example.com/\"\n\
         [[channels.webhook]]\nname = \"hook\"\nurl = \"https://hooks.example.com/\"\nsecret_files = [\"/s\"]\nsecret = \"x\"\n\
         [[channels.webhook]]\nname = \"hook\"\nsecret_files = [\"/s\"]\n\
         [[channels.email]]\nname = \"mail\"\nhost = \"smtp.example.com\"\nsecurity = \"none\"\nusername = \"u\"\n\
         [[routes]]\nrequirement = \"*\"\nchannel = \"mail\"\nroom = \"a@example.com\\r\\nBcc: b@example.com\"\n\
         [[routes]]\nchannel = \"hook\"\nroom = \"C1\"\n\
         [[routes]]\nrequirement = \"a b\"\nchannel = \"none\"\n\
         [[routes]]\nrequirement = \"*\"\nchannel = \"hook\"\nfallback = { channel = \"hook\" }\n",
    )
    .unwrap_err();
    for expected in [
        "not \"console\"",
        "must start with https://",
        "channels.webhook.0.secret_files must list",
        "there is no setting channels.webhook.1.secret",
        "another channel has this name",
        "channels.webhook.2.url must be set",
        "only a server on this machine",
        "set both or neither",
        "channels.email.0.from must be set",
        "the room is the address",
        "routes.1.requirement must be set",
        "a webhook has no rooms",
        "routes.2.requirement",
        "there is no channel of that name",
        "leads to where the route leads anyway",
    ] {
        assert!(problems.contains(expected), "{expected}\n{problems}");
    }
}

#[test]
fn what_a_chat_needs_is_asked_for() {
    let problems = load(
        "[[channels.slack]]\nname = \"slack\"\napi = \"http://slack.com/api/\"\n\
         [[channels.teams]]\nname = \"teams\"\n\
         [[channels.teams_bot]]\nname = \"bot\"\napp_id = \"1\"\ntenant = \"mine.example\"\n\
         client_secret_file = \"/s\"\nservice = \"smba\"\n\
         [[routes]]\nrequirement = \"*\"\nchannel = \"slack\"\nroom = \"#general\"\n\
         [[routes]]\nrequirement = \"*\"\nchannel = \"teams\"\nroom = \"general\"\n\
         [[routes]]\nrequirement = \"*\"\nchannel = \"bot\"\n",
    )
    .unwrap_err();
    for expected in [
        "channels.slack.0.bot_token_file must be set",
        "channels.slack.0.api = \"http://slack.com/api/\": must start with https://",
        "channels.teams.0.webhook_file must be set",
        "channels.teams_bot.0.app_id = \"1\": write it as",
        "channels.teams_bot.0.tenant = \"mine.example\": write it as",
        "channels.teams_bot.0.service = \"smba\": must start with https://",
        "C0123ABCDEF",
        "posts to one place",
        "19:…@thread.tacv2",
    ] {
        assert!(problems.contains(expected), "{expected}\n{problems}");
    }
}
