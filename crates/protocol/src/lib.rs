//! Frames of the link between sidecar and control plane: limits and codec. Bytes only.
