//! The Merkle tree of RFC 6962 §2.1, as a frontier that grows by one leaf at a time.

use countersign_model::Digest;
use serde::{Deserialize, Serialize};

/// The hash of a leaf: SHA-256 over `0x00` and the entry (RFC 6962 §2.1).
#[must_use]
pub fn leaf_hash(entry: &[u8]) -> Digest {
    Digest::of_parts(&[&[0], entry])
}

/// The hash of an inner node: SHA-256 over `0x01` and its two children (RFC 6962 §2.1).
#[must_use]
pub fn node_hash(left: &Digest, right: &Digest) -> Digest {
    Digest::of_parts(&[&[1], left.as_bytes(), right.as_bytes()])
}

/// The root of the empty tree: SHA-256 of nothing (RFC 6962 §2.1).
#[must_use]
pub fn empty_root() -> Digest {
    Digest::of(&[])
}

/// A perfect subtree: the one over the leaves from `index << level` up to `(index + 1) << level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node {
    /// Its height; a leaf has 0.
    pub level: u8,
    /// Its number at that height.
    pub index: u64,
}

/// What of a tree is needed to append to it: the roots of its perfect subtrees, from left to right.
/// O(log n) to keep and, on average, O(1) to append to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Parts")]
pub struct Frontier {
    size: u64,
    peaks: Vec<Digest>,
}

#[derive(Deserialize)]
struct Parts {
    size: u64,
    peaks: Vec<Digest>,
}

/// A size and peaks that do not belong together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a tree of {size} leaves does not have {peaks} peaks")]
pub struct FrontierError {
    size: u64,
    peaks: usize,
}

impl TryFrom<Parts> for Frontier {
    type Error = FrontierError;

    fn try_from(Parts { size, peaks }: Parts) -> Result<Self, FrontierError> {
        Self::from_peaks(size, peaks)
    }
}

impl Frontier {
    /// The frontier of a tree of that size with those perfect subtrees, from left to right.
    ///
    /// # Errors
    /// When there are more or fewer subtrees than a tree of that size has.
    pub fn from_peaks(size: u64, peaks: Vec<Digest>) -> Result<Self, FrontierError> {
        if usize::try_from(size.count_ones()) == Ok(peaks.len()) {
            Ok(Self { size, peaks })
        } else {
            Err(FrontierError { size, peaks: peaks.len() })
        }
    }

    /// How many leaves the tree has.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The roots of the perfect subtrees, from left to right.
    #[must_use]
    pub fn peaks(&self) -> &[Digest] {
        &self.peaks
    }

    /// Appends a leaf. Returns every perfect subtree that this completes, from the leaf upwards, for
    /// whoever keeps hashes for proofs (see [`crate::tile::place`]).
    pub fn append(&mut self, leaf: Digest) -> Vec<(Node, Digest)> {
        let mut node = Node { level: 0, index: self.size };
        let mut hash = leaf;
        let mut completed = vec![(node, hash)];
        while node.index % 2 == 1 {
            let Some(left) = self.peaks.pop() else { break };
            node = Node { level: node.level + 1, index: node.index / 2 };
            hash = node_hash(&left, &hash);
            completed.push((node, hash));
        }
        self.peaks.push(hash);
        self.size += 1;
        completed
    }

    /// The root of the tree.
    #[must_use]
    pub fn root(&self) -> Digest {
        let mut peaks = self.peaks.iter().rev();
        let Some(last) = peaks.next() else { return empty_root() };
        peaks.fold(*last, |right, left| node_hash(left, &right))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The entries and roots that Certificate Transparency implementations test against, for sizes 1 to 8.
    pub(crate) const CT_ENTRIES: [&str; 8] =
        ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
    const CT_ROOTS: [&str; 8] = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];

    pub(crate) fn unhex(text: &str) -> Vec<u8> {
        let digit = |byte: u8| char::from(byte).to_digit(16).unwrap() as u8;
        text.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
    }

    /// RFC 6962 §2.1, word for word.
    pub(crate) fn naive_root(leaves: &[Digest]) -> Digest {
        match leaves {
            [] => empty_root(),
            [leaf] => *leaf,
            _ => {
                let split = leaves.len().next_power_of_two() / 2;
                node_hash(&naive_root(&leaves[..split]), &naive_root(&leaves[split..]))
            }
        }
    }

    pub(crate) fn leaves(count: usize) -> Vec<Digest> {
        (0..count).map(|n| leaf_hash(&n.to_be_bytes())).collect()
    }

    #[test]
    fn the_roots_of_certificate_transparency() {
        let mut frontier = Frontier::default();
        assert_eq!(frontier.root(), Digest::of(b""));
        for (entry, root) in CT_ENTRIES.iter().zip(CT_ROOTS) {
            frontier.append(leaf_hash(&unhex(entry)));
            assert_eq!(frontier.root().as_bytes().as_slice(), unhex(root));
        }
    }

    #[test]
    fn a_frontier_is_what_it_was_after_it_was_stored() {
        let mut frontier = Frontier::default();
        for leaf in leaves(13) {
            frontier.append(leaf);
        }
        let stored = serde_json::to_string(&frontier).unwrap();
        assert_eq!(serde_json::from_str::<Frontier>(&stored).unwrap(), frontier);
        let cut = stored.replacen("13", "12", 1);
        assert!(serde_json::from_str::<Frontier>(&cut).is_err());
    }

    proptest! {
        #[test]
        fn the_frontier_has_the_root_of_the_whole_tree(count in 0_usize..600) {
            let leaves = leaves(count);
            let mut frontier = Frontier::default();
            let mut completed = 0;
            for leaf in &leaves {
                completed += frontier.append(*leaf).len();
            }
            prop_assert_eq!(frontier.root(), naive_root(&leaves));
            prop_assert_eq!(completed, 2 * count - frontier.peaks().len());
        }
    }
}
