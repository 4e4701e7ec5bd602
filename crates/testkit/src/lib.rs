//! Builders, a fake clock, a lossy network and crash-simulating storage for tests.

pub mod clock;
pub mod crash;
pub mod entropy;
pub mod world;

pub use clock::FakeClock;
pub use crash::{CrashingStorage, Loss};
pub use entropy::FakeEntropy;
pub use world::World;
