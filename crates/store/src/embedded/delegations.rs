//! Stand-ins, found by who they are.

use async_trait::async_trait;
use countersign_audit::kind;
use countersign_model::{DelegationId, Digest, PersonId, Timestamp};
use serde_json::json;

use super::{
    EmbeddedStore,
    codec::{self, Record},
    layout::{Bytes, DELEGATIONS, STAND_INS, join},
    lookup::Lookup,
    work::Work,
};
use crate::{
    By, CommandError, Delegation, DelegationRefusal, DelegationStore, MAX_DELEGATIONS, Page, PageError,
    PageRequest, StoreError,
};

impl Record for Delegation {
    const TABLE: Bytes = DELEGATIONS;
}

fn create(
    work: &mut Work<'_>,
    delegation: &Delegation,
    by: &By,
) -> Result<(), CommandError<DelegationRefusal>> {
    let mut live = 0;
    for (_, value) in work.prefixed(DELEGATIONS, &[], usize::MAX)? {
        let other: Delegation = codec::decode(&value)?;
        live += usize::from(other.delegator == delegation.delegator && other.is_live(by.at));
    }
    if live >= MAX_DELEGATIONS {
        return Err(CommandError::Refused(DelegationRefusal::TooMany));
    }
    let id = delegation.id.to_bytes();
    work.put(&id, delegation)?;
    work.insert(STAND_INS, &join(&stand_in_key(&delegation.stand_in), &id), &[])?;
    Ok(record(work, delegation, kind::DELEGATION_CREATED, by)?)
}

fn revoke(
    work: &mut Work<'_>,
    id: DelegationId,
    by: &By,
) -> Result<Delegation, CommandError<DelegationRefusal>> {
    let delegation: Option<Delegation> = work.get(&id.to_bytes())?;
    let mut delegation = delegation.ok_or(CommandError::Refused(DelegationRefusal::Unknown))?;
    if delegation.revoked_at.is_some() {
        return Ok(delegation);
    }
    delegation.revoked_at = Some(by.at);
    work.put(&id.to_bytes(), &delegation)?;
    // What is over is only kept for the record: nobody looks it up by its stand-in any more.
    work.remove(STAND_INS, &join(&stand_in_key(&delegation.stand_in), &id.to_bytes()))?;
    record(work, &delegation, kind::DELEGATION_REVOKED, by)?;
    Ok(delegation)
}

fn record(
    work: &mut Work<'_>,
    delegation: &Delegation,
    kind: &'static str,
    by: &By,
) -> Result<(), StoreError> {
    let mut event = Work::draft(by, kind);
    event.body.insert("delegation".into(), json!(delegation));
    work.record(event)
}

/// Names have no fixed length; their digests have.
fn stand_in_key(person: &PersonId) -> [u8; 32] {
    *Digest::of(person.as_str().as_bytes()).as_bytes()
}

fn holding(lookup: &impl Lookup, person: &PersonId, now: Timestamp) -> Result<Vec<Delegation>, StoreError> {
    let mut found = Vec::new();
    for (key, _) in lookup.prefixed(STAND_INS, &stand_in_key(person), usize::MAX)? {
        let delegation = match key.last_chunk::<16>() {
            Some(id) => lookup.get::<Delegation>(id)?,
            None => None,
        };
        found.extend(delegation.filter(|one| one.stand_in == *person && one.holds_at(now)));
    }
    Ok(found)
}

#[async_trait]
impl DelegationStore for EmbeddedStore {
    async fn create_delegation(
        &self,
        delegation: Delegation,
        by: By,
    ) -> Result<(), CommandError<DelegationRefusal>> {
        self.writer.run(move |work| create(work, &delegation, &by)).await
    }

    async fn revoke_delegation(
        &self,
        id: DelegationId,
        by: By,
    ) -> Result<Delegation, CommandError<DelegationRefusal>> {
        self.writer.run(move |work| revoke(work, id, &by)).await
    }

    async fn delegation(&self, id: DelegationId) -> Result<Option<Delegation>, StoreError> {
        self.read(move |view| view.get(&id.to_bytes())).await
    }

    async fn delegations(
        &self,
        of: Option<PersonId>,
        page: PageRequest,
    ) -> Result<Page<Delegation>, PageError> {
        self.read(move |view| {
            let wanted = |one: &Delegation| {
                of.as_ref().is_none_or(|person| one.delegator == *person || one.stand_in == *person)
            };
            view.page(&page, true, wanted)
        })
        .await
    }

    async fn delegations_to(
        &self,
        stand_in: &PersonId,
        now: Timestamp,
    ) -> Result<Vec<Delegation>, StoreError> {
        let stand_in = stand_in.clone();
        self.read(move |view| holding(view, &stand_in, now)).await
    }
}
