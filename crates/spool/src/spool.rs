//! The event queue: durable, numbered and chained at its source, kept until acknowledged (I8).

use std::{path::Path, sync::Arc, time::Duration};

use countersign_audit::{Chain, EventDraft};
use countersign_model::SpiffeId;
use redb::{Database, ReadableDatabase, StorageBackend};
use tokio::sync::watch;

use crate::{
    EventEntropy, GrantJournal, OpenError, SidecarState,
    codec::{self, Record},
    journal,
    layout::{self, EVENTS, META, meta},
    work::{SpoolError, Tail, Work},
    writer::{Job, Writer, WriterState},
};

/// What can be set.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// How long an event that nobody waits for may wait for others before it is made durable.
    pub flush_interval: Duration,
    /// How many commands may wait for the writer.
    pub queue: usize,
    /// How many bytes of events may wait for the control plane before the spool is full.
    pub max_bytes: u64,
}

impl Default for Settings {
    /// 25 ms, so that a commit fits into the 50 ms that batched durability promises; 4,096 commands;
    /// 256 MiB.
    fn default() -> Self {
        Self { flush_interval: Duration::from_millis(25), queue: 4_096, max_bytes: 256 * 1024 * 1024 }
    }
}

/// How much waits for the control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Depth {
    /// Events that were not acknowledged.
    pub events: u64,
    /// Their size.
    pub bytes: u64,
    /// The number of the last event that was made durable; 0 before the first.
    pub last_seq: u64,
}

/// The numbers that some events got, once they are durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// The number of the last of them.
    pub last_seq: u64,
}

/// An event that waits for the control plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpooledEvent {
    /// Its number.
    pub seq: u64,
    /// Its canonical bytes.
    pub bytes: Vec<u8>,
}

/// Why an event was not taken. What it would have recorded must not happen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Too much waits for the control plane.
    #[error("the spool is full: {0} bytes wait for the control plane")]
    Full(u64),
    /// Events come faster than they can be written.
    #[error("the spool's queue is full")]
    Busy,
    /// The spool does not work.
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

/// Why an acknowledgement was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AcknowledgeError {
    /// It names events that there are not.
    #[error("event {through} was acknowledged, but the last one is {last_seq}")]
    Beyond {
        /// What was acknowledged.
        through: u64,
        /// The last event.
        last_seq: u64,
    },
    /// The spool does not work.
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

/// The event queue, and the way to the rest of the sidecar's durable state. Clones are the same spool.
#[derive(Clone)]
pub struct Spool {
    writer: Writer,
    database: Arc<Database>,
    depth: watch::Receiver<Depth>,
    max_bytes: u64,
    journal: GrantJournal,
    state: SidecarState,
}

impl std::fmt::Debug for Spool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spool").field("depth", &self.depth()).finish_non_exhaustive()
    }
}

impl Spool {
    /// Opens the state of the sidecar `source`, or makes it.
    ///
    /// # Errors
    /// When the file cannot be opened, is in use, or belongs to another agent.
    pub fn open(
        path: &Path,
        source: &SpiffeId,
        settings: Settings,
        entropy: EventEntropy,
    ) -> Result<Self, OpenError> {
        Self::start(layout::open_file(path)?, source, settings, entropy)
    }

    /// The same on another storage than a file.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_on(
        storage: impl StorageBackend,
        source: &SpiffeId,
        settings: Settings,
        entropy: EventEntropy,
    ) -> Result<Self, OpenError> {
        Self::start(layout::open_backend(storage)?, source, settings, entropy)
    }

    fn start(
        database: Database,
        source: &SpiffeId,
        settings: Settings,
        entropy: EventEntropy,
    ) -> Result<Self, OpenError> {
        let storage = |error: SpoolError| OpenError::Storage(error.to_string());
        layout::create_tables(&database)?;
        let database = Arc::new(database);
        let stored = read_meta::<Tail>(&database, meta::TAIL).map_err(storage)?;
        let tail = stored.unwrap_or_else(|| Tail { chain: Chain::new(source.clone()), events: 0, bytes: 0 });
        if tail.chain.source() != source {
            return Err(OpenError::Source { stored: tail.chain.source().clone(), given: source.clone() });
        }
        let (depth_sender, depth) = watch::channel(tail.depth());
        let state = WriterState {
            database: Arc::clone(&database),
            tail,
            max_bytes: settings.max_bytes,
            flush_interval: settings.flush_interval,
            entropy,
            depth: depth_sender,
        };
        let revoked = journal::load_revoked(&database).map_err(storage)?;
        let writer = Writer::start(state, settings.queue).map_err(storage)?;
        let journal = GrantJournal::new(writer.clone(), Arc::clone(&database), revoked);
        let state = SidecarState::new(writer.clone(), Arc::clone(&database));
        Ok(Self { writer, database, depth, max_bytes: settings.max_bytes, journal, state })
    }

    /// Records events and returns once they are durable. All of them, or none.
    ///
    /// # Errors
    /// When the spool is full or does not work: what they record must then not happen (I8).
    pub async fn append(&self, drafts: Vec<EventDraft>) -> Result<Appended, AppendError> {
        self.writer
            .run(move |work| {
                if work.is_full() {
                    return Err(AppendError::Full(work.tail.bytes));
                }
                append_all(work, drafts)?;
                Ok(Appended { last_seq: work.tail.chain.next_seq().saturating_sub(1) })
            })
            .await
    }

    /// Takes events that nobody waits for. They are durable within the flush interval and a commit; a
    /// crash before that loses them, so this is for plain permits under `batched` durability only.
    ///
    /// The limit on waiting bytes is checked here, so it can be exceeded by what is in the queue.
    ///
    /// # Errors
    /// When the spool is full, busy, or does not work: what they record must then not happen.
    pub fn enqueue(&self, drafts: Vec<EventDraft>) -> Result<(), AppendError> {
        self.enqueue_made_by(|| drafts)
    }

    /// As [`Self::enqueue`], with events that are only made where they are written: whoever records
    /// something on its way does not wait for their text.
    ///
    /// # Errors
    /// As [`Self::enqueue`].
    pub fn enqueue_made_by(
        &self,
        make: impl FnOnce() -> Vec<EventDraft> + Send + 'static,
    ) -> Result<(), AppendError> {
        let waiting = self.depth.borrow().bytes;
        if waiting >= self.max_bytes {
            return Err(AppendError::Full(waiting));
        }
        let job = Job::batched(move |work| append_all(work, make()));
        if self.writer.try_hand_over(job)? { Ok(()) } else { Err(AppendError::Busy) }
    }

    /// Returns once everything that was taken before is durable.
    ///
    /// # Errors
    /// When the spool does not work.
    pub async fn flush(&self) -> Result<(), SpoolError> {
        self.writer.run(|_| Ok(())).await
    }

    /// Closes the spool, which must be its last clone, and returns when its file is free to be opened
    /// again. What was taken before is made durable.
    pub async fn close(self) {
        let mut depth = self.depth.clone();
        drop(self);
        while depth.changed().await.is_ok() {}
    }

    /// The oldest durable events that were not acknowledged: at most `max_events`, and at most
    /// `max_bytes` of them, but always one if there is one.
    ///
    /// # Errors
    /// When the spool does not work.
    pub async fn unacknowledged(
        &self,
        max_events: usize,
        max_bytes: usize,
    ) -> Result<Vec<SpooledEvent>, SpoolError> {
        let database = Arc::clone(&self.database);
        tokio::task::spawn_blocking(move || read_events(&database, max_events, max_bytes))
            .await
            .map_err(SpoolError::storage)?
    }

    /// Removes the events that the control plane has made durable, up to and including `through`.
    ///
    /// # Errors
    /// When it acknowledges events that there are not, or the spool does not work.
    pub async fn acknowledge(&self, through: u64) -> Result<(), AcknowledgeError> {
        self.writer
            .run(move |work| {
                let last_seq = work.tail.chain.next_seq().saturating_sub(1);
                if through > last_seq {
                    return Err(AcknowledgeError::Beyond { through, last_seq });
                }
                Ok(work.remove_events(through)?)
            })
            .await
    }

    /// How much waits for the control plane.
    #[must_use]
    pub fn depth(&self) -> Depth {
        *self.depth.borrow()
    }

    /// The depth, and every change of it: how the shipper learns that there is something to ship.
    #[must_use]
    pub fn watch_depth(&self) -> watch::Receiver<Depth> {
        self.depth.clone()
    }

    /// The grant journal.
    #[must_use]
    pub fn journal(&self) -> &GrantJournal {
        &self.journal
    }

    /// The rest of what the sidecar remembers.
    #[must_use]
    pub fn state(&self) -> &SidecarState {
        &self.state
    }
}

fn append_all(work: &mut Work<'_>, drafts: Vec<EventDraft>) -> Result<(), SpoolError> {
    for draft in drafts {
        work.append(draft)?;
    }
    Ok(())
}

fn read_events(
    database: &Database,
    max_events: usize,
    max_bytes: usize,
) -> Result<Vec<SpooledEvent>, SpoolError> {
    let transaction = database.begin_read().map_err(SpoolError::storage)?;
    let table = transaction.open_table(EVENTS).map_err(SpoolError::storage)?;
    let mut events = Vec::new();
    let mut size = 0;
    for entry in table.range::<u64>(..).map_err(SpoolError::storage)?.take(max_events) {
        let (seq, bytes) = entry.map_err(SpoolError::storage)?;
        size += bytes.value().len();
        if size > max_bytes && !events.is_empty() {
            break;
        }
        events.push(SpooledEvent { seq: seq.value(), bytes: bytes.value().to_vec() });
    }
    Ok(events)
}

pub(crate) fn read_meta<R: Record>(database: &Database, name: &str) -> Result<Option<R>, SpoolError> {
    let transaction = database.begin_read().map_err(SpoolError::storage)?;
    let table = transaction.open_table(META).map_err(SpoolError::storage)?;
    let found = table.get(name).map_err(SpoolError::storage)?;
    found.map(|value| codec::decode(value.value())).transpose().map_err(SpoolError::storage)
}
