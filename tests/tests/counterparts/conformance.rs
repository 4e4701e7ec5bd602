//! The official conformance suite, against a reference server directly and through the sidecar with a
//! bundle that permits everything: a client cannot tell the two apart.

use std::{collections::BTreeMap, fs, net::SocketAddr, path::Path, process::Command};

use countersign_tests::Site;
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::{
    counterparts,
    front::{Front, Mode},
    reference::Reference,
};

const REVISIONS: [&str; 2] = ["2025-11-25", "2026-07-28"];

/// Scenario, check and status of every check, in order.
type Checks = Vec<(String, String, String)>;

/// Runs the suite. Two runs one after the other against servers of which one is not there differ in nothing
/// but what the servers do.
fn run(url: &str, selection: &[&str]) -> Checks {
    let folder = tempfile::tempdir().expect("a folder");
    let mut suite = Command::new(counterparts().join("node_modules/.bin/node"));
    suite.arg(counterparts().join("node_modules/@modelcontextprotocol/conformance/dist/index.js"));
    suite.args(["server", "--url", url]).args(selection).arg("--output-dir").arg(folder.path());
    let output = suite.current_dir(folder.path()).output().expect("the suite starts");
    let checks = checks(folder.path());
    assert!(!checks.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
    checks
}

fn checks(folder: &Path) -> Checks {
    let mut checks = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let entry = entry.expect("an entry");
        let name = entry.file_name().to_string_lossy().into_owned();
        // server-SCENARIO-TIMESTAMP, where the timestamp begins with the year.
        let scenario = name.split("-20").next().unwrap_or(&name).to_owned();
        let text = fs::read_to_string(entry.path().join("checks.json")).unwrap_or_else(|_| "[]".to_owned());
        let list: Vec<Value> = serde_json::from_str(&text).expect("a list of checks");
        let text = |check: &Value, name: &str| check[name].as_str().unwrap_or_default().to_owned();
        let list = list.iter().map(|check| (scenario.clone(), text(check, "id"), text(check, "status")));
        checks.extend(list);
    }
    checks.sort();
    checks
}

fn differing(one: &Checks, other: &Checks) -> Vec<String> {
    let only = |these: &Checks, those: &Checks, mark: &str| -> Vec<String> {
        let missing = these.iter().filter(|check| !those.contains(check));
        missing.map(|check| format!("{mark} {check:?}")).collect()
    };
    [only(one, other, "directly:"), only(other, one, "through:")].concat()
}

fn passed(checks: &Checks) -> usize {
    checks.iter().filter(|(_, _, status)| status == "SUCCESS").count()
}

fn permit_everything(files: &mut BTreeMap<String, String>) {
    let all = "permit (principal, action, resource);".to_owned();
    *files = BTreeMap::from([
        ("bundle.toml".to_owned(), "name = \"open\"\nlease = \"1h\"\n".to_owned()),
        ("policies/all.cedar".to_owned(), all),
    ]);
}

/// A sidecar in front of a server, and a front that presents the agent's token to it.
async fn through(server: SocketAddr) -> (Site, Front) {
    let settings = vec![
        "mcp.listen=127.0.0.1:0".to_owned(),
        "mcp.servers.0.name=reference".to_owned(),
        format!("mcp.servers.0.url=http://{server}/mcp"),
    ];
    let site = Site::with_settings(permit_everything, settings).await;
    let to = format!("{}/mcp/reference", site.mcp);
    let front = Front::start(to, Some(site.mcp_token.clone()), Mode::Stream).await;
    (site, front)
}

fn in_background<const N: usize>(url: String, selection: [&'static str; N]) -> JoinHandle<Checks> {
    tokio::task::spawn_blocking(move || run(&url, &selection))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_cannot_tell_the_sidecar_from_the_server() {
    let reference = Reference::start().await;
    let (_site, front) = through(reference.address).await;
    for revision in REVISIONS {
        let selection = ["--requirements", revision];
        let direct = in_background(format!("http://{}/mcp", reference.address), selection).await.unwrap();
        let through = in_background(front.url(), selection).await.unwrap();
        assert!(passed(&direct) > 50, "{direct:?}");
        let differing = differing(&direct, &through);
        assert!(differing.is_empty(), "{revision}:\n{}", differing.join("\n"));
        eprintln!("{revision}: {} checks, {} of them successes, alike", direct.len(), passed(&direct));
    }
}

/// The suite would notice: a proxy that keeps event streams until they end is another server to it. One
/// scenario shows it, in which a server asks something while it works; all of them take long to give up.
#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_buffers_is_told_apart() {
    let reference = Reference::start().await;
    let to = format!("http://{}/mcp", reference.address);
    let front = Front::start(to.clone(), None, Mode::Buffer).await;
    let selection = ["--scenario", "tools-call-elicitation", "--spec-version", REVISIONS[0]];
    let direct = in_background(to, selection).await.unwrap();
    let buffered = in_background(front.url(), selection).await.unwrap();
    assert!(!differing(&direct, &buffered).is_empty());
    assert!(passed(&buffered) < passed(&direct));
}
