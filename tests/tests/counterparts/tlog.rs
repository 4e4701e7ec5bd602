//! The ledger, as Go's own sumdb/note and sumdb/tlog read it: checkpoints, proofs, tiles, whole exports.

use std::{
    collections::HashMap,
    convert::Infallible,
    fs::File,
    path::Path,
    process::{Command, Stdio},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use countersign_audit::{
    checkpoint::{Checkpoint, LogKey},
    merkle::{Frontier, Node, leaf_hash},
    proof::{HashReader, TreeHead, consistency, inclusion, root},
    tile::grown,
};
use countersign_model::{Digest, signing::SigningKey};
use countersign_tests::{Dev, DevOptions};
use serde_json::{Value, json};

use crate::script;

const ORIGIN: &str = "example.org/ledger";
const SEED: [u8; 32] = [42; 32];
const SIZE: u64 = 600;

/// Runs one of the Go programs with a file as its input, and returns what it says.
fn go(program: &str, arguments: &[&str], input: &Path) -> String {
    let mut command = Command::new("go");
    command.env("GO111MODULE", "off").env("GOPATH", "/usr/share/gocode").env("GOFLAGS", "");
    command.arg("run").arg(script(&format!("tlog/{program}/main.go"))).args(arguments);
    let input = Stdio::from(File::open(input).expect("the input"));
    let output = command.stdin(input).output().expect("go runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn go_agrees_with_checkpoints_proofs_and_tiles() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("fixture.json");
    std::fs::write(&file, fixture().to_string()).unwrap();
    go("fixture", &[], &file);
}

#[tokio::test]
async fn go_verifies_an_export() {
    let dev = Dev::start(DevOptions::default());
    let id = dev.request("deploy").await;
    dev.vote(&dev.reviewer(0), &id, "approve").await.ok();
    let approved = dev.until_task(&id, "approved").await;
    assert_eq!(dev.redeem("deploy", &approved).await["decision"], true);
    let folder = tempfile::tempdir().unwrap();
    let (export, key) = (folder.path().join("audit.jsonl"), folder.path().join("ledger.key"));
    let mut command = dev.countersign();
    command.env("COUNTERSIGN_URL", &dev.api).env("COUNTERSIGN_TOKEN", &dev.admin_token);
    command.args(["audit", "export", "--out"]).arg(&export).arg("--key-out").arg(&key);
    assert!(command.status().unwrap().success());
    let key = std::fs::read_to_string(&key).unwrap();
    let said = go("export", &[key.trim()], &export);
    assert!(said.contains("events are the tree that"), "{said}");

    // One character of one event is changed: Go no longer finds the tree that was signed.
    let text = std::fs::read_to_string(&export).unwrap();
    let forged = text.replacen("\"payments\"", "\"paymentz\"", 1);
    assert_ne!(text, forged);
    std::fs::write(&export, forged).unwrap();
    let refused = std::panic::catch_unwind(|| go("export", &[key.trim()], &export));
    assert!(refused.is_err(), "a forged export is refused");
}

struct Hashes(HashMap<Node, Digest>);

impl HashReader for Hashes {
    type Error = Infallible;

    fn node(&self, node: Node) -> Result<Digest, Infallible> {
        Ok(self.0.get(&node).copied().unwrap_or(Digest::ZERO))
    }
}

/// A small ledger with its checkpoint, proofs and tiles.
fn fixture() -> Value {
    let entries: Vec<String> = (0..SIZE).map(|n| format!(r#"{{"n":{n}}}"#)).collect();
    let mut frontier = Frontier::default();
    let hashes =
        Hashes(entries.iter().flat_map(|entry| frontier.append(leaf_hash(entry.as_bytes()))).collect());
    let key = SigningKey::from_seed(&SEED).unwrap();
    let head = TreeHead { size: SIZE, root: frontier.root() };
    json!({
        "vkey": LogKey::new(ORIGIN, key.verifying_key()).unwrap().to_string(),
        "seed": STANDARD.encode(SEED),
        "origin": ORIGIN,
        "note": Checkpoint { origin: ORIGIN.into(), head }.sign(&key).unwrap(),
        "entries": entries,
        "roots": (1..=SIZE).map(|size| encode(root(&hashes, size).unwrap())).collect::<Vec<_>>(),
        "inclusion": inclusions(&hashes),
        "consistency": consistencies(&hashes),
        "tiles": tiles(&hashes, 0, SIZE),
        "grown": tiles(&hashes, 300, SIZE),
    })
}

fn encode(hash: Digest) -> String {
    STANDARD.encode(hash.as_bytes())
}

fn proof(hashes: Vec<Digest>) -> Vec<String> {
    hashes.into_iter().map(encode).collect()
}

/// Some leaves of trees of some awkward sizes.
fn inclusions(hashes: &Hashes) -> Vec<Value> {
    let sizes = [1, 2, 7, 8, 9, 255, 256, 257, SIZE].into_iter();
    let leaves = |size: u64| (0..size).step_by(1 + usize::try_from(size / 40).unwrap());
    sizes
        .flat_map(|size| leaves(size).map(move |index| (index, size)))
        .map(|(index, size)| {
            let path = proof(inclusion(hashes, index, size).unwrap());
            json!({ "index": index, "size": size, "proof": path })
        })
        .collect()
}

fn consistencies(hashes: &Hashes) -> Vec<Value> {
    let sizes = [1, 2, 3, 6, 7, 8, 9, 255, 256, 257, 511, 512, 513, SIZE];
    let pairs = sizes.into_iter().flat_map(|new| sizes.into_iter().map(move |old| (old, new)));
    pairs
        .filter(|(old, new)| old <= new)
        .map(|(old, new)| {
            json!({ "old": old, "new": new, "proof": proof(consistency(hashes, old, new).unwrap()) })
        })
        .collect()
}

fn tiles(hashes: &Hashes, old: u64, new: u64) -> Value {
    let tiles = grown(old, new).into_iter();
    tiles.map(|tile| (tile.path(), Value::from(STANDARD.encode(tile.bytes(hashes).unwrap())))).collect()
}
