//! `countersign sidecar`: the sidecar, as `countersign-sidecar` runs it.

pub(crate) use countersign_sidecar::command::{Arguments, run};

/// What the help says at its end.
pub(crate) const EXAMPLES: &str = "\
Examples:
  countersign sidecar --config /etc/countersign/sidecar.toml
  countersign sidecar --config sidecar.toml --check-config";
