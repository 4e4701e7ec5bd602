//! The bundle in force: swapped whole or not at all (I7).

use countersign_audit::EventDraft;
use countersign_model::{Digest, Revision};
use redb::ReadableDatabase;
use serde::{Deserialize, Serialize};

use crate::{
    SidecarState,
    codec::Record,
    layout::{BUNDLES, META, meta},
    spool::read_meta,
    work::{SpoolError, Work},
};

/// A signed bundle, as bytes whose signature the caller checks, now and whenever it is read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBundle {
    /// Its revision.
    pub revision: Revision,
    /// The signed bundle.
    pub bytes: Vec<u8>,
}

/// Why a bundle was not made the one in force. The one before still is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ActivateError {
    /// Revisions only grow: an old signed bundle that is sent again does not bring old policy back.
    #[error("revision {given} is not newer than revision {active}, which is in force")]
    NotNewer {
        /// The one in force.
        active: Revision,
        /// The one that was given.
        given: Revision,
    },
    /// The spool does not work.
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ActiveBundle {
    pub(crate) revision: Revision,
    pub(crate) digest: Digest,
}

impl Record for ActiveBundle {
    const VERSION: u8 = 1;
}

impl SidecarState {
    /// Makes a bundle the one in force, with the event that records it: stored and switched to in one
    /// transaction (I7). The same bundle again changes nothing.
    ///
    /// # Errors
    /// When it is not newer than the one in force, or the spool does not work.
    pub async fn activate_bundle(
        &self,
        bundle: StoredBundle,
        event: Option<EventDraft>,
    ) -> Result<(), ActivateError> {
        let digest = Digest::of(&bundle.bytes);
        self.writer.run(move |work| activate(work, &bundle, digest, event)).await
    }

    /// The bundle in force.
    ///
    /// # Errors
    /// When it cannot be read, or is not what was stored.
    pub fn active_bundle(&self) -> Result<Option<StoredBundle>, SpoolError> {
        let Some(active) = read_meta::<ActiveBundle>(&self.database, meta::ACTIVE_BUNDLE)? else {
            return Ok(None);
        };
        let transaction = self.database.begin_read().map_err(SpoolError::storage)?;
        let bundles = transaction.open_table(BUNDLES).map_err(SpoolError::storage)?;
        let found = bundles.get(active.revision.0).map_err(SpoolError::storage)?;
        let bytes = found.map(|bytes| bytes.value().to_vec()).unwrap_or_default();
        if Digest::of(&bytes) != active.digest {
            return Err(SpoolError::storage("the stored bundle is damaged"));
        }
        Ok(Some(StoredBundle { revision: active.revision, bytes }))
    }
}

fn activate(
    work: &mut Work<'_>,
    bundle: &StoredBundle,
    digest: Digest,
    event: Option<EventDraft>,
) -> Result<(), ActivateError> {
    let active: Option<ActiveBundle> = work.get(META, meta::ACTIVE_BUNDLE)?;
    if let Some(active) = active {
        if active.revision == bundle.revision && active.digest == digest {
            return Ok(());
        }
        if bundle.revision <= active.revision {
            return Err(ActivateError::NotNewer { active: active.revision, given: bundle.revision });
        }
        work.remove(BUNDLES, active.revision.0)?;
    }
    work.insert(BUNDLES, bundle.revision.0, bundle.bytes.as_slice())?;
    work.put(META, meta::ACTIVE_BUNDLE, &ActiveBundle { revision: bundle.revision, digest })?;
    if let Some(event) = event {
        work.append(event)?;
    }
    Ok(())
}
