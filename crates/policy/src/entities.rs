//! The bundle's entities, and the few of them that one request can reach.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use cedar_policy::{Entities as CedarEntities, Schema};
use cedar_policy_core::{
    ast::{Entity, EntityUID, PartialValue},
    entities::{AllEntitiesNoAttrsSchema, Entities, TCComputation},
    extensions::Extensions,
};
use countersign_model::{Object, strict_json};
use serde_json::value::RawValue;

use crate::{
    expr::Reach,
    problem::{Place, Problems, Source},
    value,
};

/// The entities of a bundle, shared with every request that reaches them and never copied for one.
#[derive(Debug, Default)]
pub(crate) struct Store {
    entities: HashMap<EntityUID, Stored>,
    reach: Reach,
}

#[derive(Debug)]
struct Stored {
    entity: Arc<Entity>,
    /// The entities that policy could look into from this one.
    next: Vec<EntityUID>,
}

impl Store {
    /// Reads the files, adds the schema's actions, and closes the hierarchy.
    pub(crate) fn read<'a>(
        files: impl Iterator<Item = (&'a str, &'a [u8])>,
        schema: Option<&Schema>,
        reach: Reach,
        problems: &mut Problems,
    ) -> Self {
        let mut entities = Vec::new();
        let mut place = None;
        for (file, bytes) in files {
            entities.extend(read_file(file, bytes, schema, problems).unwrap_or_default());
            // What is wrong between files belongs to no one file.
            place = Some(place.map_or(file, |_| "entities"));
        }
        let place = Place::file(place.unwrap_or("entities"));
        let entities = CedarEntities::from_entities(entities, schema)
            .inspect_err(|error| problems.add(place, with_causes(error), ""));
        let Ok(entities) = entities else { return Self { reach, ..Self::default() } };
        let stored =
            |entity: &Entity| Stored { next: references(entity, &reach), entity: Arc::new(entity.clone()) };
        Self {
            entities: entities.as_ref().iter().map(|entity| (entity.uid().clone(), stored(entity))).collect(),
            reach,
        }
    }

    /// What conditions can look into.
    pub(crate) fn reach(&self) -> &Reach {
        &self.reach
    }

    /// An entity of the bundle.
    pub(crate) fn get(&self, uid: &EntityUID) -> Option<&Arc<Entity>> {
        self.entities.get(uid).map(|stored| &stored.entity)
    }

    /// All entities of the bundle.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Entity>> {
        self.entities.values().map(|stored| &stored.entity)
    }

    /// An entity with a request's properties over the attributes that the bundle gives it. Its place
    /// in the hierarchy, and its tags, are the bundle's alone.
    pub(crate) fn overlay(&self, uid: &EntityUID, properties: &Object) -> Option<Arc<Entity>> {
        let stored = self.get(uid);
        let mut given =
            properties.iter().filter(|(name, json)| !json.is_null() && self.reach.reads(name)).peekable();
        if given.peek().is_none() {
            return stored.cloned();
        }
        let given =
            given.map(|(name, json)| (name.as_str().into(), PartialValue::Value(value::to_cedar(json))));
        let Some(base) = stored else {
            let nothing = HashSet::new;
            return Some(Arc::new(Entity::new_with_attr_partial_value(
                uid.clone(),
                given,
                nothing(),
                nothing(),
                [],
            )));
        };
        let (uid, attributes, indirect, parents, tags) = Entity::clone(base).into_inner();
        let attributes = attributes.into_iter().chain(given);
        Some(Arc::new(Entity::new_with_attr_partial_value(uid, attributes, indirect, parents, tags)))
    }

    /// The entities that policy can look into, starting from some. `overlaid` take the place of the
    /// bundle's own. Ancestors need not come along: an entity carries the names of all of its ancestors,
    /// and there is no way in Cedar to look into an entity because it is one.
    pub(crate) fn slice<'s>(
        &'s self,
        overlaid: &'s [Arc<Entity>],
        starts: impl Iterator<Item = &'s EntityUID>,
    ) -> Option<Entities> {
        let mut seen: HashSet<&EntityUID> = overlaid.iter().map(|entity| entity.uid()).collect();
        let mut found: Vec<Arc<Entity>> = overlaid.to_vec();
        let mut level: Vec<&EntityUID> = Vec::new();
        let mut next: Vec<&EntityUID> = starts.collect();
        next.extend(overlaid.iter().flat_map(|entity| self.next(entity.uid())));
        for _ in 0..self.reach.depth {
            std::mem::swap(&mut level, &mut next);
            for uid in level.drain(..) {
                if let Some(entity) = self.get(uid).filter(|_| seen.insert(uid)) {
                    found.push(Arc::clone(entity));
                    next.extend(self.next(uid));
                }
            }
        }
        let no_schema = None::<&AllEntitiesNoAttrsSchema>;
        let closed = TCComputation::AssumeAlreadyComputed;
        Entities::new().add_entities(found, no_schema, closed, Extensions::all_available()).ok()
    }

    fn next(&self, uid: &EntityUID) -> &[EntityUID] {
        self.entities.get(uid).map_or(&[], |stored| &stored.next)
    }
}

/// The entities that an entity's attributes and tags refer to, where policy reads them.
fn references(entity: &Entity, reach: &Reach) -> Vec<EntityUID> {
    let attributes = entity.attrs().filter(|(name, _)| reach.attributes.contains(name.as_str()));
    let tags = entity.tags().filter(|_| reach.tags);
    let values = attributes.chain(tags).filter_map(|(_, value)| match value {
        PartialValue::Value(value) => Some(value.all_literal_uids()),
        PartialValue::Residual(_) => None,
    });
    let mut references: Vec<EntityUID> = values.flatten().collect();
    references.sort();
    references.dedup();
    references
}

fn read_file(
    file: &str,
    bytes: &[u8],
    schema: Option<&Schema>,
    problems: &mut Problems,
) -> Option<Vec<cedar_policy::Entity>> {
    if let Err(error) = strict_json::parse(bytes) {
        problems.add(Place::file(file), error.to_string(), "mend the JSON");
        return None;
    }
    let source = Source::of(file, bytes, problems)?;
    let text = source.text;
    let Ok(items) = serde_json::from_str::<Vec<&RawValue>>(text) else {
        problems.add(
            Place::file(file),
            "this file must be a JSON array of entities",
            "see Cedar's entity format",
        );
        return None;
    };
    let mut entities = Vec::new();
    for item in items {
        match cedar_policy::Entity::from_json_str(item.get(), schema) {
            Ok(entity) => entities.push(entity),
            Err(error) => {
                let offset = (item.get().as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
                problems.add(source.at(offset), with_causes(&error), "");
            }
        }
    }
    Some(entities)
}

/// Cedar's errors say what is wrong in their causes.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}
