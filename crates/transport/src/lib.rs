//! QUIC endpoints, sessions and reconnection between sidecar and control plane.
