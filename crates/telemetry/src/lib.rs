//! Tracing and OpenTelemetry set-up; span and attribute names in one place.
