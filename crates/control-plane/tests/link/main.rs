//! The control plane as sidecars and people meet it: real keys, real QUIC, a real store.

mod approvals;
mod enrolment;
mod garbage;
mod policy;
mod restart;
mod world;
