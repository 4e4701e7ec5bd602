//! The embedded store: one redb file, one writer thread, one indexer thread.

use std::{io, path::Path};

use countersign_model::SpiffeId;

/// Ten fresh random bytes each time, for the ids of events.
pub type EventEntropy = Box<dyn FnMut() -> [u8; 10] + Send>;

/// What can be set.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// How many commands may wait for the writer.
    pub queue: usize,
    /// How much memory redb may use for its cache, in bytes.
    pub cache_bytes: usize,
}

impl Default for Settings {
    /// 4,096 commands, 64 MiB.
    fn default() -> Self {
        Self { queue: 4_096, cache_bytes: 64 * 1024 * 1024 }
    }
}

/// Why the store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file cannot be made or opened.
    #[error("the store's file cannot be opened: {0}")]
    File(#[from] io::Error),
    /// Another process has it open.
    #[error("the store is in use by another process; two control planes cannot share a data folder")]
    InUse,
    /// It holds something else.
    #[error("the store cannot be read: {0}")]
    Storage(String),
    /// A newer release wrote it.
    #[error("the store was written by a newer release (schema {stored}, this one knows {known})")]
    Newer {
        /// Its schema version.
        stored: u32,
        /// The newest that this release knows.
        known: u32,
    },
    /// It belongs to another control plane.
    #[error("the store belongs to {stored}, not to {given}")]
    Source {
        /// Whose it is.
        stored: SpiffeId,
        /// Who wants to go on with it.
        given: SpiffeId,
    },
}

/// The embedded store. Clones are the same store.
#[derive(Debug, Clone)]
pub struct EmbeddedStore {}

impl EmbeddedStore {
    /// Opens the store in a folder, or makes it. `source` is the control plane's own SPIFFE ID.
    ///
    /// # Errors
    /// When it cannot be opened, is in use, was written by a newer release, or belongs to another
    /// control plane.
    pub fn open(
        _folder: &Path,
        _source: &SpiffeId,
        _settings: Settings,
        _entropy: EventEntropy,
    ) -> Result<Self, OpenError> {
        Err(OpenError::Storage("not there yet".to_owned()))
    }
}
