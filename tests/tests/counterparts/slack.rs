//! Slack by its own SDK, which signs, by Bolt, which takes or refuses the same, and by an emulated Web API.

use std::{
    io::{BufRead, BufReader, Lines, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{Arc, Mutex},
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, State},
    http::HeaderMap,
    routing::post,
};
use countersign_testkit::chats::slack::{button, click};
use countersign_tests::{Console, Site, eventually, secret_file};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

use crate::{
    counterparts, free_port,
    peer::{Peer, node, serve, until_answers},
    script,
};

const ROOM: &str = "C000000001";
const TEAM: &str = "T000000001";
const SECRET: &str = "test-signing-secret";
const APPROVE: &str = "countersign.approve";
const DENY: &str = "countersign.deny";

/// The emulated Slack, and what passed on the way to it.
struct Slack {
    client: Client,
    /// The emulator.
    url: String,
    /// Where our control plane reaches it.
    front: String,
    passed: Passed,
    _peer: Peer,
}

/// Method, what was asked, and what was answered.
type Passed = Arc<Mutex<Vec<(String, Value, Value)>>>;

/// Passes a call on. The emulated Slack says nothing about guests; the real one does.
async fn pass(
    State((to, passed)): State<(String, Passed)>,
    Path(method): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Json<Value> {
    let mut request = Client::new().post(format!("{to}/api/{method}")).body(body.clone());
    for name in ["authorization", "content-type"] {
        request = request.header(name, headers.get(name).map_or(&[] as &[u8], |value| value.as_bytes()));
    }
    let mut answer: Value = request.send().await.expect("an answer").json().await.expect("JSON");
    if let Some(user) = answer.get_mut("user").filter(|user| user.is_object()) {
        user["is_restricted"] = json!(user["name"] == "guest");
        user["is_ultra_restricted"] = json!(false);
    }
    let asked = serde_json::from_slice(&body).unwrap_or_default();
    passed.lock().unwrap().push((method, asked, answer.clone()));
    Json(answer)
}

impl Slack {
    async fn start() -> Self {
        let port = free_port().to_string();
        let entry = counterparts().join("node_modules/emulate/dist/index.js");
        let mut command = node();
        command.arg(entry).args(["start", "--service", "slack", "--port", &port, "--seed"]);
        let peer = Peer(command.arg(script("emulate.yaml")).spawn().expect("node starts"));
        let (client, url, passed) = (Client::new(), format!("http://127.0.0.1:{port}"), Passed::default());
        until_answers(&client, &url).await;
        let router = Router::new().route("/api/{method}", post(pass));
        let front = serve(router.with_state((url.clone(), Arc::clone(&passed)))).await;
        Self { client, url, front, passed, _peer: peer }
    }

    fn settings(&self, folder: &std::path::Path) -> Vec<String> {
        let of = |name: &str, value: &str| format!("channels.slack.0.{name}={value}");
        vec![
            of("name", "slack"),
            of("bot_token_file", &secret_file(folder, "bot", "xoxb-test")),
            of("signing_secret_file", &secret_file(folder, "signing", SECRET)),
            of("api", &format!("{}/api/", self.front)),
            "routes.0.requirement=*".to_owned(),
            "routes.0.channel=slack".to_owned(),
            format!("routes.0.room={ROOM}"),
        ]
    }

    async fn ask(&self, method: &str, body: Value) -> Value {
        let request = self.client.post(format!("{}/api/{method}", self.url)).bearer_auth("xoxb-test");
        request.json(&body).send().await.expect("an answer").json().await.expect("JSON")
    }

    /// The card of an approval, as it is now.
    async fn card(&self, approval: &str) -> Option<Value> {
        let history = self.ask("conversations.history", json!({"channel": ROOM})).await;
        let mut messages = history["messages"].as_array()?.clone().into_iter();
        messages.find(|message| message.to_string().contains(approval))
    }

    async fn until_card(&self, approval: &str) -> Value {
        eventually("the card is posted", || self.card(approval)).await
    }

    /// The id of a user, who is in the room.
    async fn member(&self, name: &str) -> String {
        let users = self.ask("users.list", json!({})).await;
        let mut users = users["members"].as_array().unwrap().iter();
        let id = users.find(|user| user["name"] == name).unwrap()["id"].as_str().unwrap().to_owned();
        self.ask("conversations.invite", json!({"channel": ROOM, "users": id})).await;
        id
    }

    /// What was asked of a method, and taken, that says this.
    async fn until_taken(&self, method: &str, words: &str) -> Value {
        eventually(&format!("{method} with {words:?}"), || async {
            let passed = self.passed.lock().unwrap();
            let mut fitting =
                passed.iter().filter(|(name, asked, _)| name == method && asked.to_string().contains(words));
            fitting.next_back().map(|(_, asked, answer)| {
                assert_eq!(answer["ok"], true, "{answer}");
                asked.clone()
            })
        })
        .await
    }
}

/// Slack's SDK and Bolt.
struct Sdk {
    says: ChildStdin,
    hears: Lines<BufReader<ChildStdout>>,
    _peer: Peer,
}

impl Sdk {
    fn start(site: &Site) -> Self {
        let mut python = Command::new(counterparts().join("venv/bin/python"));
        python.arg(script("slack.py")).arg(format!("{}/channels/slack/slack/interactions", site.api));
        let mut child: Child = python
            .env("SIGNING_SECRET", SECRET)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python starts");
        let says = child.stdin.take().unwrap();
        let hears = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { says, hears, _peer: Peer(child) }
    }

    /// What everybody says of a click: 200 by all, or 401.
    fn is_taken(&mut self, wish: &Value) -> bool {
        writeln!(self.says, "{wish}").unwrap();
        let line = self.hears.next().expect("an answer").expect("a line");
        let said: Value = serde_json::from_str(&line).expect("JSON");
        let is_taken = said["sdk"] == true;
        let status = if is_taken { 200 } else { 401 };
        assert_eq!(said, json!({"ours": status, "sdk": is_taken, "bolt": status}), "{wish}");
        is_taken
    }
}

/// Both together, and what people see.
struct Office {
    slack: Slack,
    site: Site,
    sdk: Sdk,
    _folder: tempfile::TempDir,
}

impl Office {
    async fn open() -> Self {
        let (slack, folder) = (Slack::start().await, tempfile::tempdir().unwrap());
        let site = Site::with_channels(slack.settings(folder.path())).await;
        let sdk = Sdk::start(&site);
        Self { slack, site, sdk, _folder: folder }
    }

    fn click(&mut self, card: &Value, user: &str, action: &str) -> Value {
        let ticket = button(card, action).expect("that button")["value"].as_str().unwrap().to_owned();
        click((ROOM, card["ts"].as_str().unwrap()), user, TEAM, action, &ticket)
    }

    /// Clicks, is told so, and opens the link.
    async fn link(&mut self, card: &Value, name: &str, reviewer: usize) -> String {
        let user = self.slack.member(name).await;
        let payload = self.click(card, &user, APPROVE);
        assert!(self.sdk.is_taken(&json!({"payload": payload})));
        let told = self.slack.until_taken("chat.postEphemeral", &user).await;
        let url = told["blocks"][1]["elements"][0]["url"].as_str().unwrap();
        let console = Console::sign_in(&self.site.api, &self.site.reviewers[reviewer].1).await;
        assert_eq!(console.link_account(url).await, StatusCode::OK);
        user
    }

    async fn view(&self, id: &str) -> Value {
        self.site.admin().get(&format!("/api/v1/approvals/{id}")).await.ok()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_slacks_sdk_signs_counts_once_and_only_for_whom_it_may() {
    let mut office = Office::open().await;
    let id = office.site.request_for("deploy", &office.site.reviewer_name(1)).await;
    let card = office.slack.until_card(&id).await;
    // Nobody is known yet, so that each of them is told of a link, and none is a vote.
    let one = office.link(&card, "reviewer-one", 0).await;
    let two = office.link(&card, "reviewer-two", 1).await;
    let guest = office.slack.member("guest").await;
    for (user, words) in [(&guest, "guests"), (&two, "Not counted")] {
        let payload = office.click(&card, user, APPROVE);
        assert!(office.sdk.is_taken(&json!({"payload": payload})));
        office.slack.until_taken("chat.postEphemeral", words).await;
    }
    let good = office.click(&card, &one, APPROVE);
    for refused in [
        json!({"payload": good, "age": 301}),
        json!({"payload": good, "age": -400}),
        json!({"payload": good, "secret": "another-secret"}),
        json!({"payload": good, "alter": [one, two]}),
        json!({"payload": good, "alter": ["approve", "deny"]}),
    ] {
        assert!(!office.sdk.is_taken(&refused), "{refused}");
    }
    assert_eq!(office.view(&id).await["votes"], json!([]));

    assert!(office.sdk.is_taken(&json!({"payload": good})));
    let approved = office.site.until(&id, "approved").await;
    assert_eq!(approved["votes"][0]["channel"], "slack");
    // Bolt takes an identical replay, too; it is no second vote, and nobody is told twice.
    assert!(office.sdk.is_taken(&json!({"again": true})));
    eventually("the card has nothing to decide any more", || async {
        let card = office.slack.card(&id).await?;
        (button(&card, APPROVE).is_none() && card.to_string().contains("approved")).then_some(())
    })
    .await;
    assert_eq!(office.view(&id).await["votes"].as_array().unwrap().len(), 1);
    let told = office.slack.passed.lock().unwrap();
    assert_eq!(told.iter().filter(|(_, asked, _)| asked.to_string().contains("is counted")).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denial_says_why_in_a_modal_that_slack_takes() {
    let mut office = Office::open().await;
    let id = office.site.request("deploy").await;
    let card = office.slack.until_card(&id).await;
    let user = office.link(&card, "reviewer-one", 0).await;
    let trigger = office.slack.ask("views.generateTriggerId", json!({"user_id": user})).await;
    let mut payload = office.click(&card, &user, DENY);
    payload["trigger_id"] = trigger["trigger_id"].clone();
    assert!(office.sdk.is_taken(&json!({"payload": payload})));
    let mut view = office.slack.until_taken("views.open", "countersign.reason").await["view"].clone();
    view["state"] = json!({"values": {"reason": {"reason": {"type": "plain_text_input", "value": "not during the freeze"}}}});
    let submitted =
        json!({"type": "view_submission", "user": {"id": user}, "team": {"id": TEAM}, "view": view});
    assert!(office.sdk.is_taken(&json!({"payload": submitted})));
    let denied = office.site.until(&id, "denied").await;
    assert_eq!(denied["votes"][0]["reason"], "not during the freeze");
}
