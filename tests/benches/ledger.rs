//! Taking a sidecar's events into the ledger, beside a bare redb group commit of the same bytes; and
//! opening a store again after SIGKILL.

#![allow(
    clippy::cast_precision_loss,
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a bench that cannot go on should stop, and its numbers are small"
)]

use std::{
    env, fs,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use countersign_audit::{Chain, EventDraft, kind};
use countersign_model::{EventId, SpiffeId, Timestamp};
use countersign_store::{EmbeddedStore, EventEntropy, LedgerStore as _, Settings};
use countersign_tests::{
    Process,
    measure::{median, quick},
};
use futures::{StreamExt as _, stream};
use redb::{Builder, Database, TableDefinition};
use serde_json::json;

/// Events in a batch, and so in a commit.
const EVENTS: usize = 1_000;
/// Batches in a round.
const BATCHES: usize = 8;
const NOW: Timestamp = Timestamp::from_millis(1_772_366_400_000);
const BARE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("events");

fn control_plane() -> SpiffeId {
    "spiffe://example.org/control-plane".parse().unwrap()
}

/// A sidecar that makes events of about 600 bytes.
struct Sidecar {
    source: SpiffeId,
    chain: Chain,
}

impl Sidecar {
    fn new(number: usize) -> Self {
        let name = format!("agent-{number}").parse().unwrap();
        let source = SpiffeId::agent("example.org".parse().unwrap(), name);
        Self { chain: Chain::new(source.clone()), source }
    }

    fn batch(&mut self) -> Vec<Vec<u8>> {
        let operation = json!({
            "subject": { "type": "Agent", "id": "deploy-bot" },
            "action": { "name": "deploy", "properties": { "version": "1.4.2" } },
            "resource": { "type": "Service", "id": "payments", "properties": { "replicas": 3 } },
            "context": { "region": "eu", "ticket": "OPS-7" },
        });
        let mut event = || {
            let seq = self.chain.next_seq();
            let mut draft = EventDraft::new(NOW, kind::OPERATION_PERMITTED);
            draft.body.insert("operation".into(), operation.clone());
            draft.body.insert("policies".into(), json!([{ "id": "agents-may-work", "effect": "permit" }]));
            let id = EventId::new(NOW, *seq.to_be_bytes().repeat(2).first_chunk().unwrap());
            self.chain.append(draft, id).into_bytes()
        };
        (0..EVENTS).map(|_| event()).collect()
    }
}

fn entropy() -> EventEntropy {
    let mut count = 0_u64;
    Box::new(move || {
        count += 1;
        *count.to_be_bytes().repeat(2).first_chunk().unwrap()
    })
}

fn open(folder: &Path) -> EmbeddedStore {
    EmbeddedStore::open(folder, &control_plane(), Settings::default(), entropy()).expect("a store")
}

/// What the ledger stands on, without anything of it: events in a table, one commit a batch, with the
/// store's cache and its way of committing.
struct Bare {
    database: Database,
    next: u64,
}

impl Bare {
    fn new(folder: &Path) -> Self {
        let mut builder = Builder::new();
        builder.set_cache_size(Settings::default().cache_bytes);
        Self { database: builder.create(folder.join("bare.redb")).unwrap(), next: 0 }
    }

    fn commit(&mut self, batch: &[Vec<u8>]) {
        let mut transaction = self.database.begin_write().unwrap();
        transaction.set_quick_repair(true);
        let mut table = transaction.open_table(BARE).unwrap();
        for event in batch {
            table.insert(self.next, event.as_slice()).unwrap();
            self.next += 1;
        }
        drop(table);
        transaction.commit().unwrap();
    }
}

/// Ships batches to the store, so many at a time.
async fn ship(store: &EmbeddedStore, batches: Vec<(SpiffeId, Vec<Vec<u8>>)>, at_a_time: usize) {
    let ingests = batches.into_iter().map(|(source, events)| store.ingest(source, events, NOW));
    let answers: Vec<_> = stream::iter(ingests).buffer_unordered(at_a_time).collect().await;
    for answer in answers {
        let answer = answer.expect("the batch is taken in");
        assert_eq!((answer.accepted, answer.anomalies.len()), (EVENTS, 0));
    }
}

/// How many sidecars ship at a time.
const AT_A_TIME: [usize; 3] = [1, 2, 8];

/// Seconds of each round, for each contestant.
#[derive(Default)]
struct Rounds {
    bare: Vec<f64>,
    ledger: [Vec<f64>; AT_A_TIME.len()],
    searchable: Vec<f64>,
}

async fn ingestion(rounds: usize) {
    let folder = tempfile::tempdir().unwrap();
    let (mut bare, store) = (Bare::new(folder.path()), open(folder.path()));
    let mut sidecars: Vec<_> = (0..BATCHES).map(Sidecar::new).collect();
    let mut made =
        || sidecars.iter_mut().map(|sidecar| (sidecar.source.clone(), sidecar.batch())).collect::<Vec<_>>();
    let (mut times, mut bytes) = (Rounds::default(), 0);
    for _ in 0..rounds {
        let batches = made();
        bytes = batches.iter().flat_map(|(_, events)| events).map(Vec::len).sum();
        let start = Instant::now();
        batches.iter().for_each(|(_, events)| bare.commit(events));
        times.bare.push(start.elapsed().as_secs_f64());
        // What bare redb got goes into the ledger, too: a chain has no gaps.
        let mut same = Some(batches);
        for (at_a_time, taken) in AT_A_TIME.into_iter().zip(&mut times.ledger) {
            let batches = same.take().unwrap_or_else(&mut made);
            let start = Instant::now();
            ship(&store, batches, at_a_time).await;
            taken.push(start.elapsed().as_secs_f64());
            // The indexer works behind the writer; the next contestant should not pay for it.
            store.wait_indexed(*store.watch_size().borrow()).await.unwrap();
            if at_a_time == BATCHES {
                times.searchable.push(start.elapsed().as_secs_f64());
            }
        }
    }
    report(times, bytes);
    store.close().await;
}

fn report(mut times: Rounds, bytes: usize) {
    let events = (BATCHES * EVENTS) as f64;
    println!("\n### Ledger: {EVENTS} events of {} B a commit\n", bytes / BATCHES / EVENTS);
    println!("| what | per commit | events a second |\n|---|---|---|");
    let row = |name: &str, samples: &mut [f64]| {
        let seconds = median(samples);
        println!("| {name} | {:.1} ms | {:.0} |", seconds * 1e3 / BATCHES as f64, events / seconds);
        seconds
    };
    let bare = row("bare redb, the same bytes", &mut times.bare);
    let mut percents = String::new();
    for (at_a_time, taken) in AT_A_TIME.into_iter().zip(&mut times.ledger) {
        let ours = row(&format!("ledger, sidecars that ship at a time: {at_a_time}"), taken);
        percents.push_str(&format!(" {:.0} % with {at_a_time},", 100.0 * bare / ours));
    }
    row("the same, until all is searchable and provable", &mut times.searchable);
    println!("\nthe ledger takes in{} of bare redb", percents.trim_end_matches(','));
}

/// What this program does when it is started with a folder: fills a store there, says so, and goes on
/// until it is killed.
#[tokio::main]
async fn fill(folder: &Path, wanted: usize) {
    println!("started");
    let store = open(folder);
    let (mut sidecar, mut bytes) = (Sidecar::new(0), 0);
    loop {
        let batch = sidecar.batch();
        bytes += batch.iter().map(Vec::len).sum::<usize>();
        ship(&store, vec![(sidecar.source.clone(), batch)], 1).await;
        if bytes >= wanted {
            fs::write(folder.join("full"), "").unwrap();
        }
    }
}

async fn reopening(megabytes: usize) {
    let folder = tempfile::tempdir().unwrap();
    let mut filler = Command::new(env::current_exe().unwrap());
    filler.arg("fill").arg(folder.path()).arg((megabytes * 1_000_000).to_string());
    let (filler, _) = Process::start(&mut filler);
    while !folder.path().join("full").exists() {
        thread::sleep(Duration::from_millis(20));
    }
    filler.kill();
    let size = |name: &str| fs::metadata(folder.path().join(name)).unwrap().len() / 1_000_000;
    let start = Instant::now();
    let store = open(folder.path());
    let opened = start.elapsed().as_secs_f64() * 1e3;
    let head = store.head().await.unwrap();
    println!(
        "\nreopened after SIGKILL in {opened:.1} ms: {} events of {megabytes} MB, store.redb {} MB, index.redb {} MB",
        head.size,
        size("store.redb"),
        size("index.redb")
    );
    store.close().await;
}

fn main() {
    let arguments: Vec<String> = env::args().collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [_, "fill", folder, bytes] => fill(Path::new(folder), bytes.parse().unwrap()),
        _ => {
            let (rounds, megabytes) = if quick() { (7, 100) } else { (25, 1_000) };
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(ingestion(rounds));
            runtime.block_on(reopening(megabytes));
        }
    }
}
