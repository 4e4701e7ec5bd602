//! Where the Bot Framework posts what happens to the bot's cards.

use std::sync::Arc;

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    response::{IntoResponse, Response},
    routing::post,
};
use countersign_store::{AccountKind, Delivery, ExternalAccount};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::{
    Bot, MemberError,
    activity::{Activity, Click},
    caller::CallerError,
    member::NotMember,
};
use crate::{
    channel::{
        teams::card::{APPROVE, DENY, Notice, REFRESH},
        ticket::Ticket,
        votes::{Somebody, TurnedAway, Votes},
    },
    services::VoteDecision,
};

/// The longest body that is read.
const MAX_BODY: usize = 256 * 1024;

/// Listens for one bot.
struct Desk {
    name: String,
    bot: Arc<Bot>,
    votes: Votes,
}

/// The route that the Bot Framework posts to, for the channel of that name.
pub(crate) fn router(name: &str, bot: Arc<Bot>, votes: Votes) -> Router {
    let route = post(happened).layer(DefaultBodyLimit::max(MAX_BODY));
    let path = format!("/channels/teams/{name}/messages");
    Router::new().route(&path, route).with_state(Arc::new(Desk { name: name.to_owned(), bot, votes }))
}

/// Takes what happened. A click is answered within the call; everything else has no answer.
async fn happened(State(desk): State<Arc<Desk>>, headers: HeaderMap, body: Bytes) -> Response {
    let Ok(activity) = serde_json::from_slice::<Activity>(&body) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let bot = desk.bot.as_ref();
    if let Err(error) = bot.callers.check(&headers, &activity, bot.clock.now()).await {
        tracing::warn!(%error, "a call that claims to come from Microsoft Teams is refused");
        let status = match error {
            CallerError::Keys(_) => StatusCode::SERVICE_UNAVAILABLE,
            CallerError::Missing => StatusCode::UNAUTHORIZED,
            CallerError::Token(_) => StatusCode::FORBIDDEN,
        };
        return (status, error.to_string()).into_response();
    }
    match activity.click() {
        Some(click) => Json(desk.answer(&activity, &click).await).into_response(),
        None => {
            // How an operator finds out what a room is called.
            if let Some(conversation) = &activity.conversation {
                tracing::info!(
                    conversation = conversation.id,
                    kind = activity.kind,
                    "heard from Microsoft Teams"
                );
            }
            StatusCode::OK.into_response()
        }
    }
}

/// Why a click has no card for an answer.
#[derive(Debug, thiserror::Error)]
enum Unanswerable {
    #[error("this card is not one of ours")]
    NotOurs,
    #[error(transparent)]
    Member(#[from] MemberError),
    #[error("this cannot be shown now; try again, or look at it in the console")]
    Unavailable,
}

impl Desk {
    async fn answer(&self, activity: &Activity, click: &Click) -> Value {
        match self.clicked(activity, click).await {
            Ok(card) => {
                json!({"statusCode": 200, "type": "application/vnd.microsoft.card.adaptive", "value": card})
            }
            Err(error) => {
                tracing::info!(%error, "a click in Microsoft Teams was turned away");
                let text = format!("Not counted: {error}.");
                json!({"statusCode": 200, "type": "application/vnd.microsoft.activity.message", "value": text})
            }
        }
    }

    /// Does what was clicked, and shows the card as it is then.
    async fn clicked(&self, activity: &Activity, click: &Click) -> Result<Value, Unanswerable> {
        let account = self.account(activity)?;
        let action = &click.action;
        let ticket: Ticket = action.data.ticket.parse().map_err(|_| Unanswerable::NotOurs)?;
        let room = activity.room().ok_or(Unanswerable::NotOurs)?;
        if !self.is_told_in(room, &ticket).await? {
            return Err(Unanswerable::NotOurs);
        }
        let decision = match action.verb.as_str() {
            APPROVE => Some(VoteDecision::Approve),
            DENY => Some(VoteDecision::Deny),
            REFRESH => None,
            _ => return Err(Unanswerable::NotOurs),
        };
        let notice = match decision {
            Some(decision) => {
                let who = self.somebody(activity, account, room).await?;
                let reason = action.data.reason.as_deref().map(str::trim).filter(|reason| !reason.is_empty());
                Some(self.vote(&who, &ticket, decision, reason).await)
            }
            None => None,
        };
        let message = self.votes.message(ticket.approval).await.map_err(|_| Unanswerable::Unavailable)?;
        let message = message.ok_or(Unanswerable::NotOurs)?;
        Ok(self.bot.card(&message, notice.as_ref()))
    }

    /// Whether this request is told in that conversation. A client that makes up a click is not to be shown others.
    async fn is_told_in(&self, room: &str, ticket: &Ticket) -> Result<bool, Unanswerable> {
        let deliveries = self.votes.store.deliveries_of(ticket.approval).await;
        let deliveries = deliveries.map_err(|_| Unanswerable::Unavailable)?;
        let is_here = |delivery: &Delivery| {
            delivery.destination.channel == self.name && delivery.destination.room == room
        };
        Ok(deliveries.iter().any(is_here))
    }

    async fn vote(
        &self,
        who: &Somebody,
        ticket: &Ticket,
        decision: VoteDecision,
        reason: Option<&str>,
    ) -> Notice {
        match self.votes.cast(who, ticket, decision, reason).await {
            Ok(_) => Notice { text: "Your vote is counted.".to_owned(), is_good: true, link: None },
            Err(declined) => {
                tracing::info!(%declined, "a click in Microsoft Teams was turned away");
                let text = format!("Not counted: {declined}.");
                let link = match declined {
                    TurnedAway::Unlinked { link } => Some(("Link this account", link)),
                    TurnedAway::SignInAgain { link } => Some(("Sign in", link)),
                    _ => None,
                };
                Notice { text, is_good: false, link }
            }
        }
    }

    /// The account that clicked, as the Bot Framework vouches for it.
    fn account(&self, activity: &Activity) -> Result<ExternalAccount, MemberError> {
        let from = activity.from.as_ref().ok_or(NotMember::Foreign)?;
        let subject = from.aad_object_id.as_deref().filter(|id| !id.is_empty());
        let subject = subject.ok_or(NotMember::Foreign)?.to_owned();
        let tenant = activity.tenant().filter(|tenant| *tenant == self.bot.tenant);
        let realm = tenant.ok_or(NotMember::Foreign)?.to_owned();
        Ok(ExternalAccount { kind: AccountKind::Teams, realm, subject })
    }

    /// Who clicked, as Teams knows them now.
    async fn somebody(
        &self,
        activity: &Activity,
        account: ExternalAccount,
        room: &str,
    ) -> Result<Somebody, MemberError> {
        let from = activity.from.as_ref().ok_or(NotMember::Foreign)?;
        let email = self.bot.member(room, &from.id, &account.subject).await?;
        let label = if from.name.is_empty() { account.subject.clone() } else { from.name.clone() };
        Ok(Somebody { account, label, email: email.filter(|_| self.bot.same_email) })
    }
}
