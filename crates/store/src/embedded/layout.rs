//! The file: its tables, their keys, and how it is opened.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};

use countersign_model::{AgentId, ApprovalId, Digest, Timestamp};
use redb::{Builder, Database, StorageBackend, TableDefinition, backends::FileBackend};

use super::OpenError;
use crate::Lane;

/// A table whose keys are bytes that sort as their owner wants them to.
pub(super) type Bytes = TableDefinition<'static, &'static [u8], &'static [u8]>;

/// Index → the event's canonical bytes. Only ever appended to.
pub(super) const LEDGER: TableDefinition<'static, u64, &'static [u8]> = TableDefinition::new("ledger");

macro_rules! tables {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        $($(#[$doc])* pub(super) const $name: Bytes = TableDefinition::new($text);)*

        const ALL: &[Bytes] = &[$($name),*];
    };
}

tables! {
    /// Name → the schema's version, the ledger's tail.
    META = "meta";
    /// SPIFFE ID → where the source's chain is.
    SOURCES = "sources";
    /// Source number and first sequence number → a run of events that lie side by side in the ledger.
    RUNS = "runs";
    /// Agent → agent.
    AGENTS = "agents";
    /// Name → agent id.
    AGENT_NAMES = "agent-names";
    /// Join token → join token.
    JOIN_TOKENS = "join-tokens";
    /// Hash → join token id.
    JOIN_TOKEN_HASHES = "join-token-hashes";
    /// Number → policy revision.
    REVISIONS = "revisions";
    /// Digest of a bundle and path → the file. Shared by all revisions with these files.
    BUNDLE_FILES = "bundle-files";
    /// Approval → approval.
    APPROVALS = "approvals";
    /// Approval and number → comment.
    COMMENTS = "comments";
    /// Delegation → delegation.
    DELEGATIONS = "delegations";
    /// Hash of the stand-in's name and delegation: who stands in for somebody.
    STAND_INS = "stand-ins";
    /// Agent and hash of an idempotency key → approval id.
    SUBMISSIONS = "submissions";
    /// Time and approval: who wants to be woken when.
    TIMERS = "timers";
    /// Lane and number → message.
    OUTBOX = "outbox";
    /// Approval and destination → delivery.
    DELIVERIES = "deliveries";
    /// Channel, time, approval and destination → key of the delivery: who is to be told when.
    DELIVERIES_DUE = "deliveries-due";
    /// Person → local person.
    PEOPLE = "people";
    /// Token → API token.
    TOKENS = "tokens";
    /// Hash → API token id.
    TOKEN_HASHES = "token-hashes";
    /// Hash → console session.
    SESSIONS = "sessions";
    /// Hash → sign-in link.
    SIGN_IN_LINKS = "sign-in-links";
    /// Account → whose it is.
    ACCOUNTS = "accounts";
    /// Hash → link for an account.
    ACCOUNT_LINKS = "account-links";
    /// Hash of issuer and id → until when a message about the end of sign-ins is remembered.
    SIGN_IN_ENDS = "sign-in-ends";
    /// Person → what is known of them.
    PROFILES = "profiles";
    /// Hash of a person and passkey → passkey.
    PASSKEYS = "passkeys";
    /// Hash of actor and idempotency key → response.
    WRITES = "writes";
    /// Size → checkpoint.
    CHECKPOINTS = "checkpoints";
}

/// The names in [`META`].
pub(super) mod meta {
    pub(in crate::embedded) const SCHEMA: &[u8] = b"schema";
    pub(in crate::embedded) const TAIL: &[u8] = b"tail";
}

/// The schema that this release writes.
pub(super) const SCHEMA_VERSION: u32 = 1;

/// Two parts of a key, one after the other.
pub(super) fn join(left: &[u8], right: &[u8]) -> Vec<u8> {
    [left, right].concat()
}

/// A time, so that earlier sorts first.
pub(super) fn time_key(at: Timestamp) -> [u8; 8] {
    // Flipping the sign bit makes negative times sort before positive ones.
    (at.as_millis().cast_unsigned() ^ (1 << 63)).to_be_bytes()
}

/// The time of a key that starts with one.
pub(super) fn time_of(key: &[u8]) -> Option<Timestamp> {
    let bits = u64::from_be_bytes(*key.first_chunk()?) ^ (1 << 63);
    Some(Timestamp::from_millis(bits.cast_signed()))
}

pub(super) fn timer_key(at: Timestamp, id: ApprovalId) -> Vec<u8> {
    join(&time_key(at), &id.to_bytes())
}

pub(super) fn submission_key(agent: AgentId, key: &str) -> Vec<u8> {
    join(&agent.to_bytes(), Digest::of(key.as_bytes()).as_bytes())
}

pub(super) fn run_key(source: u32, seq: u64) -> Vec<u8> {
    join(&source.to_be_bytes(), &seq.to_be_bytes())
}

pub(super) fn lane_prefix(lane: Lane) -> Vec<u8> {
    match lane {
        Lane::Channels => vec![0],
        Lane::Sidecar(agent) => join(&[1], &agent.to_bytes()),
    }
}

/// The number at the end of a key.
pub(super) fn last_number(key: &[u8]) -> Option<u64> {
    key.last_chunk().map(|bytes| u64::from_be_bytes(*bytes))
}

/// Opens a file, readable by its owner only; makes it first if it is not there.
pub(super) fn open_file(path: &Path, cache_bytes: usize) -> Result<Database, OpenError> {
    if !path.exists() {
        make_file(path)?;
    }
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    open_database(FileBackend::new(file).map_err(database_error)?, cache_bytes)
}

/// Makes a file under another name first: a crash leaves a whole one or none.
fn make_file(path: &Path) -> Result<(), OpenError> {
    let draft = path.with_extension(format!("new-{}", std::process::id()));
    let file =
        OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    drop(open_database(FileBackend::new(file).map_err(database_error)?, 0)?);
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

pub(super) fn open_database(storage: impl StorageBackend, cache_bytes: usize) -> Result<Database, OpenError> {
    let mut builder = Builder::new();
    builder.set_cache_size(cache_bytes);
    builder.create_with_backend(storage).map_err(database_error)
}

fn database_error(error: redb::DatabaseError) -> OpenError {
    match error {
        redb::DatabaseError::DatabaseAlreadyOpen => OpenError::InUse,
        other => OpenError::Storage(other.to_string()),
    }
}

/// Makes every table, so that reading finds them from the start, and checks the schema's version.
pub(super) fn prepare(database: &Database) -> Result<(), OpenError> {
    match create_tables(database).map_err(|error| OpenError::Storage(error.to_string()))? {
        stored if stored > SCHEMA_VERSION => Err(OpenError::Newer { stored, known: SCHEMA_VERSION }),
        _ => Ok(()),
    }
}

fn create_tables(database: &Database) -> Result<u32, redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_quick_repair(true);
    transaction.open_table(LEDGER)?;
    for table in ALL {
        transaction.open_table(*table)?;
    }
    let stored = {
        use redb::ReadableTable;
        let mut table = transaction.open_table(META)?;
        let stored = table.get(meta::SCHEMA)?.and_then(|value| value.value().first_chunk().copied());
        if stored.is_none() {
            table.insert(meta::SCHEMA, SCHEMA_VERSION.to_be_bytes().as_slice())?;
        }
        stored.map_or(SCHEMA_VERSION, u32::from_be_bytes)
    };
    transaction.commit()?;
    Ok(stored)
}
