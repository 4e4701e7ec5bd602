//! What differs between what a server says of a tool, or to models, and what a person has accepted of it; for
//! policy, and for reviewers, who see it as a difference.

use std::collections::BTreeSet;

use countersign_model::{Digest, Object};
use serde_json::{Value, json};

use super::{accepted::NOT_KEPT, edit::Members, pins::Pinned};

/// The most that a reviewer is shown of one side of a member, in characters.
const MAX_SHOWN: usize = 2_000;
/// How much is shown before the first difference of a long one.
const MAX_LEAD: usize = 200;

/// What differs between two definitions, member by member: `{"member", "before", "after"}`, each side as text, and
/// left out where there is none.
pub(super) fn changes(before: &str, after: &str) -> Value {
    if after == NOT_KEPT {
        return json!([{"member": "definition", "after": "(it is too long to be shown)"}]);
    }
    let (Ok(old), Ok(new)) = (Members::parse(before), Members::parse(after)) else {
        return json!([{"member": "definition", "after": "(it cannot be compared)"}]);
    };
    let names: BTreeSet<&str> = old.names().chain(new.names()).collect();
    let changed = names.into_iter().filter(|name| digest_of(old.get(name)) != digest_of(new.get(name)));
    changed.map(|name| change(name, old.get(name), new.get(name))).collect()
}

fn digest_of(raw: Option<&str>) -> Option<Digest> {
    raw.map(|raw| Pinned::of(raw).digest)
}

fn change(name: &str, old: Option<&str>, new: Option<&str>) -> Value {
    let mut change = Object::new();
    change.insert("member".to_owned(), json!(name));
    let [before, after] = shortened(as_text(old, new));
    for (side, text) in [("before", before), ("after", after)] {
        if let Some(text) = text {
            change.insert(side.to_owned(), json!(text));
        }
    }
    Value::Object(change)
}

/// Both sides as text that differs where they do: strings as what they say, and other JSON laid out.
fn as_text(old: Option<&str>, new: Option<&str>) -> [Option<String>; 2] {
    let sides = [old, new];
    let strings = sides.map(|side| side.map(serde_json::from_str::<String>));
    if strings.iter().flatten().all(Result::is_ok) {
        return strings.map(|text| text.and_then(Result::ok));
    }
    let pretty = |raw: &str| {
        let value = serde_json::from_str::<Value>(raw).ok()?;
        serde_json::to_string_pretty(&value).ok()
    };
    let laid_out = sides.map(|side| side.map(|raw| pretty(raw).unwrap_or_else(|| raw.to_owned())));
    // What JSON readers disagree about, such as very large numbers, may be laid out alike.
    let [before, after] = &laid_out;
    if before == after { sides.map(|side| side.map(ToOwned::to_owned)) } else { laid_out }
}

/// Long sides cut, and both at the same place, so that what differs first is among what is shown.
fn shortened(sides: [Option<String>; 2]) -> [Option<String>; 2] {
    let fits = |side: &Option<String>| side.as_ref().is_none_or(|text| text.chars().count() <= MAX_SHOWN);
    if sides.iter().all(fits) {
        return sides;
    }
    let [before, after] = &sides;
    let both = before.iter().flat_map(|text| text.chars()).zip(after.iter().flat_map(|text| text.chars()));
    let left_out = both.take_while(|(one, other)| one == other).count().saturating_sub(MAX_LEAD);
    sides.map(|side| side.map(|text| part(&text, left_out)))
}

fn part(text: &str, from: usize) -> String {
    let lead = if from > 0 { "…" } else { "" };
    let rest = if text.chars().count() > from + MAX_SHOWN { "…" } else { "" };
    format!("{lead}{}{rest}", text.chars().skip(from).take(MAX_SHOWN).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_tells_both_sides_as_they_read() {
        let old = r#"{"name":"read","description":"Reads\na file","inputSchema":{"type":"object"},"gone":1}"#;
        let new = r#"{"name":"read","description":"Reads\nall files","inputSchema":{"type":"object","x":[]},"title":"R"}"#;
        assert_eq!(
            changes(old, new),
            json!([
                {"member": "description", "before": "Reads\na file", "after": "Reads\nall files"},
                {"member": "gone", "before": "1"},
                {"member": "inputSchema", "before": "{\n  \"type\": \"object\"\n}",
                    "after": "{\n  \"type\": \"object\",\n  \"x\": []\n}"},
                {"member": "title", "after": "R"},
            ])
        );
    }

    /// A change is never shown as none: not by its type, not by digits that readers drop, not far down a long text.
    #[test]
    fn what_differs_reads_differently() {
        let long = "x".repeat(5 * MAX_SHOWN);
        for (old, new) in [
            (r#"{"a":"5"}"#.to_owned(), r#"{"a":5}"#.to_owned()),
            (r#"{"a":18446744073709551617}"#.to_owned(), r#"{"a":18446744073709551618}"#.to_owned()),
            (format!(r#"{{"a":"{long}"}}"#), format!(r#"{{"a":"{long} and send it away"}}"#)),
            (format!(r#"{{"a":["{long}","b"]}}"#), format!(r#"{{"a":["{long}","c"]}}"#)),
        ] {
            let told = changes(&old, &new);
            let change = &told[0];
            assert_ne!(change["before"], change["after"], "{old} {new}");
            for side in ["before", "after"] {
                assert!(change[side].as_str().unwrap().chars().count() <= MAX_SHOWN + 2, "{side}");
            }
        }
        assert_eq!(
            changes("{}", "{\"a\":1"),
            json!([{"member": "definition", "after": "(it cannot be compared)"}])
        );
        assert!(changes("{\"a\":1}", NOT_KEPT).to_string().contains("too long"));
    }
}
