//! Slack: cards in its channels, and the clicks on them.
//!
//! What goes out is a [`Channel`] like any other. What comes in, by HTTP ([`endpoint`]) or over sockets that we
//! open ([`socket`]), is acknowledged first and worked off then ([`desk`]).

mod api;
mod card;
mod desk;
mod endpoint;
mod inbox;
mod interaction;
mod member;
mod signature;
mod socket;

use std::{path::PathBuf, sync::Arc};

use async_trait::async_trait;
use reqwest::Url;
use tokio::sync::OnceCell;

pub(crate) use self::desk::Incoming;
use self::{
    api::{ApiSetupError, Own, Place, SlackError, WebApi},
    member::Members,
    signature::SigningSecret,
};
use super::{
    Channel, DeliveryError, Message, MessageRef, SecretFileError, call::CallError, page::Page,
    read_secret_file,
};
use crate::clock::Clock;

/// An app in a workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlackConfig {
    /// The channel's name.
    pub name: String,
    /// The file that holds the bot token.
    pub bot_token_file: PathBuf,
    /// The file that holds the app token: clicks come over sockets.
    pub app_token_file: Option<PathBuf>,
    /// The file that holds the signing secret: clicks come by HTTP.
    pub signing_secret_file: Option<PathBuf>,
    /// Where the Web API is.
    pub api: Url,
}

/// A workspace, as an app that is installed in it.
pub(crate) struct Slack {
    api: Arc<WebApi>,
    /// Asked for once: a token never changes its workspace.
    own: OnceCell<Own>,
    members: Members,
    signing_secret: Option<SigningSecret>,
    clock: Clock,
}

/// Why Slack cannot be spoken to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SlackSetupError {
    /// A file with a secret.
    #[error(transparent)]
    Secret(#[from] SecretFileError),
    /// A token that is none.
    #[error(transparent)]
    Api(#[from] ApiSetupError),
}

impl Slack {
    /// Speaks to Slack with what is in the configuration's files.
    pub(crate) fn open(config: &SlackConfig, clock: Clock) -> Result<Self, SlackSetupError> {
        let bot = read_secret_file(&config.bot_token_file)?;
        let app = config.app_token_file.as_deref().map(read_secret_file).transpose()?;
        let signing_secret = config.signing_secret_file.as_deref().map(read_secret_file).transpose()?;
        Ok(Self {
            api: Arc::new(WebApi::new(config.api.clone(), &bot, app.as_deref())?),
            own: OnceCell::new(),
            members: Members::default(),
            signing_secret: signing_secret.as_deref().map(SigningSecret::new),
            clock,
        })
    }

    async fn own(&self) -> Result<&Own, SlackError> {
        self.own.get_or_try_init(|| self.api.own()).await
    }

    /// Whether clicks come in at all. Without them a card leads to the console.
    fn hears(&self) -> bool {
        self.signing_secret.is_some() || self.api.has_sockets()
    }

    fn page<'a>(&self, message: &'a Message) -> Page<'a> {
        Page::of(message, self.hears())
    }

    fn card(&self, message: &Message) -> api::Message {
        card::card(&self.page(message), self.clock.now())
    }
}

#[async_trait]
impl Channel for Slack {
    fn kind(&self) -> &'static str {
        "slack"
    }

    async fn post(&self, room: &str, message: &Message) -> Result<MessageRef, DeliveryError> {
        Ok(reference(&self.api.post(room, None, &self.card(message)).await?))
    }

    async fn update(&self, _room: &str, posted: &MessageRef, message: &Message) -> Result<(), DeliveryError> {
        let place = place(posted)?;
        self.api.update(&place, &self.card(message)).await?;
        let follow_up = card::follow_up(&message.review, self.clock.now());
        self.api.post(&place.channel, Some(&place.ts), &follow_up).await?;
        Ok(())
    }

    async fn remind(&self, _room: &str, posted: &MessageRef, message: &Message) -> Result<(), DeliveryError> {
        let place = place(posted)?;
        let reminder = card::reminder(&message.review, self.clock.now());
        self.api.broadcast(&place, &reminder).await?;
        Ok(())
    }

    async fn test(&self, room: &str, asked_by: &str) -> Result<(), DeliveryError> {
        let text =
            format!("This is a test of Countersign, asked for by {asked_by}. Nobody has to do anything.");
        self.api.post(room, None, &card::words(&text)).await?;
        Ok(())
    }
}

fn reference(place: &Place) -> MessageRef {
    MessageRef(format!("{}:{}", place.channel, place.ts))
}

fn place(reference: &MessageRef) -> Result<Place, DeliveryError> {
    let parts = reference.0.split_once(':');
    let (channel, ts) =
        parts.ok_or_else(|| DeliveryError::Permanent("this message was not posted by Slack".to_owned()))?;
    Ok(Place { channel: channel.to_owned(), ts: ts.to_owned() })
}

impl From<SlackError> for DeliveryError {
    fn from(error: SlackError) -> Self {
        let why = error.to_string();
        match error {
            SlackError::Call(CallError::Busy(after)) => Self::Later { why, after },
            SlackError::Call(_) => Self::later(why),
            SlackError::Refused { code, .. } => match code.as_str() {
                "invalid_auth"
                | "not_authed"
                | "token_revoked"
                | "token_expired"
                | "account_inactive"
                | "missing_scope"
                | "not_allowed_token_type"
                | "org_login_required"
                | "team_access_not_granted" => Self::Configuration(why),
                "channel_not_found"
                | "not_in_channel"
                | "is_archived"
                | "message_not_found"
                | "cant_update_message"
                | "restricted_action"
                | "invalid_blocks"
                | "msg_too_long"
                | "msg_blocks_too_long" => Self::Permanent(why),
                _ => Self::later(why),
            },
        }
    }
}
