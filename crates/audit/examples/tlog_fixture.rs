//! Prints a small ledger with its checkpoint, proofs and tiles, for another implementation to check:
//! see tests/counterparts/tlog/fixture/main.go.

use std::{collections::HashMap, convert::Infallible, error::Error};

use base64::{Engine, engine::general_purpose::STANDARD};
use countersign_audit::{
    checkpoint::{Checkpoint, LogKey},
    merkle::{Frontier, Node, leaf_hash},
    proof::{HashReader, ProofError, TreeHead, consistency, inclusion, root},
    tile::grown,
};
use countersign_model::{Digest, signing::SigningKey};
use serde_json::{Value, json};

const ORIGIN: &str = "example.org/ledger";
const SEED: [u8; 32] = [42; 32];
const SIZE: u64 = 600;

struct Hashes(HashMap<Node, Digest>);

impl HashReader for Hashes {
    type Error = Infallible;

    fn node(&self, node: Node) -> Result<Digest, Infallible> {
        Ok(self.0.get(&node).copied().unwrap_or(Digest::ZERO))
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let entries: Vec<String> = (0..SIZE).map(|n| format!(r#"{{"n":{n}}}"#)).collect();
    let mut frontier = Frontier::default();
    let hashes =
        Hashes(entries.iter().flat_map(|entry| frontier.append(leaf_hash(entry.as_bytes()))).collect());
    let key = SigningKey::from_seed(&SEED)?;
    let head = TreeHead { size: SIZE, root: frontier.root() };
    let fixture = json!({
        "vkey": LogKey::new(ORIGIN, key.verifying_key())?.to_string(),
        "seed": STANDARD.encode(SEED),
        "origin": ORIGIN,
        "note": Checkpoint { origin: ORIGIN.into(), head }.sign(&key)?,
        "entries": entries,
        "roots": (1..=SIZE).map(|size| root(&hashes, size).map(encode)).collect::<Result<Vec<_>, _>>()?,
        "inclusion": inclusions(&hashes)?,
        "consistency": consistencies(&hashes)?,
        "tiles": tiles(&hashes, 0, SIZE)?,
        "grown": tiles(&hashes, 300, SIZE)?,
    });
    println!("{fixture}");
    Ok(())
}

fn encode(hash: Digest) -> String {
    STANDARD.encode(hash.as_bytes())
}

fn proof(hashes: Vec<Digest>) -> Vec<String> {
    hashes.into_iter().map(encode).collect()
}

/// Every leaf of trees of some awkward sizes.
fn inclusions(hashes: &Hashes) -> Result<Vec<Value>, ProofError<Infallible>> {
    let pairs = [1, 2, 7, 8, 9, 255, 256, 257, SIZE].into_iter();
    let pairs =
        pairs.flat_map(|size| (0..size).step_by(1 + size as usize / 40).map(move |index| (index, size)));
    pairs
        .map(|(index, size)| {
            Ok(json!({"index": index, "size": size, "proof": proof(inclusion(hashes, index, size)?)}))
        })
        .collect()
}

fn consistencies(hashes: &Hashes) -> Result<Vec<Value>, ProofError<Infallible>> {
    let sizes = [1, 2, 3, 6, 7, 8, 9, 255, 256, 257, 511, 512, 513, SIZE];
    let pairs = sizes.into_iter().flat_map(|new| sizes.into_iter().map(move |old| (old, new)));
    pairs
        .filter(|(old, new)| old <= new)
        .map(|(old, new)| Ok(json!({"old": old, "new": new, "proof": proof(consistency(hashes, old, new)?)})))
        .collect()
}

fn tiles(hashes: &Hashes, old: u64, new: u64) -> Result<Value, Infallible> {
    let tiles = grown(old, new).into_iter();
    tiles.map(|tile| Ok((tile.path(), Value::from(STANDARD.encode(tile.bytes(hashes)?))))).collect()
}
