//! Bytes that look random, differ every time, and are the same in every run.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use countersign_model::Digest;

/// A source of repeatable bytes. Clones draw from the same sequence.
#[derive(Debug, Clone, Default)]
pub struct FakeEntropy(Arc<AtomicU64>);

impl FakeEntropy {
    /// A source whose sequence starts elsewhere than the default one.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(Arc::new(AtomicU64::new(seed << 32)))
    }

    /// Fills a slice with the next bytes.
    pub fn fill(&self, out: &mut [u8]) {
        for chunk in out.chunks_mut(32) {
            let count = self.0.fetch_add(1, Ordering::SeqCst);
            let block = Digest::of(&count.to_be_bytes());
            for (to, from) in chunk.iter_mut().zip(block.as_bytes()) {
                *to = *from;
            }
        }
    }

    /// The next bytes.
    #[must_use]
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut out = [0; N];
        self.fill(&mut out);
        out
    }
}
