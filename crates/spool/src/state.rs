//! What the sidecar remembers besides events and grants.

use std::sync::Arc;

use countersign_model::Timestamp;
use redb::Database;
use serde::{Deserialize, Serialize};

use crate::{
    codec::Record,
    layout::{META, meta},
    spool::read_meta,
    work::SpoolError,
    writer::Writer,
};

/// How much of the lease is used up since the last contact, in [`META`].
const LEASE_SPENT: &str = "lease-spent";

/// The sidecar's memory: last contact, the bundle in force, pending approvals. Clones are the same.
#[derive(Clone)]
pub struct SidecarState {
    pub(crate) writer: Writer,
    pub(crate) database: Arc<Database>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LastContact(pub(crate) Timestamp);

impl Record for LastContact {
    const VERSION: u8 = 1;
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct LeaseSpent(i64);

impl Record for LeaseSpent {
    const VERSION: u8 = 1;
}

impl SidecarState {
    pub(crate) fn new(writer: Writer, database: Arc<Database>) -> Self {
        Self { writer, database }
    }

    /// Notes when the control plane was last heard of, which is what the lease counts from (I9).
    ///
    /// # Errors
    /// When the spool does not work.
    pub async fn contacted(&self, at: Timestamp) -> Result<(), SpoolError> {
        self.writer
            .run(move |work| {
                work.put(META, LEASE_SPENT, &LeaseSpent(0))?;
                work.put(META, meta::LAST_CONTACT, &LastContact(at))
            })
            .await
    }

    /// Notes how many milliseconds of the lease are used up since the last contact, so that neither a
    /// restart nor a clock that is set back gives any of them back (I9).
    ///
    /// # Errors
    /// When the spool does not work.
    pub async fn lease_spent(&self, millis: i64) -> Result<(), SpoolError> {
        self.writer.run(move |work| work.put(META, LEASE_SPENT, &LeaseSpent(millis))).await
    }

    /// How many milliseconds of the lease were used up when that was last noted.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn spent(&self) -> Result<i64, SpoolError> {
        Ok(read_meta::<LeaseSpent>(&self.database, LEASE_SPENT)?.map_or(0, |spent| spent.0))
    }

    /// When the control plane was last heard of.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn last_contact(&self) -> Result<Option<Timestamp>, SpoolError> {
        Ok(read_meta::<LastContact>(&self.database, meta::LAST_CONTACT)?.map(|contact| contact.0))
    }
}
