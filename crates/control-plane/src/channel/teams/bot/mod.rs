//! A bot in Microsoft Teams, by the Bot Framework's REST protocol: its cards take votes where they are read.
//!
//! A click comes as an `invoke` and is answered with the card as it is then, for whoever clicked; everybody
//! else's card is changed through the outbox, as for a vote from anywhere.

mod activity;
mod caller;
mod connector;
mod endpoint;
mod keys;
mod member;

use std::path::PathBuf;

use async_trait::async_trait;
use reqwest::Url;
use serde_json::{Value, json};

pub(crate) use self::endpoint::router;
use self::{
    caller::Callers,
    connector::{Connector, has_threads},
    keys::Keys,
    member::NotMember,
};
use super::card::{self, Notice};
use crate::{
    channel::{
        Channel, DeliveryError, Message, MessageRef,
        http::{Reach, client},
        json::with,
        lately::Lately,
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
    /// Whether an account can be linked only by whoever signs in with the e-mail address that Teams has for it.
    pub same_email: bool,
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
    same_email: bool,
    /// Whether somebody is a member, by their object id, and their e-mail address.
    members: Lately<Result<Option<String>, NotMember>>,
    clock: Clock,
}

/// Why it cannot be told whether somebody may act, or why they may not.
#[derive(Debug, thiserror::Error)]
enum MemberError {
    /// They may not.
    #[error(transparent)]
    Refused(#[from] NotMember),
    /// Teams does not answer; then nobody may.
    #[error("Microsoft Teams cannot be asked about this account now; try again")]
    Unanswered(#[source] DeliveryError),
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
        let (tenant, same_email) = (config.tenant.clone(), config.same_email);
        Ok(Self { connector, callers, tenant, same_email, members: Lately::default(), clock })
    }

    /// Asks whether somebody in a conversation is a full member of the tenant. Answers their e-mail address.
    async fn member(&self, room: &str, user: &str, object_id: &str) -> Result<Option<String>, MemberError> {
        let now = self.clock.now();
        if let Some(known) = self.members.known(object_id, now) {
            return Ok(known?);
        }
        let member = self.connector.member(room, user).await.map_err(MemberError::Unanswered)?;
        let found = member.check(object_id, &self.tenant).map(|()| member.email().map(ToOwned::to_owned));
        self.members.remember(object_id, found.clone(), now);
        Ok(found?)
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
        self.connector.update(room, &posted.0, &activity).await?;
        // Where there are no threads this would be a message for every vote.
        if has_threads(room) {
            let follow_up = card::follow_up(&message.review, self.clock.now());
            let follow_up = carrying(&follow_up, &card::summary(&message.review));
            self.connector.reply(room, &posted.0, &follow_up).await?;
        }
        Ok(())
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
