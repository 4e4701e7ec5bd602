//! The indexer: one thread that follows the ledger.
//!
//! It commits without waiting for the disk most of the time, so that it does not compete with the
//! writer for syncs; a crash costs it at most [`DURABLE_EVERY`] events, which it reads again.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use countersign_audit::{
    Event,
    merkle::{Frontier, leaf_hash},
    tile,
};
use redb::{Database, Durability, ReadableTable};
use tokio::sync::watch;

use super::{
    OpenError,
    index::{self, SPAN, SPANS, TERMS, TILES},
    lookup::{View, storage},
};
use crate::{LedgerEvent, StoreError};

/// How many events one commit of the index takes in.
const BATCH: usize = 1_024;
/// After how many events the index is made durable.
const DURABLE_EVERY: u64 = 8_192;

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
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
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
            let wanted = *size.borrow_and_update();
            while self.frontier.size() < wanted {
                self.take_batch()?;
            }
            if size.changed().await.is_err() {
                return Ok(());
            }
        }
    }

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
    let mut terms = transaction.open_table(TERMS).map_err(storage)?;
    let mut spans = transaction.open_table(SPANS).map_err(storage)?;
    for LedgerEvent { index, bytes } in events {
        let event: Event =
            serde_json::from_slice(bytes).map_err(|error| StoreError::Damaged(error.to_string()))?;
        for term in index::terms(&event) {
            terms.insert((term, *index), ()).map_err(storage)?;
        }
        let span = spans.get(index / SPAN).map_err(storage)?.map(|span| span.value());
        spans.insert(index / SPAN, index::widen(span, event.at)).map_err(storage)?;
    }
    Ok(())
}
