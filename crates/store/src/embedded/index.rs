//! The index file: what searching and proving need, built behind the writer.
//!
//! Everything in it follows from the ledger, so it may be lost, deleted or lag: it knows how far it is
//! (`IndexTail`), and what is missing is built again.

use countersign_audit::{
    EventHeader,
    merkle::{Frontier, leaf_hash},
};
use countersign_model::{Digest, Timestamp};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use super::{OpenError, layout::LEDGER, lookup::storage};
use crate::StoreError;

/// The memory that redb may use for the index.
pub(super) const CACHE_BYTES: usize = 32 * 1024 * 1024;
/// Says how rows are laid out. An index of another layout is thrown away.
const LAYOUT: u64 = 1;
/// How many events share one row of [`SPANS`].
pub(super) const SPAN: u64 = 256;

/// Term and ledger index: which events have it.
pub(super) const TERMS: TableDefinition<'static, (Term, u64), ()> = TableDefinition::new("terms");
/// Ledger index divided by [`SPAN`] → the earliest and latest time of these events.
pub(super) const SPANS: TableDefinition<'static, u64, (i64, i64)> = TableDefinition::new("spans");
/// Level and number → the tile's hashes, as far as it is filled (C2SP tlog-tiles, height 8).
pub(super) const TILES: TableDefinition<'static, (u8, u64), &'static [u8]> = TableDefinition::new("tiles");
/// The layout, and the frontier of what is indexed: its size and peaks.
const TAIL: TableDefinition<'static, u64, (u64, &'static [u8])> = TableDefinition::new("tail");

/// A field and a value, as the start of a hash: of fixed size, whatever the value.
pub(super) type Term = [u8; 16];

/// Where events can be looked up by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Kind,
    Family,
    Approval,
    Source,
    Actor,
    Trace,
}

/// The term for a field's value.
pub(super) fn term(field: Field, value: &str) -> Term {
    let digest = Digest::of_parts(&[&[field as u8], value.as_bytes()]);
    digest.as_bytes().first_chunk().copied().unwrap_or_default()
}

/// The terms of an event.
pub(super) fn terms(event: &EventHeader<'_>) -> Vec<Term> {
    let mut terms = vec![
        term(Field::Kind, &event.kind),
        term(Field::Family, family(&event.kind)),
        term(Field::Source, &event.source.to_string()),
    ];
    terms.extend(event.approval.map(|approval| term(Field::Approval, &approval.to_string())));
    terms.extend(event.actor.as_deref().map(|actor| term(Field::Actor, actor)));
    terms.extend(event.trace_id.as_deref().map(|trace| term(Field::Trace, trace)));
    terms
}

/// The family of a kind: up to and including its first dot.
pub(super) fn family(kind: &str) -> &str {
    kind.split_inclusive('.').next().unwrap_or(kind)
}

/// Makes every table, so that reading finds them from the start.
pub(super) fn prepare(index: &Database) -> Result<(), OpenError> {
    let create = || -> Result<(), redb::Error> {
        let mut transaction = index.begin_write()?;
        transaction.set_quick_repair(true);
        transaction.open_table(TERMS)?;
        transaction.open_table(SPANS)?;
        transaction.open_table(TILES)?;
        transaction.open_table(TAIL)?;
        Ok(transaction.commit()?)
    };
    create().map_err(|error| OpenError::Storage(error.to_string()))
}

/// The frontier of what is indexed.
pub(super) fn load_frontier(index: &Database) -> Result<Frontier, StoreError> {
    let transaction = index.begin_read().map_err(storage)?;
    let table = transaction.open_table(TAIL).map_err(storage)?;
    let Some(tail) = table.get(LAYOUT).map_err(storage)? else { return Ok(Frontier::default()) };
    let (size, peaks) = tail.value();
    let peaks = peaks.as_chunks::<32>().0.iter().map(|peak| Digest::from_bytes(*peak)).collect();
    Frontier::from_peaks(size, peaks).map_err(|error| StoreError::Damaged(error.to_string()))
}

/// Notes the frontier of what is indexed.
pub(super) fn save_frontier(
    transaction: &redb::WriteTransaction,
    frontier: &Frontier,
) -> Result<(), StoreError> {
    let peaks: Vec<u8> = frontier.peaks().iter().flat_map(|peak| *peak.as_bytes()).collect();
    let mut table = transaction.open_table(TAIL).map_err(storage)?;
    table.insert(LAYOUT, (frontier.size(), peaks.as_slice())).map_err(storage)?;
    Ok(())
}

/// Whether an index was built from this ledger, and by this layout: it is not longer, and the last leaf
/// that it has is that of the event in its place.
pub(super) fn belongs_to(index: &Database, database: &Database) -> Result<bool, StoreError> {
    let frontier = load_frontier(index)?;
    let transaction = index.begin_read().map_err(storage)?;
    let Some(last) = frontier.size().checked_sub(1) else {
        // Nothing of this layout: fit to be built on only if there is nothing of another one either.
        let terms = transaction.open_table(TERMS).map_err(storage)?;
        return Ok(terms.first().map_err(storage)?.is_none());
    };
    let tiles = transaction.open_table(TILES).map_err(storage)?;
    let tile = tiles.get((0, last / SPAN)).map_err(storage)?;
    let leaf = tile.and_then(|tile| tile.value().last_chunk::<32>().map(|leaf| Digest::from_bytes(*leaf)));
    let ledger = database.begin_read().map_err(storage)?.open_table(LEDGER).map_err(storage)?;
    let event = ledger.get(last).map_err(storage)?;
    Ok(event.is_some_and(|event| Some(leaf_hash(event.value())) == leaf))
}

/// The times that a span covers, widened by an event.
pub(super) fn widen(span: Option<(i64, i64)>, at: Timestamp) -> (i64, i64) {
    let at = at.as_millis();
    span.map_or((at, at), |(first, last)| (first.min(at), last.max(at)))
}
