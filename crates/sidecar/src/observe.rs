//! What the gate measures and traces, and what the sidecar measures besides.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use countersign_gate::{Interceptor, ports::Observer};
use countersign_spool::Spool;
use countersign_telemetry::{Metrics, adopt_parent, traceparent_of};
use countersign_transport::Link;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::Span;

use crate::app::TaskError;

/// How often what has a level is measured.
const MEASURE_EVERY: Duration = Duration::from_secs(5);

/// The gate's measurements, as metrics; its spans, in the caller's trace.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    metrics: Metrics,
    pending: AtomicI64,
}

impl Observed {
    pub(crate) fn new(metrics: Metrics) -> Self {
        Self { metrics, pending: AtomicI64::new(0) }
    }
}

impl Observer for Observed {
    fn decided(&self, decision: &'static str, interceptor: Interceptor, took: Duration) {
        self.metrics.decision(decision, interceptor.as_str(), took.as_secs_f64());
    }

    fn pending(&self, change: i64) {
        let now = self.pending.fetch_add(change, Ordering::Relaxed).saturating_add(change);
        self.metrics.approvals_pending(u64::try_from(now).unwrap_or(0));
    }

    fn adopt(&self, span: &Span, traceparent: &str) {
        adopt_parent(span, traceparent);
    }

    fn traceparent(&self, span: &Span) -> Option<String> {
        traceparent_of(span)
    }
}

/// Measures the spool and the link until the stop.
pub(crate) async fn measure(
    metrics: Metrics,
    spool: Spool,
    link: Link,
    stop: CancellationToken,
) -> Result<(), TaskError> {
    let mut states = link.state();
    loop {
        metrics.link_up(states.borrow_and_update().is_up());
        metrics.spool_depth(spool.depth().events);
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = sleep(MEASURE_EVERY) => {}
            changed = states.changed() => changed?,
        }
    }
}
