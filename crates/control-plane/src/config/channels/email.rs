//! `[[channels.email]]`.

use std::{net::IpAddr, str::FromStr};

use countersign_settings::Settings;
use lettre::{Address, message::Mailbox};

use super::{Names, name};
use crate::channel::{EmailConfig, Security};

impl FromStr for Security {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "starttls" => Ok(Self::StartTls),
            "tls" => Ok(Self::Tls),
            "none" => Ok(Self::None),
            _ => Err("there is \"starttls\", \"tls\", and \"none\" on this machine"),
        }
    }
}

impl Security {
    /// The port that servers listen on for it.
    const fn port(self) -> u16 {
        match self {
            Self::StartTls => 587,
            Self::Tls => 465,
            Self::None => 25,
        }
    }
}

pub(super) fn read(settings: &mut Settings, key: &str, names: &mut Names) -> Option<EmailConfig> {
    let of = |setting: &str| format!("{key}.{setting}");
    let name = name(settings, key, names, room_problem);
    let host = settings.required(&of("host"), "the mail server");
    let mut security = Security::StartTls;
    settings.read_into(&of("security"), &mut security);
    let mut port = security.port();
    settings.read_into(&of("port"), &mut port);
    if security == Security::None && !is_loopback(&host) {
        settings.problem(format!(
            "{key}.security = \"none\": mails would travel in the clear; only a server on this machine may do that"
        ));
    }
    let username: Option<String> = settings.take(&of("username"));
    let password_file: Option<String> = settings.take(&of("password_file"));
    let credentials = match (username, password_file) {
        (Some(username), Some(file)) => Some((username, file.into())),
        (None, None) => None,
        _ => {
            settings.problem(format!("{key}: username and password_file go together: set both or neither"));
            None
        }
    };
    let ca_file = settings.take::<String>(&of("ca_file")).map(Into::into);
    if !settings.has(&of("from")) {
        settings.problem(format!("{} must be set: whom mails are from", of("from")));
    }
    let from: Option<Mailbox> = settings.take(&of("from"));
    Some(EmailConfig { name, host, port, security, ca_file, credentials, from: from? })
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn room_problem(room: &str) -> Option<&'static str> {
    room.parse::<Address>().is_err().then_some("the room is the address that mails go to, one a route")
}
