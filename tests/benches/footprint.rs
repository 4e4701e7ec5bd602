//! An idle sidecar: its memory, the size of its binary, and how long it takes to start.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a bench that cannot go on should stop")]

use std::{
    fs,
    time::{Duration, Instant},
};

use countersign_tests::{
    Site, binary,
    measure::{median, quantile, quick, resident},
};

/// The size of the sidecar's binary as it ships, in MB.
fn size() -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a size to print")]
    let bytes = fs::metadata(binary("countersign-sidecar")).unwrap().len() as f64;
    bytes / 1e6
}

/// Starts an enrolled sidecar again and again, each time after SIGKILL: from `exec` to its ready line,
/// in ms; and its memory once it is connected and idle.
async fn starts_and_memory(rounds: usize) -> (Vec<f64>, (f64, f64)) {
    let mut site = Site::start(|_| ()).await;
    site.until_connected().await;
    let mut starts = Vec::new();
    for _ in 0..rounds {
        site.kill_sidecar();
        let start = Instant::now();
        site.start_sidecar();
        starts.push(start.elapsed().as_secs_f64() * 1e3);
        site.until_connected().await;
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    (starts, resident(site.sidecar_id()))
}

#[tokio::main]
async fn main() {
    let rounds = if quick() { 5 } else { 21 };
    let (mut starts, (memory, anonymous)) = starts_and_memory(rounds).await;
    println!("\n### Footprint of an idle sidecar, connected, with a policy\n\n| what | |\n|---|---|");
    println!("| resident memory (VmRSS) | {memory:.1} MB |");
    println!("| of it anonymous (RssAnon) | {anonymous:.1} MB |");
    println!("| binary, as `cargo xtask dist` ships it | {:.1} MB |", size());
    println!("| start of the process to ready, median of {rounds} | {:.0} ms |", median(&mut starts));
    println!("| start of the process to ready, slowest | {:.0} ms |", quantile(&mut starts, 1.0));
    println!("\naimed for: under 20 MB, under 20 MB, under 100 ms");
}
