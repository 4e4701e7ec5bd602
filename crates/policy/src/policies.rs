//! `policies/*.cedar` and the schema: parsing, naming, validating and checking annotations.

use std::{
    collections::{BTreeMap, BTreeSet},
    str::FromStr,
};

use cedar_policy::{Effect, Policy, PolicyId, PolicySet, Schema, SchemaFragment, ValidationMode, Validator};
use countersign_model::{PolicyEffect, Requirement, RequirementName};
use miette::Diagnostic;

use crate::{
    expr::{LiftFault, check_lift},
    problem::{Place, Problems, Source, closest},
};

/// The annotations that mean something to Countersign.
const ANNOTATIONS: [&str; 3] = ["approval", "id", "reason"];
/// The most policies a bundle can have.
const MAX_POLICIES: usize = 50_000;

/// One policy, with what its annotations say.
#[derive(Debug, Clone)]
pub(crate) struct LoadedPolicy {
    pub(crate) policy: Policy,
    pub(crate) id: String,
    pub(crate) effect: PolicyEffect,
    pub(crate) reason: Option<String>,
    pub(crate) approval: Option<RequirementName>,
    pub(crate) file: String,
    pub(crate) line: u32,
}

/// The schema that the files make together; `None` when there is none, or it cannot be read.
pub(crate) fn read_schema<'a>(
    files: impl Iterator<Item = (&'a str, &'a [u8])>,
    problems: &mut Problems,
) -> Option<Schema> {
    let read: Vec<Option<(&str, SchemaFragment)>> =
        files.map(|(file, bytes)| Some((file, read_fragment(file, bytes, problems)?))).collect();
    let fragments: Vec<(&str, SchemaFragment)> = read.into_iter().collect::<Option<_>>()?;
    // What is wrong between fragments belongs to no one file.
    let file = match fragments.as_slice() {
        [] => return None,
        [(file, _)] => *file,
        _ => "schema",
    };
    let schema = Schema::from_schema_fragments(fragments.into_iter().map(|(_, fragment)| fragment));
    schema
        .inspect_err(|error| problems.add(Place::file(file), format!("schema: {error}"), help_of(error)))
        .ok()
}

fn read_fragment(file: &str, bytes: &[u8], problems: &mut Problems) -> Option<SchemaFragment> {
    let source = Source::of(file, bytes, problems)?;
    let mut report = |error: &dyn Diagnostic| {
        problems.add(place_of(&source, error), format!("schema: {error}"), help_of(error));
    };
    match SchemaFragment::from_cedarschema_str(source.text) {
        Ok((fragment, warnings)) => {
            warnings.for_each(|warning| report(&warning));
            Some(fragment)
        }
        Err(error) => {
            report(&error);
            None
        }
    }
}

/// The policies of all files, in the order of files and lines.
pub(crate) fn read<'a>(
    files: impl Iterator<Item = (&'a str, &'a [u8])>,
    requirements: &BTreeMap<RequirementName, Requirement>,
    schema: Option<&Schema>,
    problems: &mut Problems,
) -> Vec<LoadedPolicy> {
    let mut loaded = Vec::new();
    let mut sources = BTreeMap::new();
    for (file, bytes) in files {
        let Some(source) = Source::of(file, bytes, problems) else { continue };
        read_file(&source, &mut loaded, problems);
        sources.insert(file, source);
    }
    if loaded.len() > MAX_POLICIES {
        let message = format!("a bundle can have at most {MAX_POLICIES} policies");
        problems.add(Place::file("policies"), message, "merge policies that differ only in one name");
        return Vec::new();
    }
    report_repeated_ids(&loaded, problems);
    for policy in &mut loaded {
        read_approval(policy, requirements, problems);
    }
    if let Some(schema) = schema {
        validate(&loaded, &sources, schema, problems);
    }
    loaded
}

fn read_file(source: &Source<'_>, loaded: &mut Vec<LoadedPolicy>, problems: &mut Problems) {
    let set = match PolicySet::from_str(source.text) {
        Ok(set) => set,
        Err(errors) => {
            for error in errors.iter() {
                problems.add(place_of(source, error), error.to_string(), help_of(error));
            }
            return;
        }
    };
    for template in set.templates() {
        let offset = template.as_ref().loc().map_or(0, cedar_policy_core::parser::Loc::start);
        let hint = "write a policy for each case, or use groups";
        problems.add(source.at(offset), "templates (?principal, ?resource) are not supported", hint);
    }
    let mut policies: Vec<(usize, &Policy)> = set
        .policies()
        .map(|policy| (policy.as_ref().loc().map_or(0, cedar_policy_core::parser::Loc::start), policy))
        .collect();
    policies.sort_by_key(|(offset, _)| *offset);
    for (offset, policy) in policies {
        let place = source.at(offset);
        loaded.push(name(policy, place, problems));
    }
}

/// Gives a policy the name in its `@id` (which Cedar's parser ignores), else its file and line.
fn name(policy: &Policy, place: Place<'_>, problems: &mut Problems) -> LoadedPolicy {
    let line = place.line.unwrap_or(1);
    let id = match policy.annotation("id") {
        Some(id) if id.is_empty() || id.chars().count() > 128 || id.chars().any(char::is_control) => {
            problems.add(place, format!("@id({id:?}) is no name"), "1 to 128 printable characters");
            format!("{}:{line}", place.file)
        }
        Some(id) => id.to_owned(),
        None => format!("{}:{line}", place.file),
    };
    for (annotation, _) in policy.annotations().filter(|(name, _)| !ANNOTATIONS.contains(name)) {
        if let Some(known) = closest(annotation, ANNOTATIONS).filter(|known| known.len() > 2) {
            problems.add(place, format!("@{annotation} means nothing"), format!("did you mean @{known}?"));
        }
    }
    LoadedPolicy {
        policy: policy.new_id(PolicyId::new(&id)),
        id,
        effect: match policy.effect() {
            Effect::Permit => PolicyEffect::Permit,
            Effect::Forbid => PolicyEffect::Forbid,
        },
        reason: policy.annotation("reason").filter(|reason| !reason.is_empty()).map(ToOwned::to_owned),
        approval: None,
        file: place.file.to_owned(),
        line,
    }
}

fn report_repeated_ids(loaded: &[LoadedPolicy], problems: &mut Problems) {
    let mut seen = BTreeSet::new();
    for policy in loaded {
        if !seen.insert(policy.id.as_str()) {
            let place = Place { file: &policy.file, line: Some(policy.line) };
            problems.add(
                place,
                format!("a second policy has the id {:?}", policy.id),
                "give each its own @id",
            );
        }
    }
}

/// Reads `@approval` and refuses one that could not work as it says.
fn read_approval(
    loaded: &mut LoadedPolicy,
    requirements: &BTreeMap<RequirementName, Requirement>,
    problems: &mut Problems,
) {
    let Some(text) = loaded.policy.annotation("approval") else { return };
    let place = Place { file: &loaded.file, line: Some(loaded.line) };
    let known = text.parse::<RequirementName>().ok().filter(|name| requirements.contains_key(name));
    let Some(name) = known else {
        let hint = match closest(text, requirements.keys().map(RequirementName::as_str)) {
            Some(known) => format!("did you mean {known:?}?"),
            None => format!("add [requirements.{text}] to approvals.toml"),
        };
        problems.add(place, format!("@approval({text:?}) names no requirement"), hint);
        return;
    };
    if loaded.effect != PolicyEffect::Forbid {
        let hint = "put @approval on a forbid, and permit the action without it";
        problems.add(place, "only a forbid can ask for an approval", hint);
        return;
    }
    if let Err(fault) = check_lift(&loaded.policy.as_ref().condition(), name.as_str()) {
        let message = match fault {
            LiftFault::NotLifted => {
                format!("approval {name:?} does not lift this forbid", name = name.as_str())
            }
            LiftFault::OtherUse => {
                format!("this forbid asks context for other approvals than {:?}", name.as_str())
            }
            LiftFault::NeverForbids => "this forbid forbids nothing while its approval is missing".to_owned(),
        };
        let hint = format!(
            "end it with: unless {{ context.approvals.contains({:?}) }}, and use approvals nowhere else in it",
            name.as_str()
        );
        problems.add(place, message, hint);
    }
    loaded.approval = Some(name);
}

/// Cedar's own strict validation. Its warnings (a policy that can never apply, names that only look
/// alike) are refused, too: nothing about a guard should be other than it looks.
fn validate(
    loaded: &[LoadedPolicy],
    sources: &BTreeMap<&str, Source<'_>>,
    schema: &Schema,
    problems: &mut Problems,
) {
    let mut set = PolicySet::new();
    for policy in loaded {
        if set.add(policy.policy.clone()).is_err() {
            return; // a repeated id, which is reported already
        }
    }
    let by_id: BTreeMap<&str, &LoadedPolicy> =
        loaded.iter().map(|policy| (policy.id.as_str(), policy)).collect();
    let result = Validator::new(schema.clone()).validate(&set, ValidationMode::Strict);
    let errors = result.validation_errors().map(|error| (error.policy_id(), error as &dyn Diagnostic));
    let warnings =
        result.validation_warnings().map(|warning| (warning.policy_id(), warning as &dyn Diagnostic));
    for (id, diagnostic) in errors.chain(warnings) {
        let Some(policy) = by_id.get(AsRef::<str>::as_ref(id)) else { continue };
        let Some(source) = sources.get(policy.file.as_str()) else { continue };
        let mut place = place_of(source, diagnostic);
        place.line = place.line.or(Some(policy.line));
        problems.add(place, diagnostic.to_string(), help_of(diagnostic));
    }
}

fn place_of<'a>(source: &Source<'a>, diagnostic: &dyn Diagnostic) -> Place<'a> {
    let label = diagnostic.labels().and_then(|mut labels| labels.next());
    label.map_or(Place::file(source.file), |label| source.at(label.offset()))
}

fn help_of(diagnostic: &dyn Diagnostic) -> String {
    diagnostic.help().map(|help| help.to_string()).unwrap_or_default()
}
