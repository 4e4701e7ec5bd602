//! Builders, a fake clock, a lossy network and crash-simulating storage for tests.
