//! The API against its own document: schemathesis makes requests from `/openapi.json`, valid and not, and no
//! answer may be an error of the server's or another than the document says.

use std::{fs, process::Command};

use countersign_tests::{Dev, DevOptions, bundle};
use serde_json::{Value, json};

use crate::counterparts;

/// Cases for each operation. More find little more, and take minutes.
const CASES: &str = "20";

/// What each kind of path is about, so that more is reached than what is not there.
fn places(approval: &str) -> String {
    let operations = [
        ("^/api/v1/approvals/", json!({"path.id": approval})),
        ("^/api/v1/agents/", json!({"path.name": "dev-agent"})),
        ("^/api/v1/policy/revisions/", json!({"path.revision": 1})),
    ];
    let operation = |(path, parameters): (&str, Value)| {
        let members = parameters.as_object().unwrap().iter();
        let members: Vec<_> = members.map(|(name, value)| format!("\"{name}\" = {value}")).collect();
        format!(
            "[[operations]]\ninclude-path-regex = \"{path}\"\nparameters = {{ {} }}\n",
            members.join(", ")
        )
    };
    operations.map(operation).join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_breaks_the_api_or_its_document() {
    let dev = Dev::start(DevOptions { bundle: Some(bundle("story")), ..DevOptions::default() });
    let approval = dev.request("deploy").await;
    let config = tempfile::tempdir().unwrap();
    let file = config.path().join("schemathesis.toml");
    fs::write(&file, places(&approval)).unwrap();
    let checks =
        "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance";
    let out = Command::new(counterparts().join("venv/bin/st"))
        .arg("--config-file")
        .arg(&file)
        .args(["run", &format!("{}/openapi.json", dev.text("api")), "--no-color"])
        .args(["--phases", "examples,coverage,fuzzing", "--max-examples", CASES, "--checks", checks])
        // A stream has no end, and the agent that asks is to stay.
        .args(["--exclude-path", "/api/v1/events", "--exclude-path-regex", r"agents/\{name\}/revoke"])
        .args(["--request-timeout", "70", "--seed", "1"])
        .args(["--header", &format!("Authorization: Bearer {}", dev.text("admin_token"))])
        .current_dir(config.path())
        .output()
        .expect("schemathesis starts");
    let said = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{said}\n{}", String::from_utf8_lossy(&out.stderr));
    // Whatever it tried, the control plane is there and remembers.
    assert!(dev.admin().get(&format!("/api/v1/approvals/{approval}")).await.ok()["state"].is_string());
}
