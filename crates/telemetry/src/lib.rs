//! Tracing and OpenTelemetry set-up, for every process of Countersign.
//!
//! Code everywhere speaks [`tracing`]; this crate decides where that goes. Events become logs on
//! standard error. Spans become OpenTelemetry spans, but only when an exporter is configured by the
//! standard `OTEL_*` variables or a [`Collector`] listens: otherwise they are disabled at their call
//! site and cost a load and a branch. Names are in [`countersign_model::names`].

mod collector;
mod context;
mod metrics;
mod setup;

pub use collector::{CollectedSpan, Collector};
pub use context::{adopt_parent, current_traceparent, traceparent_of};
pub use metrics::Metrics;
pub use setup::{LogConfig, LogFormat, Settings, Telemetry, TelemetryError, init};
