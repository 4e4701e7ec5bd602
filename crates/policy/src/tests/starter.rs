//! The starter bundle holds together, and its own tests pass.

use crate::{Bundle, starter};

#[test]
fn the_starter_loads_and_its_own_tests_pass() {
    let bundle = Bundle::load(&starter()).unwrap_or_else(|problems| panic!("{problems}"));
    let report = bundle.run_tests();
    let failures: Vec<String> = report
        .failures()
        .map(|test| {
            format!("{}:{} {}: {}", test.file, test.line, test.name, test.failure.as_deref().unwrap_or(""))
        })
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(report.results.len() > 50);
}

/// A file that is not embedded would be enforced in development and missing in the program.
#[test]
fn every_file_of_the_starter_is_part_of_the_program() {
    fn walk(root: &std::path::Path, below: &std::path::Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(below).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(root, &path, found);
            } else {
                found.push(path.strip_prefix(root).unwrap().to_string_lossy().into_owned());
            }
        }
    }
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/bundles/starter");
    let mut on_disk = Vec::new();
    walk(&root, &root, &mut on_disk);
    on_disk.sort();
    let embedded: Vec<String> = starter().iter().map(|(path, _)| path.to_owned()).collect();
    assert_eq!(on_disk, embedded);
}
