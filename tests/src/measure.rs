//! Measuring on a noisy machine: contestants take turns, medians are compared.

use std::{env, fs, time::Instant};

/// Whether `cargo xtask bench --quick` asked for fewer rounds.
#[must_use]
pub fn quick() -> bool {
    env::var_os("COUNTERSIGN_BENCH_QUICK").is_some()
}

/// Something to measure.
pub struct Contestant<'a> {
    name: String,
    run: Box<dyn FnMut() + 'a>,
    samples: Vec<f64>,
}

impl<'a> Contestant<'a> {
    /// A contestant of that name.
    pub fn new(name: impl Into<String>, run: impl FnMut() + 'a) -> Self {
        Self { name: name.into(), run: Box::new(run), samples: Vec::new() }
    }

    fn sample(&mut self, batch: u32) {
        let start = Instant::now();
        for _ in 0..batch {
            (self.run)();
        }
        self.samples.push(start.elapsed().as_secs_f64() * 1e6 / f64::from(batch));
    }
}

/// Runs the contestants in turn, `rounds` times `batch` calls each, after one round that does not
/// count. Prints and returns each one's median in microseconds a call.
pub fn compete(rounds: usize, batch: u32, mut contestants: Vec<Contestant<'_>>) -> Vec<f64> {
    for round in 0..=rounds {
        for contestant in &mut contestants {
            contestant.sample(batch);
            if round == 0 {
                contestant.samples.clear();
            }
        }
    }
    let medians: Vec<f64> =
        contestants.iter_mut().map(|contestant| median(&mut contestant.samples)).collect();
    for (contestant, median) in contestants.iter().zip(&medians) {
        println!("| {} | {median:.1} µs |", contestant.name);
    }
    medians
}

/// The median of some samples; sorts them.
pub fn median(samples: &mut [f64]) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples.get(samples.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The quantile `q` (0 to 1) of some samples; sorts them.
pub fn quantile(samples: &mut [f64], q: f64) -> f64 {
    samples.sort_by(f64::total_cmp);
    let last = samples.len().saturating_sub(1);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a rank within the samples"
    )]
    let rank = (last as f64 * q).round() as usize;
    samples.get(rank).copied().unwrap_or(f64::NAN)
}

/// The resident memory of a process in MB: all of it, and what is neither a file's nor shared.
///
/// # Panics
/// When there is no such process.
#[must_use]
pub fn resident(process: u32) -> (f64, f64) {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("a running process");
    let megabytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line of that name");
        let kib: f64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
        kib * 1_024.0 / 1e6
    };
    (megabytes("VmRSS:"), megabytes("RssAnon:"))
}
