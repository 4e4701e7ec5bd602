//! Policy: how it comes, when it is in force, and for how long.
//!
//! 1. [`bundle`]: what a pushed bundle must pass before it is looked at as policy.
//! 2. [`policy`]: the bundle in force, and its lease.
//! 3. [`pushes`]: what the control plane begins: bundles and revocations.
//! 4. [`contact`]: signs of life, which keep the lease.

pub(crate) mod bundle;
pub(crate) mod contact;
pub(crate) mod policy;
pub(crate) mod pushes;
