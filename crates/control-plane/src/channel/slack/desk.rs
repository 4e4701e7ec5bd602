//! What comes of a click: who it was, whether they may, and what they are told.
//!
//! Whoever clicks is looked up with Slack and with us anew; the card they clicked says only what they saw.

use std::sync::Arc;

use axum::Router;
use countersign_store::{AccountKind, ExternalAccount, StoreError};
use tokio_util::sync::CancellationToken;

use super::{
    Slack,
    api::{Message, Place, SlackError},
    card, endpoint,
    inbox::Inbox,
    interaction::{Interaction, Wish},
    member::{Colleague, MemberError},
    reference,
    socket::{Pace, SocketMode},
};
use crate::{
    channel::{
        Health,
        ticket::Ticket,
        votes::{Somebody, TurnedAway, Votes},
    },
    services::VoteDecision,
};

/// What comes in from one workspace, and the ways that it comes.
pub(crate) struct Incoming {
    inbox: Arc<Inbox>,
    socket: Option<Arc<SocketMode>>,
    router: Option<Router>,
}

impl Incoming {
    /// Listens to what happens to the cards of the channel of that name.
    pub(crate) fn new(name: &str, slack: &Arc<Slack>, votes: Votes, health: Health) -> Self {
        let (clock, signing_secret) = (slack.clock.clone(), slack.signing_secret.clone());
        let desk = Arc::new(Desk { slack: Arc::clone(slack), votes });
        let handle = move |interaction| {
            let desk = Arc::clone(&desk);
            let work: super::inbox::Work = Box::pin(async move { desk.work_off(interaction).await });
            work
        };
        let inbox = Arc::new(Inbox::new(clock.clone(), handle));
        let path = format!("/channels/slack/{name}/interactions");
        let router = signing_secret.map(|secret| endpoint::router(&path, secret, clock, Arc::clone(&inbox)));
        let api = Some(Arc::clone(&slack.api)).filter(|api| api.has_sockets());
        let socket = api.map(|api| SocketMode::new(api, Arc::clone(&inbox), health, Pace::default()));
        let socket = socket.map(Arc::new);
        Self { inbox, socket, router }
    }

    /// The route that Slack posts to, if it does.
    pub(crate) fn take_router(&mut self) -> Option<Router> {
        self.router.take()
    }

    /// Keeps the sockets until the stop, and then works off what is left.
    pub(crate) async fn run(self, stop: CancellationToken) {
        match self.socket {
            Some(socket) => socket.run(stop).await,
            None => stop.cancelled().await,
        }
        self.inbox.finish().await;
    }
}

/// Works interactions off.
struct Desk {
    slack: Arc<Slack>,
    votes: Votes,
}

/// Why a wish was not fulfilled.
#[derive(Debug, thiserror::Error)]
enum Declined {
    /// Slack says that they may not act, or says nothing.
    #[error(transparent)]
    Member(#[from] MemberError),
    /// We do.
    #[error(transparent)]
    TurnedAway(#[from] TurnedAway),
    /// Slack or the store failed on the way.
    #[error("this cannot be done now. Try again, or decide in the console")]
    Slack(#[from] SlackError),
    /// The view cannot be put together.
    #[error("this cannot be shown now. Try again, or look at it in the console")]
    View(#[from] StoreError),
}

impl Desk {
    async fn work_off(&self, interaction: Interaction) {
        let Interaction { place, user, .. } = &interaction;
        let answer = match self.fulfil(&interaction).await {
            Ok(None) => return,
            Ok(Some(answer)) => answer,
            Err(declined) => {
                tracing::info!(user, %declined, "a click in Slack was turned away");
                told(&declined)
            }
        };
        if let Err(error) = self.slack.api.whisper(&place.channel, user, &answer).await {
            tracing::warn!(user, %error, "somebody could not be told what came of their click");
        }
    }

    /// Does what somebody wants. Answers what they are told, where what they see does not tell already.
    async fn fulfil(&self, interaction: &Interaction) -> Result<Option<Message>, Declined> {
        let Interaction { place, ticket, .. } = interaction;
        let who = self.somebody(interaction).await?;
        match &interaction.wish {
            Wish::Details => {
                self.votes.look(&who, ticket).await?;
                self.open(interaction, Dialog::Details).await?;
                Ok(None)
            }
            Wish::Explain(decision) => {
                self.votes.look(&who, ticket).await?;
                self.open(interaction, Dialog::Reason(*decision)).await?;
                Ok(None)
            }
            Wish::Vote(decision, reason) => {
                let cast = self.votes.cast(&who, ticket, *decision, reason.as_deref()).await;
                // Also when it was refused: this card may be one that nobody keeps up to date.
                self.redraw_stray(place, ticket).await?;
                cast?;
                Ok(Some(card::words(match decision {
                    VoteDecision::Approve => "Your approval is counted.",
                    VoteDecision::Deny => "Your denial is counted.",
                })))
            }
        }
    }

    /// Who clicked, as Slack knows them now.
    async fn somebody(&self, interaction: &Interaction) -> Result<Somebody, Declined> {
        let Interaction { team, user, .. } = interaction;
        let Slack { api, members, same_email, clock, .. } = self.slack.as_ref();
        let own = self.slack.own().await.map_err(MemberError::Unanswered)?;
        let Colleague { name, email } = members.check(api, own, team, user, clock.now()).await?;
        let account =
            ExternalAccount { kind: AccountKind::Slack, realm: team.clone(), subject: user.clone() };
        let label = if name.is_empty() { user.clone() } else { name };
        Ok(Somebody { account, label, email: email.filter(|_| *same_email) })
    }

    async fn open(&self, interaction: &Interaction, dialog: Dialog) -> Result<(), Declined> {
        let Interaction { place, ticket, trigger, .. } = interaction;
        let message = self.votes.message(ticket.approval).await?;
        let (Some(message), Some(trigger)) = (message, trigger) else { return Ok(()) };
        let page = self.slack.page(&message);
        let view = match dialog {
            Dialog::Details => card::details(&page, self.slack.clock.now()),
            Dialog::Reason(decision) => card::reason_form(&page, decision, ticket, place),
        };
        Ok(self.slack.api.open_view(trigger, &view).await?)
    }

    /// Draws a card anew that no delivery keeps: one that was posted just before a crash.
    async fn redraw_stray(&self, place: &Place, ticket: &Ticket) -> Result<(), Declined> {
        let deliveries = self.votes.store.deliveries_of(ticket.approval).await?;
        let own = reference(place).0;
        if deliveries.iter().any(|delivery| delivery.reference.as_ref() == Some(&own)) {
            return Ok(());
        }
        if let Some(message) = self.votes.message(ticket.approval).await? {
            self.slack.api.update(place, &self.slack.card(&message)).await?;
        }
        Ok(())
    }
}

/// What is opened for somebody.
enum Dialog {
    Details,
    Reason(VoteDecision),
}

/// What whoever clicked is told.
fn told(declined: &Declined) -> Message {
    let text = format!("Not counted: {declined}.");
    match declined {
        Declined::TurnedAway(TurnedAway::Unlinked { link }) => {
            card::words_with_link(&text, "Link this account", link)
        }
        Declined::TurnedAway(TurnedAway::SignInAgain { link }) => {
            card::words_with_link(&text, "Sign in", link)
        }
        _ => card::words(&text),
    }
}
