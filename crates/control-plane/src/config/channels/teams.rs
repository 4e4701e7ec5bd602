//! `[[channels.teams]]` and `[[channels.teams_bot]]`.

use countersign_settings::Settings;

use super::{Names, address, name, required_file};
use crate::channel::{TeamsBotConfig, TeamsWorkflowConfig};

/// Where the bot sends messages.
const SERVICE: &str = "https://smba.trafficmanager.net/teams/";
/// Where the keys of those who call the bot are told.
const METADATA: &str = "https://login.botframework.com/v1/.well-known/openidconfiguration";
/// What the tenant's authority is below.
const AUTHORITY: &str = "https://login.microsoftonline.com/";

/// Reads a Workflows webhook.
pub(super) fn read_workflow(
    settings: &mut Settings,
    key: &str,
    names: &mut Names,
) -> Option<TeamsWorkflowConfig> {
    let name = name(settings, key, names, no_rooms);
    let webhook_file = required_file(
        settings,
        &format!("{key}.webhook_file"),
        "the file that holds the address of the Workflows webhook, which is a secret",
    );
    Some(TeamsWorkflowConfig { name, webhook_file })
}

/// Reads a bot.
pub(super) fn read_bot(settings: &mut Settings, key: &str, names: &mut Names) -> Option<TeamsBotConfig> {
    let of = |setting: &str| format!("{key}.{setting}");
    let name = name(settings, key, names, conversation);
    let app_id = guid(settings, &of("app_id"), "the bot's application (client) id");
    let tenant = guid(settings, &of("tenant"), "the id of your tenant of Microsoft Entra");
    let client_secret_file =
        required_file(settings, &of("client_secret_file"), "the file that holds the bot's client secret");
    let mut same_email = true;
    settings.read_into(&of("same_email"), &mut same_email);
    let service = address(settings, &of("service"), SERVICE);
    let metadata = address(settings, &of("metadata"), METADATA);
    let authority = address(settings, &of("authority"), &format!("{AUTHORITY}{tenant}"));
    Some(TeamsBotConfig {
        name,
        app_id,
        tenant,
        client_secret_file,
        same_email,
        service: service?,
        metadata: metadata?,
        authority: authority?,
    })
}

/// An id of Microsoft's, in the one form that calls carry it.
fn guid(settings: &mut Settings, key: &str, what: &str) -> String {
    let id = settings.required(key, what).to_ascii_lowercase();
    let is_guid = id.len() == 36 && id.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    if !id.is_empty() && !is_guid {
        settings.problem(format!("{key} = {id:?}: write it as 00000000-0000-0000-0000-000000000000"));
    }
    id
}

fn no_rooms(room: &str) -> Option<&'static str> {
    (!room.is_empty()).then_some("a Workflows webhook posts to one place; leave it out")
}

fn conversation(room: &str) -> Option<&'static str> {
    room.is_empty().then_some("write the id of a channel or chat that the bot is in, as 19:…@thread.tacv2")
}
