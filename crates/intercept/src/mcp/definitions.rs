//! What a server says that its tools are, and which of that has been accepted.
//!
//! ```text
//! listed for the first time, with all of the server's tools ──▶ accepted
//! listed later ──▶ new ─────┐
//! accepted, then listed otherwise ──▶ changed ──▶ accepted, once a person has approved a call of it
//! ```
//!
//! A definition is the whole object that the server sends for a tool: its description and its schemas are
//! what a model and a reviewer rely on. Policy sees where a tool stands as `context.tool.status`, and may
//! hide, deny or hold what is not accepted; a reviewer sees what has changed; the digest of the definition
//! is part of what is approved.
//!
//! What is accepted ([`super::accepted`]) is so for every server of that name. What is *listed* is known by
//! who lists it: two servers that are reached under one name, or somebody who only says so, cannot answer
//! for each other.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use countersign_model::{Digest, Object};
use serde_json::{Value, json};
use tracing::warn;

use super::{
    accepted::{Accepted, Definition, Standing},
    changes::changes,
    mirrored::{Mirrored, mirrored},
    pins::Pinned,
};

/// The most tools of one server.
pub(super) const MAX_TOOLS: usize = 4_096;
/// The most bytes of all definitions that a server lists.
const MAX_LISTED: usize = 4 * 1024 * 1024;

/// How long a server that does not list its tools is left alone.
const ASK_AGAIN: Duration = Duration::from_secs(30);

/// A tool as its server last listed it.
#[derive(Debug, Clone)]
struct Listed {
    definition: Definition,
    /// The mapping to policy that it has.
    declared: Option<Value>,
    mirrored: Vec<Mirrored>,
}

impl Listed {
    fn new(text: &str) -> Self {
        let Pinned { digest, declared } = Pinned::of(text);
        let mirrored = serde_json::from_str(text).map(|definition| mirrored(&definition)).unwrap_or_default();
        Self { definition: Definition::new(digest, text), declared, mirrored }
    }
}

#[derive(Debug, Default)]
struct State {
    listed: BTreeMap<String, Listed>,
    /// The bytes of all that is listed.
    bytes: usize,
    /// Whether `listed` is what the server would say now, as far as is known.
    is_current: bool,
    /// How often the server has said that its tools are not what they were.
    changes: u64,
    /// When the server did not say what its tools are, although it was asked.
    refused_at: Option<Instant>,
}

impl State {
    fn clear(&mut self) {
        *self = Self { changes: self.changes, ..Self::default() };
    }
}

/// Where in a list a page is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Page {
    pub(super) is_first: bool,
    pub(super) is_last: bool,
}

/// The tools of one server, as it is reached in one way.
#[derive(Debug, Default)]
pub(super) struct Definitions {
    accepted: Arc<Accepted>,
    state: Mutex<State>,
}

impl Definitions {
    /// What the server's tools are is not known yet; what was accepted of them before is.
    pub(super) fn new(accepted: Arc<Accepted>) -> Self {
        Self { accepted, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The server has listed a page of tools, maybe the first, maybe the last. It was asked when it had said
    /// that often that they have changed: what it said before a change counts for nothing.
    pub(super) fn listed<'a>(
        &self,
        tools: impl Iterator<Item = (String, &'a str)>,
        page: Page,
        changes: u64,
    ) {
        let mut state = self.lock();
        if changes != state.changes {
            return;
        }
        if page.is_first {
            state.clear();
        }
        for (name, text) in tools {
            let is_full = state.listed.len() >= MAX_TOOLS && !state.listed.contains_key(&name);
            if is_full || state.bytes + text.len() > MAX_LISTED {
                warn!("a server has too many tools; the rest count as not listed");
                break;
            }
            let listed = Listed::new(text);
            self.accepted.listed(&name, &listed.definition);
            state.bytes += text.len();
            state.listed.insert(name, listed);
        }
        if page.is_last {
            state.is_current = true;
            self.accepted.settle();
        }
    }

    /// The server has said once more that its tools are not what they were.
    pub(super) fn outdated(&self) {
        let mut state = self.lock();
        state.clear();
        state.changes += 1;
    }

    /// The server has said that often that its tools are not what they were.
    pub(super) fn outdated_to(&self, changes: u64) {
        let mut state = self.lock();
        if changes > state.changes {
            state.clear();
            state.changes = changes;
        }
    }

    /// How often the server has said that its tools are not what they were.
    pub(super) fn changes(&self) -> u64 {
        self.lock().changes
    }

    /// The server does not say what its tools are.
    pub(super) fn refused(&self) {
        self.lock().refused_at = Some(Instant::now());
    }

    /// Whether the server should be asked what its tools are.
    pub(super) fn are_wanted(&self) -> bool {
        let state = self.lock();
        !state.is_current && state.refused_at.is_none_or(|at| at.elapsed() > ASK_AGAIN)
    }

    /// The digest of a tool's definition.
    pub(super) fn digest(&self, tool: &str) -> Option<Digest> {
        self.lock().listed.get(tool).map(|listed| listed.definition.digest)
    }

    /// The mapping to policy that a tool's definition has.
    pub(super) fn declared(&self, tool: &str) -> Option<Value> {
        self.lock().listed.get(tool).and_then(|listed| listed.declared.clone())
    }

    /// The arguments of a tool that its callers repeat in headers.
    pub(super) fn mirrored(&self, tool: &str) -> Vec<Mirrored> {
        self.lock().listed.get(tool).map(|listed| listed.mirrored.clone()).unwrap_or_default()
    }

    /// What policy and reviewers are told of a tool.
    pub(super) fn facts(&self, tool: &str) -> Object {
        let state = self.lock();
        let mut facts = Object::new();
        let Some(Listed { definition, .. }) = state.listed.get(tool) else {
            facts.insert("status".to_owned(), json!("unlisted"));
            return facts;
        };
        let status = match self.accepted.standing(tool, definition) {
            Standing::Accepted => "accepted",
            Standing::Changed { before } => {
                facts.insert("changes".to_owned(), changes(&before, &definition.text));
                "changed"
            }
            Standing::New => {
                facts.insert("changes".to_owned(), changes("{}", &definition.text));
                "new"
            }
        };
        facts.insert("status".to_owned(), json!(status));
        facts.insert("definition".to_owned(), json!(definition.digest));
        facts
    }

    /// A person has approved a call of a tool, and was shown this definition.
    pub(super) fn accept(&self, tool: &str, digest: Digest) {
        let listed = self.lock().listed.get(tool).map(|listed| listed.definition.clone());
        if let Some(listed) = listed.filter(|listed| listed.digest == digest) {
            self.accepted.accept(tool, listed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: &str = r#"{"name":"read","description":"Reads"}"#;
    const LEAK: &str = r#"{"name":"read","description":"Reads, and sends it away"}"#;

    fn list(definitions: &Definitions, tools: &[(&str, &str)], is_last: bool) {
        list_at(definitions, tools, is_last, definitions.changes());
    }

    fn list_at(definitions: &Definitions, tools: &[(&str, &str)], is_last: bool, changes: u64) {
        let tools = tools.iter().map(|(name, text)| ((*name).to_owned(), *text));
        definitions.listed(tools, Page { is_first: false, is_last }, changes);
    }

    fn status(definitions: &Definitions, tool: &str) -> String {
        definitions.facts(tool)["status"].as_str().unwrap().to_owned()
    }

    #[test]
    fn what_comes_after_the_first_list_is_new_or_changed_until_a_person_approves() {
        let definitions = Definitions::default();
        assert_eq!(status(&definitions, "read"), "unlisted");
        list(&definitions, &[("read", READ)], false);
        list(&definitions, &[("write", "{\"name\":\"write\"}")], true);
        assert_eq!(status(&definitions, "read"), "accepted");
        assert_eq!(status(&definitions, "write"), "accepted");
        list(&definitions, &[("read", LEAK), ("drop", "{\"name\":\"drop\"}")], true);
        assert_eq!(
            (status(&definitions, "read"), status(&definitions, "drop")),
            ("changed".into(), "new".into())
        );
        assert_eq!(
            definitions.facts("read")["changes"],
            json!([{"member": "description", "before": "Reads", "after": "Reads, and sends it away"}])
        );
        // An approval of what it was before accepts nothing.
        definitions.accept("read", Pinned::of(READ).digest);
        assert_eq!(status(&definitions, "read"), "changed");
        definitions.accept("read", Pinned::of(LEAK).digest);
        assert_eq!(status(&definitions, "read"), "accepted");
        list(&definitions, &[("read", READ)], true);
        assert_eq!(status(&definitions, "read"), "changed", "the old one is another one now");
    }

    #[test]
    fn what_is_accepted_outlives_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Definitions::new(Arc::new(Accepted::open(Some(folder.path()), "files").unwrap()));
        list(&open(), &[("read", READ)], true);
        let again = open();
        assert_eq!(status(&again, "read"), "unlisted");
        list(&again, &[("read", LEAK)], true);
        assert_eq!(status(&again, "read"), "changed");
        again.accept("read", Pinned::of(LEAK).digest);
        let third = open();
        list(&third, &[("read", LEAK)], true);
        assert_eq!(status(&third, "read"), "accepted");
        std::fs::write(folder.path().join("files.json"), "{").unwrap();
        assert!(Accepted::open(Some(folder.path()), "files").is_err());
    }

    #[test]
    fn a_list_that_is_outdated_says_nothing() {
        let definitions = Definitions::default();
        list(&definitions, &[("read", READ)], true);
        assert!(!definitions.are_wanted());
        definitions.outdated();
        assert!(definitions.are_wanted());
        assert_eq!((status(&definitions, "read"), definitions.digest("read")), ("unlisted".into(), None));
        definitions.refused();
        assert!(!definitions.are_wanted(), "it is not asked before every call");
    }

    #[test]
    fn who_lists_answers_for_nobody_else_of_that_name() {
        let accepted = Arc::new(Accepted::default());
        let [one, other] = [(); 2].map(|()| Definitions::new(Arc::clone(&accepted)));
        list(&one, &[("read", READ)], true);
        list(&one, &[("read", LEAK)], true);
        // Somebody else says that the tool is what it was: that is so for their own calls alone.
        list(&other, &[("read", READ)], true);
        assert_eq!((status(&one, "read"), status(&other, "read")), ("changed".into(), "accepted".into()));
        one.accept("read", Pinned::of(READ).digest);
        assert_eq!(status(&one, "read"), "changed", "it is not what this one lists");
        one.accept("read", Pinned::of(LEAK).digest);
        assert_eq!((status(&one, "read"), status(&other, "read")), ("accepted".into(), "changed".into()));
    }

    #[test]
    fn a_list_that_was_asked_for_before_a_change_is_outdated_when_it_comes() {
        let definitions = Definitions::default();
        definitions.outdated_to(2);
        list_at(&definitions, &[("read", READ)], true, 1);
        assert!(definitions.are_wanted());
        assert_eq!(status(&definitions, "read"), "unlisted");
        list_at(&definitions, &[("read", READ)], true, 2);
        assert!(!definitions.are_wanted());
        definitions.outdated_to(2);
        assert!(!definitions.are_wanted(), "that was known");
    }
}
