//! Tiles: how the ledger's hashes are kept and published (C2SP tlog-tiles, height 8).
//!
//! A tile of level L holds up to 256 hashes of the tree's level 8·L, side by side; everything between
//! two tile levels is computed from them. A full tile never changes.

use countersign_model::Digest;

use crate::{
    merkle::{Node, node_hash},
    proof::HashReader,
};

/// How many levels of the tree one level of tiles spans.
pub const HEIGHT: u8 = 8;
/// How many hashes a full tile has.
pub const WIDTH: u64 = 256;

/// Which tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TileId {
    /// Its level; the tiles of leaf hashes have 0.
    pub level: u8,
    /// Its number at that level.
    pub index: u64,
}

/// A tile as it is published: which one, and how many of its hashes there are so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tile {
    /// Which tile.
    pub id: TileId,
    /// How many hashes it has, from 1 to [`WIDTH`].
    pub width: u64,
}

impl Tile {
    /// Where the tile is published (C2SP tlog-tiles §Merkle Tree): `tile/<L>/<N>[.p/<W>]`.
    #[must_use]
    pub fn path(&self) -> String {
        let mut groups = vec![format!("{:03}", self.id.index % 1_000)];
        let mut rest = self.id.index / 1_000;
        while rest > 0 {
            groups.push(format!("x{:03}", rest % 1_000));
            rest /= 1_000;
        }
        groups.reverse();
        let partial = if self.width < WIDTH { format!(".p/{}", self.width) } else { String::new() };
        format!("tile/{}/{}{partial}", self.id.level, groups.join("/"))
    }

    /// The tile that a tree of that size has under that id, if it has one.
    #[must_use]
    pub fn within(id: TileId, size: u64) -> Option<Self> {
        let hashes = hashes_at(id.level, size);
        let width = hashes.checked_sub(id.index.checked_mul(WIDTH)?)?.min(WIDTH);
        (width > 0).then_some(Self { id, width })
    }

    /// The tile's bytes: its hashes, one after the other.
    ///
    /// # Errors
    /// When a hash cannot be read.
    pub fn bytes<R: HashReader>(&self, reader: &R) -> Result<Vec<u8>, R::Error> {
        let mut bytes = Vec::new();
        for offset in 0..self.width {
            let node = Node { level: self.id.level * HEIGHT, index: self.id.index * WIDTH + offset };
            bytes.extend_from_slice(reader.node(node)?.as_bytes());
        }
        Ok(bytes)
    }
}

/// The tiles that are new or wider in a tree of `new` leaves than in one of `old`, level by level.
#[must_use]
pub fn grown(old: u64, new: u64) -> Vec<Tile> {
    let mut tiles = Vec::new();
    for level in 0.. {
        let (before, after) = (hashes_at(level, old), hashes_at(level, new));
        if after <= before {
            break;
        }
        let changed = before / WIDTH..after.div_ceil(WIDTH);
        tiles.extend(changed.filter_map(|index| Tile::within(TileId { level, index }, new)));
    }
    tiles
}

/// The place of a hash in its tile; `None` for one that tiles do not hold. What
/// [`Frontier::append`](crate::merkle::Frontier::append) completes goes here, always at a tile's end.
#[must_use]
pub fn place(node: Node) -> Option<(TileId, u64)> {
    let kept = node.level.is_multiple_of(HEIGHT);
    kept.then_some((TileId { level: node.level / HEIGHT, index: node.index / WIDTH }, node.index % WIDTH))
}

fn hashes_at(level: u8, size: u64) -> u64 {
    size.checked_shr(u32::from(level) * u32::from(HEIGHT)).unwrap_or(0)
}

/// Where tiles are kept.
pub trait TileSource {
    /// Why a tile could not be read.
    type Error;

    /// The bytes of a tile, as many hashes as there are.
    ///
    /// # Errors
    /// When it cannot be read.
    fn tile(&self, id: TileId) -> Result<Vec<u8>, Self::Error>;
}

/// Why a hash could not be taken from a tile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TileError<E> {
    /// The tile could not be read.
    #[error("{0}")]
    Source(E),
    /// The tile has fewer hashes than the tree needs.
    #[error("tile {} of level {} is cut short", .0.index, .0.level)]
    Short(TileId),
}

/// Reads the hashes of a tree from its tiles.
#[derive(Debug, Clone, Copy)]
pub struct TileReader<S>(pub S);

impl<S: TileSource> HashReader for TileReader<S> {
    type Error = TileError<S::Error>;

    fn node(&self, node: Node) -> Result<Digest, Self::Error> {
        // The tile whose hashes lie below the node, and which of them do.
        let id = |first: u64| TileId { level: node.level / HEIGHT, index: first / WIDTH };
        let span = 1_u64 << (node.level % HEIGHT);
        let first = node.index * span;
        let bytes = self.0.tile(id(first)).map_err(TileError::Source)?;
        let short = || TileError::Short(id(first));
        let skip = usize::try_from(first % WIDTH).map_err(|_| short())?;
        let take = usize::try_from(span).map_err(|_| short())?;
        let (all, _) = bytes.as_chunks::<32>();
        let below = all.get(skip..skip + take).ok_or_else(short)?;
        let mut row: Vec<_> = below.iter().map(|hash| Digest::from_bytes(*hash)).collect();
        while row.len() > 1 {
            let pairs = row.as_chunks::<2>().0;
            row = pairs.iter().map(|[left, right]| node_hash(left, right)).collect();
        }
        row.first().copied().ok_or_else(short)
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, convert::Infallible};

    use proptest::prelude::*;

    use super::*;
    use crate::{
        merkle::{
            Frontier,
            tests::{leaves, naive_root},
        },
        proof::{self, tests::kept},
    };

    struct Tiles(HashMap<TileId, Vec<u8>>);

    impl TileSource for &Tiles {
        type Error = Infallible;

        fn tile(&self, id: TileId) -> Result<Vec<u8>, Infallible> {
            Ok(self.0.get(&id).cloned().unwrap_or_default())
        }
    }

    /// As a store keeps them: what an append completes goes to the end of its tile.
    fn tiles(leaves: &[Digest]) -> Tiles {
        let mut frontier = Frontier::default();
        let mut tiles = HashMap::<_, Vec<u8>>::new();
        for leaf in leaves {
            for (node, hash) in frontier.append(*leaf) {
                if let Some((id, offset)) = place(node) {
                    let tile = tiles.entry(id).or_default();
                    assert_eq!(tile.len() as u64, offset * 32);
                    tile.extend_from_slice(hash.as_bytes());
                }
            }
        }
        Tiles(tiles)
    }

    #[test]
    fn tiles_are_where_the_specification_says() {
        let path = |level, index, width| Tile { id: TileId { level, index }, width }.path();
        assert_eq!(path(0, 0, 256), "tile/0/000");
        assert_eq!(path(3, 1_234_067, 256), "tile/3/x001/x234/067");
        assert_eq!(path(1, 0, 17), "tile/1/000.p/17");
        assert_eq!(path(0, 273, 1), "tile/0/273.p/1");
    }

    /// The example of the specification: a tree of 70,000 leaves has 273 full tiles of leaves, one partial tile of
    /// 112, one full tile and one partial tile of 17 hashes at level 1, and one of one hash at level 2.
    #[test]
    fn a_tree_has_the_tiles_of_the_specification() {
        let all = grown(0, 70_000);
        let at = |level| all.iter().filter(move |tile| tile.id.level == level);
        assert_eq!(at(0).filter(|tile| tile.width == 256).count(), 273);
        assert_eq!(at(0).next_back().unwrap().path(), "tile/0/273.p/112");
        assert_eq!(at(1).map(Tile::path).collect::<Vec<_>>(), ["tile/1/000", "tile/1/001.p/17"]);
        assert_eq!(at(2).map(Tile::path).collect::<Vec<_>>(), ["tile/2/000.p/1"]);
        assert_eq!(all.len(), 277);
        assert_eq!(grown(70_000, 70_000), []);
        assert_eq!(grown(70_000, 70_001).len(), 1);
    }

    #[test]
    fn a_tile_that_is_cut_short_is_an_error() {
        let leaves = leaves(300);
        let mut tiles = tiles(&leaves);
        tiles.0.insert(TileId { level: 0, index: 1 }, Vec::new());
        let error = proof::inclusion(&TileReader(&tiles), 299, 300).unwrap_err();
        assert!(error.to_string().contains("tile 1 of level 0 is cut short"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn tiles_are_enough_for_every_proof(size in 1_usize..1_200, at in any::<prop::sample::Index>()) {
            let leaves = leaves(size);
            let (tiles, all) = (tiles(&leaves), kept(&leaves));
            let (reader, size, index) = (TileReader(&tiles), size as u64, at.index(size) as u64);
            prop_assert_eq!(proof::root(&reader, size).unwrap(), naive_root(&leaves));
            prop_assert_eq!(proof::inclusion(&reader, index, size).unwrap(), proof::inclusion(&all, index, size).unwrap());
            prop_assert_eq!(proof::consistency(&reader, index, size).unwrap(), proof::consistency(&all, index, size).unwrap());
            for tile in grown(0, size) {
                prop_assert_eq!(&tile.bytes(&all).unwrap(), &tiles.0[&tile.id]);
            }
        }
    }
}
