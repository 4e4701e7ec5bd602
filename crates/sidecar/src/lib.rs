//! Composition of the sidecar: configuration, enrolment, sync and shipping.
