//! Proofs from the tiles of the index.

use std::sync::Arc;

use countersign_audit::{
    proof::{self, ProofError},
    tile::{TileError, TileId, TileReader, TileSource},
};
use countersign_model::Digest;
use redb::{Database, ReadableDatabase};

use super::{EmbeddedStore, index::TILES, lookup::storage};
use crate::{CommandError, OutOfRange, StoreError};

/// The tiles as they are at one moment.
pub(super) struct Tiles(redb::ReadOnlyTable<(u8, u64), &'static [u8]>);

impl Tiles {
    pub(super) fn of(index: &Arc<Database>) -> Result<Self, StoreError> {
        let transaction = index.begin_read().map_err(storage)?;
        transaction.open_table(TILES).map(Self).map_err(storage)
    }

    pub(super) fn bytes(&self, level: u8, index: u64) -> Result<Vec<u8>, StoreError> {
        let tile = self.0.get((level, index)).map_err(storage)?;
        Ok(tile.map(|tile| tile.value().to_vec()).unwrap_or_default())
    }
}

impl TileSource for &Tiles {
    type Error = StoreError;

    fn tile(&self, id: TileId) -> Result<Vec<u8>, StoreError> {
        self.bytes(id.level, id.index)
    }
}

pub(super) fn root(tiles: &Tiles, size: u64) -> Result<Digest, StoreError> {
    proof::root(&TileReader(tiles), size).map_err(|error| unprovable(&error))
}

pub(super) fn inclusion(tiles: &Tiles, index: u64, size: u64) -> Result<Vec<Digest>, StoreError> {
    proof::inclusion(&TileReader(tiles), index, size).map_err(|error| unprovable(&error))
}

pub(super) fn consistency(tiles: &Tiles, from: u64, to: u64) -> Result<Vec<Digest>, StoreError> {
    proof::consistency(&TileReader(tiles), from, to).map_err(|error| unprovable(&error))
}

fn unprovable(error: &ProofError<TileError<StoreError>>) -> StoreError {
    StoreError::Damaged(format!("the ledger's tiles: {error}"))
}

impl EmbeddedStore {
    /// Makes a proof about a tree of `size` leaves that speaks of its first `part`, once the index
    /// covers it.
    pub(super) async fn prove<T: Send + 'static>(
        &self,
        part: u64,
        size: u64,
        make: impl FnOnce(&Tiles) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, CommandError<OutOfRange>> {
        let there = *self.size.borrow();
        for (wanted, limit) in [(size, there), (part, size)] {
            if wanted > limit {
                return Err(CommandError::Refused(OutOfRange { size: limit, wanted }));
            }
        }
        self.indexer.wait(size).await?;
        let index = self.indexer.database();
        Ok(self.read(move |_| make(&Tiles::of(&index)?)).await?)
    }
}
