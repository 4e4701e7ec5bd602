//! A trace as a tree, for the terminal.

use std::collections::{HashMap, HashSet};

use countersign_model::names::{attribute, span};
use countersign_telemetry::CollectedSpan;

use crate::output::{Paint, Style, short, style_of};

/// The attributes that are worth a word, in this order.
const TOLD: [&str; 9] = [
    attribute::ACTION,
    attribute::RESOURCE,
    attribute::DECISION,
    attribute::REQUIREMENTS,
    attribute::POLICIES,
    attribute::VOTER,
    attribute::VOTE,
    attribute::APPROVAL_STATE,
    attribute::OUTCOME,
];

/// The spans of one trace, children below their parents, in the order of their beginnings.
pub(crate) fn render(spans: &[CollectedSpan], trace_id: &str, paint: Paint) -> String {
    let spans: Vec<&CollectedSpan> = spans.iter().filter(|span| span.trace_id == trace_id).collect();
    let known: HashSet<&str> = spans.iter().map(|span| span.span_id.as_str()).collect();
    let mut children: HashMap<Option<&str>, Vec<&CollectedSpan>> = HashMap::new();
    for span in spans {
        // A parent that is not here is the agent's own span, or has not ended.
        let parent = span.parent_id.as_deref().filter(|parent| known.contains(parent));
        children.entry(parent).or_default().push(span);
    }
    let mut text = String::new();
    let roots = children.get(&None).cloned().unwrap_or_default();
    for (index, root) in roots.iter().enumerate() {
        branch(root, "", index + 1 == roots.len(), &children, paint, &mut text);
    }
    text
}

fn branch(
    span: &CollectedSpan,
    indent: &str,
    is_last: bool,
    children: &HashMap<Option<&str>, Vec<&CollectedSpan>>,
    paint: Paint,
    text: &mut String,
) {
    let joint = if is_last { "└─ " } else { "├─ " };
    text.push_str(&format!(
        "{}{}\n",
        paint.paint(Style::Dim, &format!("{indent}{joint}")),
        describe(span, paint)
    ));
    let below = children.get(&Some(span.span_id.as_str())).cloned().unwrap_or_default();
    let indent = format!("{indent}{}", if is_last { "   " } else { "│  " });
    for (index, child) in below.iter().enumerate() {
        branch(child, &indent, index + 1 == below.len(), children, paint, text);
    }
}

fn describe(span: &CollectedSpan, paint: Paint) -> String {
    let took = span.end.duration_since(span.start).unwrap_or_default();
    let millis = took.as_secs_f64() * 1000.0;
    let took = if millis < 1000.0 { format!("{millis:.1} ms") } else { format!("{:.1} s", millis / 1000.0) };
    let told = TOLD.iter().filter_map(|name| {
        // What was recorded last counts: a hold is pending before it is approved.
        let (_, value) =
            span.attributes.iter().rev().find(|(found, value)| found == name && !value.is_empty())?;
        Some(paint.paint(style_of(value), &short(value, 60)))
    });
    let words: Vec<String> = std::iter::once(paint.paint(Style::Bold, name_of(&span.name)))
        .chain(told)
        .chain([paint.paint(Style::Dim, &took)])
        .collect();
    words.join("  ")
}

/// Spans are named for machines; the tree is for people.
fn name_of(name: &str) -> &str {
    match name {
        span::OPERATION => "operation",
        span::EVALUATE => "evaluate",
        span::HOLD => "hold",
        span::REQUEST => "request",
        span::NOTIFY => "notify",
        span::VOTE => "vote",
        span::GRANT => "grant",
        span::REEVALUATE => "re-evaluate",
        span::EXECUTE => "execute",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    fn collected(id: &str, parent: Option<&str>, name: &str, attributes: &[(&str, &str)]) -> CollectedSpan {
        let start = SystemTime::UNIX_EPOCH;
        CollectedSpan {
            trace_id: "t".to_owned(),
            span_id: id.to_owned(),
            parent_id: parent.map(str::to_owned),
            name: name.to_owned(),
            start,
            end: start + Duration::from_millis(2),
            attributes: attributes
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        }
    }

    #[test]
    fn spans_stand_below_their_parents() {
        let spans = [
            collected("1", Some("agent"), span::OPERATION, &[(attribute::DECISION, "hold")]),
            collected("2", Some("1"), span::EVALUATE, &[]),
            collected("3", Some("1"), span::HOLD, &[]),
            collected("4", Some("3"), span::VOTE, &[(attribute::VOTE, "approve")]),
            CollectedSpan { trace_id: "other".to_owned(), ..collected("5", None, "x", &[]) },
        ];
        let tree = render(&spans, "t", Paint::none());
        let expected = "\
└─ operation  hold  2.0 ms
   ├─ evaluate  2.0 ms
   └─ hold  2.0 ms
      └─ vote  approve  2.0 ms
";
        assert_eq!(tree, expected);
    }
}
