//! `tests/*.toml`: operations, and the decisions they must get. A bundle is tested before it is pushed.
//!
//! ```toml
//! [[test]]
//! name         = "a bucket policy is held"
//! command      = ["aws", "s3api", "put-bucket-policy", "--bucket", "b", "--policy", "{}"]
//! expect       = "hold"
//! requirements = ["change"]
//! ```
//!
//! What is tested is one of: `command` (argv, with `cwd` and `env`), `tool` (`server`, `name`,
//! `arguments`, and the mapping that it has `declared`), `method` (`server`, `name`, `params`), or an operation (`action`, `resource`, `context`).

use std::collections::{BTreeMap, BTreeSet};

use countersign_model::{
    Action, AgentName, Decision, Object, Operation, Requirement, RequirementName, Resource, Subject,
    Timestamp,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    bundle::Bundle,
    decide::Verdict,
    mapping::{CommandLine, Mapped, MappingError, ToolCall},
    problem::{Place, Problems},
    request::Call,
    toml_reader::{Section, read_file},
};

/// The agent in a test that names none.
const DEFAULT_AGENT: &str = "test-agent";
/// The time in a test that names none: a Monday, in office hours.
const DEFAULT_TIME: &str = "2026-03-02T10:00:00Z";

/// One test of a bundle.
#[derive(Debug)]
pub(crate) struct SelfTest {
    file: String,
    line: u32,
    name: String,
    agent: AgentName,
    subject: Option<Subject>,
    asserted: Option<Subject>,
    met: BTreeSet<RequirementName>,
    now: Timestamp,
    what: What,
    expect: Expect,
    requirements: BTreeSet<RequirementName>,
    policies: Option<BTreeSet<String>>,
}

#[derive(Debug)]
enum What {
    Command(CommandLine),
    Tool { server: String, name: String, arguments: Object, declared: Option<Value> },
    Method { server: String, name: String, params: Object },
    Operation { action: Action, resource: Resource, context: Object },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Expect {
    Permit,
    Deny,
    Hold,
}

/// How one test went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TestResult {
    /// The file that the test is in.
    pub file: String,
    /// The line that it begins in.
    pub line: u32,
    /// Its name.
    pub name: String,
    /// What went otherwise than expected; `None` when the test passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// How a bundle's tests went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TestReport {
    /// Every test, in the order of files and lines.
    pub results: Vec<TestResult>,
}

impl TestReport {
    /// Whether every test passed.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.failures().next().is_none()
    }

    /// The tests that failed.
    pub fn failures(&self) -> impl Iterator<Item = &TestResult> {
        self.results.iter().filter(|result| result.failure.is_some())
    }
}

impl Bundle {
    /// Runs the bundle's own tests.
    #[must_use]
    pub fn run_tests(&self) -> TestReport {
        let result = |test: &SelfTest| TestResult {
            file: test.file.clone(),
            line: test.line,
            name: test.name.clone(),
            failure: test.run(self).err(),
        };
        TestReport { results: self.tests.iter().map(result).collect() }
    }
}

impl SelfTest {
    /// The command that it is about, when it must not run at once.
    #[cfg(test)]
    pub(crate) fn stopped_command(&self) -> Option<&CommandLine> {
        match &self.what {
            What::Command(line) if self.expect != Expect::Permit && self.met.is_empty() => Some(line),
            _ => None,
        }
    }

    fn run(&self, bundle: &Bundle) -> Result<(), String> {
        let operations = match self.operations(bundle) {
            Ok(operations) => operations,
            // A mapping that fails is a deny for whoever asked (I6).
            Err(_) if self.expect == Expect::Deny => return Ok(()),
            Err(error) => return Err(format!("expected {:?}, but it is denied: {error}", self.expect)),
        };
        let decide = |operation| {
            bundle.decide(&Call {
                operation,
                agent: &self.agent,
                asserted_subject: self.asserted.as_ref(),
                met: &self.met,
                now: self.now,
            })
        };
        let verdict = Verdict::of_all(operations.iter().map(decide));
        let policies: BTreeSet<String> = verdict.policies.iter().map(|policy| policy.id.clone()).collect();
        let got = match &verdict.decision {
            Decision::Permit => (Expect::Permit, BTreeSet::new()),
            Decision::Deny => (Expect::Deny, BTreeSet::new()),
            Decision::Hold { requirements } => (Expect::Hold, requirements.iter().cloned().collect()),
        };
        if got != (self.expect, self.requirements.clone()) {
            let wanted = shown(self.expect, &self.requirements);
            return Err(format!("expected {wanted}, got {} by {policies:?}", shown(got.0, &got.1)));
        }
        match &self.policies {
            Some(expected) if *expected != policies => {
                Err(format!("expected it to be decided by {expected:?}, but it was by {policies:?}"))
            }
            _ => Ok(()),
        }
    }

    /// What policy is asked about: each of these must be permitted.
    fn operations(&self, bundle: &Bundle) -> Result<Vec<Operation>, MappingError> {
        let mappings = bundle.mappings();
        let mut mapped: Mapped = match &self.what {
            What::Command(line) => mappings.command(line)?,
            What::Tool { server, name, arguments, declared } => {
                let declared = declared.as_ref();
                mappings.tool(&ToolCall { server, tool: name, arguments, declared })?
            }
            What::Method { server, name, params } => mappings.method(server, name, params)?,
            What::Operation { action, resource, context } => {
                return Ok(vec![Operation {
                    subject: self.subject(),
                    action: action.clone(),
                    resource: resource.clone(),
                    context: context.clone(),
                }]);
            }
        };
        let parts = std::mem::take(&mut mapped.parts);
        let asked = if parts.is_empty() { vec![mapped] } else { parts };
        Ok(asked.into_iter().map(|one| one.into_operation(self.subject()).0).collect())
    }

    fn subject(&self) -> Subject {
        self.subject.clone().unwrap_or_else(|| Subject {
            kind: "Agent".to_owned(),
            id: self.agent.to_string(),
            properties: Object::new(),
        })
    }
}

fn shown(expect: Expect, requirements: &BTreeSet<RequirementName>) -> String {
    let names: Vec<_> = requirements.iter().map(RequirementName::as_str).collect();
    match expect {
        Expect::Permit => "permit".to_owned(),
        Expect::Deny => "deny".to_owned(),
        Expect::Hold => format!("hold for [{}]", names.join(", ")),
    }
}

/// Reads a file of tests.
pub(crate) fn read(
    file: &str,
    bytes: &[u8],
    known: &BTreeMap<RequirementName, Requirement>,
    problems: &mut Problems,
) -> Vec<SelfTest> {
    let mut tests = Vec::new();
    read_file(file, bytes, problems, |section, problems| {
        section.tables("test", problems, |section, problems| {
            tests.extend(read_test(file, section, known, problems));
        });
    });
    tests
}

fn read_test(
    file: &str,
    section: &mut Section<'_, '_>,
    known: &BTreeMap<RequirementName, Requirement>,
    problems: &mut Problems,
) -> Option<SelfTest> {
    let place = section.place();
    let name = section.require::<String>("name", problems);
    let agent = section.get::<AgentName>("agent", problems).or_else(|| DEFAULT_AGENT.parse().ok());
    let subject = section.get("subject", problems);
    let asserted = section.get("asserted_subject", problems);
    let met = names("approvals", section, known, problems);
    let now = section.get::<Timestamp>("time", problems).or_else(|| DEFAULT_TIME.parse().ok());
    let expect = section.require::<Expect>("expect", problems);
    let requirements = names("requirements", section, known, problems);
    let policies = section.get("policies", problems);
    let what = read_what(section, place, problems);
    if expect.is_some_and(|expect| (expect == Expect::Hold) == requirements.is_empty()) {
        let hint = "expect = \"hold\" goes with requirements = [\"…\"], and only it does";
        problems.add(place, "expect and requirements do not fit together", hint);
    }
    Some(SelfTest {
        file: file.to_owned(),
        line: place.line.unwrap_or(1),
        name: name?,
        agent: agent?,
        subject,
        asserted,
        met,
        now: now?,
        what: what?,
        expect: expect?,
        requirements,
        policies,
    })
}

fn names(
    key: &'static str,
    section: &mut Section<'_, '_>,
    known: &BTreeMap<RequirementName, Requirement>,
    problems: &mut Problems,
) -> BTreeSet<RequirementName> {
    let names: BTreeSet<RequirementName> = section.get(key, problems).unwrap_or_default();
    for name in names.iter().filter(|name| !known.contains_key(*name)) {
        problems.add(section.place_of(key), format!("there is no requirement {name}"), "see approvals.toml");
    }
    names
}

fn read_what(section: &mut Section<'_, '_>, place: Place<'_>, problems: &mut Problems) -> Option<What> {
    let argv = section.get::<Vec<String>>("command", problems);
    let cwd = section.get::<String>("cwd", problems).unwrap_or_else(|| "/work".to_owned());
    let env = section.get("env", problems).unwrap_or_default();
    let tool = section.table("tool", problems, |section, problems| {
        Some(What::Tool {
            server: section.require("server", problems)?,
            name: section.require("name", problems)?,
            arguments: section.get("arguments", problems).unwrap_or_default(),
            declared: section.get("declared", problems),
        })
    });
    let method = section.table("method", problems, |section, problems| {
        Some(What::Method {
            server: section.require("server", problems)?,
            name: section.require("name", problems)?,
            params: section.get("params", problems).unwrap_or_default(),
        })
    });
    let action = section.get::<NameOrAction>("action", problems).map(Action::from);
    let resource = section.get::<Resource>("resource", problems);
    let context = section.get("context", problems).unwrap_or_default();
    let operation =
        action.zip(resource).map(|(action, resource)| What::Operation { action, resource, context });
    let command = argv.map(|argv| What::Command(CommandLine { argv, cwd, env }));
    let mut all = [command, tool.flatten(), method.flatten(), operation].into_iter().flatten();
    let (what, more) = (all.next(), all.next());
    if what.is_none() || more.is_some() {
        let hint = "give it one of: command, tool, method, or action and resource";
        problems.add(place, "it is not clear what this test is about", hint);
    }
    what
}

/// An action, or just its name.
#[derive(Deserialize)]
#[serde(untagged)]
enum NameOrAction {
    Name(String),
    Action(Action),
}

impl From<NameOrAction> for Action {
    fn from(given: NameOrAction) -> Self {
        match given {
            NameOrAction::Name(name) => Self { name, properties: Object::new() },
            NameOrAction::Action(action) => action,
        }
    }
}
