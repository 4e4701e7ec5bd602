//! Ways around the mappings of the templates, tried on every command that their own tests hold or deny.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

use countersign_model::{Decision, Object, Subject};
use proptest::prelude::*;

use super::decide;
use crate::{
    Bundle, Template,
    mapping::{CommandLine, MappingError},
};

/// The templates that describe commands, and decide about them by the policies that they have in common.
const TEMPLATES: [Template; 3] = [Template::CodingAgent, Template::CloudOps, Template::Data];

fn load(template: Template) -> Bundle {
    Bundle::load(&template.files()).unwrap()
}

fn permits(bundle: &Bundle, line: &CommandLine) -> Result<bool, MappingError> {
    let subject = Subject { kind: "Agent".into(), id: "a".into(), properties: Object::new() };
    let operation = bundle.mappings().command(line)?.into_operation(subject).0;
    assert_eq!(operation.context["command"]["argv"], serde_json::json!(line.argv), "all of it binds");
    Ok(decide(bundle, &operation, &[]).decision == Decision::Permit)
}

/// The commands that the bundle's own tests do not let run at once.
fn stopped(bundle: &Bundle) -> Vec<&CommandLine> {
    bundle.tests.iter().filter_map(|test| test.stopped_command()).collect()
}

/// Options that no mapping knows, wherever they are put, make nothing run that did not: what they do to the
/// command is not known either.
#[test]
fn no_unknown_option_makes_a_command_run_that_did_not() {
    for template in TEMPLATES {
        let bundle = load(template);
        let commands = stopped(&bundle);
        assert!(commands.len() > 50, "{}", template.name());
        for command in commands {
            for option in ["--zzz", "--zzz=status", "-Z"] {
                for place in 1..=command.argv.len() {
                    let mut line = command.clone();
                    line.argv.insert(place, option.to_owned());
                    assert_ne!(permits(&bundle, &line), Ok(true), "{}: {:?}", template.name(), line.argv);
                }
            }
        }
    }
}

/// Neither does calling the program by its path, or from another folder, or with a word more.
#[test]
fn no_other_way_to_call_it_makes_a_command_run_that_did_not() {
    for template in TEMPLATES {
        let bundle = load(template);
        for command in stopped(&bundle) {
            let (program, rest) = command.argv.split_first().unwrap();
            let name = program.rsplit('/').next().unwrap();
            for called in [format!("/usr/bin/{name}"), format!("/tmp/{name}"), format!("./{name}")] {
                let argv = std::iter::once(called).chain(rest.iter().cloned()).collect();
                let line = CommandLine { argv, ..command.clone() };
                // A program of the system is the one of its name, which the agent may have called otherwise.
                let same = program.contains('/') && line.argv[0].starts_with("/usr/bin/");
                assert!(same || permits(&bundle, &line) != Ok(true), "{}: {:?}", template.name(), line.argv);
            }
            let mut longer = command.clone();
            longer.argv.push("--".to_owned());
            assert_ne!(permits(&bundle, &longer), Ok(true), "{}: {:?}", template.name(), longer.argv);
        }
    }
}

/// Every word that the tests of a bundle use.
fn words(bundle: &Bundle) -> Vec<String> {
    let words: BTreeSet<String> =
        stopped(bundle).into_iter().flat_map(|command| command.argv.clone()).collect();
    words.into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Total: whatever the words are, a command is mapped or refused, and all of it binds.
    #[test]
    fn every_command_line_is_mapped_or_refused(
        picks in prop::collection::vec(prop::collection::vec(prop_oneof![
            6 => any::<prop::sample::Index>().prop_map(Ok),
            1 => ".{0,20}".prop_map(Err),
        ], 0..12), 50),
    ) {
        static BUNDLE: LazyLock<Bundle> = LazyLock::new(|| load(Template::CodingAgent));
        let words = words(&BUNDLE);
        for picks in picks {
            let word = |pick: Result<prop::sample::Index, String>| match pick {
                Ok(index) => index.get(&words).clone(),
                Err(text) => text,
            };
            let line = CommandLine {
                argv: picks.into_iter().map(word).collect(),
                cwd: "/work".into(),
                env: BTreeMap::new(),
            };
            let _ = permits(&BUNDLE, &line);
        }
    }
}
