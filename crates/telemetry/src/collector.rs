//! Spans kept in memory, so that the demo can print a trace without an outside collector.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use opentelemetry_sdk::{
    error::OTelSdkResult,
    trace::{SpanData, SpanExporter},
};

/// How many spans are kept at most; later ones are dropped.
const CAPACITY: usize = 10_000;

/// A finished span, as far as a tree of it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectedSpan {
    /// The trace, 32 hexadecimal digits.
    pub trace_id: String,
    /// The span, 16 hexadecimal digits.
    pub span_id: String,
    /// The span's parent, when it has one.
    pub parent_id: Option<String>,
    /// Its name.
    pub name: String,
    /// When it began.
    pub start: SystemTime,
    /// When it ended.
    pub end: SystemTime,
    /// Its attributes, as text.
    pub attributes: Vec<(String, String)>,
}

/// Collects finished spans. Clones share what they collect.
#[derive(Clone, Default)]
pub struct Collector {
    spans: Arc<Mutex<Vec<CollectedSpan>>>,
}

impl Collector {
    /// Every span finished so far, in the order of their beginnings.
    #[must_use]
    pub fn spans(&self) -> Vec<CollectedSpan> {
        let mut spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner).clone();
        spans.sort_by_key(|span| span.start);
        spans
    }
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collector").finish_non_exhaustive()
    }
}

impl SpanExporter for Collector {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let mut spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        let room = CAPACITY.saturating_sub(spans.len());
        spans.extend(batch.into_iter().take(room).map(collected));
        Ok(())
    }
}

fn collected(span: SpanData) -> CollectedSpan {
    let parent = span.parent_span_id;
    CollectedSpan {
        trace_id: span.span_context.trace_id().to_string(),
        span_id: span.span_context.span_id().to_string(),
        parent_id: (parent != opentelemetry::trace::SpanId::INVALID).then(|| parent.to_string()),
        name: span.name.into_owned(),
        start: span.start_time,
        end: span.end_time,
        attributes: span
            .attributes
            .into_iter()
            .map(|attribute| (attribute.key.to_string(), attribute.value.to_string()))
            .collect(),
    }
}
