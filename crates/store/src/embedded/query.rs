//! Searching the ledger: by the rarest term that a filter names, or through everything, skipping spans
//! of events whose times lie outside.
//!
//! The index narrows, the event decides: each candidate is read and held against the whole filter. A
//! page looks at a bounded number of candidates and says where the next one goes on.

use std::sync::Arc;

use countersign_audit::EventHeader;
use redb::{AccessGuard, Database, ReadOnlyTable, ReadableDatabase};

use super::{
    index::{self, Field, SPAN, SPANS, TERMS, Term},
    layout::LEDGER,
    lookup::{View, storage},
};
use crate::{Cursor, CursorError, EventFilter, LedgerEvent, Page, PageError, PageRequest, StoreError};

/// The most events that one page looks at.
const MAX_EXAMINED: usize = 5_000;

/// The indexes that are still to be looked at: from `low` up to, not including, `high`.
struct Window {
    low: u64,
    high: u64,
    ascending: bool,
}

pub(super) fn query(
    view: &View,
    index: &Arc<Database>,
    filter: &EventFilter,
    page: &PageRequest,
) -> Result<Page<LedgerEvent>, PageError> {
    let mut window =
        Window { low: 0, high: index::load_frontier(index)?.size(), ascending: filter.ascending };
    if let Some(cursor) = &page.after {
        window.go_behind(place_of(cursor)?);
    }
    let candidates = Candidates::of(index, filter)?;
    let ledger = view.transaction().open_table(LEDGER).map_err(storage)?;
    let mut found = Page { items: Vec::new(), next: None };
    for _ in 0..MAX_EXAMINED {
        let Some(place) = candidates.next(&window)? else { return Ok(Page { next: None, ..found }) };
        if found.items.len() == page.size() {
            return Ok(found);
        }
        window.go_behind(place);
        found.next = Some(Cursor::after(&place.to_be_bytes()));
        let bytes = ledger.get(place).map_err(storage)?.map(|bytes| bytes.value().to_vec());
        let bytes = bytes.ok_or_else(|| StoreError::Damaged(format!("event {place} is missing")))?;
        let event = EventHeader::of_stored(&bytes).map_err(|error| StoreError::Damaged(error.to_string()))?;
        if matches(filter, &event) {
            found.items.push(LedgerEvent { index: place, bytes });
        }
    }
    Ok(found)
}

fn place_of(cursor: &Cursor) -> Result<u64, CursorError> {
    let bytes: [u8; 8] = cursor.key().try_into().map_err(|_| CursorError)?;
    Ok(u64::from_be_bytes(bytes))
}

fn matches(filter: &EventFilter, event: &EventHeader<'_>) -> bool {
    let kind = filter.kind.as_deref().is_none_or(|kind| {
        if kind.ends_with('.') { event.kind.starts_with(kind) } else { event.kind == kind }
    });
    kind && filter.approval.is_none_or(|approval| event.approval == Some(approval))
        && (filter.trace_id.is_none() || filter.trace_id.as_deref() == event.trace_id.as_deref())
        && (filter.actor.is_none() || filter.actor.as_deref() == event.actor.as_deref())
        && filter.source.as_deref().is_none_or(|source| event.source.to_string() == source)
        && filter.from.is_none_or(|from| event.at >= from)
        && filter.until.is_none_or(|until| event.at < until)
}

impl Window {
    /// Goes on behind an index.
    fn go_behind(&mut self, place: u64) {
        if self.ascending {
            self.low = self.low.max(place.saturating_add(1));
        } else {
            self.high = self.high.min(place);
        }
    }
}

/// Where candidates come from.
enum Candidates {
    /// The events that have a term.
    Term { table: ReadOnlyTable<(Term, u64), ()>, term: Term },
    /// All events, span by span.
    All { spans: ReadOnlyTable<u64, (i64, i64)>, from: i64, until: i64 },
}

impl Candidates {
    fn of(index: &Arc<Database>, filter: &EventFilter) -> Result<Self, StoreError> {
        let transaction = index.begin_read().map_err(storage)?;
        if let Some(term) = rarest_term(filter) {
            let table = transaction.open_table(TERMS).map_err(storage)?;
            return Ok(Self::Term { table, term });
        }
        Ok(Self::All {
            spans: transaction.open_table(SPANS).map_err(storage)?,
            from: filter.from.map_or(i64::MIN, |from| from.as_millis()),
            until: filter.until.map_or(i64::MAX, |until| until.as_millis()),
        })
    }

    /// The next candidate in a window.
    fn next(&self, window: &Window) -> Result<Option<u64>, StoreError> {
        if window.low >= window.high {
            return Ok(None);
        }
        match self {
            Self::Term { table, term } => {
                let mut range = table.range((*term, window.low)..(*term, window.high)).map_err(storage)?;
                let entry = if window.ascending { range.next() } else { range.next_back() };
                Ok(entry.transpose().map_err(storage)?.map(|(key, _)| key.value().1))
            }
            Self::All { spans, from, until } => next_in_spans(spans, (*from, *until), window),
        }
    }
}

/// A span and its times, as the table gives them.
type SpanEntry<'a> = (AccessGuard<'a, u64>, AccessGuard<'a, (i64, i64)>);

fn next_in_spans(
    spans: &ReadOnlyTable<u64, (i64, i64)>,
    (from, until): (i64, i64),
    window: &Window,
) -> Result<Option<u64>, StoreError> {
    let range = spans.range(window.low / SPAN..=(window.high - 1) / SPAN).map_err(storage)?;
    let within = |entry: Result<SpanEntry<'_>, redb::StorageError>| {
        let (span, times) = entry.map_err(storage)?;
        let (first, last) = times.value();
        Ok::<_, StoreError>((last >= from && first < until).then_some(span.value()))
    };
    let mut spans: Box<dyn Iterator<Item = _>> =
        if window.ascending { Box::new(range.map(within)) } else { Box::new(range.rev().map(within)) };
    let span = spans.find_map(Result::transpose).transpose()?;
    Ok(span.map(|span| {
        if window.ascending {
            window.low.max(span * SPAN)
        } else {
            (window.high - 1).min(span * SPAN + SPAN - 1)
        }
    }))
}

/// The term of a filter that fewest events are likely to have.
fn rarest_term(filter: &EventFilter) -> Option<Term> {
    let approval = filter.approval.map(|approval| index::term(Field::Approval, &approval.to_string()));
    let text = |field, value: &Option<String>| value.as_deref().map(|value| index::term(field, value));
    let kind = filter.kind.as_deref().and_then(|kind| match kind.ends_with('.') {
        false => Some(index::term(Field::Kind, kind)),
        // Only the families of first words are indexed.
        true => (index::family(kind) == kind).then(|| index::term(Field::Family, kind)),
    });
    approval
        .or_else(|| text(Field::Trace, &filter.trace_id))
        .or_else(|| text(Field::Actor, &filter.actor))
        .or(kind)
        .or_else(|| text(Field::Source, &filter.source))
}
