//! Channels whose cards take votes: what comes in from them.

use std::sync::Arc;

use axum::Router;
use tokio_util::sync::CancellationToken;

use super::{Health, slack, teams, votes::Votes};

/// A channel that hears what people do with its cards.
pub(crate) enum Listener {
    /// An app in a workspace of Slack.
    Slack {
        /// The channel's name.
        name: String,
        /// The workspace.
        slack: Arc<slack::Slack>,
        /// Where its connections tell how they are.
        health: Health,
    },
    /// A bot in Microsoft Teams.
    Teams {
        /// The channel's name.
        name: String,
        /// The bot.
        bot: Arc<teams::Bot>,
    },
}

/// What comes in, and where.
#[derive(Default)]
pub(crate) struct Listening {
    /// The routes that chats post to.
    pub(crate) router: Router,
    incoming: Vec<slack::Incoming>,
}

impl Listening {
    /// Listens to every channel that hears anything.
    pub(crate) fn to<'a>(listeners: impl Iterator<Item = &'a Listener>, votes: &Votes) -> Self {
        listeners.fold(Self::default(), |mut all, listener| {
            match listener {
                Listener::Slack { name, slack, health } => {
                    let mut incoming = slack::Incoming::new(name, slack, votes.clone(), health.clone());
                    all.router = all.router.merge(incoming.take_router().unwrap_or_default());
                    all.incoming.push(incoming);
                }
                Listener::Teams { name, bot } => {
                    all.router = all.router.merge(teams::router(name, Arc::clone(bot), votes.clone()));
                }
            }
            all
        })
    }

    /// Keeps connections until the stop, and then works off what is left.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let incoming = self.incoming.into_iter().map(|one| one.run(stop.clone()));
        futures::future::join_all(incoming).await;
        stop.cancelled().await;
    }
}
