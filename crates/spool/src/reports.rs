//! What the control plane still has to be told about uses of grants.

use countersign_model::{ApprovalId, Timestamp};
use redb::ReadableDatabase;

use crate::{
    codec,
    journal::{Ending, GrantJournal, UseRow},
    layout::{UNREPORTED, USES, use_key},
    work::{SpoolError, Work},
};

/// Which of the two things about a use the control plane has acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    /// That it was claimed.
    Claim,
    /// How it ended.
    Outcome,
}

/// A use of which the control plane does not know everything yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreported {
    /// The approval.
    pub approval: ApprovalId,
    /// Which use, from 1.
    pub use_number: u32,
    /// When it was claimed.
    pub claimed_at: Timestamp,
    /// Whether the claim was acknowledged.
    pub claim_reported: bool,
    /// How and when it ended, when it has.
    pub ended: Option<(Ending, Timestamp)>,
}

impl GrantJournal {
    /// The uses whose claim or outcome the control plane has not acknowledged, oldest approval first, at
    /// most `limit`.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn unreported(&self, limit: usize) -> Result<Vec<Unreported>, SpoolError> {
        let transaction = self.database.begin_read().map_err(SpoolError::storage)?;
        let unreported = transaction.open_table(UNREPORTED).map_err(SpoolError::storage)?;
        let uses = transaction.open_table(USES).map_err(SpoolError::storage)?;
        let mut found = Vec::new();
        for entry in unreported.range::<([u8; 16], u32)>(..).map_err(SpoolError::storage)?.take(limit) {
            let key = entry.map_err(SpoolError::storage)?.0.value();
            let row = uses.get(key).map_err(SpoolError::storage)?;
            let row = row.ok_or_else(|| SpoolError::storage("an unreported use is missing"))?;
            let row: UseRow = codec::decode(row.value()).map_err(SpoolError::storage)?;
            found.push(Unreported {
                approval: ApprovalId::from_bytes(key.0),
                use_number: key.1,
                claimed_at: row.consumed_at,
                claim_reported: row.claim_reported,
                ended: row.ended.map(|ended| (ended.ending, ended.at)),
            });
        }
        Ok(found)
    }

    /// Notes that the control plane has acknowledged a claim or an outcome.
    ///
    /// # Errors
    /// When the journal does not work.
    pub async fn reported(
        &self,
        approval: ApprovalId,
        use_number: u32,
        report: Report,
    ) -> Result<(), SpoolError> {
        self.writer.run(move |work| reported(work, approval, use_number, report)).await
    }
}

fn reported(
    work: &mut Work<'_>,
    approval: ApprovalId,
    use_number: u32,
    report: Report,
) -> Result<(), SpoolError> {
    let key = use_key(approval, use_number);
    let Some(mut row) = work.get::<_, UseRow>(USES, key)? else { return Ok(()) };
    match report {
        Report::Claim => {
            row.claim_reported = true;
            work.put(USES, key, &row)
        }
        // An outcome implies its claim: the control plane knows everything.
        Report::Outcome if row.ended.is_some() => {
            row.claim_reported = true;
            work.put(USES, key, &row)?;
            work.remove(UNREPORTED, key)
        }
        Report::Outcome => Ok(()),
    }
}
