//! The console in a real browser: live, by label and role, and accessible.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
};

use countersign_tests::{Dev, DevOptions};
use serde_json::{Value, json};

use crate::{counterparts, script};

#[tokio::test(flavor = "multi_thread")]
async fn a_reviewer_decides_in_the_browser() {
    let dev = Dev::start(DevOptions::default());
    let pictures = counterparts().join("pictures");
    fs::create_dir_all(&pictures).unwrap();
    let token = dev.ready()["reviewers"][0]["token"].as_str().unwrap().to_owned();
    let mut browser = Command::new("node")
        .arg(script("console.mjs"))
        .arg(dev.text("api"))
        .arg(pictures)
        .current_dir(counterparts())
        .env("CONSOLE_TOKEN", token)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("node starts");
    let mut says = browser.stdin.take().unwrap();
    let mut steps = BufReader::new(browser.stdout.take().unwrap()).lines();
    let mut step = |expected: &str| {
        let line = steps.next().expect("another step").expect("a line");
        let step: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(step["step"], expected, "{step}");
        step
    };

    step("signed-in");
    let first = dev.request("deploy").await;
    writeln!(says, "requested").unwrap();
    step("live");
    assert_eq!(step("axe")["violations"], json!([]), "WCAG violations");
    step("approved");
    dev.until(&first, "approved").await;
    assert_eq!(dev.redeem("deploy", &dev.task(&first).await).await["decision"], true);

    let second = dev.request("deploy").await;
    assert_ne!(first, second);
    writeln!(says, "requested").unwrap();
    let denied = step("denied");
    dev.until(&second, "denied").await;
    assert_eq!(denied["complaints"], json!([]), "the browser's console is quiet");
    assert!(browser.wait().unwrap().success());
}
