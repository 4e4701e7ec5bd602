//! What would be different afterwards, where the operation says both what is and what shall be: edits of files,
//! a document that an enforcement point put beside the current one (`context.diff`), a tool's definition.
//!
//! Both sides are in what the digest binds (I12), and stay among the arguments as well.

use countersign_approval::{ArgumentChange, edit::arguments_at};
use countersign_model::Object;
use serde::Serialize;
use serde_json::Value;
use similar::{ChangeTag, TextDiff};

use super::{text::Untrusted, value::Reader};

/// The longest text that is compared, in bytes.
const MOST_COMPARED: usize = 128 * 1024;
/// The most lines of a text that is compared.
const MOST_LINES: usize = 4_000;
/// The most lines of one difference that are shown.
const MOST_SHOWN: usize = 240;
/// The most differences.
const MOST: usize = 32;
/// How many lines around a change are shown.
const AROUND: usize = 3;

/// The names under which tools take the old text and the new one.
const PAIRS: [(&str, &str); 5] = [
    ("old_string", "new_string"),
    ("old_str", "new_str"),
    ("oldString", "newString"),
    ("old_text", "new_text"),
    ("oldText", "newText"),
];
/// The names under which tools take the whole text of a file.
const WHOLES: [&str; 2] = ["content", "file_text"];
/// The names under which tools take the file.
const FILES: [&str; 3] = ["file_path", "path", "filePath"];
/// The names under which tools take a patch of the form that begins with [`PATCH`].
const PATCHES: [&str; 3] = ["command", "input", "patch"];
/// How such a patch begins.
const PATCH: &str = "*** Begin Patch";

/// One difference.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Of what, if it has a name.
    pub of: Option<Untrusted>,
    /// Its lines, with a few of those around.
    pub lines: Vec<Line>,
    /// How many lines come in.
    pub added: usize,
    /// How many lines go.
    pub removed: usize,
    /// How many lines are not among [`Self::lines`] for want of room.
    pub more: usize,
    /// Whether it is too long to be compared. It is among the arguments.
    pub is_too_long: bool,
}

/// A line of a difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// What becomes of it.
    pub fate: Fate,
    /// The line.
    pub text: Untrusted,
    /// Whether it lacks the line break that its counterpart has, or may have.
    pub is_unbroken: bool,
}

/// What becomes of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It stays.
    Same,
    /// It goes.
    Removed,
    /// It comes.
    Added,
    /// Lines that stay are left out here.
    Gap,
}

/// Every difference that the operation tells of.
pub(super) fn differences(operation: &Reader<'_>) -> Vec<Difference> {
    let mut found = supplied(operation);
    found.extend(definitions(operation));
    for arguments in ["/context/hook/input", "/action/properties"] {
        if let Some(Value::Object(arguments)) = operation.value(arguments) {
            found.extend(edits(arguments, operation.text("/action/name")));
        }
    }
    found.truncate(MOST);
    found
}

/// What an enforcement point put beside the current one: `{"name", "current", "new"}`, or several of these.
fn supplied(operation: &Reader<'_>) -> Vec<Difference> {
    let one = |value: &Value| {
        let name = value.get("name").and_then(Value::as_str).map(Untrusted::exact);
        let (current, new) = (value.get("current")?, value.get("new")?);
        Some(Difference { of: name, ..compare(&document(current), &document(new)) })
    };
    match operation.value("/context/diff") {
        Some(Value::Array(several)) => several.iter().filter_map(one).collect(),
        Some(value) => one(value).into_iter().collect(),
        None => Vec::new(),
    }
}

/// What has changed in what an MCP server says of a tool, or to models, since a person accepted it.
fn definitions(operation: &Reader<'_>) -> Vec<Difference> {
    let changes = ["/context/tool/changes", "/context/instructions/changes"];
    let changes = changes.iter().filter_map(|at| operation.value(at)).filter_map(Value::as_array).flatten();
    let one = |change: &Value| {
        let side = |name| change.get(name).map(document).unwrap_or_default();
        let member = change.get("member").and_then(Value::as_str)?;
        Some(Difference { of: Some(Untrusted::exact(member)), ..compare(&side("before"), &side("after")) })
    };
    changes.filter_map(one).collect()
}

/// A document as text: JSON laid out, so that it is compared member by member.
fn document(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => serde_json::to_string_pretty(other).unwrap_or_default(),
    }
}

fn edits(arguments: &Object, action: &str) -> Vec<Difference> {
    let text = |names: &[&str]| names.iter().find_map(|name| arguments.get(*name)?.as_str());
    let file = text(&FILES).map(Untrusted::exact);
    let several = arguments.get("edits").and_then(Value::as_array).into_iter().flatten();
    let several = several.filter_map(Value::as_object);
    let pairs = std::iter::once(arguments).chain(several).filter_map(pair);
    let mut found: Vec<Difference> = pairs.map(|(old, new)| compare(old, new)).collect();
    if found.is_empty() && action == "Agent::write" {
        found.extend(text(&WHOLES).map(|whole| compare("", whole)));
    }
    for difference in &mut found {
        difference.of.clone_from(&file);
    }
    found.extend(text(&PATCHES).filter(|text| text.starts_with(PATCH)).map(patch));
    found
}

fn pair(arguments: &Object) -> Option<(&str, &str)> {
    let text = |name: &str| arguments.get(name).and_then(Value::as_str);
    PAIRS.iter().find_map(|(old, new)| text(old).zip(text(new)))
}

fn compare(old: &str, new: &str) -> Difference {
    let is_too_long = |text: &str| text.len() > MOST_COMPARED || text.lines().count() > MOST_LINES;
    if is_too_long(old) || is_too_long(new) {
        return Difference { is_too_long: true, ..Difference::default() };
    }
    let diff = TextDiff::from_lines(old, new);
    let mut difference = Difference::default();
    for (index, group) in diff.grouped_ops(AROUND).iter().enumerate() {
        if index > 0 {
            difference.push(Fate::Gap, "", false);
        }
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            let fate = match change.tag() {
                ChangeTag::Equal => Fate::Same,
                ChangeTag::Delete => Fate::Removed,
                ChangeTag::Insert => Fate::Added,
            };
            let line = change.value();
            let is_unbroken = fate != Fate::Same && change.missing_newline();
            difference.push(fate, line.strip_suffix('\n').unwrap_or(line), is_unbroken);
        }
    }
    difference
}

/// A patch, which says by itself what goes and what comes.
fn patch(text: &str) -> Difference {
    let mut difference = Difference::default();
    for line in text.lines() {
        let (fate, line) = match (line.strip_prefix('+'), line.strip_prefix('-')) {
            (Some(added), _) => (Fate::Added, added),
            (_, Some(removed)) => (Fate::Removed, removed),
            _ => (Fate::Same, line.strip_prefix(' ').unwrap_or(line)),
        };
        difference.push(fate, line, false);
    }
    difference
}

impl Difference {
    /// What differs between two texts of that name.
    #[must_use]
    pub fn between(name: &str, old: &str, new: &str) -> Self {
        Self { of: Some(Untrusted::exact(name)), ..compare(old, new) }
    }

    /// What changes of an operation's arguments would change, argument by argument.
    #[must_use]
    pub fn of_changes(operation: &Value, changes: &[ArgumentChange]) -> Vec<Self> {
        let one = |change: &ArgumentChange| {
            let old = operation.pointer(&change.pointer).unwrap_or(&Value::Null);
            // Texts are compared as they read; anything else as JSON, which tells it from a text.
            let side = |value: &Value| match (old, &change.value) {
                (Value::String(_), Value::String(_)) => document(value),
                _ => serde_json::to_string_pretty(value).unwrap_or_default(),
            };
            let name = change.pointer.strip_prefix(arguments_at(operation)).unwrap_or(&change.pointer);
            Self::between(name.trim_start_matches('/'), &side(old), &side(&change.value))
        };
        changes.iter().map(one).collect()
    }

    fn push(&mut self, fate: Fate, line: &str, is_unbroken: bool) {
        match fate {
            Fate::Added => self.added += 1,
            Fate::Removed => self.removed += 1,
            Fate::Same | Fate::Gap => {}
        }
        if self.lines.len() < MOST_SHOWN {
            self.lines.push(Line { fate, text: Untrusted::exact(line), is_unbroken });
        } else {
            self.more += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(operation: &Value) -> Vec<Difference> {
        differences(&Reader::new(operation, &[]))
    }

    fn shown(difference: &Difference) -> Vec<String> {
        let sign = |line: &Line| match line.fate {
            Fate::Same => ' ',
            Fate::Removed => '-',
            Fate::Added => '+',
            Fate::Gap => '@',
        };
        difference.lines.iter().map(|line| format!("{}{}", sign(line), line.text.one_line(99))).collect()
    }

    #[test]
    fn an_edit_is_shown_with_what_is_around_it() {
        let lines = |middle: &str| format!("1\n2\n3\n4\n5\n{middle}\n7\n8\n9\n10\n11\n");
        for (old, new) in PAIRS {
            let operation = json!({"action": {"name": "Agent::edit"}, "context": {"hook": {"input":
                {"file_path": "/p/a", old: lines("six"), new: lines("6")}}}});
            let found = of(&operation);
            assert_eq!(found[0].of.as_ref().unwrap().one_line(99), "/p/a");
            assert_eq!((found[0].added, found[0].removed), (1, 1));
            assert_eq!(shown(&found[0]), [" 3", " 4", " 5", "-six", "+6", " 7", " 8", " 9"]);
        }
    }

    #[test]
    fn several_edits_a_whole_file_and_a_patch_are_differences() {
        let edits = json!({"action": {"name": "Mcp::tools/call", "properties": {"path": "a", "edits":
            [{"oldText": "x", "newText": "y"}, {"oldText": "p\n", "newText": "p"}]}}});
        let found = of(&edits);
        assert_eq!(found.len(), 2);
        assert!(
            found[1].lines.iter().any(|line| line.is_unbroken),
            "a line break that goes is not invisible"
        );
        let write = json!({"action": {"name": "Agent::write"},
            "context": {"hook": {"input": {"file_path": "/p/a", "content": "a\nb\n"}}}});
        assert_eq!(shown(&of(&write)[0]), ["+a", "+b"]);
        let patch = format!("{PATCH}\n*** Update File: a\n@@\n-old\n+new\n*** End Patch");
        let patch =
            json!({"action": {"name": "Agent::edit"}, "context": {"hook": {"input": {"command": patch}}}});
        let found = of(&patch);
        assert_eq!((found[0].added, found[0].removed), (1, 1));
    }

    #[test]
    fn a_document_is_compared_with_the_current_one() {
        let policy = |principal: &str| json!({"Statement": [{"Effect": "Allow", "Principal": principal}]});
        let operation = json!({"context": {"diff":
            {"name": "bucket policy", "current": policy("me"), "new": policy("*")}}});
        let found = of(&operation);
        assert_eq!(found[0].of.as_ref().unwrap().one_line(99), "bucket policy");
        assert!(shown(&found[0]).iter().any(|line| line.starts_with('+') && line.contains("\"*\"")));
        let operation = json!({"context": {"tool": {"changes": [{"member": "description", "before": "a", "after": "b"}]}}});
        assert_eq!(shown(&of(&operation)[0]), ["-a", "+b"]);
    }

    #[test]
    fn a_change_of_an_argument_reads_as_it_is_written() {
        let operation = json!({"action": {"properties": {"text": "a\nb\n", "deep": [{"amount": 5}]}}});
        let change = |pointer: &str, value: Value| ArgumentChange {
            pointer: format!("/action/properties{pointer}"),
            value,
        };
        let changes = [change("/text", json!("a\nc\n")), change("/deep/0/amount", json!("5"))];
        let found = Difference::of_changes(&operation, &changes);
        assert_eq!(shown(&found[0]), [" a", "-b", "+c"]);
        assert_eq!(found[1].of.as_ref().unwrap().one_line(99), "deep/0/amount");
        assert_eq!(shown(&found[1]), ["-5", "+\"5\""]);
    }

    #[test]
    fn what_is_too_long_is_said_to_be() {
        let long = "x".repeat(MOST_COMPARED + 1);
        let operation = json!({"context": {"diff": {"current": "", "new": long}}});
        assert!(of(&operation)[0].is_too_long);
        let many = "line\n".repeat(MOST_SHOWN + 9);
        let operation = json!({"context": {"diff": {"current": "", "new": many}}});
        let found = of(&operation);
        assert_eq!((found[0].lines.len(), found[0].more, found[0].added), (MOST_SHOWN, 9, MOST_SHOWN + 9));
    }
}
