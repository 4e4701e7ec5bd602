//! `[[channels.slack]]`.

use countersign_settings::Settings;

use super::{Names, address, name, optional_file, required_file};
use crate::channel::SlackConfig;

/// Where Slack's Web API is.
const API: &str = "https://slack.com/api/";

pub(super) fn read(settings: &mut Settings, key: &str, names: &mut Names) -> Option<SlackConfig> {
    let of = |setting: &str| format!("{key}.{setting}");
    let name = name(settings, key, names, room_problem);
    let bot_token_file =
        required_file(settings, &of("bot_token_file"), "the file that holds the bot token (xoxb-…)");
    let app_token_file = optional_file(settings, &of("app_token_file"));
    let signing_secret_file = optional_file(settings, &of("signing_secret_file"));
    let mut same_email = true;
    settings.read_into(&of("same_email"), &mut same_email);
    let api = address(settings, &of("api"), API)?;
    Some(SlackConfig { name, bot_token_file, app_token_file, signing_secret_file, same_email, api })
}

fn room_problem(room: &str) -> Option<&'static str> {
    let is_id = matches!(room.chars().next(), Some('C' | 'G' | 'D'))
        && room.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    (!is_id).then_some("write the channel's id, as in its details in Slack: C0123ABCDEF")
}
