//! `countersign control`: the control plane, as `countersign-control` runs it.

pub(crate) use countersign_control_plane::command::{Arguments, run};

/// What the help says at its end.
pub(crate) const EXAMPLES: &str = "\
Examples:
  countersign control --config /etc/countersign/control.toml
  countersign control --config control.toml --check-config";
