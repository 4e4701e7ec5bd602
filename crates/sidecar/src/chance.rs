//! Time and randomness, as the gate and the spool want them.

use std::time::SystemTime;

use aws_lc_rs::rand;
use countersign_gate::ports;
use countersign_model::Timestamp;

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SystemClock;

impl ports::Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

/// The operating system's randomness.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SystemEntropy;

impl ports::Entropy for SystemEntropy {
    fn bytes(&self) -> [u8; 10] {
        random()
    }
}

/// Fresh random bytes. A machine that gives none can neither name nor protect anything: the process ends.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    if rand::fill(&mut bytes).is_err() {
        tracing::error!("the operating system gives no randomness");
        std::process::abort();
    }
    bytes
}
