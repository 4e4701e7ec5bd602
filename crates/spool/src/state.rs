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

impl SidecarState {
    pub(crate) fn new(writer: Writer, database: Arc<Database>) -> Self {
        Self { writer, database }
    }

    /// Notes when the control plane was last heard of, which is what the lease counts from (I9).
    ///
    /// # Errors
    /// When the spool does not work.
    pub async fn contacted(&self, at: Timestamp) -> Result<(), SpoolError> {
        self.writer.run(move |work| work.put(META, meta::LAST_CONTACT, &LastContact(at))).await
    }

    /// When the control plane was last heard of.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn last_contact(&self) -> Result<Option<Timestamp>, SpoolError> {
        Ok(read_meta::<LastContact>(&self.database, meta::LAST_CONTACT)?.map(|contact| contact.0))
    }
}
