//! Reading: by key, by prefix and by page, inside the writer's transaction and outside it alike.

use std::ops::Bound;

use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable};

use super::{
    codec::{self, Record},
    layout::Bytes,
};
use crate::{Cursor, Page, PageError, PageRequest, StoreError};

/// The most rows that one page looks at when its filter lets few through.
const MAX_EXAMINED: usize = 5_000;

pub(super) fn storage(error: impl std::fmt::Display) -> StoreError {
    StoreError::Storage(error.to_string())
}

/// Keys and values.
pub(super) type Entries = Vec<(Vec<u8>, Vec<u8>)>;

/// A place to look things up in.
pub(super) trait Lookup {
    /// The bytes under a key.
    fn bytes(&self, table: Bytes, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// The record under a key.
    fn get<R: Record>(&self, key: &[u8]) -> Result<Option<R>, StoreError> {
        self.bytes(R::TABLE, key)?.map(|bytes| codec::decode(&bytes)).transpose()
    }

    /// The first entries of a table that start with a prefix, in order.
    fn prefixed(&self, table: Bytes, prefix: &[u8], limit: usize) -> Result<Entries, StoreError>;
}

/// What the store held at one moment.
pub(super) struct View(ReadTransaction);

impl View {
    pub(super) fn of(database: &Database) -> Result<Self, StoreError> {
        database.begin_read().map(Self).map_err(storage)
    }

    pub(super) fn transaction(&self) -> &ReadTransaction {
        &self.0
    }

    /// A page of the records that a filter lets through, newest (largest key) or smallest key first.
    pub(super) fn page<R: Record>(
        &self,
        request: &PageRequest,
        newest_first: bool,
        wanted: impl Fn(&R) -> bool,
    ) -> Result<Page<R>, PageError> {
        let table = self.0.open_table(R::TABLE).map_err(storage)?;
        let after = request.after.as_ref().map_or(Bound::Unbounded, |cursor| Bound::Excluded(cursor.key()));
        let range = if newest_first { (Bound::Unbounded, after) } else { (after, Bound::Unbounded) };
        let mut entries = table.range::<&[u8]>(range).map_err(storage)?;
        let mut page = Page { items: Vec::new(), next: None };
        for examined in 1.. {
            let entry = if newest_first { entries.next_back() } else { entries.next() };
            let Some(entry) = entry else {
                page.next = None;
                break;
            };
            if page.items.len() == request.size() || examined > MAX_EXAMINED {
                break;
            }
            let (key, value) = entry.map_err(storage)?;
            let record = codec::decode(value.value())?;
            if wanted(&record) {
                page.items.push(record);
            }
            page.next = Some(Cursor::after(key.value()));
        }
        Ok(page)
    }
}

impl Lookup for View {
    fn bytes(&self, table: Bytes, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let table = self.0.open_table(table).map_err(storage)?;
        Ok(table.get(key).map_err(storage)?.map(|value| value.value().to_vec()))
    }

    fn prefixed(&self, table: Bytes, prefix: &[u8], limit: usize) -> Result<Entries, StoreError> {
        collect_prefixed(&self.0.open_table(table).map_err(storage)?, prefix, limit)
    }
}

pub(super) fn collect_prefixed(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    prefix: &[u8],
    limit: usize,
) -> Result<Entries, StoreError> {
    let mut found = Vec::new();
    for entry in table.range::<&[u8]>(prefix..).map_err(storage)?.take(limit) {
        let (key, value) = entry.map_err(storage)?;
        if !key.value().starts_with(prefix) {
            break;
        }
        found.push((key.value().to_vec(), value.value().to_vec()));
    }
    Ok(found)
}
