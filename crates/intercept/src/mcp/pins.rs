//! What a server said that its tools are: the digests of their definitions, and the mappings in them.
//!
//! People approve a call of a tool that they think they know. A server can change what a tool is (its
//! description, its schema) between the approval and the call, so the definition's digest goes with
//! every call, and a call that was held is not forwarded when the definition has changed meanwhile.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use countersign_model::{Digest, canonical::to_canonical_json, strict_json};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::envelope::{Envelope, Id, params_members, read};

/// The most tools of one server that are remembered.
const MAX_TOOLS: usize = 4_096;

/// The tools of one server.
#[derive(Debug, Default)]
pub(super) struct Pins(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    asked: HashSet<Id>,
    tools: HashMap<String, Pinned>,
}

/// A tool as its server last listed it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pinned {
    /// The digest of its definition.
    pub(super) digest: Digest,
    /// The `x-authzen-mapping` in its input schema.
    pub(super) declared: Option<Value>,
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    result: Tools<'a>,
}

#[derive(Deserialize)]
struct Tools<'a> {
    #[serde(borrow)]
    tools: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

impl Pins {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The client has asked for the list under this id.
    pub(super) fn asked(&self, id: &Id) {
        let mut known = self.lock();
        if known.asked.len() < MAX_TOOLS {
            known.asked.insert(id.clone());
        }
    }

    /// The server has answered a request. If that was for the list, what it says is remembered.
    pub(super) fn answered(&self, id: &Id, line: &[u8]) {
        let mut known = self.lock();
        if !known.asked.remove(id) {
            return;
        }
        let Ok(answer) = serde_json::from_slice::<Answer<'_>>(line) else { return };
        for tool in answer.result.tools {
            if let Ok(Named { name }) = serde_json::from_str(tool.get())
                && (known.tools.len() < MAX_TOOLS || known.tools.contains_key(&name))
            {
                known.tools.insert(name, Pinned::of(tool.get()));
            }
        }
    }

    /// The tool that a message calls, as the server last listed it.
    pub(super) fn of_call(&self, message: &[u8]) -> Option<Pinned> {
        let Ok(Envelope::Request { method, params: Some(params), .. }) = read(message) else { return None };
        if method != "tools/call" {
            return None;
        }
        let params = params_members(&params).ok()?;
        let name: String = serde_json::from_str(params.get("name")?.get()).ok()?;
        self.lock().tools.get(&name).cloned()
    }
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

    const CALL: &[u8] = br#"{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"read"}}"#;

    fn id() -> Id {
        match read(br#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#).unwrap() {
            Envelope::Request { id, .. } => id,
            other => panic!("{other:?}"),
        }
    }

    fn listed(definition: &str) -> Option<Pinned> {
        let pins = Pins::default();
        pins.asked(&id());
        pins.answered(
            &id(),
            format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"tools":[{definition}]}}}}"#).as_bytes(),
        );
        pins.of_call(CALL)
    }

    #[test]
    fn a_definition_has_one_digest_however_it_is_spaced_and_another_when_it_changes() {
        let plain = listed(r#"{"name":"read","description":"Reads"}"#);
        assert!(plain.is_some());
        assert_eq!(listed(r#"{ "description" : "Reads", "name" : "read" }"#), plain);
        assert_ne!(listed(r#"{"name":"read","description":"Reads, and sends it away"}"#), plain);
        assert!(listed(r#"{"name":"read","x":9007199254740993}"#).is_some());
        assert_eq!(listed(r#"{"name":"write"}"#), None);
    }

    #[test]
    fn a_mapping_is_taken_from_a_definition_that_has_one_reading() {
        let declared = |definition: &str| listed(definition).unwrap().declared;
        let mapping = |mapping: &str| {
            format!(r#"{{"name":"read","inputSchema":{{"type":"object","x-authzen-mapping":{mapping}}}}}"#)
        };
        assert_eq!(declared(&mapping(r#"{"evaluation":{}}"#)), Some(serde_json::json!({"evaluation": {}})));
        assert_eq!(declared(&mapping(r#"{"evaluation":{},"evaluation":{"action":{}}}"#)), None);
        assert_eq!(declared(r#"{"name":"read","x-authzen-mapping":{}}"#), None);
        assert_ne!(listed(&mapping("{}")).unwrap().digest, listed(&mapping("[]")).unwrap().digest);
    }

    #[test]
    fn a_list_that_nobody_asked_for_changes_nothing() {
        let pins = Pins::default();
        pins.answered(&id(), br#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"read"}]}}"#);
        assert_eq!(pins.of_call(CALL), None);
    }
}
