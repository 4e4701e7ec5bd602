//! Stand-ins: a reviewer names somebody who may vote by their right for a time, as when they are away.
//!
//! The stand-in votes as themselves. Whose right counts, and that it counts once, is for the approval's own rules
//! to say (I3, I4); here is only who has named whom, and what the delegator may do *now*: somebody who is disabled,
//! or who lost the groups, has nothing to hand on. What was handed on is not handed on again.

use countersign_approval::Delegator;
use countersign_model::{DelegationId, PersonId, Seconds, Timestamp};
use countersign_store::{
    By, CommandError, Delegation, DelegationRefusal, PageError, PageRequest, StoreError,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Actor, ActorKind, AuthError, Evidence, Identity, Right, Role};
use crate::clock::{NoEntropy, entropy};

/// How long somebody can stand in for another at most.
const LONGEST: Seconds = Seconds::new(30 * 24 * 60 * 60);
/// How long before its begin a stand-in can be named.
const EARLIEST: Seconds = Seconds::new(180 * 24 * 60 * 60);
/// The longest reason, in characters.
const MAX_REASON: usize = 500;
/// How many delegations are shown.
const MOST_SHOWN: usize = 500;

/// A delegation, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct DelegationView {
    /// Its id.
    #[schema(value_type = String)]
    pub id: DelegationId,
    /// Whose right it is.
    #[schema(value_type = String)]
    pub delegator: PersonId,
    /// Who stands in for them.
    #[schema(value_type = String)]
    pub stand_in: PersonId,
    /// From when.
    #[schema(value_type = String)]
    pub from: Timestamp,
    /// Until when.
    #[schema(value_type = String)]
    pub until: Timestamp,
    /// Why.
    pub reason: String,
    /// How surely it was the delegator's word: it counts for no requirement that asks for more.
    pub assurance: String,
    /// Whether it holds now.
    pub holds: bool,
    /// When it was taken back.
    #[schema(value_type = Option<String>)]
    pub revoked_at: Option<Timestamp>,
}

impl DelegationView {
    fn of(delegation: Delegation, now: Timestamp) -> Self {
        Self {
            holds: delegation.holds_at(now),
            id: delegation.id,
            delegator: delegation.delegator,
            stand_in: delegation.stand_in,
            from: delegation.from,
            until: delegation.until,
            reason: delegation.reason,
            assurance: delegation.assurance.as_str().to_owned(),
            revoked_at: delegation.revoked_at,
        }
    }
}

/// A wish for a stand-in.
#[derive(Debug, Clone)]
pub struct NewDelegation {
    /// Who shall stand in.
    pub stand_in: PersonId,
    /// From when; from now on when left out.
    pub from: Option<Timestamp>,
    /// Until when.
    pub until: Timestamp,
    /// Why.
    pub reason: String,
}

/// Why something about a delegation was not done.
#[derive(Debug, thiserror::Error)]
pub enum DelegationError {
    /// Only a person who may vote has something to hand on.
    #[error("only a person who may vote can name a stand-in")]
    NotAVoter,
    /// It makes no sense, or is out of bounds.
    #[error("{0}")]
    Invalid(&'static str),
    /// Nobody of that name could vote.
    #[error("{0} is not known here, or may not sign in")]
    UnknownStandIn(PersonId),
    /// Too many of them.
    #[error(transparent)]
    TooMany(DelegationRefusal),
    /// There is no such delegation, or it is somebody else's.
    #[error("there is no delegation {0}")]
    NotFound(DelegationId),
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No randomness.
    #[error(transparent)]
    Entropy(#[from] NoEntropy),
}

impl Identity {
    /// Names a stand-in for the actor's own person: nobody can be made to stand aside by another.
    ///
    /// # Errors
    /// When the actor may not vote, the wish is out of bounds, or the stand-in is not known here.
    pub async fn create_delegation(
        &self,
        actor: &Actor,
        wish: NewDelegation,
    ) -> Result<DelegationView, DelegationError> {
        if actor.kind == ActorKind::Machine || !actor.may(Right::Vote) {
            return Err(DelegationError::NotAVoter);
        }
        let now = self.now();
        let delegation = Delegation {
            id: DelegationId::new(now, entropy()?),
            delegator: actor.person.clone(),
            from: wish.from.unwrap_or(now).max(now),
            stand_in: wish.stand_in,
            until: wish.until,
            reason: wish.reason.trim().to_owned(),
            assurance: actor.assurance(),
            created_at: now,
            revoked_at: None,
        };
        check(&delegation).map_err(DelegationError::Invalid)?;
        if self.delegator(&delegation.stand_in).await?.is_none() {
            return Err(DelegationError::UnknownStandIn(delegation.stand_in));
        }
        let by = By::new(actor, now);
        match self.people().create_delegation(delegation.clone(), by).await {
            Ok(()) => Ok(DelegationView::of(delegation, now)),
            Err(CommandError::Refused(refusal)) => Err(DelegationError::TooMany(refusal)),
            Err(CommandError::Store(error)) => Err(error.into()),
        }
    }

    /// The delegations that the actor gave or was given, newest first; everybody's for an admin.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn delegations(&self, actor: &Actor) -> Result<Vec<DelegationView>, DelegationError> {
        let of = (!actor.may(Right::Admin)).then(|| actor.person.clone());
        let (now, mut page, mut views) = (self.now(), PageRequest::first(PageRequest::MAX), Vec::new());
        loop {
            let found = self.people().delegations(of.clone(), page).await.map_err(stored)?;
            views.extend(found.items.into_iter().map(|one| DelegationView::of(one, now)));
            match found.next.filter(|_| views.len() < MOST_SHOWN) {
                Some(next) => page = PageRequest { limit: PageRequest::MAX, after: Some(next) },
                None => break,
            }
        }
        views.truncate(MOST_SHOWN);
        Ok(views)
    }

    /// Takes a stand-in back: the one who named them, the stand-in themselves, or an admin.
    ///
    /// # Errors
    /// When there is no such delegation, or it is somebody else's.
    pub async fn revoke_delegation(
        &self,
        actor: &Actor,
        id: DelegationId,
    ) -> Result<DelegationView, DelegationError> {
        let found = self.people().delegation(id).await?.ok_or(DelegationError::NotFound(id))?;
        let is_theirs = [&found.delegator, &found.stand_in].contains(&&actor.person);
        if !is_theirs && !actor.may(Right::Admin) {
            return Err(DelegationError::NotFound(id));
        }
        let now = self.now();
        match self.people().revoke_delegation(id, By::new(actor, now)).await {
            Ok(revoked) => Ok(DelegationView::of(revoked, now)),
            Err(CommandError::Refused(_)) => Err(DelegationError::NotFound(id)),
            Err(CommandError::Store(error)) => Err(error.into()),
        }
    }

    /// The actor, together with those whom they stand in for now.
    pub(super) async fn with_delegators(&self, mut actor: Actor) -> Result<Actor, AuthError> {
        if actor.may(Right::Vote) {
            for delegation in self.people().delegations_to(&actor.person, self.now()).await? {
                let delegator = self.delegator(&delegation.delegator).await?;
                let assurance = delegation.assurance;
                actor.delegators.extend(delegator.map(|one| Delegator { assurance, ..one }));
            }
        }
        Ok(actor)
    }

    /// What somebody who is not here may do now; `None` when that is nothing.
    async fn delegator(&self, person: &PersonId) -> Result<Option<Delegator>, StoreError> {
        match self.standing(person, Evidence::Absent).await {
            Ok(standing) if standing.roles.is_empty() => Ok(None),
            Ok(standing) => Ok(Some(Delegator {
                person: person.clone(),
                also: standing.also,
                groups: standing.groups,
                reviewer: standing.roles.contains(&Role::Reviewer),
                assurance: Default::default(),
            })),
            Err(AuthError::Store(error)) => Err(error),
            Err(_) => Ok(None),
        }
    }
}

fn check(wish: &Delegation) -> Result<(), &'static str> {
    let is_text = |text: &str| !text.is_empty() && text.chars().count() <= MAX_REASON;
    if wish.stand_in == wish.delegator {
        Err("name somebody else than yourself")
    } else if wish.until <= wish.from {
        Err("it has to end after it begins, and not in the past")
    } else if wish.until > wish.from.plus(LONGEST) {
        Err("somebody can stand in for you for 30 days at most")
    } else if wish.from > wish.created_at.plus(EARLIEST) {
        Err("it has to begin within 180 days")
    } else if !is_text(&wish.reason) || wish.reason.chars().any(char::is_control) {
        Err("give a reason of at most 500 characters, on one line")
    } else {
        Ok(())
    }
}

fn stored(error: PageError) -> DelegationError {
    match error {
        PageError::Store(error) => DelegationError::Store(error),
        PageError::Cursor(error) => DelegationError::Store(StoreError::Damaged(error.to_string())),
    }
}
