//! `[[channels.webhook]]`.

use countersign_settings::Settings;
use http::Uri;

use super::{Names, name};
use crate::channel::WebhookConfig;

pub(super) fn read(settings: &mut Settings, key: &str, names: &mut Names) -> Option<WebhookConfig> {
    let of = |setting: &str| format!("{key}.{setting}");
    let name = name(settings, key, names, room_problem);
    let was_set = settings.has(&of("url"));
    let url: Option<Uri> = settings.take(&of("url"));
    let secret_files = settings.take_list(&of("secret_files"));
    if !(1..=4).contains(&secret_files.len()) {
        settings.problem(format!(
            "{key}.secret_files must list 1 to 4 files, each with a secret that starts with whsec_"
        ));
    }
    let mut allow_private = false;
    settings.read_into(&of("allow_private"), &mut allow_private);
    let Some(url) = url else {
        if !was_set {
            settings.problem(format!("{key}.url must be set: where events are sent to"));
        }
        return None;
    };
    let secret_files = secret_files.into_iter().map(Into::into).collect();
    let config = WebhookConfig { name, url, secret_files, allow_private };
    if let Some(problem) = config.problem() {
        settings.problem(format!("{key}.url: {problem}"));
    }
    Some(config)
}

fn room_problem(room: &str) -> Option<&'static str> {
    (!room.is_empty()).then_some("a webhook has no rooms; leave it out")
}
