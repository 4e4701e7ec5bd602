//! A control plane whose reviewers are told in Slack, and people who click there.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use countersign_control_plane::{
    config::{Config, Route, SlackConfig},
    identity::{AccountKind, ExternalAccount},
};
use countersign_store::Destination;
use countersign_testkit::chats::{
    FakeSlack,
    slack::{self, form, signature},
};
use http::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    console::Browser,
    stage::{ONE, Stage, TWO},
};

pub(crate) const SECRET: &str = "test-signing-secret";
pub(crate) const ROOM: &str = "C0REVIEWS";

/// Everything together.
pub(crate) struct Office {
    pub(crate) stage: Stage,
    pub(crate) slack: FakeSlack,
    http: reqwest::Client,
    _folder: TempDir,
}

/// How clicks come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Http,
    Sockets,
}

/// A file that only its owner can read.
pub(crate) fn secret_file(folder: &Path, name: &str, secret: &str) -> std::path::PathBuf {
    let path = folder.join(name);
    fs::write(&path, secret).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

/// Everybody is told in one channel.
pub(crate) fn route(channel: &str, room: &str) -> Route {
    let destination = Destination { channel: channel.to_owned(), room: room.to_owned() };
    Route { requirement: None, destination, fallback: None }
}

impl Office {
    pub(crate) async fn new(way: Way) -> Self {
        let slack = FakeSlack::start().await;
        Self::with(slack, way).await
    }

    pub(crate) async fn with(slack: FakeSlack, way: Way) -> Self {
        let url = slack.url.clone();
        let folder = TempDir::new().unwrap();
        let stage = Stage::with(|config: &mut Config| {
            let file = |name, secret| secret_file(folder.path(), name, secret);
            config.channels.slack.push(SlackConfig {
                name: "slack".to_owned(),
                bot_token_file: file("bot", "xoxb-test"),
                app_token_file: (way == Way::Sockets).then(|| file("app", "xapp-test")),
                signing_secret_file: (way == Way::Http).then(|| file("signing", SECRET)),
                same_email: true,
                api: url.parse().unwrap(),
            });
            config.channels.routes.push(route("slack", ROOM));
        })
        .await;
        Self { stage, slack, http: reqwest::Client::new(), _folder: folder }
    }

    /// With the reviewers' accounts linked: U1 and U2.
    pub(crate) async fn linked(way: Way) -> Self {
        let office = Self::new(way).await;
        office.link("U1", ONE).await;
        office.link("U2", TWO).await;
        office
    }

    /// Links an account as its person does: by opening the link at the console.
    pub(crate) async fn link(&self, user: &str, person: &str) {
        let account =
            ExternalAccount { kind: AccountKind::Slack, realm: "T1".to_owned(), subject: user.to_owned() };
        let path = self.stage.running.identity().begin_link(account, user, None).await.unwrap();
        self.open_link(&path, person).await;
    }

    /// Opens a link and agrees.
    pub(crate) async fn open_link(&self, path: &str, person: &str) {
        assert_eq!(self.try_link(path, person).await, 200);
    }

    /// Opens a link and agrees, which may be refused.
    pub(crate) async fn try_link(&self, path: &str, person: &str) -> u16 {
        let browser = Browser::sign_in(&self.stage, person).await;
        let (_, secret) = path.split_once("secret=").unwrap();
        let csrf = browser.csrf().await;
        browser.post("/accounts/link", &[("csrf", &csrf), ("secret", secret)]).await.status.as_u16()
    }

    /// The card of a request, once it is posted.
    pub(crate) async fn card(&self, approval: &str) -> Card {
        let posted = self.slack.until_card_says(approval).await;
        Card { blocks: posted["blocks"].clone() }
    }

    /// Clicks as Slack tells of it. Answers what Slack is answered.
    pub(crate) async fn click(&self, user: &str, action: &str, value: &str) -> StatusCode {
        self.deliver(&click(user, "T1", action, value)).await
    }

    /// Sends a payload as Slack does: signed, now.
    pub(crate) async fn deliver(&self, payload: &Value) -> StatusCode {
        let (body, now) = (form(payload), self.now());
        self.send(&body, now, &signature(SECRET, now, &body)).await
    }

    /// Sends a body with whatever signature.
    pub(crate) async fn send(&self, body: &str, at: i64, signature: &str) -> StatusCode {
        let url = format!("http://{}/channels/slack/slack/interactions", self.stage.running.api_addr());
        let request = self
            .http
            .post(url)
            .header("content-type", "application/x-www-form-urlencoded")
            .header("x-slack-request-timestamp", at)
            .header("x-slack-signature", signature)
            .body(body.to_owned());
        request.send().await.unwrap().status()
    }

    pub(crate) fn now(&self) -> i64 {
        self.stage.running.identity().now().as_seconds()
    }

    /// The approval as the API shows it.
    pub(crate) async fn view(&self, approval: &str) -> Value {
        let token = self.stage.token(ONE).await;
        self.stage.get(&format!("/api/v1/approvals/{approval}"), &token).await.is(200).json()
    }
}

/// A card as it was posted.
pub(crate) struct Card {
    pub(crate) blocks: Value,
}

impl Card {
    /// The button of that name.
    pub(crate) fn button(&self, action: &str) -> Option<Value> {
        slack::button(&json!({"blocks": self.blocks}), action)
    }

    /// What the button of that name carries.
    pub(crate) fn ticket(&self, action: &str) -> String {
        self.button(action).unwrap()["value"].as_str().unwrap().to_owned()
    }
}

/// What Slack says of a click on a card.
pub(crate) fn click(user: &str, team: &str, action: &str, value: &str) -> Value {
    slack::click((ROOM, "1700000000.000001"), user, team, action, value)
}
