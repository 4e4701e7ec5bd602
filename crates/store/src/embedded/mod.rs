//! The embedded store: one redb file, one writer thread, and behind it an indexer with a file of its own.
//!
//! In the order in which a command goes through it:
//!
//! 1. One file per trait ([`agents`], [`bundles`], [`approvals`], [`deliveries`], [`people`], [`passkeys`],
//!    [`writes`], [`ledger`])
//!    says what the command checks and changes, in a transaction ([`work`]).
//! 2. [`writer`] applies whole groups of commands in one transaction and makes them durable at once.
//!    The ledger's events and the frontier of its Merkle tree are part of it ([`sources`], [`ingest`]).
//! 3. [`indexer`] follows the ledger and builds what searching and proving need ([`index`], [`query`],
//!    [`proofs`]), in a second file that can be deleted at any time.
//!
//! Reads see one moment of the file ([`lookup`]) and never wait for the writer.

mod accounts;
mod agents;
mod approval_events;
mod approvals;
mod bundles;
mod codec;
mod comments;
mod delegations;
mod deliveries;
mod index;
mod indexer;
mod ingest;
mod layout;
mod ledger;
mod lookup;
mod names;
mod outbox;
mod passkeys;
mod people;
mod proofs;
mod query;
mod sources;
#[cfg(test)]
mod tests;
mod vouching;
mod work;
mod writer;
mod writes;

use std::{fs, io, path::Path, sync::Arc};

use countersign_model::SpiffeId;
use redb::{Database, StorageBackend};
use tokio::sync::watch;

use self::{
    indexer::Indexer,
    layout::meta,
    lookup::{Lookup, View, storage},
    work::Tail,
    writer::{Writer, WriterState},
};
use crate::StoreError;

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

impl From<StoreError> for OpenError {
    fn from(error: StoreError) -> Self {
        Self::Storage(error.to_string())
    }
}

/// The embedded store. Clones are the same store; its threads end when the last one is dropped.
#[derive(Clone)]
pub struct EmbeddedStore {
    writer: Writer,
    database: Arc<Database>,
    size: watch::Receiver<u64>,
    indexer: Indexer,
}

impl std::fmt::Debug for EmbeddedStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddedStore").field("size", &*self.size.borrow()).finish_non_exhaustive()
    }
}

impl EmbeddedStore {
    /// The file with everything in it.
    const FILE: &str = "store.redb";
    /// The file that can be rebuilt from it.
    const INDEX_FILE: &str = "index.redb";

    /// Opens the store in a folder, or makes it. `source` is the control plane's own SPIFFE ID.
    ///
    /// # Errors
    /// When it cannot be opened, is in use, was written by a newer release, or belongs to another
    /// control plane.
    pub fn open(
        folder: &Path,
        source: &SpiffeId,
        settings: Settings,
        entropy: EventEntropy,
    ) -> Result<Self, OpenError> {
        let database = Arc::new(layout::open_file(&folder.join(Self::FILE), settings.cache_bytes)?);
        layout::prepare(&database)?;
        let index = open_index(&folder.join(Self::INDEX_FILE), &database)?;
        Self::start(database, index, source, settings, entropy)
    }

    /// The same on other storages than files. What is in the index's storage must belong to the store's.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_on(
        storage: impl StorageBackend,
        index: impl StorageBackend,
        source: &SpiffeId,
        settings: Settings,
        entropy: EventEntropy,
    ) -> Result<Self, OpenError> {
        let database = Arc::new(layout::open_database(storage, settings.cache_bytes)?);
        layout::prepare(&database)?;
        let index = layout::open_database(index, index::CACHE_BYTES)?;
        index::prepare(&index)?;
        Self::start(database, index, source, settings, entropy)
    }

    fn start(
        database: Arc<Database>,
        index: Database,
        source: &SpiffeId,
        settings: Settings,
        entropy: EventEntropy,
    ) -> Result<Self, OpenError> {
        let stored: Option<Tail> = View::of(&database)?.get(meta::TAIL)?;
        let tail = stored.unwrap_or_else(|| Tail::new(source.clone()));
        if tail.source != *source {
            return Err(OpenError::Source { stored: tail.source, given: source.clone() });
        }
        let (size_sender, size) = watch::channel(tail.frontier.size());
        let indexer = Indexer::start(Arc::clone(&database), index, size.clone())?;
        let state = WriterState { database: Arc::clone(&database), tail, entropy, size: size_sender };
        let writer = Writer::start(state, settings.queue)?;
        Ok(Self { writer, database, size, indexer })
    }

    /// Closes the store, which must be its last clone, and returns when its files are free to be opened
    /// again. Commands that were handed over before are carried out.
    pub async fn close(self) {
        let indexer = self.indexer.clone();
        drop(self);
        indexer.gone().await;
    }

    /// Returns when the store has stopped working, with the reason: a storage error ends its threads,
    /// and whoever supervises it restarts the process.
    pub async fn stopped(&self) -> StoreError {
        tokio::select! {
            // The indexer ends when the writer does, and then the writer knows why.
            biased;
            error = self.writer.ended() => error,
            error = self.indexer.ended() => error,
        }
    }

    /// Reads something, away from the threads that serve connections.
    async fn read<T, E>(&self, read: impl FnOnce(&View) -> Result<T, E> + Send + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let database = Arc::clone(&self.database);
        tokio::task::spawn_blocking(move || read(&View::of(&database)?))
            .await
            .unwrap_or_else(|error| Err(storage(error).into()))
    }
}

/// Opens the index, or starts it anew when it is damaged or belongs to another ledger.
fn open_index(path: &Path, database: &Database) -> Result<Database, OpenError> {
    match try_open_index(path, database) {
        Ok(Some(index)) => return Ok(index),
        Err(error @ (OpenError::File(_) | OpenError::InUse)) => return Err(error),
        Ok(None) | Err(_) => {}
    }
    fs::remove_file(path)?;
    let index = layout::open_file(path, index::CACHE_BYTES)?;
    index::prepare(&index)?;
    Ok(index)
}

fn try_open_index(path: &Path, database: &Database) -> Result<Option<Database>, OpenError> {
    let index = layout::open_file(path, index::CACHE_BYTES)?;
    index::prepare(&index)?;
    Ok(index::belongs_to(&index, database)?.then_some(index))
}
