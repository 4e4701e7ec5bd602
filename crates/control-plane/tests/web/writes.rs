//! Writes that are repeated, and other resources than approvals.

use axum::body::Body;
use serde_json::{Value, json};

use crate::stage::{AUTHOR, Answer, ONE, OWNER, Stage, TWO, bundle, deploy, json_request};

async fn keyed(stage: &Stage, path: &str, token: &str, key: &str, body: &Value) -> Answer {
    let request = json_request(path, token).header("idempotency-key", key).body(Body::from(body.to_string()));
    stage.send(request.unwrap()).await
}

#[tokio::test]
async fn a_repeated_write_is_done_once_and_answered_twice() {
    let stage = Stage::new().await;
    let (one, two) = (stage.token(ONE).await, stage.token(TWO).await);
    let id = stage.submit(deploy("payments"), "two").await;
    let path = format!("/api/v1/approvals/{id}/votes");
    let yes = json!({"decision": "approve"});

    let first = keyed(&stage, &path, &one, "k1", &yes).await.is(201);
    let again = keyed(&stage, &path, &one, "k1", &yes).await.is(201);
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!((first.text.as_str(), first.header("etag")), (again.text.as_str(), again.header("etag")));

    let other = keyed(&stage, &path, &one, "k1", &json!({"decision": "deny"})).await;
    other.is_problem(409, "idempotency_key_reused");
    // The key is the person's own.
    keyed(&stage, &path, &two, "k1", &yes).await.is(201);
    keyed(&stage, &path, &one, "", &yes).await.is_problem(400, "bad_request");
}

#[tokio::test]
async fn a_write_that_failed_can_be_tried_again_with_its_key() {
    let stage = Stage::new().await;
    let owner = stage.token(OWNER).await;
    let wrong = json!({"name": "Not A Name", "owner": OWNER});
    keyed(&stage, "/api/v1/agents", &owner, "k", &wrong).await.is_problem(422, "invalid");
    let right = json!({"name": "second-bot", "owner": OWNER});
    keyed(&stage, "/api/v1/agents", &owner, "k", &right).await.is(201);
}

#[tokio::test]
async fn a_secret_is_shown_once_and_is_not_kept() {
    let stage = Stage::new().await;
    let owner = stage.token(OWNER).await;
    let body = json!({"name": "ci", "kind": "machine", "scopes": ["read"]});
    let first = keyed(&stage, "/api/v1/tokens", &owner, "k", &body).await.is(201);
    let token = first.json()["token"].as_str().unwrap().to_owned();
    let again = keyed(&stage, "/api/v1/tokens", &owner, "k", &body).await;
    again.is_problem(409, "shown_once");
    assert!(!again.text.contains(&token));
    let listed = stage.get("/api/v1/tokens", &owner).await.is(200).json();
    assert_eq!(listed["items"].as_array().unwrap().iter().filter(|item| item["name"] == "ci").count(), 1);
    assert!(!listed.to_string().contains(&token));
}

#[tokio::test]
async fn agents_are_added_shown_and_revoked() {
    let stage = Stage::new().await;
    let owner = stage.token(OWNER).await;
    let wish = json!({"name": "build-bot", "owner": ONE});
    let added = stage.post("/api/v1/agents", &owner, wish.clone()).await.is(201).json();
    assert!(added["token"].as_str().unwrap().len() > 40);
    stage.post("/api/v1/agents", &owner, wish).await.is_problem(409, "agent_exists");
    let agents = stage.get("/api/v1/agents", &owner).await.is(200).json();
    assert_eq!(agents["items"].as_array().unwrap().len(), 2);
    assert_eq!(stage.get("/api/v1/agents/build-bot", &owner).await.is(200).json()["owner"], ONE);
    let join = added["join_token"]["id"].as_str().unwrap();
    stage.post(&format!("/api/v1/join-tokens/{join}/revoke"), &owner, json!({})).await.is(200);
    assert!(
        !stage.get("/api/v1/join-tokens", &owner).await.is(200).json()["items"]
            .as_array()
            .unwrap()
            .is_empty()
    );
    let revoked = stage.post("/api/v1/agents/build-bot/revoke", &owner, json!({})).await.is(200).json();
    assert_eq!(revoked["state"], "revoked");
    stage.get("/api/v1/agents/nobody", &owner).await.is_problem(404, "not_found");
    stage.get("/api/v1/agents/NOT%20A%20NAME", &owner).await.is_problem(404, "not_found");
}

#[tokio::test]
async fn policy_is_validated_pushed_shown_and_rolled_back() {
    let stage = Stage::new().await;
    let author = stage.token(AUTHOR).await;
    assert_eq!(stage.post("/api/v1/policy/validate", &author, bundle()).await.is(200).json()["valid"], true);
    let mut broken = bundle();
    broken["files"]["policies/deploys.cedar"] = json!("forbid (principal");
    assert_eq!(
        stage.post("/api/v1/policy/validate", &author, broken.clone()).await.is(200).json()["valid"],
        false
    );
    let refused = stage.post("/api/v1/policy/revisions", &author, broken).await;
    refused.is_problem(422, "bundle_refused");
    assert!(!refused.json()["validation"]["problems"].as_array().unwrap().is_empty());

    let mut second = bundle();
    second["files"]["bundle.toml"] = json!("name = \"second\"\nlease = \"1h\"\n");
    assert_eq!(stage.post("/api/v1/policy/revisions", &author, second).await.is(201).json()["revision"], 2);
    let back = stage.post("/api/v1/policy/revisions/1/rollback", &author, json!({"note": "back"})).await;
    assert_eq!(back.is(201).json()["revision"], 3);
    let active = stage.get("/api/v1/policy/revisions/active", &author).await.is(200).json();
    assert_eq!((active["revision"].as_u64(), active["name"].as_str()), (Some(3), Some("test")));
    assert!(active["files"]["approvals.toml"].as_str().unwrap().contains("requirements.one"));
    assert_eq!(
        stage.get("/api/v1/policy/revisions", &author).await.is(200).json()["items"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
    stage.get("/api/v1/policy/revisions/77", &author).await.is_problem(404, "not_found");
    stage.get("/api/v1/policy/revisions/x", &author).await.is_problem(404, "not_found");
}

#[tokio::test]
async fn the_log_is_queried_exported_and_proved() {
    let stage = Stage::new().await;
    let one = stage.token(ONE).await;
    let id = stage.submit(deploy("payments"), "one").await;
    stage.vote(&id, &one, "approve").await.is(201);
    // The index runs behind the log: ask until it has caught up.
    let path = format!("/api/v1/audit/events?approval={id}&kind=approval.voted");
    let events = loop {
        let page = stage.get(&path, &one).await.is(200).json();
        if !page["items"].as_array().unwrap().is_empty() {
            break page;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(events["items"][0]["event"]["actor"], ONE);

    let export = stage.get("/api/v1/audit/export", &one).await.is(200);
    assert_eq!(export.header("content-type"), "application/x-ndjson");
    assert!(export.text.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()));
    assert!(export.text.contains(&id));
    stage.get("/api/v1/audit/proofs/inclusion?index=99999999", &one).await.is_problem(404, "not_found");
    stage.get("/api/v1/audit/proofs/inclusion", &one).await.is_problem(400, "bad_request");
}

#[tokio::test]
async fn probes_need_no_credential_and_name_the_revision() {
    let stage = Stage::new().await;
    assert_eq!(stage.get("/healthz", "").await.is(200).text, "ok\n");
    let ready = stage.get("/readyz", "").await.is(200).json();
    assert_eq!((ready["ready"].as_bool(), ready["revision"].as_u64()), (Some(true), Some(1)));
    assert!(ready["revision_age_seconds"].is_u64());
}
