//! The sidecar: what stands beside an agent and lets its operations through the one gate.
//!
//! Composition only. What is decided is decided by the gate; what is durable is the spool's; what
//! travels is the transport's. In the order in which a sidecar comes to life:
//!
//! 1. `config`: what it is told to be.
//! 2. `enrol`: how it gets an identity, and keeps it fresh.
//! 3. `sync`: how it gets its policy, and for how long it may enforce it.
//! 4. `broker`: how it reaches the people who approve.
//! 5. `ship`: how its audit events reach the ledger.
//! 6. `app`: all of it put together, supervised, and drained.
