//! Every error is a problem detail, whoever made it.

use axum::body::Body;
use http::{Method, header};
use serde_json::json;

use crate::stage::{ONE, Stage, deploy, json_request, request};

#[tokio::test]
async fn errors_of_the_router_and_of_the_extractors_are_problem_details() {
    let stage = Stage::new().await;
    let one = stage.token(ONE).await;
    let id = stage.submit(deploy("payments"), "one").await;
    let votes = format!("/api/v1/approvals/{id}/votes");
    let post = |body: &str| json_request(&votes, &one).body(Body::from(body.to_owned())).unwrap();

    stage.get("/api/v1/nothing", &one).await.is_problem(404, "not_found");
    stage.get("/api/v1/approvals/not-an-id", &one).await.is_problem(404, "not_found");
    let delete = request(Method::DELETE, "/api/v1/approvals", &one).body(Body::empty()).unwrap();
    let wrong = stage.send(delete).await;
    wrong.is_problem(405, "method_not_allowed");
    assert!(wrong.header("allow").contains("GET"));
    stage.get("/api/v1/approvals?limit=0", &one).await.is_problem(400, "bad_request");
    stage.get("/api/v1/approvals?limt=5", &one).await.is_problem(400, "bad_request");

    let plain = request(Method::POST, &votes, &one).header(header::CONTENT_TYPE, "text/plain");
    stage.send(plain.body(Body::from("{}")).unwrap()).await.is_problem(415, "unsupported_media_type");
    stage.send(post("{")).await.is_problem(400, "bad_request");
    // Two readers could read this differently; so nobody reads it.
    stage.send(post(r#"{"decision":"deny","decision":"approve"}"#)).await.is_problem(400, "bad_request");
    stage.send(post(r#"{"decision":"perhaps"}"#)).await.is_problem(422, "invalid");
    stage.send(post(r#"{"decision":"deny","extra":1}"#)).await.is_problem(422, "invalid");
    stage
        .send(post(&format!(r#"{{"decision":"deny","reason":"{}"}}"#, "x".repeat(2_001))))
        .await
        .is_problem(422, "invalid");
    stage
        .send(post(&format!(r#"{{"decision":"deny","reason":"{}"}}"#, "x".repeat(70_000))))
        .await
        .is_problem(413, "too_large");
    let keyed =
        json_request(&votes, &one).header("idempotency-key", "k").body(Body::from("x".repeat(70_000)));
    stage.send(keyed.unwrap()).await.is_problem(413, "too_large");

    assert_eq!(stage.get(&format!("/api/v1/approvals/{id}"), &one).await.json()["votes"], json!([]));
}

#[tokio::test]
async fn every_answer_carries_the_security_headers() {
    let stage = Stage::new().await;
    for path in
        ["/", "/sign-in", "/healthz", "/openapi.json", "/api/v1/whoami", "/nothing", "/api/v1/nothing"]
    {
        let answer = stage.get(path, "").await;
        let policy = answer.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none';"), "{path}: {policy}");
        assert!(!policy.contains("unsafe") && policy.contains("frame-ancestors 'none'"), "{path}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("x-frame-options"), "DENY", "{path}");
        assert_eq!(answer.header("referrer-policy"), "no-referrer", "{path}");
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
    }
}
