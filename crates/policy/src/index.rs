//! Which policies can apply to a request: by action and by resource type, worked out at load.
//!
//! Cedar has no index. A policy is filed once for each action that its scope admits (or under "any
//! action"), and there under the resource type that its scope demands (or under "any type"). A
//! request looks into at most four such places. A policy that is not found there has a scope that
//! is false for the request, and a false scope can neither decide nor fail.

use std::collections::{BTreeSet, HashMap};

use cedar_policy_core::ast::{
    ActionConstraint, Entity, EntityReference, EntityType, EntityUID, Policy, PrincipalOrResourceConstraint,
};

/// A group of policies, by their position, and the entities that their conditions name and look into.
#[derive(Debug, Default)]
pub(crate) struct Bucket {
    pub(crate) policies: Vec<usize>,
    pub(crate) named: BTreeSet<EntityUID>,
}

#[derive(Debug, Default)]
struct ByType {
    any: Bucket,
    types: HashMap<EntityType, Bucket>,
}

/// The policies of a bundle by action and resource type.
#[derive(Debug, Default)]
pub(crate) struct Index {
    any: ByType,
    actions: HashMap<EntityUID, ByType>,
}

impl Index {
    /// Files policies, given with the entities that their conditions name and look into. `members`
    /// tells the actions below each action group.
    pub(crate) fn build<'a>(
        policies: impl Iterator<Item = (&'a Policy, BTreeSet<EntityUID>)>,
        members: &ActionMembers,
    ) -> Self {
        let mut index = Self::default();
        for (position, (policy, named)) in policies.enumerate() {
            let resource_type = resource_type(policy);
            match actions(policy, members) {
                None => index.any.add(position, resource_type.as_ref(), &named),
                Some(actions) => {
                    for action in actions {
                        index.actions.entry(action).or_default().add(
                            position,
                            resource_type.as_ref(),
                            &named,
                        );
                    }
                }
            }
        }
        index
    }

    /// The groups that can apply to an action on a resource of a type.
    pub(crate) fn slice(
        &self,
        action: &EntityUID,
        resource_type: &EntityType,
    ) -> impl Iterator<Item = &Bucket> {
        [Some(&self.any), self.actions.get(action)]
            .into_iter()
            .flatten()
            .flat_map(move |by_type| [Some(&by_type.any), by_type.types.get(resource_type)])
            .flatten()
    }
}

impl ByType {
    fn add(&mut self, position: usize, resource_type: Option<&EntityType>, named: &BTreeSet<EntityUID>) {
        let bucket = match resource_type {
            None => &mut self.any,
            Some(resource_type) => self.types.entry(resource_type.clone()).or_default(),
        };
        bucket.policies.push(position);
        bucket.named.extend(named.iter().cloned());
    }
}

/// The actions below each action group, from the schema and the bundle's entities.
#[derive(Debug, Default)]
pub(crate) struct ActionMembers(HashMap<EntityUID, Vec<EntityUID>>);

impl ActionMembers {
    /// Reads the action hierarchy out of entities. Any entity may have ancestors that a policy takes
    /// for actions, so all of them are looked at, not only those of type `Action`.
    pub(crate) fn of<'a>(entities: impl Iterator<Item = &'a Entity>) -> Self {
        let mut members: HashMap<EntityUID, Vec<EntityUID>> = HashMap::new();
        for entity in entities.filter(|entity| entity.uid().is_action()) {
            for group in entity.ancestors() {
                members.entry(group.clone()).or_default().push(entity.uid().clone());
            }
        }
        Self(members)
    }
}

/// The actions that a policy's scope admits; `None` for any.
fn actions(policy: &Policy, members: &ActionMembers) -> Option<BTreeSet<EntityUID>> {
    match policy.action_constraint() {
        ActionConstraint::Any => None,
        ActionConstraint::Eq(action) => Some([action.as_ref().clone()].into()),
        ActionConstraint::In(groups) => {
            let below =
                |group: &EntityUID| members.0.get(group).into_iter().flatten().cloned().collect::<Vec<_>>();
            Some(
                groups
                    .iter()
                    .flat_map(|group| below(group).into_iter().chain([group.as_ref().clone()]))
                    .collect(),
            )
        }
    }
}

/// The one resource type that a policy's scope admits; `None` when it may admit more.
fn resource_type(policy: &Policy) -> Option<EntityType> {
    match policy.resource_constraint().as_inner() {
        PrincipalOrResourceConstraint::Eq(EntityReference::EUID(uid)) => Some(uid.entity_type().clone()),
        PrincipalOrResourceConstraint::Is(resource_type)
        | PrincipalOrResourceConstraint::IsIn(resource_type, _) => Some(resource_type.as_ref().clone()),
        PrincipalOrResourceConstraint::Any
        | PrincipalOrResourceConstraint::In(_)
        | PrincipalOrResourceConstraint::Eq(EntityReference::Slot(_)) => None,
    }
}
