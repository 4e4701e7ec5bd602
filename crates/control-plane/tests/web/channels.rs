//! Channels: what a webhook is told, what its answers can and cannot do, and what people see of it.

use countersign_control_plane::config::{Config, Route, WebhookConfig};
use countersign_model::Seconds;
use countersign_store::Destination;
use serde_json::json;

use crate::{
    receiver::{Answer, Receiver, secret_file},
    stage::{ONE, OWNER, Stage, VIEWER, deploy},
};

/// A stage whose every approval is told to a webhook.
async fn told_to(url: &str) -> Stage {
    let url = url.parse().unwrap();
    Stage::with(move |config: &mut Config| {
        let folder = config.data.parent().unwrap();
        let secret_files = vec![secret_file(folder)];
        let webhook = WebhookConfig { name: "hook".to_owned(), url, secret_files, allow_private: false };
        config.channels.webhooks.push(webhook);
        let destination = Destination { channel: "hook".to_owned(), room: String::new() };
        config.channels.routes.push(Route { requirement: None, destination, fallback: None });
    })
    .await
}

#[tokio::test]
async fn an_approval_is_told_as_signed_events() {
    let receiver = Receiver::start().await;
    let stage = told_to(&receiver.url).await;
    let id = stage.submit(deploy("payments"), "one").await;
    let asked = receiver.until_kind("approval.requested").await;
    assert_eq!((&asked.body["data"]["id"], &asked.body["data"]["state"]), (&json!(id), &json!("pending")));
    let url = asked.body["data"]["url"].as_str().unwrap();
    assert!(url.ends_with(&format!("/approvals/{id}")) && url.starts_with("http://127.0.0.1:"), "{url}");
    assert_eq!(asked.body["data"]["review"]["agent"], "deploy-bot");
    assert!(asked.body["timestamp"].as_str().unwrap().ends_with('Z') && asked.id.starts_with("msg_"));
    stage.vote(&id, &stage.token(ONE).await, "approve").await.is(201);
    let approved = receiver.until_kind("approval.approved").await;
    assert_eq!(approved.body["data"]["state"], "approved");
    assert_ne!(approved.id, asked.id);
}

/// Whoever answers a webhook has no say in what it told.
#[tokio::test]
async fn no_answer_of_a_receiver_decides_anything() {
    let receiver = Receiver::start().await;
    receiver.answer(Some(Answer {
        status: 200,
        body: r#"{"decision": "approve", "state": "approved"}"#,
        location: String::new(),
    }));
    let stage = told_to(&receiver.url).await;
    let id = stage.submit(deploy("payments"), "one").await;
    receiver.until_kind("approval.requested").await;
    let one = stage.token(ONE).await;
    assert_eq!(stage.get(&format!("/api/v1/approvals/{id}"), &one).await.json()["votes"], json!([]));
}

#[tokio::test]
async fn an_event_keeps_its_identifier_until_it_is_taken() {
    let receiver = Receiver::start().await;
    receiver.answer(Some(Answer::status(500)));
    let stage = told_to(&receiver.url).await;
    stage.submit(deploy("payments"), "one").await;
    let first = receiver.until_kind("approval.requested").await;
    receiver.answer(Some(Answer::status(204)));
    while receiver.received().len() < 2 {
        stage.pass(Seconds::new(60));
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(receiver.received()[1].id, first.id);
}

#[tokio::test]
async fn a_redirect_leads_nowhere() {
    let (receiver, elsewhere) = (Receiver::start().await, Receiver::start().await);
    receiver.answer(Some(Answer { location: elsewhere.url.clone(), ..Answer::status(307) }));
    let stage = told_to(&receiver.url).await;
    stage.submit(deploy("payments"), "one").await;
    receiver.until_kind("approval.requested").await;
    let viewer = stage.token(VIEWER).await;
    loop {
        let list = stage.get("/api/v1/channels", &viewer).await.is(200).json();
        if list["items"][0]["last_error"].as_str().is_some_and(|error| error.contains("307")) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert!(elsewhere.received().is_empty());
}

/// 410 means: no more. It takes a person to begin again.
#[tokio::test]
async fn a_receiver_that_is_gone_is_left_alone_until_somebody_tests_it() {
    let receiver = Receiver::start().await;
    receiver.answer(Some(Answer::status(410)));
    let stage = told_to(&receiver.url).await;
    let first = stage.submit(deploy("payments"), "one").await;
    receiver.until_kind("approval.requested").await;
    let (admin, viewer) = (stage.token(OWNER).await, stage.token(VIEWER).await);
    let state = async || stage.get("/api/v1/channels", &viewer).await.is(200).json()["items"][0].clone();
    while state().await["state"] != "degraded" {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    stage.submit(deploy("billing"), "one").await;
    stage.pass(Seconds::new(3_600));
    while state().await["backlog"] != 2 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(receiver.kinds(), ["approval.requested"]);
    receiver.answer(Some(Answer::status(200)));
    let tested = stage.post("/api/v1/channels/hook/test", &admin, json!({})).await.is(200).json();
    assert_eq!((&tested["state"], &tested["kind"]), (&json!("healthy"), &json!("webhook")));
    // The first one is told what it has become meanwhile, under an identifier of its own.
    let ended =
        receiver.until(|one| one.body["data"]["id"] == first && one.kind() == "approval.expired").await;
    assert_ne!(ended.id, receiver.received()[0].id);
}

#[tokio::test]
async fn a_test_is_for_admins_and_goes_where_routes_lead() {
    let receiver = Receiver::start().await;
    let stage = told_to(&receiver.url).await;
    let (admin, one) = (stage.token(OWNER).await, stage.token(ONE).await);
    stage.post("/api/v1/channels/hook/test", &one, json!({})).await.is_problem(403, "forbidden");
    stage.post("/api/v1/channels/none/test", &admin, json!({})).await.is_problem(404, "not_found");
    let elsewhere = json!({"room": "https://elsewhere.example.com"});
    stage.post("/api/v1/channels/hook/test", &admin, elsewhere).await.is_problem(422, "invalid");
    assert!(receiver.received().is_empty());
    stage.post("/api/v1/channels/hook/test", &admin, json!({})).await.is(200);
    assert_eq!(receiver.received()[0].body["data"]["asked_by"], OWNER);
    receiver.answer(Some(Answer::status(503)));
    let failed = stage.post("/api/v1/channels/hook/test", &admin, json!({})).await;
    failed.is_problem(502, "channel_failed");
    let recorded =
        async || stage.get("/api/v1/audit/events?kind=channel.tested", &admin).await.is(200).json();
    while recorded().await["items"].as_array().unwrap().len() < 2 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}
