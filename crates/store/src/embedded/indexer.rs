//! The indexer: one thread that follows the ledger.
//!
//! It commits without waiting for the disk most of the time, so that it does not compete with the
//! writer for syncs; a crash costs it at most [`DURABLE_EVERY`] events, which it reads again. And it leaves
//! the processor to a busy writer: what is recorded must not wait for what is searched. So search lags behind
//! by [`QUIET`] at rest and by [`GIVES_WAY`] under load, until there is so much to do that it cannot wait.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use countersign_audit::{
    EventHeader,
    merkle::{Frontier, leaf_hash},
    tile,
};
use redb::{Database, Durability, ReadableTable};
use tokio::{sync::watch, time::timeout};

use super::{
    OpenError,
    index::{self, SPAN, SPANS, TERMS, TILES},
    lookup::{View, storage},
};
use crate::{LedgerEvent, StoreError};

/// How many events one commit of the index takes in.
const BATCH: usize = 4_096;
/// After how many events the index is made durable.
const DURABLE_EVERY: u64 = 8_192;

/// How long the indexer gives way to a writer that is busy, before each batch.
const GIVES_WAY: Duration = Duration::from_millis(250);
/// How far it may fall behind before it no longer gives way.
const FAR_BEHIND: u64 = 16 * BATCH as u64;
/// How long the ledger must not grow for the writer to count as idle.
const QUIET: Duration = Duration::from_millis(10);

/// The way to the indexer thread. Clones lead to the same one.
#[derive(Clone)]
pub(super) struct Indexer {
    index: Arc<Database>,
    progress: watch::Receiver<u64>,
    failure: Arc<Mutex<Option<StoreError>>>,
}

impl Indexer {
    pub(super) fn start(
        database: Arc<Database>,
        index: Database,
        size: watch::Receiver<u64>,
    ) -> Result<Self, OpenError> {
        let index = Arc::new(index);
        let frontier = index::load_frontier(&index)?;
        let (sender, progress) = watch::channel(frontier.size());
        let indexer = Self { index: Arc::clone(&index), progress, failure: Arc::default() };
        let failure = Arc::clone(&indexer.failure);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let mut thread = Thread { database, index, durable: frontier.size(), frontier, progress: sender };
        thread::Builder::new().name("store-indexer".to_owned()).spawn(move || {
            if let Err(error) = runtime.block_on(thread.follow(size)) {
                // Before the progress is dropped: whoever finds it gone asks why.
                *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            }
        })?;
        Ok(indexer)
    }

    pub(super) fn database(&self) -> Arc<Database> {
        Arc::clone(&self.index)
    }

    /// How many events are indexed.
    pub(super) fn progress(&self) -> u64 {
        *self.progress.borrow()
    }

    /// Returns once the first `size` events are indexed.
    pub(super) async fn wait(&self, size: u64) -> Result<(), StoreError> {
        let mut progress = self.progress.clone();
        let reached = progress.wait_for(|indexed| *indexed >= size).await;
        reached.map(|_| ()).map_err(|_| self.stopped())
    }

    /// Returns when nothing is indexed any more.
    pub(super) async fn ended(&self) -> StoreError {
        let mut progress = self.progress.clone();
        while progress.changed().await.is_ok() {}
        self.stopped()
    }

    /// Returns when the thread has ended and let go of the files.
    pub(super) async fn gone(self) {
        let Self { index, mut progress, failure: _ } = self;
        drop(index);
        while progress.changed().await.is_ok() {}
    }

    fn stopped(&self) -> StoreError {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or(StoreError::Closed)
    }
}

/// What the thread works with. The progress is dropped last: whoever waits for the end knows the files free.
struct Thread {
    database: Arc<Database>,
    index: Arc<Database>,
    frontier: Frontier,
    /// How many events of the index would survive a crash.
    durable: u64,
    progress: watch::Sender<u64>,
}

impl Thread {
    async fn follow(&mut self, mut size: watch::Receiver<u64>) -> Result<(), StoreError> {
        loop {
            // Looked at anew each time: giving way has seen some of the changes.
            while self.frontier.size() < *size.borrow_and_update() {
                if self.is_close_to(*size.borrow()) {
                    give_way(&mut size).await;
                }
                self.take_batch()?;
            }
            if size.changed().await.is_err() {
                return Ok(());
            }
        }
    }

    fn is_close_to(&self, size: u64) -> bool {
        size.saturating_sub(self.frontier.size()) < FAR_BEHIND
    }

    /// Indexes the next events.
    fn take_batch(&mut self) -> Result<(), StoreError> {
        let events = View::of(&self.database)?.events_from(self.frontier.size(), BATCH)?;
        let mut frontier = self.frontier.clone();
        let mut transaction = self.index.begin_write().map_err(storage)?;
        let reached = frontier.size() + events.len() as u64;
        let durable = reached >= self.durable + DURABLE_EVERY;
        transaction.set_quick_repair(durable);
        let durability = if durable { Durability::Immediate } else { Durability::None };
        transaction.set_durability(durability).map_err(storage)?;
        add_tiles(&transaction, &mut frontier, &events)?;
        add_terms(&transaction, &events)?;
        index::save_frontier(&transaction, &frontier)?;
        transaction.commit().map_err(storage)?;
        if durable {
            self.durable = reached;
        }
        self.frontier = frontier;
        self.progress.send_replace(reached);
        Ok(())
    }
}

/// Leaves the processor to the writer while the ledger grows, at most for a time.
async fn give_way(size: &mut watch::Receiver<u64>) {
    let until = Instant::now() + GIVES_WAY;
    while Instant::now() < until {
        // Nothing new within that time, or no writer any more: the machine is free.
        if !matches!(timeout(QUIET, size.changed()).await, Ok(Ok(()))) {
            return;
        }
    }
}

fn add_tiles(
    transaction: &redb::WriteTransaction,
    frontier: &mut Frontier,
    events: &[LedgerEvent],
) -> Result<(), StoreError> {
    let mut grown: BTreeMap<(u8, u64), Vec<u8>> = BTreeMap::new();
    let mut table = transaction.open_table(TILES).map_err(storage)?;
    for event in events {
        for (node, hash) in frontier.append(leaf_hash(&event.bytes)) {
            let Some((id, _)) = tile::place(node) else { continue };
            let key = (id.level, id.index);
            let tile = match grown.entry(key) {
                std::collections::btree_map::Entry::Occupied(tile) => tile.into_mut(),
                std::collections::btree_map::Entry::Vacant(place) => {
                    let stored = table.get(key).map_err(storage)?;
                    place.insert(stored.map(|tile| tile.value().to_vec()).unwrap_or_default())
                }
            };
            tile.extend_from_slice(hash.as_bytes());
        }
    }
    for (key, tile) in grown {
        table.insert(key, tile.as_slice()).map_err(storage)?;
    }
    Ok(())
}

fn add_terms(transaction: &redb::WriteTransaction, events: &[LedgerEvent]) -> Result<(), StoreError> {
    let mut rows = Vec::new();
    let mut spans = transaction.open_table(SPANS).map_err(storage)?;
    for LedgerEvent { index, bytes } in events {
        let event = EventHeader::of_stored(bytes).map_err(|error| StoreError::Damaged(error.to_string()))?;
        rows.extend(index::terms(&event).into_iter().map(|term| (term, *index)));
        let span = spans.get(index / SPAN).map_err(storage)?.map(|span| span.value());
        spans.insert(index / SPAN, index::widen(span, event.at)).map_err(storage)?;
    }
    // In order, so that neighbours go to the same page.
    rows.sort_unstable();
    let mut terms = transaction.open_table(TERMS).map_err(storage)?;
    for row in rows {
        terms.insert(row, ()).map_err(storage)?;
    }
    Ok(())
}
