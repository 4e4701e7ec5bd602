//! Tests of whole bundles.

mod deciding;
mod declared;
mod evasion;
mod loading;
mod mapping;
mod properties;
mod templates;

use std::collections::{BTreeMap, BTreeSet};

use countersign_model::{AgentName, Object, Operation, RequirementName, Subject, Timestamp};

use crate::{Bundle, BundleFiles, Call, Verdict};

/// A bundle of the given files; `bundle.toml` is added.
pub(crate) fn files(extra: &[(&str, &str)]) -> BundleFiles {
    let own = [("bundle.toml", "name = \"test\"\n")];
    let all = own.iter().chain(extra).map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec()));
    BundleFiles::new(all.collect::<BTreeMap<_, _>>()).unwrap()
}

pub(crate) fn load(extra: &[(&str, &str)]) -> Bundle {
    Bundle::load(&files(extra)).unwrap_or_else(|problems| panic!("{problems}"))
}

/// Everything wrong with a bundle, one text each.
pub(crate) fn problems(extra: &[(&str, &str)]) -> Vec<String> {
    let problems = Bundle::load(&files(extra)).unwrap_err();
    problems.as_slice().iter().map(ToString::to_string).collect()
}

/// An operation of the agent `a` (or of another subject, when the JSON has one).
pub(crate) fn operation(json: serde_json::Value) -> Operation {
    let mut json = json;
    let members = json.as_object_mut().unwrap();
    if !members.contains_key("subject") {
        let subject = Subject { kind: "Agent".into(), id: "a".into(), properties: Object::new() };
        members.insert("subject".into(), serde_json::to_value(subject).unwrap());
    }
    serde_json::from_value(json).unwrap()
}

pub(crate) fn names(met: &[&str]) -> BTreeSet<RequirementName> {
    met.iter().map(|name| name.parse().unwrap()).collect()
}

pub(crate) fn decide(bundle: &Bundle, operation: &Operation, met: &[&str]) -> Verdict {
    let agent: AgentName = "a".parse().unwrap();
    let met = names(met);
    bundle.decide(&Call { operation, agent: &agent, asserted_subject: None, met: &met, now: noon() })
}

pub(crate) fn noon() -> Timestamp {
    "2026-03-02T12:00:00Z".parse().unwrap()
}
