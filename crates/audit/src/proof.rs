//! Inclusion and consistency proofs (RFC 6962 §2.1.1 and §2.1.2), made from stored hashes and checked
//! without them (RFC 9162 §2.1.3.2 and §2.1.4.2).

use countersign_model::Digest;

use crate::merkle::{Node, empty_root, node_hash};

/// Where the hashes of a tree's perfect subtrees are kept.
pub trait HashReader {
    /// Why a hash could not be read.
    type Error;

    /// The hash of a perfect subtree that lies within the tree.
    ///
    /// # Errors
    /// When it cannot be read.
    fn node(&self, node: Node) -> Result<Digest, Self::Error>;
}

/// A proof that cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError<E> {
    /// Outside of the tree.
    #[error("{inner} is not within a tree of {size}")]
    Outside {
        /// The leaf or the earlier size.
        inner: u64,
        /// The size of the tree.
        size: u64,
    },
    /// A hash could not be read.
    #[error("a hash of the tree could not be read: {0}")]
    Read(E),
}

/// A proof that does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the proof does not lead to the root")]
pub struct ProofMismatch;

/// The root that the tree had when it had that many leaves.
///
/// # Errors
/// When a hash cannot be read.
pub fn root<R: HashReader>(reader: &R, size: u64) -> Result<Digest, ProofError<R::Error>> {
    if size == 0 { Ok(empty_root()) } else { range(reader, 0, size).map_err(ProofError::Read) }
}

/// Proves that the leaf of that index is in the tree of that size.
///
/// # Errors
/// When the leaf is not within it, or a hash cannot be read.
pub fn inclusion<R: HashReader>(
    reader: &R,
    index: u64,
    size: u64,
) -> Result<Vec<Digest>, ProofError<R::Error>> {
    if index >= size {
        return Err(ProofError::Outside { inner: index, size });
    }
    let (mut start, mut end, mut proof) = (0, size, Vec::new());
    while end - start > 1 {
        let middle = start + split(end - start);
        let sibling = if index < middle {
            let right = range(reader, middle, end);
            end = middle;
            right
        } else {
            let left = range(reader, start, middle);
            start = middle;
            left
        };
        proof.push(sibling.map_err(ProofError::Read)?);
    }
    proof.reverse();
    Ok(proof)
}

/// Proves that the tree of `old` leaves is the beginning of the one of `new` leaves.
///
/// # Errors
/// When the old tree is not within the new one, or a hash cannot be read.
pub fn consistency<R: HashReader>(
    reader: &R,
    old: u64,
    new: u64,
) -> Result<Vec<Digest>, ProofError<R::Error>> {
    if old > new {
        return Err(ProofError::Outside { inner: old, size: new });
    }
    if old == 0 || old == new {
        return Ok(Vec::new());
    }
    let (mut start, mut end, mut proof) = (0, new, Vec::new());
    while end != old {
        let middle = start + split(end - start);
        let sibling = if old <= middle {
            let right = range(reader, middle, end);
            end = middle;
            right
        } else {
            let left = range(reader, start, middle);
            start = middle;
            left
        };
        proof.push(sibling.map_err(ProofError::Read)?);
    }
    // The old tree's last subtree; the verifier knows it already when it is the whole old tree.
    if start > 0 {
        proof.push(range(reader, start, old).map_err(ProofError::Read)?);
    }
    proof.reverse();
    Ok(proof)
}

/// Checks that a leaf hash is at that index of the tree with that size and root.
///
/// # Errors
/// When the proof does not lead there.
pub fn check_inclusion(
    leaf: &Digest,
    index: u64,
    size: u64,
    root: &Digest,
    proof: &[Digest],
) -> Result<(), ProofMismatch> {
    if index >= size {
        return Err(ProofMismatch);
    }
    let (mut inner, mut last, mut hash) = (index, size - 1, *leaf);
    for sibling in proof {
        if last == 0 {
            return Err(ProofMismatch);
        }
        if inner % 2 == 1 || inner == last {
            hash = node_hash(sibling, &hash);
            skip_right_edge(&mut inner, &mut last);
        } else {
            hash = node_hash(&hash, sibling);
        }
        inner >>= 1;
        last >>= 1;
    }
    if last == 0 && hash == *root { Ok(()) } else { Err(ProofMismatch) }
}

/// A tree: how many leaves it has, and its root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeHead {
    /// How many leaves.
    pub size: u64,
    /// The root.
    pub root: Digest,
}

/// Checks that one tree is the beginning of another.
///
/// # Errors
/// When the proof does not show that.
pub fn check_consistency(old: &TreeHead, new: &TreeHead, proof: &[Digest]) -> Result<(), ProofMismatch> {
    let holds = |condition| if condition { Ok(()) } else { Err(ProofMismatch) };
    if old.size == 0 {
        return holds(proof.is_empty() && old.root == empty_root());
    }
    if old.size >= new.size {
        return holds(old == new && proof.is_empty());
    }
    let (mut inner, mut last) = (old.size - 1, new.size - 1);
    while inner % 2 == 1 {
        inner >>= 1;
        last >>= 1;
    }
    let mut siblings = proof.iter();
    let first = if old.size.is_power_of_two() { old.root } else { *siblings.next().ok_or(ProofMismatch)? };
    let (mut old_hash, mut new_hash) = (first, first);
    for sibling in siblings {
        if last == 0 {
            return Err(ProofMismatch);
        }
        if inner % 2 == 1 || inner == last {
            old_hash = node_hash(sibling, &old_hash);
            new_hash = node_hash(sibling, &new_hash);
            skip_right_edge(&mut inner, &mut last);
        } else {
            new_hash = node_hash(&new_hash, sibling);
        }
        inner >>= 1;
        last >>= 1;
    }
    holds(last == 0 && old_hash == old.root && new_hash == new.root)
}

/// Levels at which a node at the right edge has no sibling are not in a proof.
fn skip_right_edge(inner: &mut u64, last: &mut u64) {
    while inner.is_multiple_of(2) && *inner != 0 {
        *inner >>= 1;
        *last >>= 1;
    }
}

/// The largest power of two below `count`, which is at least 2.
fn split(count: u64) -> u64 {
    1 << (count - 1).ilog2()
}

/// The root over the leaves from `start` to `end`, where `start` is a multiple of the largest power of
/// two that fits in between, as it is for every range that the recursion of RFC 6962 §2.1 visits.
fn range<R: HashReader>(reader: &R, start: u64, end: u64) -> Result<Digest, R::Error> {
    let count = end - start;
    if count.is_power_of_two() {
        let level = count.ilog2();
        return reader.node(Node { level: u8::try_from(level).unwrap_or(u8::MAX), index: start >> level });
    }
    let middle = start + split(count);
    Ok(node_hash(&range(reader, start, middle)?, &range(reader, middle, end)?))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::{collections::HashMap, convert::Infallible};

    use proptest::prelude::*;

    use super::*;
    use crate::merkle::{
        Frontier, leaf_hash,
        tests::{CT_ENTRIES, leaves, naive_root, unhex},
    };

    pub(crate) struct Kept(pub(crate) HashMap<Node, Digest>);

    impl HashReader for Kept {
        type Error = Infallible;

        fn node(&self, node: Node) -> Result<Digest, Infallible> {
            Ok(self.0[&node])
        }
    }

    pub(crate) fn kept(leaves: &[Digest]) -> Kept {
        let mut frontier = Frontier::default();
        Kept(leaves.iter().flat_map(|leaf| frontier.append(*leaf)).collect())
    }

    /// Proofs over the eight entries of Certificate Transparency's tests: an inclusion proof of entry 0 in 8,
    /// and the consistency proof from 6 to 8.
    #[test]
    fn the_proofs_of_certificate_transparency() {
        let leaves: Vec<_> = CT_ENTRIES.iter().map(|entry| leaf_hash(&unhex(entry))).collect();
        let reader = kept(&leaves);
        let hashes = |texts: &[&str]| {
            texts.iter().map(|text| Digest::from_bytes(unhex(text).try_into().unwrap())).collect::<Vec<_>>()
        };
        assert_eq!(
            inclusion(&reader, 0, 8).unwrap(),
            hashes(&[
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ])
        );
        assert_eq!(
            consistency(&reader, 6, 8).unwrap(),
            hashes(&[
                "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ])
        );
    }

    #[test]
    fn proofs_outside_of_the_tree_are_not_made() {
        let reader = kept(&leaves(4));
        assert_eq!(inclusion(&reader, 4, 4), Err(ProofError::Outside { inner: 4, size: 4 }));
        assert_eq!(consistency(&reader, 5, 4), Err(ProofError::Outside { inner: 5, size: 4 }));
        assert!(check_inclusion(&leaves(1)[0], 0, 0, &empty_root(), &[]).is_err());
    }

    /// The attack: a root with a larger size than it was made of.
    #[test]
    fn a_proof_is_as_long_as_its_tree_is_high() {
        let leaves = leaves(4);
        let (reader, root) = (kept(&leaves), naive_root(&leaves));
        let proof = inclusion(&reader, 1, 4).unwrap();
        assert_eq!(check_inclusion(&leaves[1], 1, 4, &root, &proof), Ok(()));
        assert!(check_inclusion(&leaves[1], 1, 8, &root, &proof).is_err());
        assert!(check_inclusion(&leaves[1], 1, 2, &root, &proof).is_err());
    }

    fn head(leaves: &[Digest]) -> TreeHead {
        TreeHead { size: leaves.len() as u64, root: naive_root(leaves) }
    }

    proptest! {
        #[test]
        fn an_inclusion_proof_proves_its_leaf_and_no_other(size in 1_usize..300, at in any::<prop::sample::Index>(),
                                                          other in any::<prop::sample::Index>(), bit in 0_usize..256) {
            let leaves = leaves(size);
            let (index, other) = (at.index(size), other.index(size));
            let TreeHead { size, root } = head(&leaves);
            let proof = inclusion(&kept(&leaves), index as u64, size).unwrap();
            prop_assert_eq!(check_inclusion(&leaves[index], index as u64, size, &root, &proof), Ok(()));
            if other != index {
                prop_assert!(check_inclusion(&leaves[other], index as u64, size, &root, &proof).is_err());
                prop_assert!(check_inclusion(&leaves[index], other as u64, size, &root, &proof).is_err());
            }
            for position in 0..proof.len() {
                let mut changed = proof.clone();
                let mut bytes = *changed[position].as_bytes();
                bytes[bit / 8] ^= 1 << (bit % 8);
                changed[position] = Digest::from_bytes(bytes);
                prop_assert!(check_inclusion(&leaves[index], index as u64, size, &root, &changed).is_err());
            }
            prop_assert!(check_inclusion(&leaves[index], index as u64, size, &root, &[proof, vec![root]].concat()).is_err());
        }

        #[test]
        fn a_consistency_proof_proves_a_beginning_and_nothing_else(new in 1_usize..300, at in any::<prop::sample::Index>(),
                                                                  changed in any::<prop::sample::Index>()) {
            let old = at.index(new + 1);
            let leaves = leaves(new);
            let proof = consistency(&kept(&leaves), old as u64, new as u64).unwrap();
            prop_assert_eq!(check_consistency(&head(&leaves[..old]), &head(&leaves), &proof), Ok(()));
            if old > 0 {
                let mut other = leaves.clone();
                other[changed.index(old)] = leaf_hash(b"another history");
                prop_assert!(check_consistency(&head(&other[..old]), &head(&leaves), &proof).is_err());
                let forged = consistency(&kept(&other), old as u64, new as u64).unwrap();
                prop_assert!(check_consistency(&head(&leaves[..old]), &head(&other), &forged).is_err());
            }
            prop_assert_eq!(root(&kept(&leaves), old as u64).unwrap(), naive_root(&leaves[..old]));
        }
    }
}
