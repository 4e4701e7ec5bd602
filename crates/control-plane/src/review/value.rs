//! JSON values as they are shown: in order, with what was redacted marked, and every leaf made safe.

use serde::Serialize;
use serde_json::{Map, Value};

use super::text::Untrusted;

/// The deepest nesting that is laid out; what lies deeper is shown as JSON text.
const MAX_DEPTH: usize = 6;

/// A member of an object: its name is whoever's it was, as its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Labelled {
    /// The member's name.
    pub name: Untrusted,
    /// Its value.
    pub value: Shown,
}

/// A value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "is", content = "value", rename_all = "snake_case")]
pub enum Shown {
    /// A text. An empty one is for the renderer to name.
    Text(Untrusted),
    /// What stands where the sidecar took a secret out. The digest covers the secret (I10).
    Redacted(Untrusted),
    /// A number, a boolean, `null`, `{}` or `[]`: JSON, which tells it from words.
    Literal(String),
    /// The items of an array.
    List(Vec<Shown>),
    /// The members of an object.
    Members(Vec<Labelled>),
}

/// A canonical operation, read for display. Parts that are missing stay empty; nothing is made up (I12).
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    operation: &'a Value,
    /// JSON Pointers of what was redacted. A value that only says so is not marked as redacted.
    redacted: &'a [String],
}

impl<'a> Reader<'a> {
    pub(super) fn new(operation: &'a Value, redacted: &'a [String]) -> Self {
        Self { operation, redacted }
    }

    /// The text at a pointer; empty when there is none.
    pub(super) fn text(&self, pointer: &str) -> &'a str {
        self.value(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    pub(super) fn value(&self, pointer: &str) -> Option<&'a Value> {
        self.operation.pointer(pointer)
    }

    fn members_at(&self, pointer: &str) -> Option<&'a Map<String, Value>> {
        self.value(pointer).and_then(Value::as_object)
    }

    /// The members of the object at a pointer.
    pub(super) fn labelled(&self, pointer: &str) -> Vec<Labelled> {
        self.members_at(pointer).map(|members| self.members(members, pointer, 0)).unwrap_or_default()
    }

    pub(super) fn is_redacted(&self, pointer: &str) -> bool {
        self.redacted.iter().any(|one| one == pointer)
    }

    fn members(&self, members: &Map<String, Value>, path: &str, depth: usize) -> Vec<Labelled> {
        let member = |(name, value): (&String, &Value)| Labelled {
            name: Untrusted::exact(name),
            value: self.shown(value, &below(path, name), depth),
        };
        members.iter().map(member).collect()
    }

    /// The value that stands at a pointer.
    pub(super) fn shown(&self, value: &Value, path: &str, depth: usize) -> Shown {
        if depth >= MAX_DEPTH {
            return Shown::Text(Untrusted::exact(&value.to_string()));
        }
        match value {
            Value::Object(members) if !members.is_empty() => {
                Shown::Members(self.members(members, path, depth + 1))
            }
            Value::Array(items) if !items.is_empty() => {
                let item = |(index, item)| self.shown(item, &format!("{path}/{index}"), depth + 1);
                Shown::List(items.iter().enumerate().map(item).collect())
            }
            Value::String(text) if self.is_redacted(path) => Shown::Redacted(Untrusted::exact(text)),
            Value::String(text) => Shown::Text(Untrusted::exact(text)),
            other => Shown::Literal(other.to_string()),
        }
    }
}

/// The JSON Pointer (RFC 6901) of a member.
fn below(path: &str, name: &str) -> String {
    format!("{path}/{}", name.replace('~', "~0").replace('/', "~1"))
}
