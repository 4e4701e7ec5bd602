//! Stand-ins: who may vote by whose right, and until when.

use async_trait::async_trait;
use countersign_model::{Assurance, DelegationId, PersonId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{By, CommandError, Page, PageError, PageRequest, StoreError};

/// How many stand-ins one person can have named at a time.
pub const MAX_DELEGATIONS: usize = 10;

/// A person's word that another one stands in for them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delegation {
    /// Its id.
    pub id: DelegationId,
    /// Who gave it.
    pub delegator: PersonId,
    /// Who stands in for them.
    pub stand_in: PersonId,
    /// From when.
    pub from: Timestamp,
    /// Until when.
    pub until: Timestamp,
    /// Why.
    pub reason: String,
    /// How surely it was the delegator's word: it counts for no requirement that asks for more.
    #[serde(default, skip_serializing_if = "Assurance::is_any")]
    pub assurance: Assurance,
    /// When it was given.
    pub created_at: Timestamp,
    /// When it was taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
}

impl Delegation {
    /// Whether it holds at that time.
    #[must_use]
    pub fn holds_at(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.from <= now && now < self.until
    }

    /// Whether it holds then, or will later.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && now < self.until
    }
}

/// Why a stand-in was not named or taken back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DelegationRefusal {
    /// There is no such delegation.
    #[error("there is no such delegation")]
    Unknown,
    /// There are as many as there can be.
    #[error("you have named {MAX_DELEGATIONS} stand-ins; remove one first")]
    TooMany,
}

/// Stand-ins.
#[async_trait]
pub trait DelegationStore {
    /// Names a stand-in (`delegation.created`).
    async fn create_delegation(
        &self,
        delegation: Delegation,
        by: By,
    ) -> Result<(), CommandError<DelegationRefusal>>;

    /// Takes a stand-in back (`delegation.revoked`). Twice is no error.
    async fn revoke_delegation(
        &self,
        id: DelegationId,
        by: By,
    ) -> Result<Delegation, CommandError<DelegationRefusal>>;

    /// A delegation.
    async fn delegation(&self, id: DelegationId) -> Result<Option<Delegation>, StoreError>;

    /// Delegations, newest first, of those whom a person gave or was given; everybody's when `None`.
    async fn delegations(
        &self,
        of: Option<PersonId>,
        page: PageRequest,
    ) -> Result<Page<Delegation>, PageError>;

    /// The delegations to a person that hold now.
    async fn delegations_to(
        &self,
        stand_in: &PersonId,
        now: Timestamp,
    ) -> Result<Vec<Delegation>, StoreError>;
}
