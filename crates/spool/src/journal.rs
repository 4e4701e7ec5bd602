//! The grant journal: which grants were used (I2).
//!
//! [`GrantJournal::consume`] gives out each use of a grant once: across races, because one writer
//! thread decides, and across crashes, because the use is durable, together with its audit event,
//! before the number is returned. What is spent of a grant's amounts is written with it. A use whose outcome was not noted before a crash is listed by
//! [`GrantJournal::unfinished`]: nobody knows whether it ran, and it is never given out again.
//!
//! Rows of grants that ended long ago are pruned. A grant that ended at or before the point up to
//! which rows were pruned is refused for ever, so that setting the clock back brings no use back.

use std::{
    collections::HashSet,
    sync::{Arc, PoisonError, RwLock},
};

use countersign_audit::EventDraft;
use countersign_model::{Amount, ApprovalId, Charge, Digest, Seconds, Timestamp, amount::spend};
use redb::{Database, ReadableDatabase, ReadableTable};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    codec::{self, Record},
    lasting::{LastingGrant, keep},
    layout::{GRANTS, LASTING, META, REVOKED, UNFINISHED, UNREPORTED, USES, meta, use_key},
    work::{SpoolError, Work},
    writer::Writer,
};

/// A wish to use a grant, once.
#[derive(Debug, Clone, PartialEq)]
pub struct Consumption {
    /// The approval.
    pub approval: ApprovalId,
    /// The digest of the operation that is about to run.
    pub digest: Digest,
    /// The digest of the operation that was approved. It is the same unless the grant is for a task.
    pub granted: Digest,
    /// How many uses the grant has.
    pub uses: u32,
    /// What it takes of the grant's amounts.
    pub charges: Vec<Charge>,
    /// The grant, if it is to be found again for what comes later.
    pub lasting: Option<LastingGrant>,
    /// When the grant ends.
    pub not_after: Timestamp,
    /// When it is used.
    pub at: Timestamp,
    /// The event that records it. `use_number` is added to its body, and what is left of a grant that lasts.
    pub event: EventDraft,
}

/// Why a use was not given out. The operation must not run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConsumeError {
    /// Every use is used up.
    #[error("all {0} uses of the grant are consumed")]
    UsedUp(u32),
    /// Less is left of its amounts.
    #[error("it is more than what is left of the grant's budget")]
    OverBudget,
    /// The approval was revoked.
    #[error("the approval was revoked")]
    Revoked,
    /// The grant has ended.
    #[error("the grant ended at {0}")]
    Expired(Timestamp),
    /// The approval was used for another operation before.
    #[error("the approval was used for another operation before ({0})")]
    OtherOperation(Digest),
    /// Its event cannot be kept.
    #[error("the spool is full: {0} bytes wait for the control plane")]
    Full(u64),
    /// The journal does not work.
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

/// How a use ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// It ran.
    Executed,
    /// It ran and failed, or could not be run.
    Failed,
    /// Nobody knows.
    OutcomeUnknown,
}

/// What became of a use.
#[derive(Debug, Clone, PartialEq)]
pub struct Finished {
    /// The approval.
    pub approval: ApprovalId,
    /// Which use of it.
    pub use_number: u32,
    /// How it ended.
    pub ending: Ending,
    /// When.
    pub at: Timestamp,
    /// The event that records it.
    pub event: Option<EventDraft>,
}

/// Why an outcome was not noted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FinishError {
    /// There is no such use.
    #[error("use {0} was never given out")]
    NoSuchUse(u32),
    /// Another outcome was noted before.
    #[error("the use already ended otherwise: {0:?}")]
    EndedOtherwise(Ending),
    /// The journal does not work.
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

/// One use of a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GrantUse {
    /// The approval.
    pub approval: ApprovalId,
    /// The operation.
    pub digest: Digest,
    /// Which use, from 1.
    pub number: u32,
    /// When it was given out.
    pub consumed_at: Timestamp,
}

/// A grant that was used at least once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GrantRow {
    pub(crate) digest: Digest,
    pub(crate) uses: u32,
    pub(crate) used: u32,
    pub(crate) not_after: Timestamp,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) spent: Vec<Amount>,
}

impl Record for GrantRow {
    const VERSION: u8 = 1;
}

/// A use that was given out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UseRow {
    pub(crate) digest: Digest,
    pub(crate) consumed_at: Timestamp,
    pub(crate) claim_reported: bool,
    pub(crate) ended: Option<Ended>,
}

/// How and when a use ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ended {
    pub(crate) ending: Ending,
    pub(crate) at: Timestamp,
}

impl Record for UseRow {
    const VERSION: u8 = 1;
}

/// Rows of grants that ended at or before this point may be gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PrunedThrough(pub(crate) Timestamp);

impl Record for PrunedThrough {
    const VERSION: u8 = 1;
}

/// The durable memory of which grants were used. Clones are the same journal.
#[derive(Clone)]
pub struct GrantJournal {
    pub(crate) writer: Writer,
    pub(crate) database: Arc<Database>,
    revoked: Arc<RwLock<HashSet<ApprovalId>>>,
}

impl GrantJournal {
    /// How long after the end of a grant its rows are kept.
    pub const MARGIN: Seconds = Seconds::new(24 * 60 * 60);

    pub(crate) fn new(writer: Writer, database: Arc<Database>, revoked: HashSet<ApprovalId>) -> Self {
        Self { writer, database, revoked: Arc::new(RwLock::new(revoked)) }
    }

    /// Uses a grant up. Returns the number of the use, from 1, once it and its event are durable.
    ///
    /// # Errors
    /// When there is no use left or the use cannot be made durable: the operation must not run.
    pub async fn consume(&self, consumption: Consumption) -> Result<u32, ConsumeError> {
        self.writer.run(move |work| consume(work, consumption)).await
    }

    /// Notes what became of a use, durably. The same again changes nothing.
    ///
    /// Its event is taken even when the spool is full: it records something that has happened.
    ///
    /// # Errors
    /// When there is no such use, it ended otherwise, or the journal does not work.
    pub async fn finish(&self, finished: Finished) -> Result<(), FinishError> {
        self.writer.run(move |work| finish(work, finished)).await
    }

    /// Every use without an outcome, oldest grant first. After a restart: those of which nobody knows
    /// whether they ran. In a running sidecar those that run now are among them.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn unfinished(&self) -> Result<Vec<GrantUse>, SpoolError> {
        let transaction = self.database.begin_read().map_err(SpoolError::storage)?;
        let unfinished = transaction.open_table(UNFINISHED).map_err(SpoolError::storage)?;
        let uses = transaction.open_table(USES).map_err(SpoolError::storage)?;
        let mut found = Vec::new();
        for entry in unfinished.iter().map_err(SpoolError::storage)? {
            let (key, ()) =
                entry.map(|(key, value)| (key.value(), value.value())).map_err(SpoolError::storage)?;
            let row = uses.get(key).map_err(SpoolError::storage)?;
            let row = row.ok_or_else(|| SpoolError::storage("an unfinished use is missing"))?;
            let row: UseRow = codec::decode(row.value()).map_err(SpoolError::storage)?;
            let approval = ApprovalId::from_bytes(key.0);
            found.push(GrantUse {
                approval,
                digest: row.digest,
                number: key.1,
                consumed_at: row.consumed_at,
            });
        }
        Ok(found)
    }

    /// How many uses of an approval were given out, and what they have spent.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn used(&self, approval: ApprovalId) -> Result<(u32, Vec<Amount>), SpoolError> {
        let transaction = self.database.begin_read().map_err(SpoolError::storage)?;
        let grants = transaction.open_table(GRANTS).map_err(SpoolError::storage)?;
        let row = grants.get(approval.to_bytes()).map_err(SpoolError::storage)?;
        let row = row.map(|row| codec::decode::<GrantRow>(row.value())).transpose();
        Ok(row.map_err(SpoolError::storage)?.map_or((0, Vec::new()), |row| (row.used, row.spent)))
    }

    /// Refuses every further use of an approval, durably and for ever.
    ///
    /// # Errors
    /// When the journal does not work. The approval is then refused until a restart all the same.
    pub async fn revoke(&self, approval: ApprovalId) -> Result<(), SpoolError> {
        self.revoked.write().unwrap_or_else(PoisonError::into_inner).insert(approval);
        self.writer.run(move |work| work.insert(REVOKED, approval.to_bytes(), ())).await
    }

    /// Whether an approval was revoked.
    #[must_use]
    pub fn is_revoked(&self, approval: ApprovalId) -> bool {
        self.revoked.read().unwrap_or_else(PoisonError::into_inner).contains(&approval)
    }

    /// Forgets grants that ended more than [`Self::MARGIN`] ago, whose uses have outcomes, and of which
    /// the control plane knows everything. Returns how many.
    ///
    /// # Errors
    /// When the journal does not work.
    pub async fn prune(&self, now: Timestamp) -> Result<usize, SpoolError> {
        self.writer.run(move |work| prune(work, now.minus(Self::MARGIN))).await
    }
}

fn consume(work: &mut Work<'_>, consumption: Consumption) -> Result<u32, ConsumeError> {
    let Consumption { approval, digest, granted, uses, charges, lasting, not_after, at, mut event } =
        consumption;
    let key = approval.to_bytes();
    if work.contains(REVOKED, key)? {
        return Err(ConsumeError::Revoked);
    }
    let pruned: Option<PrunedThrough> = work.get(META, meta::PRUNED_THROUGH)?;
    if at >= not_after || pruned.is_some_and(|pruned| not_after <= pruned.0) {
        return Err(ConsumeError::Expired(not_after));
    }
    let row: Option<GrantRow> = work.get(GRANTS, key)?;
    let row = row.unwrap_or(GrantRow { digest: granted, uses, used: 0, not_after, spent: Vec::new() });
    if row.digest != granted {
        return Err(ConsumeError::OtherOperation(row.digest));
    }
    // A second grant of the same approval never adds uses.
    let uses = uses.min(row.uses);
    if row.used >= uses {
        return Err(ConsumeError::UsedUp(uses));
    }
    let spent = spend(&row.spent, &charges).ok_or(ConsumeError::OverBudget)?;
    if work.is_full() {
        return Err(ConsumeError::Full(work.tail.bytes));
    }
    let number = row.used.saturating_add(1);
    let not_after = row.not_after.max(not_after);
    if let Some(lasting) = &lasting {
        keep(work, approval, lasting, not_after)?;
        event.body.insert("uses_left".to_owned(), uses.saturating_sub(number).into());
    }
    if !charges.is_empty() {
        let left: Vec<_> =
            charges.iter().zip(&spent).map(|(charge, spent)| charge.total.minus(*spent)).collect();
        event.body.insert("amounts_left".to_owned(), json!(left));
    }
    work.put(GRANTS, key, &GrantRow { digest: granted, uses, used: number, not_after, spent })?;
    let use_row = UseRow { digest, consumed_at: at, claim_reported: false, ended: None };
    work.put(USES, use_key(approval, number), &use_row)?;
    work.insert(UNFINISHED, use_key(approval, number), ())?;
    work.insert(UNREPORTED, use_key(approval, number), ())?;
    event.body.insert("use_number".to_owned(), number.into());
    work.append(event)?;
    Ok(number)
}

fn finish(work: &mut Work<'_>, finished: Finished) -> Result<(), FinishError> {
    let Finished { approval, use_number, ending, at, event } = finished;
    let key = use_key(approval, use_number);
    let row: Option<UseRow> = work.get(USES, key)?;
    let mut row = row.ok_or(FinishError::NoSuchUse(use_number))?;
    match &row.ended {
        Some(ended) if ended.ending == ending => return Ok(()),
        Some(ended) => return Err(FinishError::EndedOtherwise(ended.ending)),
        None => row.ended = Some(Ended { ending, at }),
    }
    work.put(USES, key, &row)?;
    work.remove(UNFINISHED, key)?;
    if let Some(event) = event {
        work.append(event)?;
    }
    Ok(())
}

fn prune(work: &mut Work<'_>, through: Timestamp) -> Result<usize, SpoolError> {
    let ended = grants_ended_by(work, through)?;
    let mut pruned = 0;
    for (approval, used) in ended {
        let keys = (1..=used).map(|number| use_key(approval, number));
        let mut waits = false;
        for key in keys.clone() {
            waits |= work.contains(UNFINISHED, key)? || work.contains(UNREPORTED, key)?;
        }
        if waits {
            continue;
        }
        for key in keys {
            work.remove(USES, key)?;
        }
        work.remove(GRANTS, approval.to_bytes())?;
        work.remove(LASTING, approval.to_bytes())?;
        pruned += 1;
    }
    let before: Option<PrunedThrough> = work.get(META, meta::PRUNED_THROUGH)?;
    if pruned > 0 && before.is_none_or(|before| before.0 < through) {
        work.put(META, meta::PRUNED_THROUGH, &PrunedThrough(through))?;
    }
    Ok(pruned)
}

fn grants_ended_by(work: &Work<'_>, through: Timestamp) -> Result<Vec<(ApprovalId, u32)>, SpoolError> {
    let grants = work.transaction.open_table(GRANTS).map_err(SpoolError::storage)?;
    let mut ended = Vec::new();
    for entry in grants.iter().map_err(SpoolError::storage)? {
        let (key, row) = entry.map_err(SpoolError::storage)?;
        let row: GrantRow = codec::decode(row.value()).map_err(SpoolError::storage)?;
        if row.not_after <= through {
            ended.push((ApprovalId::from_bytes(key.value()), row.used));
        }
    }
    Ok(ended)
}

pub(crate) fn load_revoked(database: &Database) -> Result<HashSet<ApprovalId>, SpoolError> {
    let transaction = database.begin_read().map_err(SpoolError::storage)?;
    let table = transaction.open_table(REVOKED).map_err(SpoolError::storage)?;
    let entries = table.iter().map_err(SpoolError::storage)?;
    entries
        .map(|entry| entry.map(|(key, _)| ApprovalId::from_bytes(key.value())).map_err(SpoolError::storage))
        .collect()
}
