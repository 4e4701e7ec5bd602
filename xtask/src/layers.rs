//! `cargo xtask layers`: the dependency table of crates/README.md, held against `cargo metadata`.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::command::{cargo, output};

/// The map of the architecture, which has the table.
const MAP: &str = include_str!("../../crates/README.md");

/// The one home, or the few, of each third-party crate that somebody may want to replace.
const HOMES: [(&str, &[&str]); 21] = [
    ("aws-lc-rs", &["model", "pki", "control-plane", "intercept", "sidecar", "testkit"]),
    ("axum", &["control-plane", "intercept", "testkit"]),
    ("bincode", &["protocol"]),
    ("brush-parser", &["intercept"]),
    ("cedar-policy", &["policy"]),
    ("cel", &["policy"]),
    ("jsonwebtoken", &["control-plane", "intercept"]),
    ("lettre", &["control-plane"]),
    ("maud", &["control-plane"]),
    ("opentelemetry", &["telemetry"]),
    ("opentelemetry-otlp", &["telemetry"]),
    ("opentelemetry_sdk", &["telemetry"]),
    ("quinn", &["transport"]),
    ("rcgen", &["pki"]),
    ("redb", &["spool", "store", "testkit"]),
    ("regex", &["policy"]),
    ("reqwest", &["cli", "control-plane"]),
    ("tokio-tungstenite", &["control-plane", "testkit"]),
    ("tracing-opentelemetry", &["telemetry"]),
    ("utoipa", &["control-plane"]),
    ("x509-parser", &["pki"]),
];

/// Rooms without I/O: none of these may appear among their dependencies.
const PURE: [&str; 5] = ["model", "policy", "approval", "audit", "protocol"];
const IMPURE: [&str; 7] = ["tokio", "quinn", "redb", "axum", "hyper", "reqwest", "rand"];

pub(crate) fn run() -> Result<()> {
    let metadata = output("cargo metadata", &mut cargo(&["metadata", "--format-version", "1", "--no-deps"]))?;
    let metadata: Value = serde_json::from_str(&metadata).context("cargo metadata")?;
    let broken: Vec<String> =
        dependencies(&metadata).iter().flat_map(|(room, used)| broken_by(room, used)).collect();
    if !broken.is_empty() {
        bail!(
            "layers:\n  {}\nThe table is in crates/README.md; change both or neither.",
            broken.join("\n  ")
        );
    }
    eprintln!("── layers: every dependency is in the table");
    Ok(())
}

/// Room → the packages it uses outside of its tests.
fn dependencies(metadata: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    list(&metadata["packages"])
        .iter()
        .filter_map(|package| {
            let room = text(&package["name"]).strip_prefix("countersign-")?.to_owned();
            let used = list(&package["dependencies"]);
            let used = used.iter().filter(|dependency| dependency["kind"].is_null());
            Some((room, used.map(|dependency| text(&dependency["name"])).collect()))
        })
        .collect()
}

/// Room → the rooms that it may use, by the map.
fn table() -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    MAP.lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split('|').map(str::trim);
            let room = cells.next()?.trim_end_matches('`');
            let used = cells.nth(1)?.split(',').map(str::trim).filter(|used| *used != "–");
            Some((room, used.collect()))
        })
        .collect()
}

fn broken_by(room: &str, used: &BTreeSet<String>) -> Vec<String> {
    // The command may hold every room; the end-to-end tests only run its binaries.
    let table = table();
    let may_use = table.get(room);
    let any = room == "tests" || may_use.is_some_and(|may| may.contains(&"any"));
    let homes: BTreeMap<_, _> = HOMES.into_iter().collect();
    let mut broken = Vec::new();
    if !any && may_use.is_none() {
        broken.push(format!("{room} is in no line of the table"));
    }
    for name in used {
        if let Some(other) = name.strip_prefix("countersign-") {
            let may = may_use.is_some_and(|may| may.contains(&other));
            if !any && !may {
                broken.push(format!("{room} may not use {other}"));
            }
        }
        if homes.get(name.as_str()).is_some_and(|homes| !homes.contains(&room) && room != "tests") {
            broken.push(format!("{room} may not use {name}: its home is elsewhere"));
        }
        if PURE.contains(&room) && IMPURE.contains(&name.as_str()) {
            broken.push(format!("{room} is pure and may not use {name}"));
        }
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forbidden_dependency_is_named() {
        let used = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        assert!(broken_by("policy", &used(&["countersign-model", "cedar-policy"])).is_empty());
        assert_eq!(broken_by("policy", &used(&["countersign-store"])), ["policy may not use store"]);
        assert_eq!(broken_by("model", &used(&["tokio"])), ["model is pure and may not use tokio"]);
        assert_eq!(broken_by("gate", &used(&["quinn"])), ["gate may not use quinn: its home is elsewhere"]);
        assert_eq!(broken_by("cellar", &used(&[])), ["cellar is in no line of the table"]);
        assert!(broken_by("cli", &used(&["countersign-store", "countersign-gate"])).is_empty());
    }
}
