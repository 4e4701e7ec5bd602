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
use countersign_approval::Approval;
use countersign_model::Digest;
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

/// What an approval's version is before anything has happened to it.
const FIRST_VERSION: u64 = 1;

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
    /// Whether an account can be linked only by whoever signs in with the e-mail address that Slack has for it.
    pub same_email: bool,
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
    same_email: bool,
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
            same_email: config.same_email,
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
        let once = once(&message.approval, room, "card");
        let card = self.card(message);
        let place = self.api.post(room, None, &card, Some(&once)).await?;
        if message.approval.version > FIRST_VERSION {
            // The one that Slack knows may have been posted before a crash, and show what it was like then.
            self.api.update(&place, &card).await?;
        }
        Ok(reference(&place))
    }

    async fn update(&self, room: &str, posted: &MessageRef, message: &Message) -> Result<(), DeliveryError> {
        let place = place(posted)?;
        self.api.update(&place, &self.card(message)).await?;
        let follow_up = card::follow_up(&message.review, self.clock.now());
        let once = once(&message.approval, room, &message.approval.version.to_string());
        self.api.post(&place.channel, Some(&place.ts), &follow_up, Some(&once)).await?;
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
        self.api.post(room, None, &card::words(&text), None).await?;
        Ok(())
    }
}

/// What a message is called before Slack has a name for it. Whoever posts it again, because what came of the first
/// time got lost, calls it the same, and Slack knows it again.
fn once(approval: &Approval, room: &str, what: &str) -> String {
    let id = approval.request.id.to_string();
    let digest = Digest::of_parts(&[
        b"slack message\0",
        id.as_bytes(),
        b"\0",
        room.as_bytes(),
        b"\0",
        what.as_bytes(),
    ]);
    uuid(&digest)
}

/// A digest as a UUID of version 8 (RFC 9562), since Slack takes no other form.
fn uuid(digest: &Digest) -> String {
    let hex = hex::encode(digest.as_bytes());
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    format!("{}-{}-8{}-a{}-{}", part(0, 8), part(8, 12), part(13, 16), part(17, 20), part(20, 32))
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
                | "duplicate_channel_not_found"
                | "duplicate_message_not_found"
                | "restricted_action"
                | "invalid_blocks"
                | "msg_too_long"
                | "msg_blocks_too_long" => Self::Permanent(why),
                _ => Self::later(why),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_uuid_of_our_own_making() {
        let name = uuid(&Digest::from_bytes(std::array::from_fn(|index| u8::try_from(index).unwrap())));
        assert_eq!(name, "00010203-0405-8607-a809-0a0b0c0d0e0f");
    }
}
