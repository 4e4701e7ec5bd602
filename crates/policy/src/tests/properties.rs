//! Random bundles: the slice answers as the whole does, and approvals lift what they are for and nothing else.

use std::collections::BTreeSet;

use cedar_policy::{Authorizer, Context, Entities, EntityUid, PolicySet, Request};
use countersign_model::{Decision, Operation, RequirementName};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{load, names, noon, operation};
use crate::{Bundle, Call, request::Prepared};

const APPROVALS: &str = "
[requirements.r0]
reviewers = [\"*\"]
[requirements.r1]
reviewers = [\"*\"]
[requirements.r2]
reviewers = [\"*\"]
";

/// Conditions that look into entities near and far, ask the hierarchy, and sometimes fail.
const CONDITIONS: [&str; 18] = [
    "action == action",
    "resource == Doc::\"none\"",
    "resource has size && resource.size > 2",
    "resource.size > 2",
    "resource has owner && resource.owner.level > 1",
    "resource.owner.boss == principal",
    "resource has peer && resource.peer has peer && resource.peer.peer.size == 3",
    "resource has peer && resource.peer has owner && resource.peer.owner.level >= 0",
    "resource has peer && resource.peer has owner && resource.peer.owner has boss && resource.peer.owner.boss.level >= 0",
    "principal in Group::\"g1\"",
    "principal has level && principal.level == 1",
    "User::\"u1\" in Group::\"g0\" && User::\"u1\".level > 0",
    "context.agent has level",
    "context.action has x && context.action.x == 1",
    "context.action.x == 1",
    "resource in Folder::\"f0\"",
    "principal has boss && principal.boss in Group::\"g2\"",
    "(if context.action has x then User::\"u0\" else User::\"u2\") has boss",
];

fn action_scope() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("action".to_owned()),
        (0..4_u8).prop_map(|n| format!("action == Action::\"a{n}\"")),
        (0..2_u8).prop_map(|n| format!("action in Action::\"all{n}\"")),
        (0..4_u8, 0..2_u8).prop_map(|(n, g)| format!("action in [Action::\"a{n}\", Action::\"all{g}\"]")),
    ]
}

fn resource_scope() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("resource".to_owned()),
        (0..3_u8).prop_map(|n| format!("resource == Doc::\"d{n}\"")),
        (0..2_u8).prop_map(|n| format!("resource in Folder::\"f{n}\"")),
        Just("resource is Doc".to_owned()),
        Just("resource is Image".to_owned()),
        (0..2_u8).prop_map(|n| format!("resource is Doc in Folder::\"f{n}\"")),
    ]
}

fn principal_scope() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => Just("principal".to_owned()),
        1 => (0..3_u8).prop_map(|n| format!("principal == User::\"u{n}\"")),
        1 => (0..3_u8).prop_map(|n| format!("principal in Group::\"g{n}\"")),
        1 => Just("principal is Agent".to_owned()),
    ]
}

fn scope() -> impl Strategy<Value = String> {
    (principal_scope(), action_scope(), resource_scope()).prop_map(|(p, a, r)| format!("({p}, {a}, {r})"))
}

fn condition() -> impl Strategy<Value = &'static str> {
    prop::sample::select(CONDITIONS.as_slice())
}

/// A plain policy, sometimes one that looks at approvals without asking for any.
fn plain_policy() -> impl Strategy<Value = String> {
    let effect = prop_oneof![3 => Just("permit"), 1 => Just("forbid")];
    let more = prop_oneof![
        4 => Just(String::new()),
        1 => (0..3_u8).prop_map(|n| format!("unless {{ context.approvals.contains(\"r{n}\") }}")),
    ];
    (effect, scope(), condition(), more).prop_map(|(effect, scope, condition, more)| {
        format!("{effect} {scope} when {{ {condition} }} {more};")
    })
}

/// A forbid that its own approval lifts, written in one of the ways that the check accepts.
fn approval_policy() -> impl Strategy<Value = String> {
    (0..3_u8, scope(), condition(), 0..3_u8).prop_map(|(n, scope, condition, form)| {
        let own = format!("context.approvals.contains(\"r{n}\")");
        let clauses = match form {
            0 => format!("when {{ {condition} }} unless {{ {own} }}"),
            1 => format!("unless {{ {own} || ({condition}) }}"),
            _ => format!("when {{ if {own} then false else ({condition}) }}"),
        };
        format!("@approval(\"r{n}\") forbid {scope} {clauses};")
    })
}

fn entity(kind: &str, id: &str, attributes: &Value, parents: &[(&str, String)]) -> Value {
    let parents: Vec<Value> = parents.iter().map(|(kind, id)| json!({"type": kind, "id": id})).collect();
    json!({"uid": {"type": kind, "id": id}, "attrs": attributes, "parents": parents})
}

fn reference(kind: &str, n: u8) -> Value {
    json!({"__entity": {"type": kind, "id": format!("{}{n}", kind.to_lowercase().chars().next().unwrap())}})
}

prop_compose! {
    fn entities()(
        users in prop::collection::vec((0..4_i64, prop::option::weighted(0.8, 0..3_u8), 0..3_u8), 3),
        docs in prop::collection::vec((prop::option::of(0..5_i64), prop::option::weighted(0.8, 0..3_u8), prop::option::weighted(0.8, 0..3_u8), 0..2_u8), 3),
        nested in any::<bool>(),
        agent in any::<bool>(),
    ) -> String {
        let mut all = Vec::new();
        for (n, (level, boss, group)) in users.into_iter().enumerate() {
            let mut attributes = json!({"level": level});
            if let Some(boss) = boss {
                attributes["boss"] = reference("User", boss);
            }
            all.push(entity("User", &format!("u{n}"), &attributes, &[("Group", format!("g{group}"))]));
        }
        for (n, (size, owner, peer, folder)) in docs.into_iter().enumerate() {
            let mut attributes = json!({});
            if let Some(size) = size {
                attributes["size"] = json!(size);
            }
            if let Some(owner) = owner {
                attributes["owner"] = reference("User", owner);
            }
            if let Some(peer) = peer {
                attributes["peer"] = reference("Doc", peer);
            }
            all.push(entity("Doc", &format!("d{n}"), &attributes, &[("Folder", format!("f{folder}"))]));
        }
        let (inner, outer) = ([("Group", "g1".to_owned())], [("Folder", "f0".to_owned())]);
        all.push(entity("Group", "g0", &json!({}), if nested { &inner } else { &[] }));
        all.push(entity("Group", "g1", &json!({}), &[("Group", "g2".into())]));
        all.push(entity("Folder", "f1", &json!({}), if nested { &outer } else { &[] }));
        all.push(entity("Action", "a0", &json!({}), &[("Action", "all0".into())]));
        all.push(entity("Action", "a1", &json!({}), &[("Action", "all0".into()), ("Action", "all1".into())]));
        if agent {
            all.push(entity("Agent", "a", &json!({"level": 1}), &[("Group", "g1".into())]));
        }
        Value::Array(all).to_string()
    }
}

prop_compose! {
    fn request()(
        principal in prop::option::of(0..4_u8),
        action in 0..5_u8,
        image in any::<bool>(),
        resource in 0..4_u8,
        size in prop::option::of(0..5_i64),
        x in prop::option::of(0..2_i64),
    ) -> Operation {
        let subject = match principal {
            Some(n) => json!({"type": "User", "id": format!("u{n}")}),
            None => json!({"type": "Agent", "id": "a"}),
        };
        let properties = size.map_or(json!({}), |size| json!({"size": size}));
        let arguments = x.map_or(json!({}), |x| json!({"x": x}));
        operation(json!({
            "subject": subject,
            "action": {"name": format!("a{action}"), "properties": arguments},
            "resource": {"type": if image { "Image" } else { "Doc" }, "id": format!("d{resource}"), "properties": properties},
        }))
    }
}

fn bundle(policies: &[String], entities: &str) -> Bundle {
    let text = policies.join("\n");
    load(&[("approvals.toml", APPROVALS), ("policies/p.cedar", &text), ("entities.json", entities)])
}

fn with_call<T>(
    operation: &Operation,
    met: &BTreeSet<RequirementName>,
    ask: impl FnOnce(&Call<'_>) -> T,
) -> T {
    let agent = "a".parse().unwrap();
    ask(&Call { operation, agent: &agent, asserted_subject: None, met, now: noon() })
}

/// What Cedar's own authorizer says about all policies, all entities and the whole context, put together
/// from JSON and not by the code under test: who decides, and who fails.
fn whole(
    bundle: &Bundle,
    operation: &Operation,
    met: &BTreeSet<RequirementName>,
) -> (bool, BTreeSet<String>, BTreeSet<String>) {
    let policies = bundle.policies.iter().map(|policy| cedar_policy::Policy::from(policy.policy.clone()));
    let policies = PolicySet::from_policies(policies).unwrap();
    let uid = |kind: &str, id: &str| format!("{kind}::\"{id}\"").parse::<EntityUid>().unwrap();
    let resource = uid(&operation.resource.kind, &operation.resource.id);

    let mut entities: Vec<Value> = Vec::new();
    for entity in bundle.store.iter() {
        entities.push(cedar_policy::Entity::from((**entity).clone()).to_json_value().unwrap());
    }
    let is_resource = |entity: &Value| {
        entity["uid"] == json!({"type": operation.resource.kind, "id": operation.resource.id})
    };
    if !entities.iter().any(is_resource) {
        entities.push(entity(&operation.resource.kind, &operation.resource.id, &json!({}), &[]));
    }
    for entity in entities.iter_mut().filter(|entity| is_resource(entity)) {
        let attributes = entity["attrs"].as_object_mut().unwrap();
        attributes.extend(operation.resource.properties.clone());
    }
    let entities = Entities::from_json_value(Value::Array(entities), None).unwrap();

    let context = json!({
        "action": operation.action.properties,
        "agent": {"__entity": {"type": "Agent", "id": "a"}},
        "approvals": met,
        "time": {"__extn": {"fn": "datetime", "arg": noon().to_string()}},
    });
    let request = Request::new(
        uid(&operation.subject.kind, &operation.subject.id),
        uid("Action", &operation.action.name),
        resource,
        Context::from_json_value(context, None).unwrap(),
        None,
    );
    let response = Authorizer::new().is_authorized(&request.unwrap(), &policies, &entities);
    let reasons = response.diagnostics().reason().map(ToString::to_string).collect();
    let errors = response.diagnostics().errors().map(|error| {
        let cedar_policy::AuthorizationError::PolicyEvaluationError(error) = error;
        error.policy_id().to_string()
    });
    (response.decision() == cedar_policy::Decision::Allow, reasons, errors.collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_slice_answers_as_the_whole_does(
        policies in prop::collection::vec(prop_oneof![3 => plain_policy(), 1 => approval_policy()], 1..14),
        entities in entities(),
        requests in prop::collection::vec(request(), 1..6),
        met in prop::collection::btree_set(prop::sample::select(vec!["r0", "r1", "r2"]), 0..3),
    ) {
        let bundle = bundle(&policies, &entities);
        let met = names(&met.into_iter().collect::<Vec<_>>());
        for operation in &requests {
            let prepared = with_call(operation, &met, |call| Prepared::new(call, &bundle.store, &bundle.index)).unwrap();
            let (allow, reasons, errors) = whole(&bundle, operation, &met);
            let sliced = bundle.evaluate(&prepared);
            let ids = |policies: &[&crate::evaluate::Compiled]| policies.iter().map(|p| p.id.clone()).collect::<BTreeSet<_>>();
            let failed: BTreeSet<String> = sliced.errors.iter().map(|(policy, _)| policy.id.clone()).collect();
            prop_assert_eq!(&failed, &errors);
            let determining = if sliced.forbids.is_empty() { &sliced.permits } else { &sliced.forbids };
            prop_assert_eq!(ids(determining), reasons);
            prop_assert_eq!(sliced.forbids.is_empty() && !sliced.permits.is_empty(), allow);
            let decided = with_call(operation, &met, |call| bundle.decide(call));
            // I1, I6: a permit is exactly a Cedar allow in which nothing failed.
            prop_assert_eq!(decided.decision == Decision::Permit, allow && errors.is_empty());
        }
    }

    /// Whatever else is approved, an `@approval` forbid that forbids goes on forbidding until its own
    /// requirement is met, and then it does not.
    #[test]
    fn no_approval_forbid_is_lifted_by_anything_but_its_own_requirement(
        policies in prop::collection::vec(approval_policy(), 1..8),
        entities in entities(),
        operation in request(),
    ) {
        let bundle = bundle(&policies, &entities);
        let none = BTreeSet::new();
        let mut prepared = with_call(&operation, &none, |call| Prepared::new(call, &bundle.store, &bundle.index)).unwrap();
        let forbidding = |prepared: &Prepared| -> BTreeSet<usize> {
            let outcome = bundle.evaluate(prepared);
            outcome.forbids.iter().map(|policy| bundle.policies.iter().position(|p| p.id == policy.id).unwrap()).collect()
        };
        let before = forbidding(&prepared);
        for subset in 0..8_u8 {
            let met: BTreeSet<RequirementName> =
                (0..3_u8).filter(|n| subset & (1 << n) != 0).map(|n| format!("r{n}").parse().unwrap()).collect();
            prepared.assume(met.iter());
            let lifted = |position: &usize| met.contains(bundle.policies[*position].approval.as_ref().unwrap());
            let expected: BTreeSet<usize> = before.iter().copied().filter(|position| !lifted(position)).collect();
            prop_assert_eq!(forbidding(&prepared), expected);
        }
    }

    /// A hold asks for exactly what is missing: with all of it the operation is permitted, with any less it is not.
    #[test]
    fn a_hold_names_exactly_the_requirements_that_stand_in_the_way(
        policies in prop::collection::vec(prop_oneof![1 => plain_policy(), 2 => approval_policy()], 1..8),
        entities in entities(),
        operation in request(),
    ) {
        // Without a permit nothing is ever held.
        let policies: Vec<String> = policies.into_iter().chain(["permit (principal, action, resource);".to_owned()]).collect();
        let bundle = bundle(&policies, &entities);
        let decided = |met: &BTreeSet<RequirementName>| with_call(&operation, met, |call| bundle.decide(call)).decision;
        if let Decision::Hold { requirements } = decided(&BTreeSet::new()) {
            let all: BTreeSet<RequirementName> = requirements.iter().cloned().collect();
            prop_assert_eq!(decided(&all), Decision::Permit);
            for one in &all {
                let mut less = all.clone();
                less.remove(one);
                prop_assert_ne!(decided(&less), Decision::Permit, "without {}", one);
            }
        }
    }
}
