//! Permit, deny and hold; and the ways in which a caller could try to get past them.

use countersign_model::{AgentName, Decision, PolicyEffect, Subject};
use serde_json::json;

use super::{decide, load, names, noon, operation};
use crate::{Bundle, Call, PolicyAnswer, UNASKABLE};

const APPROVALS: &str = "
[requirements.sre]
reviewers = [\"*\"]
[requirements.cto]
reviewers = [\"*\"]
";

const POLICIES: &str = r#"
@id("allow")
permit (principal, action in [Action::"deploy", Action::"drop"], resource);

@id("sre")
@approval("sre")
@reason("production needs an SRE")
forbid (principal, action == Action::"deploy", resource in Environment::"production")
unless { context.approvals.contains("sre") };

@id("cto")
@approval("cto")
forbid (principal, action == Action::"deploy", resource)
when { context.action has major && context.action.major }
unless { context.approvals.contains("cto") };

@id("frozen")
@reason("frozen")
forbid (principal, action, resource) when { resource has frozen && resource.frozen };

@id("broken")
forbid (principal, action == Action::"drop", resource) when { context.tables > 1 };
"#;

const ENTITIES: &str = r#"[
 {"uid": {"type": "Environment", "id": "production"}, "attrs": {}, "parents": []},
 {"uid": {"type": "Agent", "id": "a"}, "attrs": {"admin": false}, "parents": []},
 {"uid": {"type": "Service", "id": "web"}, "attrs": {}, "parents": [{"type": "Environment", "id": "production"}]},
 {"uid": {"type": "Service", "id": "old"}, "attrs": {"frozen": true}, "parents": [{"type": "Environment", "id": "production"}]}
]"#;

fn bundle() -> Bundle {
    load(&[("approvals.toml", APPROVALS), ("policies/p.cedar", POLICIES), ("entities.json", ENTITIES)])
}

fn hold(requirements: &[&str]) -> Decision {
    Decision::Hold { requirements: names(requirements).into_iter().collect() }
}

fn deploy(service: &str) -> serde_json::Value {
    json!({"action": {"name": "deploy"}, "resource": {"type": "Service", "id": service}})
}

fn ids(bundle: &Bundle, json: serde_json::Value, met: &[&str]) -> (Decision, Vec<String>) {
    let verdict = decide(bundle, &operation(json), met);
    (verdict.decision, verdict.policies.into_iter().map(|policy| policy.id).collect())
}

#[test]
fn an_operation_is_permitted_denied_or_held() {
    let bundle = bundle();
    let major = |service: &str| {
        let mut json = deploy(service);
        json["action"]["properties"] = json!({"major": true});
        json
    };
    assert_eq!(ids(&bundle, deploy("other"), &[]), (Decision::Permit, vec!["allow".into()]));
    assert_eq!(ids(&bundle, deploy("web"), &[]), (hold(&["sre"]), vec!["sre".into()]));
    assert_eq!(ids(&bundle, deploy("web"), &["sre"]), (Decision::Permit, vec!["allow".into()]));
    assert_eq!(ids(&bundle, deploy("web"), &["cto"]), (hold(&["sre"]), vec!["sre".into()]));
    assert_eq!(ids(&bundle, major("web"), &[]).0, hold(&["cto", "sre"]));
    assert_eq!(ids(&bundle, major("web"), &["sre"]), (hold(&["cto"]), vec!["cto".into()]));
    assert_eq!(ids(&bundle, major("other"), &[]), (hold(&["cto"]), vec!["cto".into()]));
    // What nothing lifts is not asked for, whoever would approve the rest.
    assert_eq!(ids(&bundle, deploy("old"), &[]), (Decision::Deny, vec!["sre".into(), "frozen".into()]));
    assert_eq!(ids(&bundle, deploy("old"), &["sre"]), (Decision::Deny, vec!["frozen".into()]));
    let unknown = json!({"action": {"name": "undreamt-of"}, "resource": {"type": "Service", "id": "web"}});
    assert_eq!(ids(&bundle, unknown, &["sre", "cto"]), (Decision::Deny, vec![]));
}

/// Cedar skips a policy that fails. A forbid that vanishes that way would be an allow (I6).
#[test]
fn a_policy_that_fails_denies_and_is_named() {
    let drop = json!({"action": {"name": "drop"}, "resource": {"type": "Service", "id": "x"}});
    let verdict = decide(&bundle(), &operation(drop.clone()), &[]);
    assert_eq!(verdict.decision, Decision::Deny);
    assert_eq!(
        (verdict.policies[0].id.as_str(), verdict.policies[0].effect),
        ("broken", PolicyEffect::Error)
    );
    assert!(verdict.policies[0].reason.as_deref().unwrap().contains("tables"), "{verdict:?}");

    let mut known = drop;
    known["context"] = json!({"tables": 1});
    assert_eq!(ids(&bundle(), known, &[]).0, Decision::Permit);
}

/// A policy that fails only once an approval is assumed must not be held for that approval.
#[test]
fn an_approval_that_would_lead_to_a_failure_is_not_asked_for() {
    let bundle = load(&[
        ("approvals.toml", APPROVALS),
        (
            "policies/p.cedar",
            r#"@id("a") permit (principal, action, resource);
               @id("b") @approval("sre") forbid (principal, action, resource)
               unless { context.approvals.contains("sre") };
               @id("c") forbid (principal, action, resource)
               when { context.approvals.contains("sre") && context.missing };"#,
        ),
    ]);
    assert_eq!(ids(&bundle, deploy("x"), &[]), (Decision::Deny, vec!["c".into()]));
}

#[test]
fn an_approval_that_would_not_lead_to_a_permit_is_not_asked_for() {
    let held_by = |more: &str| {
        let policies = format!(
            r#"@id("b") @approval("sre") forbid (principal, action, resource)
               unless {{ context.approvals.contains("sre") }}; {more}"#
        );
        let bundle = load(&[("approvals.toml", APPROVALS), ("policies/p.cedar", &policies)]);
        ids(&bundle, deploy("x"), &[]).0
    };
    assert_eq!(held_by(""), Decision::Deny);
    let elsewhere = r#"permit (principal, action == Action::"other", resource);"#;
    assert_eq!(held_by(elsewhere), Decision::Deny);
    let only_then = r#"permit (principal, action, resource) when { context.approvals.contains("sre") };"#;
    assert_eq!(held_by(only_then), hold(&["sre"]));
    let plain = r#"permit (principal, action, resource);
                   forbid (principal, action, resource) when { context.approvals.contains("sre") };"#;
    assert_eq!(held_by(plain), Decision::Deny);
}

/// A caller says that it is approved, that it is somebody else, and that it is another time.
#[test]
fn a_callers_own_values_for_reserved_context_never_reach_policy() {
    let policies = r#"
        @id("p") permit (principal, action, resource)
        when { context.approvals.contains("sre") || context.agent == Agent::"root" || context has subject ||
               context.time < datetime("2020-01-01") || (context.action has root) || context has approved };
    "#;
    let bundle = load(&[("approvals.toml", APPROVALS), ("policies/p.cedar", policies)]);
    let mut json = deploy("x");
    json["context"] = json!({
        "approvals": ["sre"], "agent": {"__entity": {"type": "Agent", "id": "root"}},
        "subject": {"type": "User", "id": "root"}, "time": "2019-01-01T00:00:00Z", "action": {"root": true}
    });
    assert_eq!(ids(&bundle, json.clone(), &[]).0, Decision::Deny);
    json["context"]["approved"] = json!(true);
    assert_eq!(ids(&bundle, json, &[]).0, Decision::Permit, "other context does reach policy");
}

#[test]
fn the_asserted_subject_is_visible_and_is_not_the_principal() {
    let policies = r#"
        @id("p") permit (principal == Agent::"a", action, resource)
        when { context has subject && context.subject.id == "alice" && context.subject.properties.team == "x" };
    "#;
    let bundle = load(&[("policies/p.cedar", policies)]);
    let agent: AgentName = "a".parse().unwrap();
    let asserted: Subject =
        serde_json::from_value(json!({"type": "User", "id": "alice", "properties": {"team": "x"}})).unwrap();
    let (operation, met) = (operation(deploy("x")), names(&[]));
    let call = Call {
        operation: &operation,
        agent: &agent,
        asserted_subject: Some(&asserted),
        met: &met,
        now: noon(),
    };
    assert_eq!(bundle.decide(&call).decision, Decision::Permit);
    let not_said = Call { asserted_subject: None, ..call };
    assert_eq!(bundle.decide(&not_said).decision, Decision::Deny);
}

/// Properties of a resource overlay the bundle's attributes. An agent that names itself, or its own
/// principal, as the resource must not become something better that way.
#[test]
fn a_resource_cannot_give_its_caller_attributes() {
    let policies = r#"
        @id("admin") permit (principal, action, resource) when { principal.admin };
        @id("agent") permit (principal, action, resource) when { context.agent.admin };
    "#;
    let bundle = load(&[("policies/p.cedar", policies), ("entities.json", ENTITIES)]);
    let itself = json!({
        "action": {"name": "deploy"}, "resource": {"type": "Agent", "id": "a", "properties": {"admin": true}}
    });
    assert_eq!(ids(&bundle, itself.clone(), &[]), (Decision::Deny, vec![UNASKABLE.into()]));
    let mut through_another = itself;
    through_another["subject"] = json!({"type": "User", "id": "u", "properties": {"admin": false}});
    assert_eq!(ids(&bundle, through_another, &[]), (Decision::Deny, vec![UNASKABLE.into()]));
}

#[test]
fn the_hierarchy_is_the_bundles_alone() {
    let bundle = bundle();
    let mut json = deploy("web");
    json["resource"]["properties"] = json!({"parents": [], "environment": "staging", "frozen": false});
    assert_eq!(ids(&bundle, json, &[]).0, hold(&["sre"]));
}

#[test]
fn what_cannot_be_asked_is_denied() {
    for json in [
        json!({"action": {"name": "deploy"}, "resource": {"type": "not a type", "id": "x"}}),
        json!({"subject": {"type": "", "id": "x"}, "action": {"name": "deploy"}, "resource": {"type": "S", "id": "x"}}),
        json!({"action": {"name": "deploy"}, "resource": {"type": "if", "id": "x"}}),
    ] {
        let verdict = decide(&bundle(), &operation(json), &["sre", "cto"]);
        assert_eq!(verdict.decision, Decision::Deny);
        assert_eq!(verdict.policies[0].id, UNASKABLE);
        assert_eq!(verdict.policies[0].effect, PolicyEffect::Error);
    }
}

#[test]
fn an_explanation_names_everybody_who_was_asked() {
    let (bundle, operation) = (bundle(), operation(deploy("web")));
    let agent: AgentName = "a".parse().unwrap();
    let met = names(&[]);
    let call = Call { operation: &operation, agent: &agent, asserted_subject: None, met: &met, now: noon() };
    let explanation = bundle.explain(&call);
    assert_eq!(explanation.verdict, bundle.decide(&call));
    let answers: Vec<(&str, &PolicyAnswer)> =
        explanation.considered.iter().map(|asked| (asked.policy.id.as_str(), &asked.answer)).collect();
    let (yes, no) = (PolicyAnswer::Applies, PolicyAnswer::Silent);
    assert_eq!(answers, [("allow", &yes), ("sre", &yes), ("cto", &no), ("frozen", &no)]);
    assert_eq!(explanation.considered[1].line, 5);
    assert_eq!(explanation.policies_in_bundle, 5);
}

/// What is shown as possible must not be less than what is, and not what never is.
#[test]
fn what_could_be_permitted_is_told_without_the_properties() {
    let policies = r#"
permit (principal, action == Action::"read", resource) when { context.action.path like "/tmp/*" };
permit (principal, action in [Action::"write", Action::"drop", Action::"send"], resource);
@approval("sre")
forbid (principal, action == Action::"write", resource) unless { context.approvals.contains("sre") };
forbid (principal, action == Action::"drop", resource);
forbid (principal, action == Action::"send", resource) when { context.action.to != "team" };
forbid (principal, action == Action::"send", resource == Service::"old") when { resource.gone };
"#;
    let bundle = load(&[("approvals.toml", APPROVALS), ("policies/p.cedar", policies)]);
    let could = |action: &str, service: &str| {
        let operation =
            operation(json!({"action": {"name": action}, "resource": {"type": "Service", "id": service}}));
        let agent: AgentName = "a".parse().unwrap();
        let met = names(&[]);
        bundle.could(&Call {
            operation: &operation,
            agent: &agent,
            asserted_subject: None,
            met: &met,
            now: noon(),
        })
    };
    for (action, service, expected) in [
        ("read", "web", true),
        ("write", "web", true),
        ("drop", "web", false),
        ("send", "web", true),
        ("send", "old", false),
        ("unheard-of", "web", false),
    ] {
        assert_eq!(could(action, service), expected, "{action} {service}");
    }
}
