//! A trace that crosses a process boundary as text stays one trace, and spans cost nothing unasked.

use countersign_telemetry::{Collector, LogConfig, LogFormat, Settings, adopt_parent, init, traceparent_of};
use tracing::info_span;

#[test]
fn a_context_carried_as_text_makes_one_trace() {
    let off = info_span!(target: "countersign_gate", "countersign.operation");
    assert!(off.is_disabled(), "without a subscriber nothing is recorded");

    let collector = Collector::default();
    let settings =
        Settings { service_name: "test", log: LogConfig { format: LogFormat::Text, filter: "warn".into() } };
    let telemetry = init(&settings, Some(collector.clone())).unwrap();

    let caller = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let here =
        info_span!(target: "countersign_gate", "countersign.operation", "countersign.action" = "deploy");
    adopt_parent(&here, caller);
    let carried = traceparent_of(&here).unwrap();
    let there = info_span!(target: "countersign_control_plane", "countersign.approval.vote");
    adopt_parent(&there, &carried);
    let foreign = info_span!(target: "quinn", "not ours");
    drop((there, here, foreign));

    let spans = collector.spans();
    assert_eq!(spans.len(), 2, "{spans:?}");
    assert!(spans.iter().all(|span| span.trace_id == "0af7651916cd43dd8448eb211c80319c"));
    assert_eq!(spans[0].parent_id.as_deref(), Some("b7ad6b7169203331"));
    assert_eq!(spans[1].parent_id.as_ref(), Some(&spans[0].span_id));
    assert!(spans[0].attributes.contains(&("countersign.action".into(), "deploy".into())));
    telemetry.shutdown();
}
