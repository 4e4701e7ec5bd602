//! The digest of a tool's definition.
//!
//! People approve a call of a tool that they think they know. A server can change what a tool is (its
//! description, its schema) between the approval and the call, so the definition's digest goes with
//! every call, and a call that was held is not forwarded when the definition has changed meanwhile.

use countersign_model::{Digest, canonical::to_canonical_json, strict_json};
use serde_json::Value;

/// A tool as its server last listed it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pinned {
    /// The digest of its definition.
    pub(super) digest: Digest,
    /// The `x-authzen-mapping` in its input schema.
    pub(super) declared: Option<Value>,
}

impl Pinned {
    /// Reads a definition. Its digest is the same however it is spaced, and of its bytes where no one form
    /// exists; a mapping is taken from it only if every reader reads the definition alike.
    pub(super) fn of(definition: &str) -> Self {
        let read = strict_json::parse(definition.as_bytes()).ok();
        let canonical = read.as_ref().and_then(|value| to_canonical_json(value).ok());
        let declared = read.as_ref().and_then(|value| value.pointer("/inputSchema/x-authzen-mapping"));
        Self {
            digest: Digest::of(canonical.as_deref().unwrap_or(definition).as_bytes()),
            declared: declared.cloned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_has_one_digest_however_it_is_spaced_and_another_when_it_changes() {
        let plain = Pinned::of(r#"{"name":"read","description":"Reads"}"#);
        assert_eq!(Pinned::of(r#"{ "description" : "Reads", "name" : "read" }"#), plain);
        assert_ne!(Pinned::of(r#"{"name":"read","description":"Reads, and sends it away"}"#), plain);
        assert_ne!(Pinned::of(r#"{"name":"read","x":9007199254740993}"#), Pinned::of(r#"{"name":"read"}"#));
    }

    #[test]
    fn a_mapping_is_taken_from_a_definition_that_has_one_reading() {
        let declared = |definition: &str| Pinned::of(definition).declared;
        let mapping = |mapping: &str| {
            format!(r#"{{"name":"read","inputSchema":{{"type":"object","x-authzen-mapping":{mapping}}}}}"#)
        };
        assert_eq!(declared(&mapping(r#"{"evaluation":{}}"#)), Some(serde_json::json!({"evaluation": {}})));
        assert_eq!(declared(&mapping(r#"{"evaluation":{},"evaluation":{"action":{}}}"#)), None);
        assert_eq!(declared(r#"{"name":"read","x-authzen-mapping":{}}"#), None);
        assert_ne!(Pinned::of(&mapping("{}")).digest, Pinned::of(&mapping("[]")).digest);
    }
}
