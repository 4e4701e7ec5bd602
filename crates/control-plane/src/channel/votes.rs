//! Votes from chats: from an account that the chat has verified to a vote of the person who linked it.
//!
//! The account is who asks; what a button carries only says what was shown to them. Everything else is for
//! the approval's own rules to say, as for a vote from anywhere else (I3, I4).

use std::sync::Arc;

use countersign_model::{ApprovalId, PersonId};
use countersign_store::{Store, StoreError};

use crate::{
    channel::{Message, ticket::Ticket},
    identity::{AccountError, Actor, AuthError, ExternalAccount, Identity},
    review::Review,
    services::{ApprovalError, ApprovalView, Approvals, Ballot, VoteDecision},
};

/// How often a vote is tried again when something else happened to the approval in between.
const MOST_TRIES: usize = 8;

/// Casts votes for people in chats.
#[derive(Clone)]
pub(crate) struct Votes {
    pub(crate) approvals: Approvals,
    pub(crate) identity: Identity,
    pub(crate) store: Arc<dyn Store>,
    /// Where people reach the console, without a slash at the end.
    pub(crate) console: Arc<str>,
}

/// Somebody in a chat, as the chat itself has verified them.
#[derive(Debug, Clone)]
pub(crate) struct Somebody {
    /// Their account.
    pub(crate) account: ExternalAccount,
    /// How it calls itself, for its person to recognise it by.
    pub(crate) label: String,
    /// The e-mail address that the chat knows of its holder: nobody else can link it. `None` when the chat tells
    /// none, or addresses there are not those that people sign in with here.
    pub(crate) email: Option<String>,
}

/// Why nothing came of it, in words for whoever clicked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TurnedAway {
    /// Nobody has linked the account.
    #[error(
        "this account is not linked to a person here yet. Open the link and sign in to link it. It works once, \
         for ten minutes, and is yours alone: do not pass it on"
    )]
    Unlinked {
        /// The link.
        link: String,
    },
    /// They have not signed in for long.
    #[error("your last sign-in was too long ago. Sign in at the console once more, then decide again")]
    SignInAgain {
        /// Where.
        link: String,
    },
    /// They may do nothing here.
    #[error("you may not decide here")]
    Refused,
    /// What they saw is not what would run.
    #[error("what is asked has changed since this was drawn. Look at it again, and decide then")]
    Changed,
    /// The rules of the approval refuse it.
    #[error("{0}")]
    NotCounted(String),
    /// We cannot tell now.
    #[error("this cannot be done now. Try again, or decide in the console")]
    Unavailable,
}

impl Votes {
    /// What is shown of an approval now; `None` when there is none.
    pub(crate) async fn message(&self, id: ApprovalId) -> Result<Option<Message>, StoreError> {
        let Some(approval) = self.store.approval(id).await? else { return Ok(None) };
        let review = Review::read(self.store.as_ref(), &approval, self.identity.now()).await?;
        Ok(Some(Message { approval, review, link: format!("{}/approvals/{id}", self.console) }))
    }

    /// The person behind an account.
    pub(crate) async fn actor(&self, who: &Somebody) -> Result<Actor, TurnedAway> {
        match self.identity.account_actor(&who.account).await {
            Ok(actor) => Ok(actor),
            Err(AuthError::Unlinked) => Err(self.unlinked(who).await),
            Err(AuthError::SignInAgain) => {
                Err(TurnedAway::SignInAgain { link: format!("{}/sign-in", self.console) })
            }
            Err(AuthError::Refused) => Err(TurnedAway::Refused),
            Err(AuthError::Store(error)) => Err(unavailable(&error)),
        }
    }

    async fn unlinked(&self, who: &Somebody) -> TurnedAway {
        // An account of nobody who could sign in here is no account to link.
        let Ok(only_for) = who.email.as_deref().map(holder).transpose() else { return TurnedAway::Refused };
        match self.identity.begin_link(who.account.clone(), &who.label, only_for).await {
            Ok(path) => TurnedAway::Unlinked { link: format!("{}{path}", self.console) },
            // Linked just now, or nothing that could be: the next click will tell.
            Err(error @ (AccountError::Store(_) | AccountError::Entropy(_))) => unavailable(&error),
            Err(_) => TurnedAway::Refused,
        }
    }

    /// What somebody looks at, if they may.
    pub(crate) async fn look(&self, who: &Somebody, ticket: &Ticket) -> Result<ApprovalView, TurnedAway> {
        let actor = self.actor(who).await?;
        self.same(&actor, ticket).await
    }

    /// Casts a vote for exactly what a card showed (I12).
    pub(crate) async fn cast(
        &self,
        who: &Somebody,
        ticket: &Ticket,
        decision: VoteDecision,
        reason: Option<&str>,
    ) -> Result<ApprovalView, TurnedAway> {
        let actor = self.actor(who).await?;
        for _ in 0..MOST_TRIES {
            let seen = self.same(&actor, ticket).await?;
            let ballot = Ballot {
                decision,
                reason: reason.map(ToOwned::to_owned),
                channel: who.account.kind.as_str().to_owned(),
                // What was compared is what is voted on. Somebody else's vote in between is no reason to refuse.
                expected_version: Some(seen.version),
            };
            match self.approvals.vote(&actor, ticket.approval, ballot).await {
                Err(ApprovalError::Stale { .. }) => {}
                other => return other.map_err(turned_away),
            }
        }
        Err(TurnedAway::Unavailable)
    }

    /// The approval, if it still asks what the card showed.
    async fn same(&self, actor: &Actor, ticket: &Ticket) -> Result<ApprovalView, TurnedAway> {
        let seen = self.approvals.get(actor, ticket.approval).await.map_err(turned_away)?;
        if seen.digest == ticket.digest { Ok(seen) } else { Err(TurnedAway::Changed) }
    }
}

/// The person of an e-mail address. Outside ASCII letters fold into others, and two addresses could be one person.
fn holder(email: &str) -> Result<PersonId, NoPerson> {
    let person = Some(email).filter(|email| email.is_ascii()).and_then(|email| email.parse().ok());
    person.ok_or(NoPerson)
}

/// An address that is no person's.
struct NoPerson;

fn turned_away(error: ApprovalError) -> TurnedAway {
    match error {
        ApprovalError::Refused { reason, .. } => TurnedAway::NotCounted(reason),
        ApprovalError::NotFound(_) => TurnedAway::NotCounted("there is no such request any more".to_owned()),
        ApprovalError::Right(_) => TurnedAway::Refused,
        other => unavailable(&other),
    }
}

fn unavailable(error: &dyn std::error::Error) -> TurnedAway {
    tracing::warn!(%error, "a click in a chat could not be worked off");
    TurnedAway::Unavailable
}
