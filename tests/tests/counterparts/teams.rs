//! Microsoft Teams by the Agents Playground, in a real browser.
//!
//! The Playground plays Teams and its users; it proves nothing to a bot. So a Bot Framework of this test stands
//! in front of the bot, and signs what the Playground sends.

use std::{
    io::{BufRead, BufReader, Lines, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{Arc, Mutex, OnceLock},
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    response::{IntoResponse, Response},
    routing::post,
};
use countersign_testkit::chats::{
    FakeTeams, Signer,
    teams::{APP, CLIENT_SECRET, TENANT, claims},
};
use countersign_tests::{Site, secret_file};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

use crate::{
    counterparts, free_port,
    peer::{Peer, node, serve, until_answers},
    script,
};

/// What the Playground takes for the bot.
struct Front {
    signer: Signer,
    bot: OnceLock<String>,
    /// The last activity that was passed on.
    last: Mutex<Bytes>,
    /// The link that the last answer had for whoever clicked.
    link: Mutex<Option<String>>,
}

impl Front {
    /// Calls the bot with a token, if there is one.
    async fn call(&self, activity: Bytes, token: Option<String>) -> (StatusCode, Bytes) {
        let request = Client::new().post(self.bot.get().expect("the bot")).body(activity);
        let mut request = request.header("content-type", "application/json");
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let answer = request.send().await.expect("an answer");
        (answer.status(), answer.bytes().await.unwrap_or_default())
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
    since.as_secs().try_into().expect("a clock that fits")
}

/// Passes an activity on as the Bot Framework does: with proof.
async fn vouch(State(front): State<Arc<Front>>, body: Bytes) -> Response {
    let activity: Value = serde_json::from_slice(&body).unwrap_or_default();
    let token = front.signer.sign(&claims(activity["serviceUrl"].as_str().unwrap_or_default(), now()));
    front.last.lock().unwrap().clone_from(&body);
    let (status, body) = front.call(body, Some(token)).await;
    let card: Value = serde_json::from_slice(&body).unwrap_or_default();
    let mut actions = card["value"]["actions"].as_array().into_iter().flatten();
    if let Some(link) = actions.find(|action| action["title"] == "Link this account") {
        *front.link.lock().unwrap() = link["url"].as_str().map(ToOwned::to_owned);
    }
    (status, [("content-type", "application/json")], body).into_response()
}

/// A reviewer at the Playground's page.
struct Reviewer {
    says: ChildStdin,
    steps: Lines<BufReader<ChildStdout>>,
    child: Child,
}

impl Reviewer {
    fn start(playground: &str, site: &Site) -> Self {
        let pictures = counterparts().join("pictures");
        std::fs::create_dir_all(&pictures).unwrap();
        let mut child = Command::new("node")
            .arg(script("teams.mjs"))
            .args([playground, &site.api])
            .arg(pictures)
            .current_dir(counterparts())
            .env("CONSOLE_TOKEN", &site.reviewers[0].1)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node starts");
        let says = child.stdin.take().unwrap();
        let steps = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { says, steps, child }
    }

    fn step(&mut self, expected: &str) {
        let line = self.steps.next().expect("another step").expect("a line");
        assert_eq!(serde_json::from_str::<Value>(&line).expect("JSON"), json!({ "step": expected }));
    }

    fn tell(&mut self, line: &str) {
        writeln!(self.says, "{line}").unwrap();
    }
}

fn settings(front: &FakeTeams, playground: &str, folder: &std::path::Path) -> Vec<String> {
    let of = |name: &str, value: &str| format!("channels.teams_bot.0.{name}={value}");
    vec![
        of("name", "bot"),
        of("app_id", APP),
        of("tenant", TENANT),
        of("client_secret_file", &secret_file(folder, "secret", CLIENT_SECRET)),
        of("service", &format!("{playground}/_connector")),
        of("metadata", &format!("{}/metadata", front.url)),
        of("authority", &format!("{}/entra", front.url)),
        "routes.0.requirement=*".to_owned(),
        "routes.0.channel=bot".to_owned(),
        "routes.0.room=personal-chat-id".to_owned(),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reviewer_links_their_account_and_approves_in_teams() {
    let (framework, folder) = (FakeTeams::start().await, tempfile::tempdir().unwrap());
    let signer = Signer::new("key-1");
    framework.keys(vec![signer.jwk(&["msteams"])]);
    let front =
        Arc::new(Front { signer, bot: OnceLock::new(), last: Mutex::default(), link: Mutex::default() });
    let route = post(vouch).get(|| async { "the bot" });
    let endpoint = serve(Router::new().route("/api/messages", route).with_state(Arc::clone(&front))).await;

    let port = free_port().to_string();
    let playground = format!("http://127.0.0.1:{port}");
    let site = Site::with_channels(settings(&framework, &playground, folder.path())).await;
    front.bot.set(format!("{}/channels/teams/bot/messages", site.api)).unwrap();
    let entry = counterparts().join("node_modules/@microsoft/m365agentsplayground/cli.js");
    let mut command = node();
    command.arg(entry).args([
        "start",
        "-e",
        &format!("{endpoint}/api/messages"),
        "-c",
        "msteams",
        "-p",
        &port,
        "--dt",
    ]);
    command.env("M365_AGENTS_PLAYGROUND_CONFIG_PATH", script("teams.yaml"));
    let _peer = Peer(command.spawn().expect("node starts"));
    until_answers(&Client::new(), &playground).await;

    let mut reviewer = Reviewer::start(&playground, &site);
    reviewer.step("connected");
    let id = site.request("deploy").await;
    reviewer.tell("requested");
    for expected in ["card", "unlinked"] {
        reviewer.step(expected);
    }
    let link = front.link.lock().unwrap().clone().expect("a link");
    reviewer.tell(&link);
    reviewer.step("linked");
    refuse_what_others_sign(&front).await;
    assert_eq!(site.admin().get(&format!("/api/v1/approvals/{id}")).await.ok()["votes"], json!([]));

    reviewer.tell("decide");
    reviewer.step("approved");
    let approved = site.until(&id, "approved").await;
    let vote = &approved["votes"][0];
    assert_eq!((&vote["channel"], &vote["reason"]), (&json!("teams"), &json!("looked at it")));
    assert!(reviewer.child.wait().unwrap().success());
}

/// The Playground's own click on Approve, of an account that is linked by now, in the hands of others.
async fn refuse_what_others_sign(front: &Front) {
    let click = front.last.lock().unwrap().clone();
    let activity: Value = serde_json::from_slice(&click).unwrap();
    let service = activity["serviceUrl"].as_str().unwrap();
    assert_eq!(activity["value"]["action"]["verb"], "countersign.approve");
    assert_eq!(front.call(click.clone(), None).await.0, StatusCode::UNAUTHORIZED);
    let with = |name: &str, value: Value| {
        let mut claims = claims(service, now());
        claims[name] = value;
        front.signer.sign(&claims)
    };
    for (what, token) in [
        ("forged", Signer::new("key-1").sign(&claims(service, now()))),
        ("another bot's", with("aud", json!("33333333-3333-3333-3333-333333333333"))),
        (
            "another issuer's",
            with("iss", json!("https://sts.windows.net/22222222-2222-2222-2222-222222222222/")),
        ),
        ("another service's", with("serviceurl", json!("https://smba.example/teams/"))),
        ("an old one", with("exp", json!(now() - 301))),
    ] {
        assert_eq!(front.call(click.clone(), Some(token)).await.0, StatusCode::FORBIDDEN, "{what}");
    }
}
