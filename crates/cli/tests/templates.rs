//! `countersign policy init --template NAME` as a process: what it writes passes its own checks and tests.

#![allow(clippy::unwrap_used, reason = "a test that cannot start its subject has failed")]

use std::{
    path::Path,
    process::{Command, Output},
};

use countersign_policy::Template;

fn countersign(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_countersign")).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn init(folder: &Path, template: Template) -> Output {
    countersign(&["policy", "init", folder.to_str().unwrap(), "--template", template.name()])
}

#[test]
fn every_template_is_written_and_passes_its_own_checks() {
    let root = tempfile::tempdir().unwrap();
    for template in Template::ALL {
        let folder = root.path().join(template.name());
        let written = init(&folder, template);
        assert!(written.status.success(), "{}", text(&written.stderr));
        assert!(text(&written.stdout).contains("countersign policy test"), "it says what to do next");
        for verb in ["check", "test"] {
            let done = countersign(&["policy", verb, folder.to_str().unwrap()]);
            assert!(done.status.success(), "{} {verb}: {}", template.name(), text(&done.stderr));
        }
        assert!(folder.join("README.md").is_file(), "it explains itself");
    }
}

#[test]
fn a_folder_with_something_in_it_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("bundle.toml"), "mine").unwrap();
    let refused = init(folder.path(), Template::Minimal);
    assert!(!refused.status.success());
    assert!(text(&refused.stderr).contains("not empty"), "{}", text(&refused.stderr));
    assert_eq!(std::fs::read_to_string(folder.path().join("bundle.toml")).unwrap(), "mine");
}

#[test]
fn the_choices_are_told() {
    let help = text(&countersign(&["policy", "init", "--help"]).stdout);
    let unknown = countersign(&["policy", "init", "x", "--template", "unheard-of"]);
    for template in Template::ALL {
        assert!(help.contains(template.name()), "{help}");
        assert!(text(&unknown.stderr).contains(template.name()), "{}", text(&unknown.stderr));
    }
    assert_eq!(unknown.status.code(), Some(2));
}
