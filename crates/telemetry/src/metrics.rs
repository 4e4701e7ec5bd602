//! The metrics of both processes. While nobody exports them, recording one is a no-op.

use countersign_model::names::{attribute, metric};
use opentelemetry::{
    KeyValue, global,
    metrics::{Counter, Gauge, Histogram},
};

/// The instruments. Make it after [`crate::init`], once per process, and share it.
#[derive(Debug, Clone)]
pub struct Metrics {
    decisions: Counter<u64>,
    decision_duration: Histogram<f64>,
    approvals_pending: Gauge<u64>,
    time_to_decide: Histogram<f64>,
    channel_deliveries: Counter<u64>,
    channel_backlog: Gauge<u64>,
    channel_up: Gauge<u64>,
    spool_depth: Gauge<u64>,
    link_up: Gauge<u64>,
    ledger_lag: Gauge<u64>,
}

impl Default for Metrics {
    fn default() -> Self {
        let meter = global::meter("countersign");
        let decision_buckets = vec![5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 5e-3, 2.5e-2, 0.1, 1.0];
        let human_buckets = vec![1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 3600.0];
        Self {
            decisions: meter.u64_counter(metric::DECISIONS).with_description("Decisions").build(),
            decision_duration: meter
                .f64_histogram(metric::DECISION_DURATION)
                .with_unit("s")
                .with_boundaries(decision_buckets)
                .build(),
            approvals_pending: meter.u64_gauge(metric::APPROVALS_PENDING).build(),
            time_to_decide: meter
                .f64_histogram(metric::TIME_TO_DECIDE)
                .with_unit("s")
                .with_boundaries(human_buckets)
                .build(),
            channel_deliveries: meter.u64_counter(metric::CHANNEL_DELIVERIES).build(),
            channel_backlog: meter.u64_gauge(metric::CHANNEL_BACKLOG).build(),
            channel_up: meter.u64_gauge(metric::CHANNEL_UP).build(),
            spool_depth: meter.u64_gauge(metric::SPOOL_DEPTH).build(),
            link_up: meter.u64_gauge(metric::LINK_UP).build(),
            ledger_lag: meter.u64_gauge(metric::LEDGER_LAG).build(),
        }
    }
}

impl Metrics {
    /// One decision: `permit`, `deny` or `hold`, by which interceptor, in how many seconds.
    pub fn decision(&self, decision: &'static str, interceptor: &'static str, seconds: f64) {
        let by = [
            KeyValue::new(attribute::DECISION, decision),
            KeyValue::new(attribute::INTERCEPTOR, interceptor),
        ];
        self.decisions.add(1, &by);
        self.decision_duration.record(seconds, &by);
    }

    /// How many approvals wait for people now.
    pub fn approvals_pending(&self, count: u64) {
        self.approvals_pending.record(count, &[]);
    }

    /// An approval was decided that many seconds after it was asked for, and became `state`.
    pub fn time_to_decide(&self, state: &'static str, seconds: f64) {
        self.time_to_decide.record(seconds, &[KeyValue::new(attribute::APPROVAL_STATE, state)]);
    }

    /// A channel took a message, or did not.
    pub fn channel_delivery(&self, channel: &str, taken: bool) {
        let outcome = if taken { "taken" } else { "failed" };
        let by = [
            KeyValue::new(attribute::CHANNEL, channel.to_owned()),
            KeyValue::new(attribute::OUTCOME, outcome),
        ];
        self.channel_deliveries.add(1, &by);
    }

    /// Whether a channel works, and how much it is still to tell.
    pub fn channel_state(&self, channel: &str, up: bool, backlog: u64) {
        let by = [KeyValue::new(attribute::CHANNEL, channel.to_owned())];
        self.channel_up.record(u64::from(up), &by);
        self.channel_backlog.record(backlog, &by);
    }

    /// How many events wait in the spool to be acknowledged.
    pub fn spool_depth(&self, events: u64) {
        self.spool_depth.record(events, &[]);
    }

    /// Whether the link to the control plane is up.
    pub fn link_up(&self, up: bool) {
        self.link_up.record(u64::from(up), &[]);
    }

    /// How many ledger entries the search index has yet to take in.
    pub fn ledger_lag(&self, entries: u64) {
        self.ledger_lag.record(entries, &[]);
    }
}
