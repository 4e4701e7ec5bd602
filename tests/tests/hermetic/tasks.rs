//! One approval for a task, through the real processes: others of the same action run inside its budget, and nothing
//! else does, whoever asks and however often the sidecar is killed.

use std::{
    collections::BTreeMap,
    process::Command,
    sync::{Arc, Mutex},
};

use axum::{Json, Router, extract::State, routing::post};
use countersign_tests::{Process, Site, Story, binary, eventually};
use serde_json::{Value, json};
use tokio::net::TcpListener;

const POLICIES: &str = r#"
permit (principal, action in [Mcp::Action::"initialize", Mcp::Action::"tools/call"], resource);
@id("payments-need-somebody") @approval("payments")
forbid (principal, action == Mcp::Action::"tools/call", resource)
when { resource in [Mcp::Tool::"bank/pay", Mcp::Tool::"bank/refund"] }
unless { context.approvals.contains("payments") };
"#;

const REQUIREMENTS: &str = r#"
[requirements.payments]
reviewers = ["*"]
[requirements.payments.grant.task]
count = 10
within = "30m"
amount = { argument = "amount", total = "500.00", each = 200 }
same = ["currency"]
"#;

/// What the bank was told to do: the tool, and the amount.
type Done = Arc<Mutex<Vec<String>>>;

async fn bank() -> (String, Done) {
    let done = Done::default();
    let perform = async |State(done): State<Done>, Json(message): Json<Value>| {
        let result = match message["method"].as_str() {
            Some("tools/call") => {
                let params = &message["params"];
                let tool = params["name"].as_str().unwrap_or_default();
                done.lock().unwrap().push(format!("{tool} {}", params["arguments"]["amount"]));
                json!({"content": []})
            }
            _ => json!({"tools": [{"name": "pay"}, {"name": "refund"}]}),
        };
        Json(json!({"jsonrpc": "2.0", "id": message["id"], "result": result}))
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    let routes = Router::new().route("/mcp", post(perform)).with_state(Arc::clone(&done));
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    (url, done)
}

fn edit(files: &mut BTreeMap<String, String>) {
    files.insert("policies/bank.cedar".to_owned(), POLICIES.to_owned());
    files.entry("approvals.toml".to_owned()).or_default().push_str(REQUIREMENTS);
}

fn settings(url: &str) -> Vec<String> {
    let settings = ["mcp.listen=127.0.0.1:0", "mcp.servers.0.name=bank", "mcp.servers.0.patience=5m"];
    settings.map(str::to_owned).into_iter().chain([format!("mcp.servers.0.url={url}")]).collect()
}

/// A tool call, whose answer comes once it is decided.
fn call(story: &Story, tool: &str, amount: &Value) -> impl Future<Output = reqwest::Response> + use<> {
    let arguments = json!({"amount": amount, "currency": "EUR", "to": format!("account of {amount}")});
    let params = json!({"name": tool, "arguments": arguments});
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
    let request =
        reqwest::Client::new().post(format!("{}/mcp/bank", story.mcp)).bearer_auth(&story.mcp_token);
    let request = request.header("accept", "application/json, text/event-stream").json(&message);
    async { request.send().await.unwrap() }
}

/// Makes a call that is covered: it runs, and nobody is asked.
async fn runs(story: &Story, amount: Value) {
    let text = call(story, "pay", &amount).await.text().await.unwrap();
    assert!(text.contains(r#""result":{"content":[]}"#), "{amount}: {text}");
    assert_eq!(pending(story).await, 0, "{amount}");
}

async fn pending(story: &Story) -> usize {
    let page = story.admin().get("/api/v1/approvals?state=pending").await.ok();
    page["items"].as_array().map_or(0, Vec::len)
}

/// Makes a call about which people are asked, and say no.
async fn asks(site: &Site, agent: &Story, tool: &str, amount: Value) {
    let response = call(agent, tool, &amount).await;
    let asked = site.decide_next(&[0], "deny").await;
    assert!(asked["operation_text"].as_str().unwrap().contains(&format!("bank/{tool}")), "{asked}");
    let text = response.text().await.unwrap();
    assert!(text.contains("isError"), "{amount}: {text}");
}

/// Another agent, before the same server.
async fn another_agent(site: &Site, url: &str) -> (Process, Story) {
    let added = json!({ "name": "other-agent", "owner": "owner@example.com" });
    let added = site.admin().post("/api/v1/agents", &added).await.ok();
    let token = site.folder().join("other-token");
    std::fs::write(&token, added["token"].as_str().unwrap()).unwrap();
    let mut command = Command::new(binary("countersign-sidecar"));
    command.args(["--json", "--join-token-file"]).arg(token);
    let data = format!("data={}", site.folder().join("other").display());
    let usual = [data, format!("control={}", site.link()), "check.listen=127.0.0.1:0".to_owned()];
    for setting in usual.into_iter().chain(settings(url)) {
        command.args(["--set", &setting]);
    }
    let (process, first) = Process::start(&mut command);
    let ready: Value = serde_json::from_str(&first).unwrap();
    let text = |name: &str| ready[name].as_str().unwrap().to_owned();
    (process, Story { mcp: text("mcp"), mcp_token: text("mcp_token"), ..(**site).clone() })
}

#[tokio::test(flavor = "multi_thread")]
async fn one_approval_is_for_a_task_and_for_nothing_beyond_it() {
    let (url, done) = bank().await;
    let mut site = Site::with_settings(edit, settings(&url)).await;

    let first = call(&site, "pay", &json!(100)).await;
    let asked = site.next_pending().await;
    let words = asked["requirements"][0]["grant"].as_str().unwrap();
    assert!(
        words.contains("up to 10 times in all within 30m") && words.contains("at most 500 in total"),
        "{words}"
    );
    site.decide_next(&[0], "approve").await;
    assert!(first.text().await.unwrap().contains("result"));
    runs(&site, json!("150.50")).await;
    runs(&site, json!(149.5)).await;

    // Another tool, another agent, and what is no plain amount: each is asked about.
    asks(&site, &site, "refund", json!(1)).await;
    let (other, agent) = another_agent(&site, &url).await;
    asks(&site, &agent, "pay", json!(2)).await;
    drop(other);
    for amount in [json!(-3), json!("1e1"), json!(201)] {
        asks(&site, &site, "pay", amount).await;
    }
    // The fourth that would exceed the total asks again.
    asks(&site, &site, "pay", json!(100.5)).await;

    // Whatever was spent is spent after a crash, and what is left is left.
    site.kill_sidecar();
    site.start_sidecar();
    site.until_connected().await;
    asks(&site, &site, "pay", json!("100.01")).await;
    runs(&site, json!(60)).await;

    let id = asked["id"].as_str().unwrap();
    let uses = consumed(&site, 4).await;
    let left: Vec<_> = uses.iter().map(|one| one["event"]["body"]["amounts_left"][0].clone()).collect();
    assert_eq!(left, ["40", "100", "249.5", "400"], "newest first: {uses:?}");
    assert!(uses.iter().all(|one| one["event"]["approval"] == id), "{uses:?}");

    let reason = json!({ "reason": "the month is over" });
    site.admin().post(&format!("/api/v1/approvals/{id}/revoke"), &reason).await.ok();
    asks(&site, &site, "pay", json!(4)).await;
    assert_eq!(*done.lock().unwrap(), ["pay 100", "pay \"150.50\"", "pay 149.5", "pay 60"]);
}

/// The uses of grants, once there are so many.
async fn consumed(site: &Site, count: usize) -> Vec<Value> {
    eventually("the uses are in the ledger", || async {
        Some(site.events("grant.consumed").await).filter(|events| events.len() >= count)
    })
    .await
}

/// Who is cut off cannot hear that a task was taken back, and so runs nothing more of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_that_is_cut_off_runs_nothing_of_a_task() {
    let (url, done) = bank().await;
    let mut site = Site::with_settings(edit, settings(&url)).await;
    let first = call(&site, "pay", &json!(100)).await;
    site.decide_next(&[0], "approve").await;
    first.text().await.unwrap();
    site.kill_control();
    let refused = call(&site, "pay", &json!(50)).await.text().await.unwrap();
    assert!(refused.contains("control plane"), "{refused}");
    site.start_control();
    site.until_connected().await;
    runs(&site, json!(50)).await;
    assert_eq!(*done.lock().unwrap(), ["pay 100", "pay 50"]);
}
