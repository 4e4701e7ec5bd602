//! A bundle: its files read, checked, compiled and indexed. Whole or not at all (I7).

use std::collections::BTreeMap;

use countersign_model::{Digest, Requirement, RequirementName, Seconds, redaction::Redaction};

use crate::{
    entities::Store,
    evaluate::Compiled,
    expr::Reach,
    files::BundleFiles,
    index::{ActionMembers, Index},
    mapping::Mappings,
    outputs::{self, Outputs},
    policies,
    problem::{Place, Problems},
    requirements,
    self_test::{self, SelfTest},
    settings::{self, AuditDurability, Settings},
};

const BUNDLE: &str = "bundle.toml";
const APPROVALS: &str = "approvals.toml";
const OUTPUTS: &str = "outputs.toml";

/// What can be one file, or several in a folder of that name.
struct Part {
    name: &'static str,
    extension: &'static str,
}

impl Part {
    const SCHEMA: Self = Self { name: "schema", extension: ".cedarschema" };
    const ENTITIES: Self = Self { name: "entities", extension: ".json" };
    const MAPPINGS: Self = Self { name: "mappings", extension: ".toml" };
    const ALL: [Self; 3] = [Self::SCHEMA, Self::ENTITIES, Self::MAPPINGS];

    fn has(&self, path: &str) -> bool {
        let rest = path.strip_prefix(self.name).and_then(|rest| rest.strip_suffix(self.extension));
        rest.is_some_and(|rest| rest.is_empty() || (rest.len() > 1 && rest.starts_with('/')))
    }
}

/// The files of a part, in the order of their paths.
fn parts(files: &BundleFiles, part: Part) -> impl Iterator<Item = (&str, &[u8])> {
    files.iter().filter(move |(path, _)| part.has(path))
}

/// A compiled bundle. Immutable; share it.
#[derive(Debug)]
pub struct Bundle {
    settings: Settings,
    requirements: BTreeMap<RequirementName, Requirement>,
    mappings: Mappings,
    outputs: Outputs,
    digest: Digest,
    pub(crate) policies: Vec<Compiled>,
    pub(crate) index: Index,
    pub(crate) store: Store,
    pub(crate) tests: Vec<SelfTest>,
}

impl Bundle {
    /// Reads, checks, compiles and indexes a bundle.
    ///
    /// # Errors
    /// Everything that is wrong with it, at once.
    pub fn load(files: &BundleFiles) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        report_strangers(files, &mut problems);
        let settings = settings::read(BUNDLE, files.get(BUNDLE).unwrap_or_default(), &mut problems);
        let requirements = match files.get(APPROVALS) {
            Some(bytes) => requirements::read(APPROVALS, bytes, &mut problems),
            None => BTreeMap::new(),
        };
        let has_schema = parts(files, Part::SCHEMA).next().is_some();
        let schema = policies::read_schema(parts(files, Part::SCHEMA), &mut problems);
        let policy_files = files.iter().filter(|(path, _)| is_policy(path));
        let loaded = policies::read(policy_files, &requirements, schema.as_ref(), &mut problems);
        let compiled: Vec<Compiled> = loaded.into_iter().map(Compiled::new).collect();

        let mut reach = Reach::default();
        let named: Vec<_> = compiled.iter().map(|policy| reach.add(policy.condition())).collect();
        // With a schema that cannot be read, entities cannot be judged.
        let entities = parts(files, Part::ENTITIES).filter(|_| schema.is_some() == has_schema);
        let store = Store::read(entities, schema.as_ref(), reach, &mut problems);
        let members = ActionMembers::of(store.iter().map(AsRef::as_ref));
        let index = Index::build(compiled.iter().map(|policy| &policy.policy).zip(named), &members);

        let mappings = Mappings::read(parts(files, Part::MAPPINGS), schema.as_ref(), &mut problems);
        let outputs = files.get(OUTPUTS).map(|bytes| outputs::read(OUTPUTS, bytes, &mut problems));
        let tests = files
            .iter()
            .filter(|(path, _)| is_test(path))
            .flat_map(|(path, bytes)| self_test::read(path, bytes, &requirements, &mut problems))
            .collect();
        problems.into_result()?;
        let digest = files.digest();
        Ok(Self {
            settings,
            requirements,
            mappings,
            outputs: outputs.unwrap_or_default(),
            digest,
            policies: compiled,
            index,
            store,
            tests,
        })
    }

    /// The bundle's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    /// How long it may be enforced without hearing from the control plane (I9).
    #[must_use]
    pub fn lease(&self) -> Seconds {
        self.settings.lease
    }

    /// What is taken out before anything is shipped or shown (I10).
    #[must_use]
    pub fn redaction(&self) -> &Redaction {
        &self.settings.redaction
    }

    /// How soon a plain permit's event is on disk.
    #[must_use]
    pub fn durability(&self) -> AuditDurability {
        self.settings.durability
    }

    /// The digest of the bundle's files.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// A requirement by its name.
    #[must_use]
    pub fn requirement(&self, name: &RequirementName) -> Option<&Requirement> {
        self.requirements.get(name)
    }

    /// All requirements, by name.
    pub fn requirements(&self) -> impl Iterator<Item = &Requirement> {
        self.requirements.values()
    }

    /// How commands and MCP messages become operations.
    #[must_use]
    pub fn mappings(&self) -> &Mappings {
        &self.mappings
    }

    /// What agents may not see in what servers answer.
    #[must_use]
    pub fn outputs(&self) -> &Outputs {
        &self.outputs
    }

    /// How many policies it has.
    #[must_use]
    pub fn policy_count(&self) -> usize {
        self.policies.len()
    }
}

fn is_policy(path: &str) -> bool {
    path.starts_with("policies/") && path.ends_with(".cedar")
}

fn is_test(path: &str) -> bool {
    path.starts_with("tests/") && path.ends_with(".toml")
}

/// A misplaced policy would be a guard that is not there, so every file must be one that has a meaning.
fn report_strangers(files: &BundleFiles, problems: &mut Problems) {
    if files.get(BUNDLE).is_none() {
        problems.add(Place::file(BUNDLE), "this file is missing", "add it, with name = \"…\" in it");
    }
    for (path, _) in files.iter() {
        let has_meaning = [BUNDLE, APPROVALS, OUTPUTS].contains(&path)
            || is_policy(path)
            || is_test(path)
            || Part::ALL.iter().any(|part| part.has(path));
        let is_note = path.ends_with(".md") || path.ends_with("LICENSE");
        if !has_meaning && !is_note {
            let hint = "a bundle has bundle.toml, approvals.toml, outputs.toml, policies/*.cedar, tests/*.toml, *.md, and \
                        schema.cedarschema, entities.json and mappings.toml or folders of these names \
                        (mappings/aws.toml)";
            problems.add(Place::file(path), "this file has no meaning in a bundle", hint);
        }
    }
    if !files.iter().any(|(path, _)| is_policy(path)) {
        let hint = "add policies/*.cedar; without any, everything is denied";
        problems.add(Place::file("policies"), "the bundle has no policies", hint);
    }
}
