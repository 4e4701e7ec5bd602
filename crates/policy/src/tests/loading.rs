//! What is wrong with a bundle is said at once, with its place and what to do.

use super::{load, problems};
use crate::{Bundle, BundleFiles};

const SCHEMA: &str = r#"
entity Agent;
entity Service = { tier: Long };
type C = { approvals: Set<String>, agent: Agent, time: datetime, action: {} };
action "deploy" appliesTo { principal: Agent, resource: Service, context: C };
"#;

#[test]
fn every_file_is_checked_and_every_problem_reported_in_one_go() {
    let found = problems(&[
        ("approvals.toml", "[requirements.sre]\nreviewers = [\"*\"]\nquorum = 0\n"),
        ("schema.cedarschema", SCHEMA),
        (
            "entities.json",
            "[\n {\"uid\": {\"type\": \"Service\", \"id\": \"a\"}, \"attrs\": {}, \"parents\": []},\n {\"uid\": {\"type\": \"Service\", \"id\": \"b\"}, \"attrs\": {\"tier\": \"x\"}, \"parents\": []}\n]",
        ),
        (
            "mappings.toml",
            "[[command]]\nmatch = \"x\"\naction = \"nope\"\nresource = { type = \"Service\", id = \"$options.x +\" }\ncolour = 1\n",
        ),
        (
            "policies/a.cedar",
            "permit (principal, action, resource)\nwhen { resource.teir == 1 };\n\n@approval(\"sre2\")\nforbid (principal, action, resource);\n",
        ),
        ("policies/b.cedar", "permit (principal, action, resource) when { };\npermit principal;\n"),
        ("tests/t.toml", "[[test]]\nname = \"x\"\nexpect = \"hold\"\n"),
        ("policy/c.cedar", "permit (principal, action, resource);"),
        ("bundle.toml", "name = \"x\"\nleese = \"1h\"\n"),
    ]);
    for expected in [
        "approvals.toml:3: nobody can meet sre: its quorum is 0",
        "bundle.toml:2: unknown key \"leese\" (did you mean lease?)",
        "entities.json:2:",
        "entities.json:3:",
        "mappings.toml:4: id: not a CEL expression",
        "mappings.toml:5: unknown key \"colour\"",
        "policies/a.cedar:2: for policy `policies/a.cedar:1`, attribute `teir`",
        "policies/a.cedar:4: @approval(\"sre2\") names no requirement (did you mean \"sre\"?)",
        "policies/b.cedar:2:",
        "policy/c.cedar: this file has no meaning in a bundle",
        "tests/t.toml:1: expect and requirements do not fit together",
        "tests/t.toml:1: it is not clear what this test is about",
    ] {
        assert!(
            found.iter().any(|problem| problem.starts_with(expected)),
            "{expected}\n{}",
            found.join("\n")
        );
    }
}

#[test]
fn an_empty_bundle_says_what_it_needs() {
    let problems = Bundle::load(&BundleFiles::default()).unwrap_err().to_string();
    assert!(problems.contains("bundle.toml: this file is missing"), "{problems}");
    assert!(problems.contains("policies: the bundle has no policies"), "{problems}");
}

const SRE: (&str, &str) =
    ("approvals.toml", "[requirements.sre]\nreviewers = [\"*\"]\n[requirements.cto]\nreviewers = [\"*\"]\n");

#[test]
fn an_approval_that_could_not_work_is_refused() {
    for (policy, expected) in [
        ("@approval(\"sre\")\nforbid (principal, action, resource);", "does not lift this forbid"),
        (
            "@approval(\"sre\")\nforbid (principal, action, resource) unless { context.approvals.contains(\"cto\") };",
            "asks context for other approvals",
        ),
        (
            "@approval(\"sre\")\nforbid (principal, action, resource) \
             unless { context.approvals.contains(\"sre\") || context.approvals.contains(\"cto\") };",
            "asks context for other approvals",
        ),
        ("@approval(\"\")\nforbid (principal, action, resource);", "names no requirement"),
        (
            "@approval(\"sre\")\npermit (principal, action, resource);",
            "only a forbid can ask for an approval",
        ),
        ("@aproval(\"sre\")\nforbid (principal, action, resource);", "did you mean @approval?"),
        ("@id(\"\")\npermit (principal, action, resource);", "is no name"),
        ("permit (principal == ?principal, action, resource);", "templates"),
        (
            "@id(\"x\")\npermit (principal, action, resource);\n@id(\"x\")\nforbid (principal, action, resource);",
            "a second policy has the id \"x\"",
        ),
    ] {
        let found = problems(&[SRE, ("policies/p.cedar", policy)]);
        assert!(found.iter().any(|problem| problem.contains(expected)), "{expected}: {found:?}");
    }
}

/// Cedar's parser numbers policies and ignores `@id`; a guard must go by the name that its author gave it.
#[test]
fn policies_go_by_their_id_or_their_place() {
    let bundle = load(&[(
        "policies/p.cedar",
        "@id(\"named\")\npermit (principal, action, resource);\n\npermit (principal, action, resource);\n",
    )]);
    let ids: Vec<&str> = bundle.policies.iter().map(|policy| policy.id.as_str()).collect();
    assert_eq!(ids, ["named", "policies/p.cedar:4"]);
}

#[test]
fn what_cedar_warns_about_is_refused() {
    let found = problems(&[
        ("schema.cedarschema", SCHEMA),
        ("policies/p.cedar", "permit (principal, action == Action::\"deploy\", resource) when { false };"),
    ]);
    assert_eq!(found.len(), 1, "{found:?}");
}

#[test]
fn a_mapping_must_lead_somewhere() {
    let policy = ("policies/p.cedar", "permit (principal, action, resource is Service);");
    let with =
        |mappings: &str| problems(&[("schema.cedarschema", SCHEMA), policy, ("mappings.toml", mappings)]);
    let target = "resource = { type = \"Service\", id = \"x\" }";
    for (mappings, expected) in [
        (format!("[[command]]\nmatch = \"x\"\naction = \"deplo\"\n{target}"), "the schema knows no action"),
        (
            "[[command]]\nmatch = \"x\"\naction = \"deploy\"\nresource = { type = \"Servce\", id = \"x\" }"
                .into(),
            "no entity type Servce",
        ),
        (
            format!("[[command]]\nmatch = \"x\"\naction = \"$program\"\n{target}"),
            "action must be a fixed name",
        ),
        (format!("[[command]]\nmatch = \"\"\naction = \"deploy\"\n{target}"), "this matches no program"),
        (format!("[[command]]\nmatch = \"/bin/x\"\naction = \"deploy\"\n{target}"), "is no program name"),
        (format!("[[command]]\nmatch = \"*\"\naction = \"deploy\"\n{target}"), "is no program name"),
        (format!("[[command]]\naction = \"deploy\"\n{target}"), "match is missing"),
        ("[[command]]\nmatch = \"x\"\naction = \"deploy\"\n".into(), "resource is missing"),
        (
            format!(
                "[[command]]\nmatch = \"x\"\naction = \"deploy\"\ncontext = {{ approvals = [] }}\n{target}"
            ),
            "context.approvals is set by Countersign",
        ),
        (
            format!("[[command]]\nmatch = \"x\"\naction = \"deploy\"\ncontext = {{ command = 1 }}\n{target}"),
            "context.command is set by Countersign",
        ),
        (
            format!(
                "[[command]]\nmatch = \"x\"\naction = \"deploy\"\nadvisory = [\"/context/execution\"]\n{target}"
            ),
            "always binds",
        ),
        (
            format!("[[command]]\nmatch = \"x\"\naction = \"deploy\"\nadvisory = [\"/subject\"]\n{target}"),
            "cannot be advisory",
        ),
        (
            format!(
                "[[command]]\nmatch = \"x *\"\naction = \"deploy\"\n{target}\n[[command]]\nmatch = \"x y\"\naction = \"deploy\"\n{target}"
            ),
            "an earlier command matches",
        ),
        (
            format!(
                "[[tool]]\nmatch = \"*\"\naction = \"deploy\"\n{target}\n[[tool]]\nmatch = \"y\"\naction = \"deploy\"\n{target}"
            ),
            "an earlier tool matches",
        ),
        (
            format!("[[command]]\nmatch = \"x\"\nvalues = [\"profile\"]\naction = \"deploy\"\n{target}"),
            "is not an option",
        ),
        ("[[program]]\nname = \"x\"\n[[program]]\nname = \"x\"\n".into(), "x is described twice"),
    ] {
        let found = with(&mappings);
        assert!(found.iter().any(|problem| problem.contains(expected)), "{expected}: {found:?}");
    }
}

/// A guard in a file that nobody reads is no guard.
#[test]
fn duplicate_members_in_entities_are_refused() {
    let found = problems(&[
        ("policies/p.cedar", "permit (principal, action, resource);"),
        ("entities.json", r#"[{"uid": {"type": "A", "id": "a"}, "attrs": {"x": 1, "x": 2}, "parents": []}]"#),
    ]);
    assert!(found.iter().any(|problem| problem.contains("duplicate member name")), "{found:?}");
}
