//! A Workflows webhook: anybody who has its address can post, and nothing comes back. So its cards only lead
//! to the console, and what became of a request is told in another message.

use std::path::PathBuf;

use async_trait::async_trait;
use countersign_approval::Phase;
use http::StatusCode;
use reqwest::{Client, Url};
use serde_json::{Value, json};

use super::card;
use crate::{
    channel::{
        Channel, DeliveryError, Message, MessageRef, call,
        http::{Reach, client},
        page::Page,
        read_secret_file,
    },
    clock::Clock,
};

/// A Workflows webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TeamsWorkflowConfig {
    /// The channel's name.
    pub name: String,
    /// The file that holds its address.
    pub webhook_file: PathBuf,
}

/// A webhook of one channel or chat.
pub(crate) struct Workflow {
    http: Client,
    /// A secret, since it is all that it takes to post.
    address: Url,
    clock: Clock,
}

impl Workflow {
    /// Posts to the address in the configuration's file.
    pub(crate) fn open(config: &TeamsWorkflowConfig, clock: Clock) -> Result<Self, String> {
        let text = read_secret_file(&config.webhook_file).map_err(|error| error.to_string())?;
        let address: Option<Url> = text.parse().ok().filter(call::is_private);
        let address = address.ok_or_else(|| {
            format!(
                "{}: it must hold the webhook's address, which starts with https://",
                config.webhook_file.display()
            )
        })?;
        let http = client(Reach::Public).map_err(|error| error.to_string())?;
        Ok(Self { http, address, clock })
    }

    async fn tell(&self, message: &Message) -> Result<(), DeliveryError> {
        self.send(&card::card(&Page::of(message, false), self.clock.now(), None)).await
    }

    async fn send(&self, card: &Value) -> Result<(), DeliveryError> {
        let attachment = json!({
            "contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": null, "content": card,
        });
        let body = json!({"type": "message", "attachments": [attachment]});
        let answer = call::call(self.http.post(self.address.clone()).json(&body)).await?;
        match answer.status {
            status if status.is_success() => Ok(()),
            status @ (StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN
            | StatusCode::NOT_FOUND
            | StatusCode::GONE) => {
                let why =
                    format!("the Workflows webhook answers {status}: make it anew, and replace its file");
                Err(DeliveryError::Configuration(why))
            }
            StatusCode::PAYLOAD_TOO_LARGE | StatusCode::BAD_REQUEST => {
                Err(DeliveryError::Permanent("the Workflows webhook does not take this card".to_owned()))
            }
            status => Err(DeliveryError::later(format!("the Workflows webhook answers {status}"))),
        }
    }
}

#[async_trait]
impl Channel for Workflow {
    fn kind(&self) -> &'static str {
        "teams"
    }

    async fn post(&self, _room: &str, message: &Message) -> Result<MessageRef, DeliveryError> {
        self.tell(message).await?;
        // Nothing can be changed, so there is nothing to find it by.
        Ok(MessageRef("posted".to_owned()))
    }

    async fn update(
        &self,
        _room: &str,
        _posted: &MessageRef,
        message: &Message,
    ) -> Result<(), DeliveryError> {
        // A message for every vote, or for what lasts seconds, would be noise.
        match message.approval.phase() {
            Phase::Pending | Phase::Claimed => Ok(()),
            _ => self.tell(message).await,
        }
    }

    async fn remind(
        &self,
        _room: &str,
        _posted: &MessageRef,
        message: &Message,
    ) -> Result<(), DeliveryError> {
        self.tell(message).await
    }

    async fn test(&self, _room: &str, asked_by: &str) -> Result<(), DeliveryError> {
        let text =
            format!("This is a test of Countersign, asked for by {asked_by}. Nobody has to do anything.");
        self.send(&card::sentence(&text)).await
    }
}
