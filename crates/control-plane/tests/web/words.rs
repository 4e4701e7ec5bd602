//! Several votes at once, breaking the glass and its review, comments, stand-ins.

use std::time::Duration;

use countersign_control_plane::identity::{ActorKind, Right};
use countersign_model::{Seconds, Timestamp};
use serde_json::{Value, json};

use crate::stage::{ONE, OWNER, Stage, TWO, VIEWER, deploy};

/// A time, that many days from now.
fn in_days(days: u32) -> String {
    let now = countersign_control_plane::clock::Clock::system().now();
    let at: Timestamp = now.plus(Seconds::new(days * 24 * 60 * 60));
    at.to_string()
}

/// Waits until the search index has that many events of a kind, and no more.
async fn recorded(stage: &Stage, kind: &str, count: usize) {
    let token = stage.token(ONE).await;
    for _ in 0..1_000 {
        let events = stage.get(&format!("/api/v1/audit/events?kind={kind}"), &token).await.is(200).json();
        let found = events["items"].as_array().unwrap().len();
        assert!(found <= count, "{events}");
        if found == count {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("there are not {count} events of kind {kind}");
}

fn stand_in(person: &str, days: u32) -> Value {
    json!({"stand_in": person, "until": in_days(days), "reason": "on holiday"})
}

#[tokio::test]
async fn several_votes_are_each_a_vote_of_its_own() {
    let stage = Stage::new().await;
    let (one, owner) = (stage.token(ONE).await, stage.token(OWNER).await);
    let good = stage.submit(deploy("payments"), "one").await;
    let bad = stage.submit(deploy("orders"), "one").await;
    let stale = stage.submit(deploy("users"), "two").await;
    let vote =
        |id: &str, version: u64, decision: &str| json!({"id": id, "version": version, "decision": decision});
    let unknown = "01990000-0000-7000-8000-000000000000";
    let votes = [
        vote(&good, 1, "approve"),
        vote(&bad, 1, "deny"),
        vote(&stale, 7, "approve"),
        vote(unknown, 1, "deny"),
    ];
    let answer = stage.post("/api/v1/approvals/votes", &one, json!({"votes": votes})).await.is(200).json();
    let results = answer["results"].as_array().unwrap();
    let taken: Vec<_> = results.iter().map(|result| result["taken"].as_bool().unwrap()).collect();
    assert_eq!(taken, [true, true, false, false]);
    assert_eq!((&results[0]["state"], &results[1]["state"]), (&json!("approved"), &json!("denied")));
    assert_eq!(results[2]["problem"]["code"], "stale");
    assert_eq!(results[3]["problem"]["code"], "not_found");
    // I3 holds for each of them, and what is no batch is refused whole.
    let again = [vote(&stale, 1, "approve")];
    let answer = stage.post("/api/v1/approvals/votes", &owner, json!({"votes": again})).await.is(200).json();
    assert_eq!(answer["results"][0]["problem"]["code"], "self_approval");
    for votes in [vec![], vec![vote(&stale, 1, "approve"); 2], vec![vote(&stale, 1, "approve"); 51]] {
        stage.post("/api/v1/approvals/votes", &one, json!({"votes": votes})).await.is_problem(422, "invalid");
    }
    recorded(&stage, "approval.voted", 2).await;
}

#[tokio::test]
async fn the_glass_is_broken_alone_and_reviewed_by_somebody_else() {
    let stage = Stage::new().await;
    let (one, two, owner) = (stage.token(ONE).await, stage.token(TWO).await, stage.token(OWNER).await);
    let id = stage.submit(deploy("payments"), "emergency").await;
    let path = |what: &str| format!("/api/v1/approvals/{id}/{what}");
    let reason = || json!({"reason": "the site is down"});
    stage.post(&path("break-glass"), &owner, reason()).await.is_problem(403, "self_approval");
    let machine = stage.narrow_token(ONE, ActorKind::Machine, &[Right::Read]).await;
    stage.post(&path("break-glass"), &machine, reason()).await.is(403);
    let viewer = stage.token(VIEWER).await;
    stage.post(&path("break-glass"), &viewer, reason()).await.is_problem(403, "not_a_reviewer");
    stage.post(&path("break-glass"), &one, json!({"reason": " "})).await.is_problem(422, "reason_missing");
    let view = stage.get(&format!("/api/v1/approvals/{id}"), &one).await.json();
    assert_eq!(
        (&view["may_vote"]["allowed"], &view["may_vote"]["may_break_glass"]),
        (&json!(false), &json!(true))
    );

    let view = stage.post(&path("break-glass"), &one, reason()).await.is(201).json();
    assert_eq!((&view["state"], &view["needs_review"]), (&json!("approved"), &json!(true)));
    assert_eq!(view["glass"]["by"], ONE);
    let open = stage.get("/api/v1/approvals?needs_review=true", &two).await.is(200).json();
    assert_eq!(open["items"][0]["id"], id.as_str());
    assert_eq!(open["items"][0]["may_vote"]["may_review"], true);

    let review = || json!({"comment": "right, and in time"});
    stage.post(&path("glass-reviews"), &one, review()).await.is_problem(403, "own_glass");
    stage.post(&path("glass-reviews"), &owner, review()).await.is_problem(403, "self_approval");
    stage.post(&path("glass-reviews"), &two, json!({"comment": ""})).await.is_problem(422, "reason_missing");
    let view = stage.post(&path("glass-reviews"), &two, review()).await.is(201).json();
    assert_eq!((&view["needs_review"], &view["glass"]["review"]["by"]), (&json!(false), &json!(TWO)));
    let none = stage.get("/api/v1/approvals?needs_review=true", &two).await.is(200).json();
    assert_eq!(none["items"].as_array().unwrap().len(), 0);
    for kind in ["approval.glass_broken", "approval.glass_reviewed"] {
        recorded(&stage, kind, 1).await;
    }
}

#[tokio::test]
async fn a_request_without_a_glass_has_none_to_break() {
    let stage = Stage::new().await;
    let id = stage.submit(deploy("payments"), "two").await;
    let path = format!("/api/v1/approvals/{id}/break-glass");
    let answer = stage.post(&path, &stage.token(ONE).await, json!({"reason": "now"})).await;
    answer.is_problem(403, "glass_not_yours");
}

#[tokio::test]
async fn comments_are_kept_and_count_for_nothing() {
    let stage = Stage::new().await;
    let (one, viewer) = (stage.token(ONE).await, stage.token(VIEWER).await);
    let id = stage.submit(deploy("payments"), "one").await;
    let path = format!("/api/v1/approvals/{id}/comments");
    stage.post(&path, &viewer, json!({"comment": "is this the right region?"})).await.is(201);
    stage.post(&path, &stage.token(OWNER).await, json!({"comment": "approve"})).await.is(201);
    stage.post(&path, &viewer, json!({"comment": " "})).await.is_problem(422, "invalid");
    stage.post(&path, &viewer, json!({"comment": "x".repeat(2_001)})).await.is_problem(422, "invalid");
    let said = stage.get(&path, &one).await.is(200).json();
    let texts: Vec<_> =
        said["items"].as_array().unwrap().iter().map(|one| one["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["is this the right region?", "approve"]);
    let view = stage.get(&format!("/api/v1/approvals/{id}"), &one).await.json();
    assert_eq!((&view["state"], &view["version"]), (&json!("pending"), &json!(1)));
    let nowhere = "/api/v1/approvals/01990000-0000-7000-8000-000000000000/comments";
    stage.post(nowhere, &one, json!({"comment": "hello"})).await.is(404);
    stage.get(nowhere, &one).await.is(404);
    // What is over can still be talked about.
    stage.vote(&id, &one, "deny").await.is(201);
    stage.post(&path, &one, json!({"comment": "it was not"})).await.is(201);
    recorded(&stage, "approval.commented", 3).await;
}

#[tokio::test]
async fn a_stand_in_votes_by_the_right_of_whoever_named_them() {
    let stage = Stage::new().await;
    let (one, two) = (stage.token(ONE).await, stage.token(TWO).await);
    let id = stage.submit(deploy("payments"), "emergency").await;
    stage.vote(&id, &one, "approve").await.is_problem(403, "not_eligible");
    let made = stage.post("/api/v1/delegations", &two, stand_in(ONE, 7)).await.is(201).json();
    assert_eq!(
        (&made["delegator"], &made["stand_in"], &made["holds"]),
        (&json!(TWO), &json!(ONE), &json!(true))
    );
    let seen = stage.get("/api/v1/delegations", &one).await.is(200).json();
    assert_eq!(seen["items"][0]["id"], made["id"]);
    let view = stage.vote(&id, &one, "approve").await.is(201).json();
    assert_eq!((&view["state"], &view["votes"][0]["person"]), (&json!("approved"), &json!(ONE)));
    assert_eq!(view["votes"][0]["delegated"], json!([{"requirement": "emergency", "from": TWO}]));

    // Taken back, it confers nothing.
    let later = stage.submit(deploy("orders"), "emergency").await;
    let revoke = format!("/api/v1/delegations/{}/revoke", made["id"].as_str().unwrap());
    stage.post(&revoke, &stage.token(VIEWER).await, json!({})).await.is(404);
    stage.post(&revoke, &two, json!({})).await.is(200);
    stage.vote(&later, &one, "approve").await.is_problem(403, "not_eligible");
}

#[tokio::test]
async fn a_delegation_ends_with_its_time_and_with_its_delegator() {
    let stage = Stage::new().await;
    let (one, two, owner) = (stage.token(ONE).await, stage.token(TWO).await, stage.token(OWNER).await);
    stage.post("/api/v1/delegations", &two, stand_in(ONE, 1)).await.is(201);
    let id = stage.submit(deploy("payments"), "emergency").await;
    let may_vote = async || {
        let view = stage.get(&format!("/api/v1/approvals/{id}"), &one).await.json();
        view["may_vote"]["allowed"].as_bool().unwrap()
    };
    assert!(may_vote().await);
    let admin = stage.actor(&owner).await;
    let identity = stage.running.identity();
    identity.set_disabled(&admin, TWO.parse().unwrap(), true).await.unwrap();
    assert!(!may_vote().await, "a person who is disabled has nothing to hand on");
    identity.set_disabled(&admin, TWO.parse().unwrap(), false).await.unwrap();
    assert!(may_vote().await);
    stage.pass(Seconds::new(23 * 60 * 60));
    let late = stage.submit(deploy("orders"), "emergency").await;
    stage.pass(Seconds::new(2 * 60 * 60));
    let one = stage.token(ONE).await;
    let refused = stage.vote(&late, &one, "approve").await;
    assert_eq!(refused.status, 403, "{}", refused.text);
}

/// The attacks: hand on what is not one's own, hand on for ever, or have a program hand on.
#[tokio::test]
async fn nobody_names_a_stand_in_for_others_or_for_ever() {
    let stage = Stage::new().await;
    let two = stage.token(TWO).await;
    let machine = stage.narrow_token(TWO, ActorKind::Machine, &[Right::Read]).await;
    stage.post("/api/v1/delegations", &machine, stand_in(ONE, 7)).await.is(403);
    let reader = stage.narrow_token(TWO, ActorKind::Human, &[Right::Read]).await;
    stage.post("/api/v1/delegations", &reader, stand_in(ONE, 7)).await.is_problem(403, "forbidden");
    for refused in [
        stand_in(TWO, 7),
        stand_in("REVIEWER-TWO@example.com", 7),
        stand_in("nobody@example.com", 7),
        stand_in(ONE, 31),
        stand_in(ONE, 0),
        json!({"stand_in": ONE, "until": in_days(7), "reason": " "}),
        json!({"stand_in": ONE, "from": in_days(200), "until": in_days(201), "reason": "later"}),
    ] {
        stage.post("/api/v1/delegations", &two, refused).await.is_problem(422, "invalid");
    }
    for _ in 0..10 {
        stage.post("/api/v1/delegations", &two, stand_in(ONE, 7)).await.is(201);
    }
    let answer = stage.post("/api/v1/delegations", &two, stand_in(ONE, 7)).await;
    answer.is_problem(409, "too_many_delegations");
}
