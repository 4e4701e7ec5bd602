//! Idempotency keys of API writes: the response to a write is kept, and given again.
//!
//! A crash between a write and the keeping of its response leaves the reservation behind; the key is
//! free again when it ends. What was written is then protected by its own rules: a person's second
//! vote is refused, a name is given once.

use countersign_model::{Digest, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    codec::Record,
    layout::{Bytes, WRITES},
    lookup::Lookup,
    work::Work,
};
use crate::{Reservation, StoreError, StoredResponse, WriteKey};

/// A key that was used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct WriteRow {
    pub(super) request: Digest,
    pub(super) until: Timestamp,
    /// The response; `None` while the write is being done.
    pub(super) response: Option<StoredResponse>,
}

impl Record for WriteRow {
    const TABLE: Bytes = WRITES;
}

/// Keys of different actors never meet: the parts are told apart by the first one's length.
fn row_key(key: &WriteKey) -> Digest {
    let actor_len = (key.actor.len() as u64).to_be_bytes();
    Digest::of_parts(&[&actor_len, key.actor.as_bytes(), key.key.as_bytes()])
}

pub(super) fn reserve(
    work: &mut Work<'_>,
    key: &WriteKey,
    now: Timestamp,
    until: Timestamp,
) -> Result<Reservation, StoreError> {
    let id = row_key(key);
    let row: Option<WriteRow> = work.get(id.as_bytes())?;
    match row.filter(|row| now < row.until) {
        Some(row) if row.request != key.request => Ok(Reservation::OtherRequest),
        Some(WriteRow { response: Some(response), .. }) => Ok(Reservation::Done(response)),
        Some(_) => Ok(Reservation::InFlight),
        None => {
            work.put(id.as_bytes(), &WriteRow { request: key.request, until, response: None })?;
            Ok(Reservation::New)
        }
    }
}

pub(super) fn complete(
    work: &mut Work<'_>,
    key: &WriteKey,
    response: StoredResponse,
    until: Timestamp,
) -> Result<(), StoreError> {
    let row = WriteRow { request: key.request, until, response: Some(response) };
    work.put(row_key(key).as_bytes(), &row)
}

pub(super) fn release(work: &mut Work<'_>, key: &WriteKey) -> Result<(), StoreError> {
    let id = row_key(key);
    let row: Option<WriteRow> = work.get(id.as_bytes())?;
    if row.is_some_and(|row| row.response.is_none()) {
        work.remove(WRITES, id.as_bytes())?;
    }
    Ok(())
}

pub(super) fn sweep(work: &mut Work<'_>, now: Timestamp) -> Result<usize, StoreError> {
    work.remove_where(|row: &WriteRow| row.until <= now)
}
