//! The file: its tables, and how it is opened.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};

use countersign_model::{ApprovalId, SpiffeId};
use redb::{Builder, Database, StorageBackend, TableDefinition, backends::FileBackend};

/// Sequence number → the event's canonical bytes.
pub(crate) const EVENTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("events");
/// Name → record: the tail of the chain, the last contact, the active bundle, the pruning mark.
pub(crate) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
/// Approval → the grant as it was first used.
pub(crate) const GRANTS: TableDefinition<'_, [u8; 16], &[u8]> = TableDefinition::new("grants");
/// Approval and use → when it was consumed and how it ended.
pub(crate) const USES: TableDefinition<'_, ([u8; 16], u32), &[u8]> = TableDefinition::new("uses");
/// The uses that have no outcome yet.
pub(crate) const UNFINISHED: TableDefinition<'_, ([u8; 16], u32), ()> = TableDefinition::new("unfinished");
/// The uses whose claim or outcome the control plane has not acknowledged yet.
pub(crate) const UNREPORTED: TableDefinition<'_, ([u8; 16], u32), ()> = TableDefinition::new("unreported");
/// The approvals that were revoked. Never pruned: 16 bytes each.
pub(crate) const REVOKED: TableDefinition<'_, [u8; 16], ()> = TableDefinition::new("revoked");
/// Approval → its grant, if it lasts beyond one use.
pub(crate) const LASTING: TableDefinition<'_, [u8; 16], &[u8]> = TableDefinition::new("lasting");
/// Idempotency key → the approval that it waits for.
pub(crate) const PENDING: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("pending");
/// Revision → the signed bundle's bytes.
pub(crate) const BUNDLES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("bundles");

/// The names in [`META`].
pub(crate) mod meta {
    pub(crate) const TAIL: &str = "tail";
    pub(crate) const LAST_CONTACT: &str = "last-contact";
    pub(crate) const ACTIVE_BUNDLE: &str = "active-bundle";
    pub(crate) const PRUNED_THROUGH: &str = "pruned-through";
}

pub(crate) fn use_key(approval: ApprovalId, number: u32) -> ([u8; 16], u32) {
    (approval.to_bytes(), number)
}

/// The cache that redb may use: the working set is the queue's two ends.
const CACHE_BYTES: usize = 4 * 1024 * 1024;

/// Why the sidecar's state cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file cannot be made or opened.
    #[error("the spool file cannot be opened: {0}")]
    File(#[from] io::Error),
    /// Another process has it open.
    #[error("the spool file is in use by another process; two sidecars cannot share a data folder")]
    InUse,
    /// It holds something else.
    #[error("the spool cannot be read: {0}")]
    Storage(String),
    /// It belongs to another agent.
    #[error("the spool belongs to {stored}, not to {given}; give each agent its own data folder")]
    Source {
        /// Whose events are in it.
        stored: SpiffeId,
        /// Who wants to go on with it.
        given: SpiffeId,
    },
}

/// Opens a file, readable by its owner only; makes it first if it is not there.
pub(crate) fn open_file(path: &Path) -> Result<Database, OpenError> {
    if !path.exists() {
        make_file(path)?;
    }
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    open_backend(FileBackend::new(file).map_err(database_error)?)
}

/// Makes a file under another name first: a crash leaves a whole one or none.
fn make_file(path: &Path) -> Result<(), OpenError> {
    let draft = path.with_extension(format!("new-{}", std::process::id()));
    let file =
        OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    drop(open_backend(FileBackend::new(file).map_err(database_error)?)?);
    match fs::hard_link(&draft, path) {
        // Another process was faster; which of the two may use it is for its lock to say.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        linked => linked?,
    }
    fs::remove_file(&draft)?;
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        // The file's name must survive a crash as well.
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

pub(crate) fn open_backend(backend: impl StorageBackend) -> Result<Database, OpenError> {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    builder.create_with_backend(backend).map_err(database_error)
}

fn database_error(error: redb::DatabaseError) -> OpenError {
    match error {
        redb::DatabaseError::DatabaseAlreadyOpen => OpenError::InUse,
        other => OpenError::Storage(other.to_string()),
    }
}

/// Makes every table, so that reading finds them from the start.
pub(crate) fn create_tables(database: &Database) -> Result<(), OpenError> {
    let storage = |error: redb::Error| OpenError::Storage(error.to_string());
    let create = || -> Result<(), redb::Error> {
        let mut transaction = database.begin_write()?;
        transaction.set_quick_repair(true);
        transaction.open_table(EVENTS)?;
        transaction.open_table(META)?;
        transaction.open_table(GRANTS)?;
        transaction.open_table(USES)?;
        transaction.open_table(UNFINISHED)?;
        transaction.open_table(UNREPORTED)?;
        transaction.open_table(REVOKED)?;
        transaction.open_table(LASTING)?;
        transaction.open_table(PENDING)?;
        transaction.open_table(BUNDLES)?;
        Ok(transaction.commit()?)
    };
    create().map_err(storage)
}
