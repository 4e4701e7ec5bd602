//! Where reviewers are told besides the console: which channels there are, whether they work, and a test.

use std::{sync::Arc, time::Duration};

use countersign_audit::{EventDraft, kind};
use countersign_model::Timestamp;
use countersign_store::StoreError;
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::{MissingRight, Parts, require};
use crate::{
    channel::Configured,
    identity::{Actor, Right},
};

/// How long a test may take.
const TEST_TIMEOUT: Duration = Duration::from_secs(20);
/// How far what a channel is still to tell is counted.
const MOST_BACKLOG: usize = 10_000;

/// Whether a channel works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChannelState {
    /// As far as is known.
    Healthy,
    /// Its fallbacks are told in its place.
    Degraded,
}

/// A channel as people see it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ChannelView {
    /// The name that the configuration gives it.
    pub name: String,
    /// The kind of channel: `webhook`, `email`, ….
    pub kind: String,
    /// Whether it works.
    pub state: ChannelState,
    /// Since when it does not.
    #[schema(value_type = Option<String>)]
    pub degraded_since: Option<Timestamp>,
    /// Why a message was not taken last, in words.
    pub last_error: Option<String>,
    /// When a message was taken last, since the control plane started.
    #[schema(value_type = Option<String>)]
    pub last_success: Option<Timestamp>,
    /// Until when it is left alone after failures.
    #[schema(value_type = Option<String>)]
    pub paused_until: Option<Timestamp>,
    /// How many messages it is still to take.
    pub backlog: usize,
    /// The rooms that routes lead to; an empty name where the channel has just one.
    pub rooms: Vec<String>,
}

/// Why something about a channel was not done.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The actor may not.
    #[error(transparent)]
    Right(#[from] MissingRight),
    /// There is no such channel.
    #[error("there is no channel {0:?}")]
    NotFound(String),
    /// Nobody said which room, and no route leads to one.
    #[error("no route leads to this channel; say which room is to be told")]
    NoRoom,
    /// No route leads to that room.
    #[error("no route leads to this room; messages go only where the configuration sends them")]
    OtherRoom,
    /// The channel did not take the message.
    #[error("{0}")]
    Failed(String),
    /// The store cannot answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Shows and tests channels.
#[derive(Debug, Clone)]
pub struct Channels {
    parts: Arc<Parts>,
}

impl Channels {
    pub(super) fn new(parts: Arc<Parts>) -> Self {
        Self { parts }
    }

    /// Every channel, by name.
    ///
    /// # Errors
    /// When the actor may not read.
    pub async fn list(&self, actor: &Actor) -> Result<Vec<ChannelView>, ChannelError> {
        require(actor, Right::Read)?;
        let mut views = Vec::new();
        for configured in self.parts.channels.all() {
            views.push(self.view(configured).await?);
        }
        Ok(views)
    }

    /// Sends a test message to a room that a route leads to, the first one when none is named.
    ///
    /// # Errors
    /// When the actor is no admin, there is no such channel or room, or the message was not taken.
    pub async fn test(
        &self,
        actor: &Actor,
        name: &str,
        room: Option<String>,
    ) -> Result<ChannelView, ChannelError> {
        require(actor, Right::Admin)?;
        let configured = self.parts.channels.get(name);
        let configured = configured.ok_or_else(|| ChannelError::NotFound(name.to_owned()))?;
        let rooms = self.parts.channels.routing.rooms(name);
        let room = match &room {
            Some(room) if !rooms.contains(room.as_str()) => return Err(ChannelError::OtherRoom),
            Some(room) => room.as_str(),
            None => rooms.first().copied().ok_or(ChannelError::NoRoom)?,
        };
        let asked_by = actor.person.to_string();
        let test = tokio::time::timeout(TEST_TIMEOUT, configured.channel.test(room, &asked_by));
        let answer = match test.await {
            Ok(Ok(())) => {
                configured.health.succeeded();
                Ok(())
            }
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("it took too long".to_owned()),
        };
        self.record_test(actor, name, room, answer.as_ref().err()).await?;
        answer.map_err(ChannelError::Failed)?;
        self.view(configured).await
    }

    async fn record_test(
        &self,
        actor: &Actor,
        name: &str,
        room: &str,
        error: Option<&String>,
    ) -> Result<(), StoreError> {
        let mut event = EventDraft::new(self.parts.clock.now(), kind::CHANNEL_TESTED);
        event.actor = Some(actor.audit_name());
        for (member, value) in [
            ("channel", json!(name)),
            ("room", json!(room)),
            ("method", json!(actor.method)),
            ("error", json!(error)),
        ] {
            event.body.insert(member.to_owned(), value);
        }
        self.parts.store.record(vec![event]).await.map(drop)
    }

    async fn view(&self, configured: &Configured) -> Result<ChannelView, ChannelError> {
        let standing = configured.health.standing();
        let name = &configured.name;
        let backlog = self.parts.store.delivery_backlog(name, MOST_BACKLOG).await?;
        let is_up = standing.down_since.is_none();
        let rooms = self.parts.channels.routing.rooms(name);
        Ok(ChannelView {
            name: name.clone(),
            kind: configured.channel.kind().to_owned(),
            state: if is_up { ChannelState::Healthy } else { ChannelState::Degraded },
            degraded_since: standing.down_since,
            last_error: standing.last_error,
            last_success: standing.last_success,
            paused_until: standing.paused_until,
            backlog,
            rooms: rooms.into_iter().map(str::to_owned).collect(),
        })
    }
}
