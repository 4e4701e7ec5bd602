//! Every page of the console in a real browser: accessible, and fit for a phone, in light and dark.
//!
//! With `COUNTERSIGN_UPDATE_PICTURES=1` it also renews the README's pictures in `tests/pictures/`.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use countersign_tests::{Dev, DevOptions, binary, bundle};
use serde_json::{Value, json};

use crate::{counterparts, script};

/// The pages that an admin sees besides requests, by the names of their pictures.
const PAGES: [(&str, &str); 15] = [
    ("you", "/you"),
    ("passkeys", "/passkeys"),
    ("channels", "/channels"),
    ("history", "/history"),
    ("history-nothing", "/history?text=nothing+like+that"),
    ("agents", "/agents"),
    ("agent", "/agents/dev-agent"),
    ("agent-revoke", "/agents/dev-agent/revoke"),
    ("policies", "/policies"),
    ("policy", "/policies/1?tests=1"),
    ("attention", "/policies/attention"),
    ("policy-rollback", "/policies/1/rollback"),
    ("settings", "/settings"),
    ("missing", "/approvals/01990000-0000-7000-8000-000000000000"),
    ("history-problem", "/history?agent=No%20Agent"),
];

#[test]
fn every_page_is_accessible_on_every_screen() {
    let dev = Dev::start(DevOptions { bundle: Some(bundle("console")), ..DevOptions::default() });
    let pictures = counterparts().join("pictures");
    fs::create_dir_all(&pictures).unwrap();
    let mut browser = Command::new("node")
        .arg(script("pages.mjs"))
        .arg(&pictures)
        .current_dir(counterparts())
        .env("DEV", dev.ready().to_string())
        .env("PAGES", json!(PAGES).to_string())
        .env("COUNTERSIGN", binary("countersign"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("node starts");
    let mut problems = Vec::new();
    let mut looked = 0;
    for line in BufReader::new(browser.stdout.take().unwrap()).lines() {
        let step: Value = serde_json::from_str(&line.unwrap()).expect("JSON");
        if step["step"] == "done" {
            assert_eq!(step["complaints"], json!([]), "the browser's console is quiet");
        } else if step["step"] == "story" {
            assert_eq!(step["decision"], true, "what two people approved runs");
        } else if step["violations"] == json!([]) {
            looked += 1;
        } else {
            problems.push(step.to_string());
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert!(browser.wait().unwrap().success());
    assert!(looked >= 4 * PAGES.len(), "{looked} screens");
    if std::env::var_os("COUNTERSIGN_UPDATE_PICTURES").is_some() {
        for name in ["console.png", "phone.png"] {
            fs::copy(pictures.join(name), Path::new(env!("CARGO_MANIFEST_DIR")).join("pictures").join(name))
                .unwrap();
        }
    }
}
