//! From an operation to what Cedar is asked.
//!
//! `context.approvals`, `agent`, `subject`, `time` and `action` are set here. A caller's own values of
//! these names never reach policy.

use std::sync::Arc;

use cedar_policy_core::{
    FromNormalizedStr,
    ast::{Context, Eid, EntityType, EntityUID, EntityUIDEntry, Name, Request, Value},
    entities::Entities,
};
use countersign_model::{
    AgentName, Operation, RequirementName, Subject, Timestamp, operation::RESERVED_CONTEXT,
};

use crate::{
    entities::Store,
    expr::{APPROVALS, Reach},
    index::Index,
    value,
};

/// What is asked of a bundle.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// What is to be done.
    pub operation: &'a Operation,
    /// The verified agent.
    pub agent: &'a AgentName,
    /// Whom the caller says it acts for; policy sees it as unverified.
    pub asserted_subject: Option<&'a Subject>,
    /// The requirements met so far.
    pub met: &'a std::collections::BTreeSet<RequirementName>,
    /// The time that policy sees.
    pub now: Timestamp,
}

/// Why an operation cannot be put to policy. It is a deny (I6).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RequestError {
    #[error("{0:?} is not an entity type")]
    Type(String),
    #[error("the resource is the {0} itself, but comes with other properties")]
    Impostor(&'static str),
    #[error("{0} is not a time that policy can reason about")]
    Time(Timestamp),
    #[error("the entities that the request reaches do not fit together")]
    Entities,
}

/// A request, ready to be evaluated.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) principal: EntityUID,
    pub(crate) action: EntityUID,
    pub(crate) resource: EntityUID,
    pub(crate) entities: Entities,
    context: Context,
}

impl Prepared {
    /// Puts a call into Cedar's terms, with the few entities that its policies can look into.
    pub(crate) fn new(call: &Call<'_>, store: &Store, index: &Index) -> Result<Self, RequestError> {
        let Operation { subject, action, resource, .. } = call.operation;
        let principal = uid(&subject.kind, &subject.id)?;
        let action = action_uid(&action.name)?;
        let resource_uid = uid(&resource.kind, &resource.id)?;
        let agent = uid(AGENT, call.agent.as_str())?;
        // Properties overlay the bundle's attributes. A resource's must not reach the principal or
        // the agent that way, or a caller could give itself attributes.
        if !resource.properties.is_empty() {
            if resource_uid == principal && resource.properties != subject.properties {
                return Err(RequestError::Impostor("subject"));
            }
            if resource_uid == agent && principal != agent {
                return Err(RequestError::Impostor("agent"));
            }
        }
        let mut overlaid: Vec<_> = store.overlay(&principal, &subject.properties).into_iter().collect();
        if resource_uid != principal {
            overlaid.extend(store.overlay(&resource_uid, &resource.properties));
        }
        let named = index.slice(&action, resource_uid.entity_type()).flat_map(|bucket| &bucket.named);
        let starts = named.chain([&action, &agent]);
        let entities = store.slice(&overlaid, starts).ok_or(RequestError::Entities)?;
        let context = context(call, agent.clone(), store.reach())?;
        Ok(Self { principal, action, resource: resource_uid, entities, context })
    }

    /// The request itself.
    pub(crate) fn request(&self) -> Request {
        let known = |uid: &EntityUID| EntityUIDEntry::known(uid.clone(), None);
        Request::new_unchecked(
            known(&self.principal),
            known(&self.action),
            known(&self.resource),
            Some(self.context.clone()),
        )
    }

    /// The same request, had these requirements been met.
    pub(crate) fn assume<'a>(&mut self, met: impl Iterator<Item = &'a RequirementName>) {
        if let Context::Value(members) = &mut self.context {
            Arc::make_mut(members).insert(APPROVALS.into(), names(met));
        }
    }
}

/// The entity type of agents.
const AGENT: &str = "Agent";

/// The entity `type::"id"`.
pub(crate) fn uid(kind: &str, id: &str) -> Result<EntityUID, RequestError> {
    let name =
        Name::from_normalized_str(kind).map_err(|_| RequestError::Type(kind.chars().take(64).collect()))?;
    Ok(EntityUID::from_components(EntityType::from(name), Eid::new(id), None))
}

/// The action of a name: `deploy` is `Action::"deploy"`, `Exec::run` is `Exec::Action::"run"`. What
/// stands before the last `::` is a namespace when it can be one, else all of it is the action's id.
pub(crate) fn action_uid(name: &str) -> Result<EntityUID, RequestError> {
    let namespaced = name.rsplit_once("::").and_then(|(namespace, id)| {
        let kind = Name::from_normalized_str(&format!("{namespace}::Action")).ok()?;
        Some(EntityUID::from_components(EntityType::from(kind), Eid::new(id), None))
    });
    namespaced.map_or_else(|| uid("Action", name), Ok)
}

fn context(call: &Call<'_>, agent: EntityUID, reach: &Reach) -> Result<Context, RequestError> {
    let given = call.operation.context.iter();
    let own = given.filter(|(name, value)| !RESERVED_CONTEXT.contains(&name.as_str()) && !value.is_null());
    let read = own.filter(|(name, _)| reach.reads_context(name));
    let mut members: Vec<(&str, Value)> =
        read.map(|(name, json)| (name.as_str(), value::to_cedar(json))).collect();
    members.push(("agent", Value::from(agent)));
    members.push((APPROVALS, names(call.met.iter())));
    if reach.reads_context("action") {
        members.push(("action", value::record(&call.operation.action.properties)));
    }
    if reach.reads_context("time") {
        members.push(("time", value::datetime(call.now).ok_or(RequestError::Time(call.now))?));
    }
    if let Some(subject) = call.asserted_subject.filter(|_| reach.reads_context("subject")) {
        let asserted = [
            ("type", Value::from(subject.kind.as_str())),
            ("id", Value::from(subject.id.as_str())),
            ("properties", value::record(&subject.properties)),
        ];
        members.push(("subject", Value::record(asserted, None)));
    }
    let members = members.into_iter().map(|(name, value)| (name.into(), value));
    Ok(Context::Value(Arc::new(members.collect())))
}

fn names<'a>(met: impl Iterator<Item = &'a RequirementName>) -> Value {
    Value::set(met.map(|name| Value::from(name.as_str())), None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn action_names_become_actions() {
        for (name, action) in [
            ("deploy", r#"Action::"deploy""#),
            ("Exec::run", r#"Exec::Action::"run""#),
            ("Mcp::tools/call", r#"Mcp::Action::"tools/call""#),
            ("A::B::c", r#"A::B::Action::"c""#),
            ("not a namespace::x", r#"Action::"not a namespace::x""#),
            ("::x", r#"Action::"::x""#),
            ("", r#"Action::"""#),
        ] {
            assert_eq!(action_uid(name).unwrap().to_string(), action);
        }
    }

    #[test]
    fn only_entity_types_are_entity_types() {
        assert_eq!(uid("Mcp::Tool", "a\"b").unwrap().to_string(), r#"Mcp::Tool::"a\"b""#);
        for kind in ["", "a b", "A::", "1a", "A :: B", "if", "__cedar::x", "é"] {
            assert!(uid(kind, "x").is_err(), "{kind:?}");
        }
    }
}
