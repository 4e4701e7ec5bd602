//! The ledger: appending, reading in order, and its signed heads.

use async_trait::async_trait;
use countersign_audit::EventDraft;
use countersign_model::{Digest, SpiffeId, Timestamp};
use redb::ReadableTable;
use tokio::sync::watch;

use super::{
    EmbeddedStore,
    codec::{self, Record},
    ingest::{self, Batch},
    layout::{Bytes, CHECKPOINTS, LEDGER, RUNS, meta},
    lookup::{Lookup, View, storage},
    sources::SourceRow,
    work::{self, Tail},
};
use crate::{
    CheckpointRecord, CommandError, EventFilter, IndexProgress, IngestRefusal, Ingested, LedgerEvent,
    LedgerHead, LedgerStore, OutOfRange, Page, PageError, PageRequest, StoreError,
};

impl Record for CheckpointRecord {
    const TABLE: Bytes = CHECKPOINTS;
}

impl View {
    fn event(&self, index: u64) -> Result<Option<LedgerEvent>, StoreError> {
        let ledger = self.transaction().open_table(LEDGER).map_err(storage)?;
        let found = ledger.get(index).map_err(storage)?;
        Ok(found.map(|bytes| LedgerEvent { index, bytes: bytes.value().to_vec() }))
    }

    pub(super) fn events_from(&self, index: u64, limit: usize) -> Result<Vec<LedgerEvent>, StoreError> {
        let ledger = self.transaction().open_table(LEDGER).map_err(storage)?;
        let entries = ledger.range(index..).map_err(storage)?.take(limit);
        let event = |entry: Result<(redb::AccessGuard<'_, u64>, redb::AccessGuard<'_, &[u8]>), _>| {
            let (index, bytes) = entry.map_err(storage)?;
            Ok(LedgerEvent { index: index.value(), bytes: bytes.value().to_vec() })
        };
        entries.map(event).collect()
    }

    fn event_of(&self, source: &SpiffeId, seq: u64) -> Result<Option<LedgerEvent>, StoreError> {
        let Some(row) = self.get::<SourceRow>(source.to_string().as_bytes())? else { return Ok(None) };
        let runs = self.transaction().open_table(RUNS).map_err(storage)?;
        let index = match row.run.index_of(seq) {
            Some(index) => Some(index),
            None => work::run_index(&runs, row.id, seq)?,
        };
        index.map_or(Ok(None), |index| self.event(index))
    }

    fn head(&self) -> Result<LedgerHead, StoreError> {
        let frontier = self.get::<Tail>(meta::TAIL)?.map(|tail| tail.frontier).unwrap_or_default();
        Ok(LedgerHead { size: frontier.size(), root: frontier.root() })
    }

    fn checkpoint(&self, at_least: u64) -> Result<Option<CheckpointRecord>, StoreError> {
        let table = self.transaction().open_table(CHECKPOINTS).map_err(storage)?;
        let first = at_least.to_be_bytes();
        let found = table.range::<&[u8]>(first.as_slice()..).map_err(storage)?.next();
        let found = found.transpose().map_err(storage)?;
        found.map(|(_, value)| codec::decode(value.value())).transpose()
    }

    fn latest_checkpoint(&self) -> Result<Option<CheckpointRecord>, StoreError> {
        let table = self.transaction().open_table(CHECKPOINTS).map_err(storage)?;
        let found = table.last().map_err(storage)?;
        found.map(|(_, value)| codec::decode(value.value())).transpose()
    }
}

#[async_trait]
impl LedgerStore for EmbeddedStore {
    async fn record(&self, drafts: Vec<EventDraft>) -> Result<u64, StoreError> {
        self.writer
            .run(move |work| {
                drafts.into_iter().try_for_each(|draft| work.record(draft))?;
                Ok(work.tail.frontier.size())
            })
            .await
    }

    async fn ingest(
        &self,
        source: SpiffeId,
        events: Vec<Vec<u8>>,
        at: Timestamp,
    ) -> Result<Ingested, CommandError<IngestRefusal>> {
        let checked = tokio::task::spawn_blocking(move || Batch::check(source, events)).await;
        let batch = checked.map_err(storage)?.map_err(CommandError::Refused)?;
        Ok(self.writer.run(move |work| ingest::ingest(work, batch, at)).await?)
    }

    async fn head(&self) -> Result<LedgerHead, StoreError> {
        self.read(View::head).await
    }

    fn watch_size(&self) -> watch::Receiver<u64> {
        self.size.clone()
    }

    async fn events_from(&self, index: u64, limit: usize) -> Result<Vec<LedgerEvent>, StoreError> {
        self.read(move |view| view.events_from(index, limit)).await
    }

    async fn source_head(&self, source: &SpiffeId) -> Result<Option<(u64, Digest)>, StoreError> {
        let source = source.clone();
        self.read(move |view| {
            let row: Option<SourceRow> = view.get(source.to_string().as_bytes())?;
            Ok(row.filter(|row| row.next_seq > 1).map(|row| (row.next_seq - 1, row.head)))
        })
        .await
    }

    async fn event_of(&self, source: &SpiffeId, seq: u64) -> Result<Option<LedgerEvent>, StoreError> {
        let source = source.clone();
        self.read(move |view| view.event_of(&source, seq)).await
    }

    async fn query_events(
        &self,
        filter: EventFilter,
        page: PageRequest,
    ) -> Result<Page<LedgerEvent>, PageError> {
        let index = self.indexer.database();
        self.read(move |view| super::query::query(view, &index, &filter, &page)).await
    }

    async fn index_progress(&self) -> Result<IndexProgress, StoreError> {
        Ok(IndexProgress { indexed: self.indexer.progress(), size: *self.size.borrow() })
    }

    async fn wait_indexed(&self, size: u64) -> Result<(), StoreError> {
        self.indexer.wait(size).await
    }

    async fn root_at(&self, size: u64) -> Result<Digest, CommandError<OutOfRange>> {
        self.prove(size, size, move |tiles| super::proofs::root(tiles, size)).await
    }

    async fn inclusion_proof(&self, index: u64, size: u64) -> Result<Vec<Digest>, CommandError<OutOfRange>> {
        let needs = index.saturating_add(1);
        self.prove(needs, size, move |tiles| super::proofs::inclusion(tiles, index, size)).await
    }

    async fn consistency_proof(&self, from: u64, to: u64) -> Result<Vec<Digest>, CommandError<OutOfRange>> {
        self.prove(from, to, move |tiles| super::proofs::consistency(tiles, from, to)).await
    }

    async fn tile(&self, level: u8, index: u64) -> Result<Vec<u8>, StoreError> {
        let database = self.indexer.database();
        self.read(move |_| super::proofs::Tiles::of(&database)?.bytes(level, index)).await
    }

    async fn save_checkpoint(&self, checkpoint: CheckpointRecord) -> Result<(), StoreError> {
        self.writer.run(move |work| work.put(&checkpoint.size.to_be_bytes(), &checkpoint)).await
    }

    async fn latest_checkpoint(&self) -> Result<Option<CheckpointRecord>, StoreError> {
        self.read(View::latest_checkpoint).await
    }

    async fn checkpoint_covering(&self, size: u64) -> Result<Option<CheckpointRecord>, StoreError> {
        self.read(move |view| view.checkpoint(size)).await
    }
}
