//! Audit events, hash chains, the Merkle ledger, checkpoints and their verification. Pure.
