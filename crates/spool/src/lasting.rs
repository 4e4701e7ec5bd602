//! The grants that last beyond one use, so that they are found again after a restart.

use countersign_model::{ApprovalId, Digest, Timestamp};
use redb::{ReadableDatabase, ReadableTable};
use serde::{Deserialize, Serialize};

use crate::{
    codec::{self, Record},
    journal::GrantJournal,
    layout::LASTING,
    work::{SpoolError, Work},
};

/// A grant that was used and may be used again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastingGrant {
    /// What people were asked, in the caller's terms.
    pub question: Digest,
    /// The signed grant.
    pub grant: String,
}

/// As it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LastingRow {
    pub(crate) question: Digest,
    pub(crate) grant: String,
    pub(crate) not_after: Timestamp,
}

impl Record for LastingRow {
    const VERSION: u8 = 1;
}

pub(crate) fn keep(
    work: &mut Work<'_>,
    approval: ApprovalId,
    lasting: &LastingGrant,
    not_after: Timestamp,
) -> Result<(), SpoolError> {
    let LastingGrant { question, grant } = lasting.clone();
    let key = approval.to_bytes();
    // What was asked first is what was approved; who comes later only uses it.
    if work.get::<_, LastingRow>(LASTING, key)?.is_some() {
        return Ok(());
    }
    work.put(LASTING, key, &LastingRow { question, grant, not_after })
}

impl GrantJournal {
    /// The grants that have not ended, in the order of their approvals.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn lasting(&self, now: Timestamp) -> Result<Vec<(ApprovalId, LastingGrant)>, SpoolError> {
        let transaction = self.database.begin_read().map_err(SpoolError::storage)?;
        let table = transaction.open_table(LASTING).map_err(SpoolError::storage)?;
        let mut found = Vec::new();
        for entry in table.iter().map_err(SpoolError::storage)? {
            let (key, row) = entry.map_err(SpoolError::storage)?;
            let row: LastingRow = codec::decode(row.value()).map_err(SpoolError::storage)?;
            if now < row.not_after {
                let LastingRow { question, grant, .. } = row;
                found.push((ApprovalId::from_bytes(key.value()), LastingGrant { question, grant }));
            }
        }
        Ok(found)
    }
}
