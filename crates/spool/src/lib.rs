//! The sidecar's durable event queue and grant journal.
