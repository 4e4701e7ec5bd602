//! Builders, a fake clock, a lossy network, crash-simulating storage and chat services for tests.

#[cfg(feature = "chats")]
pub mod chats;
pub mod clock;
pub mod crash;
pub mod entropy;
pub mod world;

pub use clock::FakeClock;
pub use crash::{CrashingStorage, Loss};
pub use entropy::FakeEntropy;
pub use world::World;
