//! What a bundle's own entities say of a resource, for people to see.

use cedar_policy_core::ast::{Entity, EntityUID};
use serde_json::Value as Json;

use crate::{Bundle, request::uid};

/// The most labels of one resource.
const MOST: usize = 16;
/// The longest label, in characters.
const LONGEST: usize = 128;

impl Bundle {
    /// The labels of a resource, as name and value: its attributes that are texts, numbers, flags or references, and
    /// the entities that it is in, by their types. What a request says of its resource is not among them.
    #[must_use]
    pub fn labels(&self, kind: &str, id: &str) -> Vec<(String, String)> {
        let entity = uid(kind, id).ok().and_then(|uid| self.store.get(&uid));
        let Some(entity) = entity else { return Vec::new() };
        let mut labels = attributes(entity);
        labels.extend(entity.ancestors().map(group));
        labels.sort();
        labels.dedup();
        labels.retain(|(name, value)| name.chars().count().max(value.chars().count()) <= LONGEST);
        labels.truncate(MOST);
        labels
    }
}

fn attributes(entity: &Entity) -> Vec<(String, String)> {
    let Ok(Json::Object(mut entity)) = entity.to_json_value() else { return Vec::new() };
    let Some(Json::Object(attributes)) = entity.remove("attrs") else { return Vec::new() };
    attributes.into_iter().filter_map(|(name, value)| Some((name, plain(&value)?))).collect()
}

fn plain(value: &Json) -> Option<String> {
    match value {
        Json::String(text) => Some(text.clone()),
        Json::Bool(_) | Json::Number(_) => Some(value.to_string()),
        Json::Object(_) => Some(value.pointer("/__entity/id")?.as_str()?.to_owned()),
        Json::Null | Json::Array(_) => None,
    }
}

fn group(uid: &EntityUID) -> (String, String) {
    (uid.entity_type().to_string(), AsRef::<str>::as_ref(uid.eid()).to_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::BundleFiles;

    #[test]
    fn a_resource_has_what_the_bundle_says_of_it_and_of_what_it_is_in() {
        let entities = json!([
            {"uid": {"type": "Service", "id": "payments"}, "parents": [{"type": "Tier", "id": "one"}],
             "attrs": {"owner": {"__entity": {"type": "Team", "id": "billing"}}, "pci": true, "replicas": 3,
                       "notes": ["not", "plain"], "long": "x".repeat(LONGEST + 1)}},
            {"uid": {"type": "Tier", "id": "one"}, "parents": [{"type": "Environment", "id": "production"}], "attrs": {}},
            {"uid": {"type": "Environment", "id": "production"}, "parents": [], "attrs": {}}
        ]);
        let files = [
            ("bundle.toml", "name = \"test\"".to_owned()),
            ("policies/a.cedar", "permit (principal, action, resource);".to_owned()),
            ("entities.json", entities.to_string()),
        ];
        let files = files.map(|(name, text)| (name.to_owned(), text.into_bytes()));
        let bundle = Bundle::load(&BundleFiles::new(BTreeMap::from(files)).unwrap()).unwrap();
        let labels = bundle.labels("Service", "payments");
        let labels: Vec<_> = labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(
            labels,
            [
                ("Environment", "production"),
                ("Tier", "one"),
                ("owner", "billing"),
                ("pci", "true"),
                ("replicas", "3")
            ]
        );
        assert!(bundle.labels("Service", "other").is_empty() && bundle.labels("no type", "x").is_empty());
    }
}
