//! The approvals that are waited for, so that a restart or a reconnect resumes them.

use countersign_model::{ApprovalId, Timestamp};
use redb::{ReadableDatabase, ReadableTable};
use serde::{Deserialize, Serialize};

use crate::{
    SidecarState,
    codec::{self, Record},
    layout::PENDING,
    work::SpoolError,
};

/// An approval that is waited for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingApproval {
    /// The idempotency key of its submission.
    pub key: String,
    /// Its id, once the control plane has given it one.
    pub approval: Option<ApprovalId>,
    /// The submission as text, opaque here: submitting it again under the same key gives the same approval.
    pub submission: String,
    /// When it was submitted first.
    pub since: Timestamp,
}

impl Record for PendingApproval {
    const VERSION: u8 = 1;
}

impl SidecarState {
    /// Remembers an approval that is waited for, or what is new about it.
    ///
    /// # Errors
    /// When the spool does not work.
    pub async fn remember_pending(&self, pending: PendingApproval) -> Result<(), SpoolError> {
        self.writer.run(move |work| work.put(PENDING, pending.key.as_str(), &pending)).await
    }

    /// Forgets an approval that is not waited for any more.
    ///
    /// # Errors
    /// When the spool does not work.
    pub async fn forget_pending(&self, key: String) -> Result<(), SpoolError> {
        self.writer.run(move |work| work.remove(PENDING, key.as_str())).await
    }

    /// The approvals that are waited for, by key.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn pending(&self) -> Result<Vec<PendingApproval>, SpoolError> {
        let transaction = self.database.begin_read().map_err(SpoolError::storage)?;
        let table = transaction.open_table(PENDING).map_err(SpoolError::storage)?;
        let mut found = Vec::new();
        for entry in table.iter().map_err(SpoolError::storage)? {
            let (_, row) = entry.map_err(SpoolError::storage)?;
            found.push(codec::decode(row.value()).map_err(SpoolError::storage)?);
        }
        Ok(found)
    }
}
