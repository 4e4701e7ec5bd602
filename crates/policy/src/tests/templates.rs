//! Every template holds together, its own tests pass, and none relies on what a caller can make up.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use cedar_policy_core::ast::{Expr, ExprKind, Literal, Var};
use countersign_model::RequirementKind;

use crate::{Bundle, Template};

fn load(template: Template) -> Bundle {
    Bundle::load(&template.files()).unwrap_or_else(|problems| panic!("{}:\n{problems}", template.name()))
}

#[test]
fn every_template_loads_and_its_own_tests_pass() {
    for template in Template::ALL {
        let report = load(template).run_tests();
        let failures: Vec<String> = report
            .failures()
            .map(|test| {
                let failure = test.failure.as_deref().unwrap_or("");
                format!("{}:{} {}: {failure}", test.file, test.line, test.name)
            })
            .collect();
        assert!(failures.is_empty(), "{}:\n{}", template.name(), failures.join("\n"));
        assert!(report.results.len() >= 10, "{} has hardly any tests", template.name());
    }
}

/// A file that is not embedded would be a guard that is not there.
#[test]
fn every_file_on_disk_is_part_of_a_template() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/bundles");
    let of = |folder: &str| -> BTreeMap<String, String> {
        let root = root.join(folder);
        let mut found = BTreeMap::new();
        walk(&root, &root, &mut found);
        found
    };
    let common = of("common");
    let mut used = BTreeSet::new();
    for template in Template::ALL {
        let own = of(template.name());
        for (path, bytes) in template.files().iter() {
            let text = std::str::from_utf8(bytes).unwrap();
            let origin = own.get(path).or_else(|| common.get(path));
            assert_eq!(origin.map(String::as_str), Some(text), "{} {path}", template.name());
            used.insert(path.to_owned());
        }
        let embedded: BTreeSet<String> = template.files().iter().map(|(path, _)| path.to_owned()).collect();
        let missing: Vec<_> = own.keys().filter(|path| !embedded.contains(*path)).collect();
        assert!(missing.is_empty(), "{}: {missing:?}", template.name());
    }
    let unused: Vec<_> = common.keys().filter(|path| !used.contains(*path)).collect();
    assert!(unused.is_empty(), "{unused:?}");
}

fn walk(root: &Path, below: &Path, found: &mut BTreeMap<String, String>) {
    for entry in std::fs::read_dir(below).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(root, &path, found);
        } else {
            let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
            found.insert(name, std::fs::read_to_string(&path).unwrap());
        }
    }
}

/// Properties that come with an operation overlay the bundle's attributes, so a policy that goes by one goes
/// by what the caller says. Only the hook's files may: it fills them in from the file system.
#[test]
fn no_policy_goes_by_an_attribute_that_a_caller_can_make_up() {
    for template in Template::ALL {
        for policy in &load(template).policies {
            let reads_entities = policy.condition().subexpressions().any(reads_an_attribute);
            let excepted = policy.file == "policies/agent.cedar";
            assert!(excepted || !reads_entities, "{}: {}", template.name(), policy.id);
        }
    }
}

/// Whether an expression looks into the principal, the resource, or an entity that is written out.
fn reads_an_attribute(expr: &Expr) -> bool {
    match expr.expr_kind() {
        ExprKind::GetAttr { expr, .. }
        | ExprKind::HasAttr { expr, .. }
        | ExprKind::ExtHasAttr { expr, .. } => {
            let of_entity = |part: &Expr| {
                let kind = part.expr_kind();
                matches!(
                    kind,
                    ExprKind::Var(Var::Principal | Var::Resource) | ExprKind::Lit(Literal::EntityUID(_))
                )
            };
            expr.subexpressions().any(of_entity)
        }
        _ => false,
    }
}

/// What moves between people is never confirmed by the agent's own human alone.
#[test]
fn only_the_unfamiliar_is_confirmed() {
    for template in Template::ALL {
        let bundle = load(template);
        for requirement in bundle.requirements() {
            let confirmation = requirement.kind == RequirementKind::Confirmation;
            let name = requirement.name.as_str();
            assert!(
                !confirmation || ["confirm", "own-confirmation"].contains(&name),
                "{}: {name}",
                template.name()
            );
        }
    }
}

#[test]
fn a_template_is_found_by_its_name() {
    for template in Template::ALL {
        assert_eq!(template.name().parse(), Ok(template));
        assert!(!template.about().is_empty());
    }
    assert!("Starter".parse::<Template>().is_err());
}
