//! What a server declares about its own tools, and how it could try to look more harmless than it is.

use countersign_model::{Decision, Digest, Object, Subject};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{decide, load, problems};
use crate::{
    Bundle,
    mapping::{Mapped, MappingError, ToolCall},
};

const TRUST: &str = "[[server]]\nname = \"crm\"\nnamespace = \"Crm\"\n";
/// Everything that could be mistaken for harmless is open; a tool call is not.
const POLICIES: &str = r#"
permit (principal, action == Crm::Action::"get_customer", resource is Crm::customer);
permit (principal, action == Mcp::Action::"tools/list", resource);
permit (principal, action == Action::"read", resource);
"#;

fn bundle(mappings: &str) -> Bundle {
    load(&[("policies/p.cedar", POLICIES), ("mappings.toml", mappings)])
}

fn call(bundle: &Bundle, server: &str, declared: &Value) -> Result<Mapped, MappingError> {
    let arguments = json!({"id": "cust-1", "case": "case-2", "amount": 20_000});
    let arguments = arguments.as_object().unwrap();
    bundle.mappings().tool(&ToolCall { server, tool: "get", arguments, declared: Some(declared) })
}

fn evaluation(evaluation: Value) -> Value {
    Object::from_iter([("evaluation".to_owned(), evaluation)]).into()
}

/// The example of COAZ-MCP's own text.
fn customer() -> Value {
    evaluation(json!({
        "subject": {"type": "identity", "id": "$token.sub"},
        "action": {"name": "get_customer"},
        "resource": {"type": "customer", "id": "$params.arguments.id"},
        "context": {"agent": "$token.?client_id", "case": "$params.arguments.case"},
    }))
}

fn permits(bundle: &Bundle, mapped: Mapped) -> bool {
    let subject = Subject { kind: "Agent".into(), id: "a".into(), properties: Object::new() };
    decide(bundle, &mapped.into_operation(subject).0, &[]).decision == Decision::Permit
}

#[test]
fn a_trusted_servers_tool_is_what_it_declares_within_its_namespace() {
    let bundle = bundle(TRUST);
    let mapped = call(&bundle, "crm", &customer()).unwrap();
    assert_eq!(mapped.action.name, "Crm::get_customer");
    assert_eq!((mapped.resource.kind.as_str(), mapped.resource.id.as_str()), ("Crm::customer", "cust-1"));
    assert_eq!(mapped.context["case"], "case-2");
    assert_eq!(mapped.context["mcp"]["tool"], "get");
    assert!(!mapped.context.contains_key("agent"), "the agent is whom Countersign verified");
    assert!(permits(&bundle, mapped));
}

/// What decides depends on what is called, as in COAZ-MCP's conditional example.
#[test]
fn names_can_depend_on_the_call() {
    let mapping = evaluation(json!({
        "action": {"name": "$params.arguments.amount > 10000 ? 'large' : 'small'"},
        "resource": {"type": "account", "id": "$params.arguments.id", "properties": {"large": "$params.arguments.amount > 10000"}},
    }));
    let mapped = call(&bundle(TRUST), "crm", &mapping).unwrap();
    assert_eq!(
        (mapped.action.name.as_str(), &mapped.resource.properties["large"]),
        ("Crm::large", &json!(true))
    );
}

/// The server is the party whose calls are authorised: nobody asked for its opinion.
#[test]
fn a_server_that_nobody_trusts_has_no_say() {
    let bundle = bundle(TRUST);
    let harmless = evaluation(json!({
        "action": {"name": "get_customer"}, "resource": {"type": "customer", "id": "x"},
    }));
    let arguments = json!({"id": "cust-1", "case": "case-2", "amount": 20_000});
    let arguments = arguments.as_object().unwrap();
    let plain = ToolCall { server: "evil", tool: "get", arguments, declared: None };
    for declared in [harmless, customer(), json!("$nonsense"), Value::Null] {
        let mapped = call(&bundle, "evil", &declared);
        assert_eq!(mapped, bundle.mappings().tool(&plain), "{declared}");
        assert!(!permits(&bundle, mapped.unwrap()));
    }
}

#[test]
fn the_operators_mapping_goes_before_the_servers() {
    let own = "[[tool]]\nserver = \"crm\"\nmatch = \"get\"\naction = \"wipe\"\n\
               resource = { type = \"Customer\", id = \"$arguments.id\" }\n";
    let mapped = call(&bundle(&format!("{own}{TRUST}")), "crm", &customer()).unwrap();
    assert_eq!(mapped.action.name, "wipe");
}

/// Every way out of the namespace that a server was given.
#[test]
fn a_trusted_server_cannot_leave_its_namespace() {
    let bundle = bundle(TRUST);
    for (action, kind) in [
        ("Mcp::tools/list", "customer"),
        ("::read", "customer"),
        ("read", "Mcp::Server"),
        ("x::read", "customer"),
        ("", "customer"),
        ("read", ""),
        ("read", "not a type"),
        ("$'Mcp::' + 'tools/list'", "customer"),
        ("$params.arguments.missing", "customer"),
        ("$params.arguments.amount", "customer"),
        ("read", "$params"),
        ("$token.sub", "customer"),
    ] {
        let mapping = evaluation(json!({
            "action": {"name": action}, "resource": {"type": kind, "id": "x"},
        }));
        let mapped = call(&bundle, "crm", &mapping);
        assert!(mapped.is_err(), "{action} {kind}: {mapped:?}");
    }
    // A name that is taken elsewhere is not taken there.
    let read = evaluation(json!({"action": {"name": "read"}, "resource": {"type": "Service", "id": "x"}}));
    let mapped = call(&bundle, "crm", &read).unwrap();
    assert_eq!((mapped.action.name.as_str(), mapped.resource.kind.as_str()), ("Crm::read", "Crm::Service"));
    assert!(!permits(&bundle, mapped));
}

#[test]
fn a_mapping_that_cannot_be_used_denies() {
    let bundle = bundle(TRUST);
    let good = customer();
    let with = |pointer: &str, value: Value| {
        let mut changed = good.clone();
        *changed.pointer_mut(pointer).unwrap() = value;
        changed
    };
    for mapping in [
        json!({}),
        json!("$params"),
        json!({"evaluation": {}, "evaluations": {}}),
        json!({"evaluations": {}}),
        json!({"evaluations": {"evaluations": []}}),
        json!({"evaluations": {"evaluations": [good["evaluation"], {}]}}),
        json!({"evaluations": {"evaluations": [good["evaluation"]], "options": {}}}),
        json!({"evaluations": {"evaluations": [{"evaluations": [good["evaluation"]]}]}}),
        json!({"evaluations": {"evaluations": vec![good["evaluation"].clone(); 17]}}),
        json!({"evaluation": {"action": {"name": "a"}}}),
        with("/evaluation/action", json!({"name": "a", "id": "b"})),
        with("/evaluation/resource", json!({"type": "t"})),
        with("/evaluation/resource/id", json!("$params.arguments.missing")),
        with("/evaluation/resource/id", Value::Null),
        with("/evaluation/resource/id", json!("$params.arguments.map(k, k)")),
        with("/evaluation/resource/id", json!("$unknown.x")),
        with("/evaluation/resource/id", json!("x".repeat(10_000))),
        with("/evaluation/context", json!("$params")),
        with("/evaluation/context", json!({"execution": {}})),
        with("/evaluation/context", json!({"mcp": {"server": "files"}})),
        with("/evaluation/context", json!({"case": "$token.sub"})),
        with(
            "/evaluation/context",
            (0..40).map(|n| (format!("c{n}"), json!("$params.name"))).collect::<Object>().into(),
        ),
    ] {
        let mapped = call(&bundle, "crm", &mapping);
        assert!(mapped.is_err(), "{mapping}: {mapped:?}");
    }
}

/// A transfer is a debit and a credit: the example of COAZ-MCP's own text.
#[test]
fn a_call_that_is_several_things_is_each_of_them_and_binds_as_it_is() {
    let bundle = bundle(TRUST);
    let mapping = json!({"evaluations": {
        "subject": {"type": "identity", "id": "$token.sub"},
        "resource": {"type": "customer", "id": "$params.arguments.id"},
        "context": {"case": "$params.arguments.case"},
        "evaluations": [
            {"action": {"name": "get_customer"}},
            {"action": {"name": "delete"}, "resource": {"type": "record", "id": "r"}, "context": {}},
        ],
    }});
    let mut mapped = call(&bundle, "crm", &mapping).unwrap();
    assert_eq!((mapped.action.name.as_str(), mapped.resource.id.as_str()), ("Mcp::tools/call", "crm/get"));
    assert_eq!(mapped.action.properties["amount"], 20_000, "what it is called with binds");
    let parts = std::mem::take(&mut mapped.parts);
    let names: Vec<_> = parts.iter().map(|part| (&*part.action.name, &*part.resource.id)).collect();
    assert_eq!(names, [("Crm::get_customer", "cust-1"), ("Crm::delete", "r")]);
    let cases: Vec<_> = parts.iter().map(|part| part.context.get("case")).collect();
    assert_eq!(cases, [Some(&json!("case-2")), None]);
    let permitted: Vec<_> = parts.into_iter().map(|part| permits(&bundle, part)).collect();
    assert_eq!(permitted, [true, false]);
}

/// One harmless decision beside another does not permit the call.
#[test]
fn bundle_tests_ask_for_every_decision() {
    let several = |second: &str| {
        format!(
            r#"[[test]]
name = "several"
tool = {{ server = "crm", name = "get", declared = {{ evaluations = {{ resource = {{ type = "customer", id = "x" }}, evaluations = [
    {{ action = {{ name = "get_customer" }} }}, {{ action = {{ name = "{second}" }} }} ] }} }} }}
expect = "permit"
"#
        )
    };
    for (second, passes) in [("get_customer", true), ("delete", false)] {
        let tests = several(second);
        let files = [("policies/p.cedar", POLICIES), ("mappings.toml", TRUST), ("tests/t.toml", &*tests)];
        assert_eq!(load(&files).run_tests().passed(), passes, "{second}");
    }
}

/// Reserved members are what Countersign verified, whatever a server claims.
#[test]
fn a_mapping_cannot_approve_itself() {
    let mapping = evaluation(json!({
        "action": {"name": "get_customer"}, "resource": {"type": "customer", "id": "x"},
        "context": {"approvals": ["change"], "agent": "somebody", "time": 0, "subject": {}, "action": {}},
    }));
    let mapped = call(&bundle(TRUST), "crm", &mapping).unwrap();
    assert_eq!(mapped.context.keys().collect::<Vec<_>>(), ["mcp"]);
}

fn digest(mapped: Mapped) -> Digest {
    let subject = Subject { kind: "Agent".into(), id: "a".into(), properties: Object::new() };
    let (operation, projection) = mapped.into_operation(subject);
    operation.bind(&projection).unwrap().digest()
}

#[test]
fn arguments_bind_whatever_the_server_makes_of_them() {
    let bundle = bundle(TRUST);
    let mapping = evaluation(json!({
        "action": {"name": "pay", "properties": {"to": "$params.arguments.to"}},
        "resource": {"type": "account", "id": "x"},
    }));
    let pay = |amount: u32| {
        let arguments = json!({"to": "x", "amount": amount});
        let arguments = arguments.as_object().unwrap();
        let call = ToolCall { server: "crm", tool: "pay", arguments, declared: Some(&mapping) };
        bundle.mappings().tool(&call).unwrap()
    };
    assert_eq!(pay(1).action.properties, *json!({"to": "x"}).as_object().unwrap());
    assert_ne!(digest(pay(1)), digest(pay(1_000_000)));
}

#[test]
fn a_server_is_given_a_namespace_of_its_own() {
    let policy = ("policies/p.cedar", "permit (principal, action, resource);");
    for (mappings, expected) in [
        ("[[server]]\nname = \"crm\"\n", "namespace is missing"),
        ("[[server]]\nname = \"crm\"\nnamespace = \"Mcp\"\n", "Mcp is Countersign's own namespace"),
        ("[[server]]\nname = \"crm\"\nnamespace = \"Exec::Tools\"\n", "Exec is Countersign's own namespace"),
        ("[[server]]\nname = \"crm\"\nnamespace = \"\"\n", "is no namespace"),
        ("[[server]]\nname = \"crm\"\nnamespace = \"a b\"\n", "is no namespace"),
        (
            "[[server]]\nname = \"*\"\nnamespace = \"A\"\n[[server]]\nname = \"crm\"\nnamespace = \"B\"\n",
            "an earlier server matches",
        ),
    ] {
        let found = problems(&[policy, ("mappings.toml", mappings)]);
        assert!(found.iter().any(|problem| problem.contains(expected)), "{expected}: {found:?}");
    }
}

/// Texts that mean something to a mapping, and some that do not.
const TEXTS: [&str; 14] = [
    "get_customer",
    "customer",
    "Mcp::tools/list",
    "$params.name",
    "$params.arguments",
    "$params.arguments.id",
    "$token.sub",
    "$token.?sub",
    "$params.arguments.exists(k, k == 'id')",
    "$$",
    "$",
    "$1 +",
    "",
    "\u{0}",
];
const KEYS: [&str; 13] = [
    "evaluation",
    "evaluations",
    "subject",
    "action",
    "resource",
    "context",
    "name",
    "type",
    "id",
    "properties",
    "approvals",
    "mcp",
    "other",
];

fn text() -> impl Strategy<Value = Value> {
    prop_oneof![4 => prop::sample::select(TEXTS.as_slice()).prop_map(Value::from), 1 => ".{0,40}".prop_map(Value::from)]
}

fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![4 => text(), 1 => Just(Value::Null), 1 => any::<i64>().prop_map(Value::from)];
    leaf.prop_recursive(5, 40, 6, |inner| {
        let key = prop::sample::select(KEYS.as_slice()).prop_map(ToOwned::to_owned);
        prop_oneof![
            1 => prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            4 => prop::collection::btree_map(key, inner, 0..6)
                .prop_map(|members| members.into_iter().collect::<Object>().into()),
        ]
    })
}

/// A mapping of the right form with anything in its places.
fn mapping() -> impl Strategy<Value = Value> {
    let optional = || prop::option::of(anything());
    (text(), optional(), text(), text(), optional(), optional()).prop_map(
        |(name, action, kind, id, resource, context)| {
            let mut mapping = json!({"action": {"name": name}, "resource": {"type": kind, "id": id}});
            let places = [
                ("/action", "properties", action),
                ("/resource", "properties", resource),
                ("", "context", context),
            ];
            for (place, member, value) in places {
                if let Some(value) = value {
                    mapping.pointer_mut(place).unwrap()[member] = value;
                }
            }
            evaluation(mapping)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Total, and confined: whatever is declared comes to an error or to something in the namespace.
    #[test]
    fn whatever_is_declared_stays_in_its_namespace(declared in prop_oneof![2 => mapping(), 1 => anything()]) {
        let bundle = bundle(TRUST);
        if let Ok(mapped) = call(&bundle, "crm", &declared) {
            prop_assert!(mapped.action.name.starts_with("Crm::") && mapped.resource.kind.starts_with("Crm::"));
            prop_assert_eq!(mapped.action.name.matches("::").count(), 1);
            prop_assert_eq!(&mapped.context["mcp"]["server"], "crm");
            prop_assert!(!mapped.context.contains_key("approvals"));
            prop_assert!(mapped.projection.is_empty());
        }
    }

    /// No mapping of a server that nobody trusts changes anything.
    #[test]
    fn what_a_stranger_declares_changes_nothing(declared in prop_oneof![2 => mapping(), 1 => anything()]) {
        let bundle = bundle(TRUST);
        prop_assert_eq!(call(&bundle, "evil", &declared), call(&bundle, "evil", &Value::Null));
    }
}
