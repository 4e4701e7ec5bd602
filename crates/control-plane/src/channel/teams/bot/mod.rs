//! A bot in Microsoft Teams, by the Bot Framework's REST protocol: its cards take votes where they are read.
//!
//! A click comes as an `invoke` and is answered with the card as it is then, for whoever clicked; everybody
//! else's card is changed through the outbox, as for a vote from anywhere.

mod activity;
mod caller;
mod connector;
mod endpoint;
mod keys;

use std::path::PathBuf;

use async_trait::async_trait;
use reqwest::Url;
use serde_json::{Value, json};

pub(crate) use self::endpoint::router;
use self::{caller::Callers, connector::Connector, keys::Keys};
use super::card::{self, Notice};
use crate::{
    channel::{
        Channel, DeliveryError, Message, MessageRef,
        http::{Reach, client},
        json::with,
        page::Page,
        read_secret_file,
    },
    clock::Clock,
};

/// A bot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TeamsBotConfig {
    /// The channel's name.
    pub name: String,
    /// The application (client) id.
    pub app_id: String,
    /// The tenant whose people it listens to.
    pub tenant: String,
    /// The file that holds its client secret.
    pub client_secret_file: PathBuf,
    /// Where it sends messages.
    pub service: Url,
    /// The OpenID metadata of those who call it.
    pub metadata: Url,
    /// Who gives it tokens.
    pub authority: Url,
}

/// A bot of one tenant.
pub(crate) struct Bot {
    connector: Connector,
    callers: Callers,
    /// The only tenant whose people it listens to.
    tenant: String,
    clock: Clock,
}

impl Bot {
    /// Speaks as the bot of the configuration, with the secret in its file.
    pub(crate) fn open(config: &TeamsBotConfig, clock: Clock) -> Result<Self, String> {
        let secret = read_secret_file(&config.client_secret_file).map_err(|error| error.to_string())?;
        let http = client(Reach::Public).map_err(|error| error.to_string())?;
        let keys = Keys::new(http.clone(), config.metadata.clone());
        let connector = Connector::new(
            http,
            clock.clone(),
            config.app_id.clone(),
            secret,
            config.authority.clone(),
            config.service.clone(),
        );
        let callers = Callers { app_id: config.app_id.clone(), keys };
        Ok(Self { connector, callers, tenant: config.tenant.clone(), clock })
    }

    fn card(&self, message: &Message, notice: Option<&Notice>) -> Value {
        card::card(&Page::of(message, true), self.clock.now(), notice)
    }

    fn activity(&self, message: &Message) -> Value {
        carrying(&self.card(message, None), &card::summary(&message.review))
    }
}

/// An activity that carries a card.
fn carrying(card: &Value, summary: &str) -> Value {
    let attachment = json!({"contentType": "application/vnd.microsoft.card.adaptive", "content": card});
    json!({"type": "message", "summary": summary, "attachments": [attachment]})
}

#[async_trait]
impl Channel for Bot {
    fn kind(&self) -> &'static str {
        "teams"
    }

    async fn post(&self, room: &str, message: &Message) -> Result<MessageRef, DeliveryError> {
        Ok(MessageRef(self.connector.send(room, &self.activity(message)).await?))
    }

    async fn update(&self, room: &str, posted: &MessageRef, message: &Message) -> Result<(), DeliveryError> {
        let activity = with(self.activity(message), json!({"id": posted.0}));
        self.connector.update(room, &posted.0, &activity).await
    }

    async fn remind(&self, room: &str, posted: &MessageRef, message: &Message) -> Result<(), DeliveryError> {
        let text = format!("A request of {} still waits for a decision.", message.review.agent);
        self.connector.reply(room, &posted.0, &carrying(&card::sentence(&text), &text)).await
    }

    async fn test(&self, room: &str, asked_by: &str) -> Result<(), DeliveryError> {
        let text =
            format!("This is a test of Countersign, asked for by {asked_by}. Nobody has to do anything.");
        self.connector.send(room, &carrying(&card::sentence(&text), &text)).await.map(drop)
    }
}
