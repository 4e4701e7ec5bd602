//! Votes over the API: who may, on what, and what they are told otherwise.

use axum::body::Body;
use countersign_control_plane::identity::{ActorKind, Right};
use countersign_model::{Provenance, Seconds};
use http::{Method, header};
use serde_json::json;

use crate::stage::{AUTHOR, ONE, OWNER, Stage, TWO, VIEWER, deploy, json_request, request};

#[tokio::test]
async fn a_reviewer_approves_and_everybody_sees_it() {
    let stage = Stage::new().await;
    let one = stage.token(ONE).await;
    let id = stage.submit(deploy("payments"), "one").await;
    let before = stage.get(&format!("/api/v1/approvals/{id}"), &one).await.is(200);
    let view = before.json();
    assert_eq!((view["state"].as_str(), view["agent"].as_str()), (Some("pending"), Some("deploy-bot")));
    assert_eq!(view["operation"]["resource"]["id"], "payments");
    assert_eq!(view["may_vote"]["allowed"], true);

    let voted = stage.vote(&id, &one, "approve").await.is(201);
    assert_eq!(voted.json()["state"], "approved");
    assert_ne!(voted.header("etag"), before.header("etag"));
    let after = stage.get(&format!("/api/v1/approvals/{id}"), &stage.token(VIEWER).await).await.json();
    assert_eq!(after["votes"][0]["person"], ONE);
    assert_eq!(after["votes"][0]["reason"], "because");
    assert_eq!(after["votes"][0]["channel"], "api");
}

/// I3, over the API: the owner, though an admin and a reviewer; the initiating human, verified or not;
/// a machine of a reviewer. I4: one person counts once.
#[tokio::test]
async fn no_vote_of_somebody_who_must_not_decide_is_counted() {
    let stage = Stage::new().await;
    let (owner, one, two) = (stage.token(OWNER).await, stage.token(ONE).await, stage.token(TWO).await);
    let by_one: Provenance = serde_json::from_value(json!({"initiator": {"person": ONE}})).unwrap();
    let id = stage.submit_as(deploy("payments"), "two", by_one).await;

    stage.vote(&id, &owner, "approve").await.is_problem(403, "self_approval");
    stage.vote(&id, &one, "approve").await.is_problem(403, "self_approval");
    let machine = stage.narrow_token(TWO, ActorKind::Machine, &[Right::Read]).await;
    stage.vote(&id, &machine, "approve").await.is_problem(403, "machine_credential");
    let reader = stage.narrow_token(TWO, ActorKind::Human, &[Right::Read]).await;
    stage.vote(&id, &reader, "approve").await.is_problem(403, "forbidden");
    stage.vote(&id, &stage.token(VIEWER).await, "approve").await.is_problem(403, "not_a_reviewer");

    stage.vote(&id, &two, "approve").await.is(201);
    let second = stage.token(TWO).await;
    let again = stage.vote(&id, &second, "approve").await;
    let view = stage.get(&format!("/api/v1/approvals/{id}"), &two).await.json();
    assert_eq!(
        (view["state"].as_str(), view["requirements"][0]["approved"].as_u64()),
        (Some("pending"), Some(1))
    );
    assert!(
        again.status.as_u16() == 409 || again.json()["votes"].as_array().unwrap().len() == 1,
        "{}",
        again.text
    );
}

#[tokio::test]
async fn somebody_outside_the_group_is_told_so() {
    let stage = Stage::new().await;
    let id = stage.submit(deploy("payments"), "board").await;
    stage.vote(&id, &stage.token(ONE).await, "approve").await.is_problem(403, "not_eligible");
}

#[tokio::test]
async fn what_is_decided_stays_decided() {
    let stage = Stage::new().await;
    let (one, two) = (stage.token(ONE).await, stage.token(TWO).await);
    let id = stage.submit(deploy("payments"), "one").await;
    assert_eq!(stage.vote(&id, &one, "deny").await.is(201).json()["state"], "denied");
    stage.vote(&id, &two, "approve").await.is_problem(409, "already_decided");
}

#[tokio::test]
async fn etags_tell_whether_something_has_changed() {
    let stage = Stage::new().await;
    let one = stage.token(ONE).await;
    let id = stage.submit(deploy("payments"), "two").await;
    let path = format!("/api/v1/approvals/{id}");
    let etag = stage.get(&path, &one).await.header("etag").to_owned();

    let conditional = |etag: &str| {
        request(Method::GET, &path, &one).header(header::IF_NONE_MATCH, etag).body(Body::empty()).unwrap()
    };
    let unchanged = stage.send(conditional(&etag)).await.is(304);
    assert_eq!((unchanged.header("etag"), unchanged.text.as_str()), (etag.as_str(), ""));

    let vote = |etag: &str, token: &str| {
        json_request(&format!("{path}/votes"), token)
            .header(header::IF_MATCH, etag)
            .body(Body::from(json!({"decision": "approve"}).to_string()))
            .unwrap()
    };
    stage.send(vote(&etag, &one)).await.is(201);
    let stale = stage.send(vote(&etag, &stage.token(TWO).await)).await;
    stale.is_problem(412, "stale");
    assert!(stale.json()["current_version"].is_u64());
    stage.send(conditional(&etag)).await.is(200);
}

#[tokio::test]
async fn the_owner_takes_a_request_back_and_a_viewer_cannot() {
    let stage = Stage::new().await;
    let (owner, viewer) = (stage.token(OWNER).await, stage.token(VIEWER).await);
    let id = stage.submit(deploy("payments"), "one").await;
    let cancel = format!("/api/v1/approvals/{id}/cancel");
    stage.post(&cancel, &viewer, json!({})).await.is(403);
    stage
        .post(&cancel, &stage.narrow_token(OWNER, ActorKind::Human, &[Right::Read]).await, json!({}))
        .await
        .is(403);
    assert_eq!(stage.post(&cancel, &owner, json!({})).await.is(200).json()["state"], "cancelled");

    let id = stage.submit(deploy("billing"), "one").await;
    let one = stage.token(ONE).await;
    stage.vote(&id, &one, "approve").await.is(201);
    let revoke = format!("/api/v1/approvals/{id}/revoke");
    stage.post(&revoke, &viewer, json!({})).await.is(403);
    let revoked = stage.post(&revoke, &one, json!({"reason": "not today"})).await.is(200).json();
    assert_eq!(revoked["state"], "revoked");
}

#[tokio::test]
async fn a_list_is_read_page_by_page() {
    let stage = Stage::new().await;
    let author = stage.token(AUTHOR).await;
    let mut submitted = Vec::new();
    for number in 0..5 {
        submitted.push(stage.submit(deploy(&format!("service-{number}")), "one").await);
    }
    submitted.reverse();
    let mut listed = Vec::new();
    let mut path = "/api/v1/approvals?state=pending&limit=2".to_owned();
    loop {
        let page = stage.get(&path, &author).await.is(200).json();
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 2);
        listed.extend(items.iter().map(|item| item["id"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/api/v1/approvals?state=pending&limit=2&cursor={next}");
    }
    assert_eq!(listed, submitted);
    stage.get("/api/v1/approvals?cursor=zz", &author).await.is_problem(400, "bad_request");
    stage.get("/api/v1/approvals?agent=somebody-else", &author).await.is(200);
    stage.get("/api/v1/approvals?state=perhaps", &author).await.is_problem(400, "bad_request");
}

#[tokio::test]
async fn a_wait_ends_with_the_change() {
    let stage = Stage::new().await;
    let one = stage.token(ONE).await;
    let id = stage.submit(deploy("payments"), "one").await;
    let version =
        stage.get(&format!("/api/v1/approvals/{id}"), &one).await.json()["version"].as_u64().unwrap();
    let path = format!("/api/v1/approvals/{id}/wait?version={version}&timeout=60");
    let (waited, _) = tokio::join!(stage.get(&path, &one), stage.vote(&id, &one, "approve"));
    assert_eq!(waited.is(200).json()["state"], "approved");
    // Whoever is behind is answered at once.
    stage.get(&format!("/api/v1/approvals/{id}/wait?version=0"), &one).await.is(200);
}

#[tokio::test]
async fn a_vote_after_the_time_is_told_that_the_time_is_over() {
    let stage = Stage::new().await;
    let id = stage.submit(deploy("payments"), "one").await;
    stage.pass(Seconds::new(16 * 60));
    let late = stage.vote(&id, &stage.token(ONE).await, "approve").await;
    assert_eq!(late.status.as_u16(), 409, "{}", late.text);
    assert_ne!(late.json()["code"], "approved");
}
