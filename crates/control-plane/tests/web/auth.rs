//! Who may use which route.

use axum::body::Body;
use countersign_control_plane::{
    api::{self, Access},
    identity::{ActorKind, Right},
};
use countersign_model::{ApprovalId, Seconds, Timestamp};
use http::{Method, StatusCode, header};
use serde_json::{Value, json};

use crate::stage::{AUTHOR, ONE, OWNER, Stage, TWO, VIEWER, deploy, request};

/// A path of that route, with parameters that name nothing.
fn path_of(template: &str) -> String {
    let id = ApprovalId::new(Timestamp::from_millis(1), [9; 10]).to_string();
    template.replace("{id}", &id).replace("{name}", "nobody").replace("{revision}", "999")
}

fn bare(method: &Method, path: &str, token: &str) -> http::Request<Body> {
    let builder = request(method.clone(), path, token).header(header::CONTENT_TYPE, "application/json");
    builder.body(Body::from("{}")).unwrap()
}

/// Every route refuses whoever has no credential, and every credential without one of its rights. The
/// table below says who has which rights, and the routes' own table what each takes.
#[tokio::test]
async fn every_route_refuses_who_may_not_use_it() {
    let stage = Stage::new().await;
    let all = [
        (stage.token(VIEWER).await, &[Right::Read, Right::Vote][..]),
        (stage.token(ONE).await, &[Right::Read, Right::Vote]),
        (stage.token(AUTHOR).await, &[Right::Read, Right::Vote, Right::Policy]),
        (stage.token(OWNER).await, Right::ALL),
        (stage.narrow_token(OWNER, ActorKind::Human, &[Right::Read]).await, &[Right::Read]),
        (
            stage.narrow_token(OWNER, ActorKind::Machine, &[Right::Read, Right::Policy, Right::Admin]).await,
            &[Right::Read, Right::Policy, Right::Admin],
        ),
    ];
    let routes = api::routes(stage.running.services().clone(), stage.running.identity().clone());
    assert!(routes.len() > 25);
    for route in routes.iter().filter(|route| route.path != "/api/v1/events") {
        let path = path_of(route.path);
        let anonymous = stage.send(bare(&route.method, &path, "")).await;
        let Access::AnyOf(needed) = route.access else {
            assert_ne!(anonymous.status, StatusCode::UNAUTHORIZED, "{path}");
            continue;
        };
        anonymous.is_problem(401, "unauthenticated");
        assert!(anonymous.header("www-authenticate").starts_with("Bearer"));
        stage.send(bare(&route.method, &path, "cs_guess")).await.is_problem(401, "unauthenticated");
        for (token, rights) in &all {
            let answer = stage.send(bare(&route.method, &path, token)).await;
            let allowed = needed.iter().any(|right| rights.contains(right));
            let refused = answer.status == StatusCode::FORBIDDEN
                && ["forbidden", "machine_credential"].contains(&answer.json()["code"].as_str().unwrap());
            // A route that lets a machine pass may still refuse it what only a person may do.
            let machine = answer.text.contains("machine_credential");
            assert!(
                allowed != refused || machine,
                "{} {path} with {rights:?}: {}",
                route.method,
                answer.text
            );
        }
    }
}

/// The routes that change nothing but what is there to see take the session cookie as well; those that
/// change something never do, because a page elsewhere can make a browser send it.
#[tokio::test]
async fn a_cookie_alone_changes_nothing() {
    let stage = Stage::new().await;
    let secret = stage.running.identity().sign_in_with_token(&stage.token(ONE).await, None).await.unwrap();
    let cookie = stage.running.identity().cookie().set(&secret).unwrap();
    let with_cookie = |method: Method, path: &str| {
        let mut request = bare(&method, path, "");
        request.headers_mut().insert(header::COOKIE, cookie.clone());
        request
    };
    stage.send(with_cookie(Method::GET, "/api/v1/whoami")).await.is(200);
    let routes = api::routes(stage.running.services().clone(), stage.running.identity().clone());
    for route in routes.iter().filter(|route| route.method != Method::GET) {
        let answer = stage.send(with_cookie(route.method.clone(), &path_of(route.path))).await;
        answer.is_problem(401, "unauthenticated");
    }
}

#[tokio::test]
async fn whoami_says_who_and_what() {
    let stage = Stage::new().await;
    let who = stage.get("/api/v1/whoami", &stage.token(ONE).await).await.is(200).json();
    assert_eq!((who["person"].as_str(), who["kind"].as_str()), (Some(ONE), Some("human")));
    assert_eq!(who["roles"], serde_json::json!(["reviewer"]));
    assert_eq!(who["scopes"], serde_json::json!(["read", "vote"]));
}

/// I3: an admin who owns an agent cannot get hold of a reviewer's credential.
#[tokio::test]
async fn nobody_gets_a_credential_of_somebody_else() {
    let stage = Stage::new().await;
    let owner = stage.token(OWNER).await;
    let wish = serde_json::json!({"name": "mine", "kind": "human", "owner": TWO});
    stage.post("/api/v1/tokens", &owner, wish).await.is_problem(422, "invalid");
    let made = stage.post("/api/v1/tokens", &owner, serde_json::json!({"name": "x", "kind": "human"})).await;
    assert_eq!(made.is(201).json()["owner"], OWNER);
    let link = stage.post("/api/v1/sign-in-links", &owner, serde_json::json!({})).await.is(201).json();
    let page = stage.get(link["path"].as_str().unwrap(), "").await;
    assert!(page.text.contains(&format!("Sign in as {OWNER}")), "{}", page.text);
}

#[tokio::test]
async fn a_revoked_token_stops_working_at_once() {
    let stage = Stage::new().await;
    let (owner, one) = (stage.token(OWNER).await, stage.token(ONE).await);
    let id = stage.get("/api/v1/whoami", &one).await.json()["token"].as_str().unwrap().to_owned();
    let revoked = stage.post(&format!("/api/v1/tokens/{id}/revoke"), &owner, serde_json::json!({})).await;
    assert!(revoked.is(200).json()["revoked_at"].is_string());
    stage.get("/api/v1/whoami", &one).await.is_problem(401, "unauthenticated");
}

#[tokio::test]
async fn a_token_that_has_run_out_opens_nothing() {
    let stage = Stage::new().await;
    let one = stage.token(ONE).await;
    let approval = stage.submit(deploy("payments"), "one").await;
    stage.pass(Seconds::new(24 * 60 * 60));
    stage.vote(&approval, &one, "approve").await.is_problem(401, "unauthenticated");
}

/// The kinds of what was changed, each with who did it and how they had signed in.
async fn changes(stage: &Stage) -> Vec<(String, String, String)> {
    let events = stage.get("/api/v1/audit/events?limit=200", &stage.token(OWNER).await).await.is(200).json();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let items = events["items"].as_array().unwrap().iter();
    let told = items
        .map(|item| &item["event"])
        .map(|event| [&event["kind"], &event["actor"], &event["body"]["method"]].map(text));
    let by_people = told.filter(|[_, actor, _]| actor.contains('@'));
    by_people.map(|[kind, actor, method]| (kind, actor, method)).collect()
}

/// An auditor asks of each change: who, and by what did they prove it?
#[tokio::test]
async fn every_change_is_recorded_with_who_made_it_and_how_they_had_signed_in() {
    let stage = Stage::new().await;
    let (owner, one) = (stage.token(OWNER).await, stage.token(ONE).await);
    let author = stage.narrow_token(OWNER, ActorKind::Machine, &[Right::Policy]).await;
    let session = crate::console::Browser::sign_in(&stage, TWO).await;
    let [denied, voted] =
        [stage.submit(deploy("payments"), "one").await, stage.submit(deploy("ledger"), "one").await];
    let csrf = session.csrf().await;
    session
        .post(&format!("/approvals/{denied}/votes"), &[("csrf", &csrf), ("decision", "deny")])
        .await
        .is(303);
    stage.vote(&voted, &one, "approve").await.is(201);
    for (path, token, body) in [
        ("/api/v1/policy/revisions".to_owned(), &author, crate::stage::bundle()),
        ("/api/v1/agents".to_owned(), &owner, json!({"name": "new-bot", "owner": ONE})),
        ("/api/v1/agents/new-bot/revoke".to_owned(), &owner, json!({})),
        (format!("/api/v1/approvals/{voted}/comments"), &one, json!({"comment": "looked at it"})),
        (format!("/api/v1/approvals/{voted}/revoke"), &owner, json!({})),
        ("/api/v1/tokens".to_owned(), &one, json!({"name": "laptop", "kind": "human"})),
        ("/api/v1/sign-in-links".to_owned(), &one, json!({})),
        (format!("/api/v1/people/{TWO}/disable"), &owner, json!({})),
        (format!("/api/v1/people/{TWO}/join"), &owner, json!({"name": "two@example.org"})),
    ] {
        let answer = stage.post(&path, token, body).await;
        assert!(answer.status.is_success(), "{path}: {}", answer.text);
    }
    let is_last = |(kind, _, _): &(String, String, String)| kind == "person.changed";
    let mut told = changes(&stage).await;
    for _ in 0..1_000 {
        if told.iter().filter(|one| is_last(one)).count() >= 2 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        told = changes(&stage).await;
    }
    let expected = [
        ("approval.denied", TWO, "session:token"),
        ("approval.voted", ONE, "token"),
        ("agent.revoked", OWNER, "token"),
        ("approval.commented", ONE, "token"),
        ("approval.revoked", OWNER, "token"),
        ("token.created", ONE, "token"),
        ("person.changed", OWNER, "token"),
    ];
    for (kind, actor, method) in expected {
        let is_told =
            told.iter().any(|one| (one.0.as_str(), one.1.as_str(), one.2.as_str()) == (kind, actor, method));
        assert!(is_told, "{kind} by {actor} with {method}: {told:#?}");
    }
    let pushed = told.iter().find(|one| one.0.starts_with("policy.") && one.1.starts_with("machine:"));
    assert_eq!(pushed.unwrap().2, "token");
    // What was put there before anybody could sign in, the process has put there itself.
    assert!(told.iter().all(|one| !one.2.is_empty()), "{told:#?}");
}
