//! One policy revision, ready for use.

use std::{fmt, sync::Arc};

use countersign_model::{Revision, Timestamp};
use countersign_policy::{Bundle, BundleFiles, FilesError, Problems};
use countersign_protocol::{EncodeError, Encoded, Frame, PushBundle, codec};
use countersign_store::{BundleWithFiles, Store, StoreError};

use super::Catalogue;

/// A revision, ready for use.
pub(crate) struct Edition {
    /// Its number.
    pub(crate) revision: Revision,
    /// When it was activated.
    pub(crate) activated_at: Timestamp,
    /// Its policies and requirements.
    pub(crate) bundle: Bundle,
    /// As sidecars get it, encoded once for all of them.
    pub(crate) pushed: Encoded,
}

/// Why a revision is not ready for use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EditionError {
    /// There is none of that number.
    #[error("there is no policy revision {0}")]
    Unknown(Revision),
    /// Its files are not a bundle's.
    #[error("the stored bundle is refused: {0}")]
    Files(#[from] FilesError),
    /// It does not load, although it did when it was pushed: a newer release reads bundles more strictly.
    #[error("the stored bundle no longer loads: {0}")]
    Problems(#[from] Problems),
    /// It is larger than the link allows.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The store does not work.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The thread that compiled it ended.
    #[error("the bundle could not be compiled: {0}")]
    Compile(String),
}

impl fmt::Debug for Edition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Edition").field("revision", &self.revision).finish_non_exhaustive()
    }
}

impl Edition {
    /// Makes a stored revision ready for use. Compiling takes a while, so it is done elsewhere.
    pub(crate) async fn compile(stored: BundleWithFiles) -> Result<Arc<Self>, EditionError> {
        let compiled = tokio::task::spawn_blocking(move || Self::compile_now(stored)).await;
        compiled.map_err(|error| EditionError::Compile(error.to_string()))?
    }

    fn compile_now(stored: BundleWithFiles) -> Result<Arc<Self>, EditionError> {
        let BundleWithFiles { revision, files } = stored;
        let files = BundleFiles::new(files)?;
        let bundle = Bundle::load(&files)?;
        let push = PushBundle { manifest: revision.manifest, files: files.into_inner() };
        let pushed = codec::encode(&Frame::PushBundle(push))?;
        let (number, activated_at) = (revision.revision, revision.at);
        Ok(Arc::new(Self { revision: number, activated_at, bundle, pushed }))
    }
}

/// The edition of a revision, from memory or from the store.
pub(crate) async fn load_edition(
    store: &Arc<dyn Store>,
    catalogue: &Catalogue,
    revision: Revision,
) -> Result<Arc<Edition>, EditionError> {
    if let Some(edition) = catalogue.get(revision) {
        return Ok(edition);
    }
    let stored = store.bundle(revision).await?.ok_or(EditionError::Unknown(revision))?;
    let edition = Edition::compile(stored).await?;
    catalogue.keep(Arc::clone(&edition));
    Ok(edition)
}
