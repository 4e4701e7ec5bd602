//! Telling reviewers: from a change of an approval to the messages that show it, in any number of channels.
//!
//! A channel is a view of durable state: no decision lives in it, and the console always has everything.
//!
//! 1. A change of an approval puts a message into the outbox, in its own transaction.
//! 2. [`dispatch`] works out from the [`routing`] where that is to be told, and keeps a delivery for each
//!    place, in the transaction that takes the message off the outbox. This asks nobody outside.
//! 3. One [`worker`] for each channel makes its deliveries. What it tells is what the approval is like by
//!    then, so a crash or an unreachable channel delays a message, and never loses one or piles it up.
//! 4. What the channel calls the message is kept, so that the same message is changed when the approval does,
//!    also after a restart. A message may be sent twice only if the control plane ended between sending and keeping.
//! 5. [`health`] counts failures. While a channel does not work its fallbacks are told in its place.
//!
//! What channels do is behind one port, [`Channel`].

mod back_off;
mod call;
mod dispatch;
mod email;
mod health;
pub(crate) mod http;
mod json;
mod lately;
mod listen;
mod page;
mod port;
mod recent;
mod routing;
pub(crate) mod secret_file;
mod slack;
mod teams;
#[cfg(test)]
mod tests;
mod ticket;
mod votes;
mod webhook;
mod worker;

use std::{collections::BTreeMap, sync::Arc};

use countersign_approval::Approval;
use countersign_model::{ApprovalId, SpiffeId};
use countersign_store::{By, Store, StoreError};
use countersign_telemetry::Metrics;
use tokio::sync::Notify;

pub(crate) use self::{
    call::is_private, dispatch::Dispatcher, health::Health, listen::Listening, port::Channel,
    routing::Routing, votes::Votes, worker::Worker,
};
use self::{
    email::Email,
    listen::Listener,
    port::{DeliveryError, Message, MessageRef},
    secret_file::{SecretFileError, read_secret_file},
    slack::Slack,
    teams::{Bot, Workflow},
    webhook::Webhook,
};
pub use self::{
    email::{EmailConfig, Security},
    routing::Route,
    slack::SlackConfig,
    teams::{TeamsBotConfig, TeamsWorkflowConfig},
    webhook::WebhookConfig,
};
use crate::{
    clock::Clock,
    config::{ChannelsConfig, Config},
    hub::Hub,
    review::Review,
};

/// A channel under the name that the configuration gives it.
pub(crate) struct Configured {
    /// Its name.
    pub(crate) name: String,
    /// The channel.
    pub(crate) channel: Arc<dyn Channel>,
    /// Whether it works.
    pub(crate) health: Health,
    /// Notified when it may have something to tell.
    wake: Notify,
}

impl std::fmt::Debug for Configured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Configured").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Every channel there is, and who is told where.
#[derive(Default)]
pub(crate) struct Channels {
    configured: BTreeMap<String, Arc<Configured>>,
    listeners: Vec<Listener>,
    /// Who is told where.
    pub(crate) routing: Routing,
}

impl std::fmt::Debug for Channels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channels").field("configured", &self.configured).finish_non_exhaustive()
    }
}

/// Why a channel cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("channel {name:?}: {why}")]
pub struct ChannelProblem {
    /// The channel's name.
    pub name: String,
    /// Why not.
    pub why: String,
}

impl Channels {
    /// Sets up what the configuration names. Each channel reads its secrets here; none is asked anything.
    pub(crate) fn open(config: &Config, clock: &Clock) -> Result<Self, ChannelProblem> {
        let settings = &config.channels;
        let mut channels = Self { routing: Routing::new(settings.routes.clone()), ..Self::default() };
        let health = || Health::new(clock.clone());
        let problem = |name: &str| {
            let name = name.to_owned();
            |why| ChannelProblem { name, why }
        };
        for webhook in &settings.webhooks {
            let opened = Webhook::open(webhook, clock.clone()).map_err(problem(&webhook.name))?;
            channels.add(&webhook.name, Arc::new(opened), health());
        }
        for email in &settings.emails {
            let opened = Email::open(email, clock.clone()).map_err(problem(&email.name))?;
            channels.add(&email.name, Arc::new(opened), health());
        }
        channels.open_chats(settings, clock)?;
        Ok(channels)
    }

    fn open_chats(&mut self, settings: &ChannelsConfig, clock: &Clock) -> Result<(), ChannelProblem> {
        for config in &settings.slack {
            let opened = Slack::open(config, clock.clone());
            let slack = Arc::new(opened.map_err(|error| problem(&config.name, &error.to_string()))?);
            let (name, health) = (config.name.clone(), Health::new(clock.clone()));
            self.add(&name, Arc::clone(&slack) as Arc<dyn Channel>, health.clone());
            self.listeners.push(Listener::Slack { name, slack, health });
        }
        for config in &settings.teams {
            let opened = Workflow::open(config, clock.clone());
            let workflow = opened.map_err(|why| problem(&config.name, &why))?;
            self.add(&config.name, Arc::new(workflow), Health::new(clock.clone()));
        }
        for config in &settings.teams_bots {
            let opened = Bot::open(config, clock.clone());
            let bot = Arc::new(opened.map_err(|why| problem(&config.name, &why))?);
            let name = config.name.clone();
            self.add(&name, Arc::clone(&bot) as Arc<dyn Channel>, Health::new(clock.clone()));
            self.listeners.push(Listener::Teams { name, bot });
        }
        Ok(())
    }

    /// The channels whose cards take votes.
    pub(crate) fn listeners(&self) -> impl Iterator<Item = &Listener> {
        self.listeners.iter()
    }

    /// Adds a channel.
    pub(crate) fn add(&mut self, name: &str, channel: Arc<dyn Channel>, health: Health) {
        let configured = Configured { name: name.to_owned(), channel, health, wake: Notify::new() };
        self.configured.insert(name.to_owned(), Arc::new(configured));
    }

    /// The channel of that name.
    pub(crate) fn get(&self, name: &str) -> Option<&Arc<Configured>> {
        self.configured.get(name)
    }

    /// Every channel, by name.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Configured>> {
        self.configured.values()
    }

    /// Lets a channel look for what it has to tell.
    fn wake(&self, name: &str) {
        if let Some(configured) = self.get(name) {
            configured.wake.notify_one();
        }
    }

    fn wake_all(&self) {
        self.all().for_each(|configured| configured.wake.notify_one());
    }
}

fn problem(name: &str, why: &str) -> ChannelProblem {
    ChannelProblem { name: name.to_owned(), why: why.to_owned() }
}

/// What dispatcher and workers work with.
#[derive(Clone)]
pub(crate) struct Desk {
    /// Where approvals and deliveries are.
    pub(crate) store: Arc<dyn Store>,
    /// The time.
    pub(crate) clock: Clock,
    /// Who looks at the channels.
    pub(crate) hub: Arc<Hub>,
    /// What is measured.
    pub(crate) metrics: Metrics,
    /// The control plane's own id, for the record.
    pub(crate) own_id: SpiffeId,
    /// Notified when the outbox has something for reviewers.
    pub(crate) outbox: Arc<Notify>,
    /// The channels.
    pub(crate) channels: Arc<Channels>,
    /// Where people reach the console, without a slash at the end.
    pub(crate) console: Arc<str>,
}

impl Desk {
    /// The control plane, as the one who tells.
    fn by(&self) -> By {
        By::new(self.own_id.to_string(), self.clock.now())
    }

    /// What is told about an approval.
    async fn message(&self, approval: Approval) -> Result<Message, StoreError> {
        let review = Review::read(self.store.as_ref(), &approval, self.clock.now()).await?;
        let link = self.link(approval.request.id);
        Ok(Message { approval, review, link })
    }

    /// Where an approval is shown in the console.
    fn link(&self, approval: ApprovalId) -> String {
        format!("{}/approvals/{approval}", self.console)
    }
}
