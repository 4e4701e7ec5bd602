//! The check API as its callers see it: AuthZEN 1.0.

mod api;

use api::{Api, EVALUATION, EVALUATIONS, post, raw, request, send};
use axum::body::Body;
use countersign_gate::record::Kind;
use countersign_intercept::check::{Check, Settings, Token};
use countersign_model::Seconds;
use countersign_testkit::{World, world::REQUIREMENTS};
use http::{Request, StatusCode, header};
use serde_json::{Value, json};

#[tokio::test]
async fn an_evaluation_is_answered_with_a_decision() {
    let api = Api::new();
    assert!(api.post(EVALUATION, &request("read")).await.decision());
    let denied = api.post(EVALUATION, &request("wipe")).await;
    assert!(!denied.decision());
    assert_eq!(denied.context("/reason"), "policy_denied");
    assert_eq!(denied.context("/policies/0/reason"), "Nothing may be wiped");
    assert_eq!(denied.context("/access_request"), Value::Null);
    assert_eq!(api.world.audit.kinds(), [Kind::Permitted, Kind::Denied]);
}

#[tokio::test]
async fn unknown_members_are_ignored_and_required_ones_are_required() {
    let api = Api::new();
    let mut with_more = request("read");
    with_more["unheard_of"] = json!(1);
    with_more["subject"]["unheard_of"] = json!([1]);
    assert!(api.post(EVALUATION, &with_more).await.decision());
    for pointer in ["/subject", "/action", "/resource", "/subject/id", "/action/name", "/resource/type"] {
        let mut without = request("read");
        let (parent, leaf) = pointer.rsplit_once('/').unwrap();
        without.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(leaf);
        let reply = api.post(EVALUATION, &without).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{pointer}");
        assert!(reply.text.contains("is missing"), "{}", reply.text);
    }
}

#[tokio::test]
async fn garbage_is_refused() {
    let api = Api::new();
    let twice = r#"{"subject":{"type":"user","id":"a","id":"b"},"action":{"name":"read"},
        "resource":{"type":"Service","id":"x"}}"#;
    for body in ["", "{", "[]", "null", "\"\\ud800\"", twice] {
        let reply = api.send(raw(EVALUATION, "application/json", body)).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{body}");
    }
    for value in [json!({"subject": "alice"}), json!({"action": {"name": 1}}), json!({"resource": []})] {
        let mut wrong = request("read");
        wrong.as_object_mut().unwrap().extend(value.as_object().unwrap().clone());
        assert_eq!(api.post(EVALUATION, &wrong).await.status, StatusCode::BAD_REQUEST, "{value}");
    }
    let reply = api.send(raw(EVALUATION, "text/plain", request("read").to_string())).await;
    assert_eq!(reply.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let reply = api.send(raw(EVALUATION, "application/json", vec![b' '; 2 << 20])).await;
    assert_eq!(reply.status, StatusCode::PAYLOAD_TOO_LARGE);
    let reply = api.send(raw(EVALUATION, "application/json", vec![b'"', 0xff, b'"'])).await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);
    assert_eq!(api.get(EVALUATION).await.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(api.get("/access/v2/evaluation").await.status, StatusCode::NOT_FOUND);
    assert!(api.world.audit.kinds().is_empty());
}

#[tokio::test]
async fn a_request_identifier_comes_back_with_every_answer() {
    let api = Api::new();
    for body in [request("read").to_string(), "garbage".to_owned()] {
        let mut request = raw(EVALUATION, "application/json; charset=utf-8", body);
        request.headers_mut().insert("x-request-id", "id-1".parse().unwrap());
        assert_eq!(api.send(request).await.headers["x-request-id"], "id-1");
    }
}

#[tokio::test]
async fn the_verified_agent_is_the_principal_and_the_asserted_subject_is_only_shown() {
    let api = Api::new();
    let policies = r#"permit (principal == Agent::"deploy-bot", action, resource)
        when { context.subject.id == "alice@example.com" && context.agent == principal };"#;
    api.world.activate(2, policies, REQUIREMENTS);
    assert!(api.post(EVALUATION, &request("read")).await.decision());
    let mut other = request("read");
    other["subject"]["id"] = json!("bob@example.com");
    assert!(!api.post(EVALUATION, &other).await.decision());
    // Claiming to be the agent does not help either.
    other["subject"] = json!({"type": "Agent", "id": "deploy-bot"});
    assert!(!api.post(EVALUATION, &other).await.decision());
}

#[tokio::test]
async fn a_trusted_caller_says_who_the_principal_is() {
    let api = Api::with(Settings { trust_subject: true, ..Settings::default() });
    let policies = r#"permit (principal == user::"alice@example.com", action, resource);"#;
    api.world.activate(2, policies, REQUIREMENTS);
    assert!(api.post(EVALUATION, &request("read")).await.decision());
    let mut other = request("read");
    other["subject"]["id"] = json!("bob@example.com");
    assert!(!api.post(EVALUATION, &other).await.decision());
}

#[tokio::test]
async fn provenance_must_make_sense() {
    let api = Api::new();
    for wrong in [json!("x"), json!({"model": 1}), json!({"initiator": "two words"})] {
        let mut request = request("read");
        request["subject"]["type"] = json!("service");
        request["context"] = json!({"provenance": wrong});
        assert_eq!(api.post(EVALUATION, &request).await.status, StatusCode::BAD_REQUEST, "{wrong}");
    }
}

#[tokio::test]
async fn several_evaluations_inherit_what_they_do_not_say() {
    let api = Api::new();
    let mut body = request("read");
    body["evaluations"] = json!([
        {},
        {"action": {"name": "wipe"}},
        {"resource": {"type": "Service"}},
        "not even an object",
        {"action": {"name": "deploy"}},
    ]);
    let reply = api.post(EVALUATIONS, &body).await;
    let decisions = reply.json()["evaluations"].as_array().unwrap().clone();
    let said: Vec<_> = decisions.iter().map(|decision| decision["decision"].as_bool().unwrap()).collect();
    assert_eq!(said, [true, false, false, false, false]);
    assert_eq!(decisions[2]["context"]["error"]["status"], 400);
    assert_eq!(decisions[3]["context"]["error"]["status"], 400);
    assert!(decisions[4]["context"]["access_request"].is_object());
    assert_eq!(reply.json().get("decision"), None);
}

#[tokio::test]
async fn several_evaluations_stop_when_their_semantic_says_so() {
    let api = Api::new();
    for (semantic, actions, expected) in [
        ("execute_all", ["wipe", "read", "wipe"], vec![false, true, false]),
        ("deny_on_first_deny", ["read", "wipe", "read"], vec![true, false]),
        ("permit_on_first_permit", ["wipe", "read", "read"], vec![false, true]),
    ] {
        let mut body = request("unused");
        body["options"] = json!({"evaluations_semantic": semantic, "other": 1});
        body["evaluations"] = actions.iter().map(|name| json!({"action": {"name": name}})).collect();
        let reply = api.post(EVALUATIONS, &body).await.json();
        let said = reply["evaluations"].as_array().unwrap();
        let said: Vec<_> = said.iter().map(|decision| decision["decision"].as_bool().unwrap()).collect();
        assert_eq!(said, expected, "{semantic}");
    }
}

#[tokio::test]
async fn a_request_for_several_evaluations_without_any_is_one_for_one() {
    let api = Api::new();
    let mut body = request("read");
    assert!(api.post(EVALUATIONS, &body).await.decision());
    body["evaluations"] = json!([]);
    assert!(api.post(EVALUATIONS, &body).await.decision());
    for (name, wrong) in [
        ("evaluations", json!({})),
        ("evaluations", vec![json!({}); 101].into()),
        ("options", json!(1)),
        ("options", json!({"evaluations_semantic": "first_come"})),
    ] {
        let mut body = request("read");
        body[name] = wrong;
        assert_eq!(api.post(EVALUATIONS, &body).await.status, StatusCode::BAD_REQUEST, "{name}");
    }
}

#[tokio::test]
async fn the_metadata_says_where_everything_is() {
    let api = Api::new();
    let metadata = api.get("/.well-known/authzen-configuration").await;
    assert_eq!(metadata.headers["content-type"], "application/json");
    let metadata = metadata.json();
    assert_eq!(metadata["policy_decision_point"], "http://localhost:7702");
    assert_eq!(metadata["access_evaluation_endpoint"], "http://localhost:7702/access/v1/evaluation");
    assert_eq!(metadata["access_request_endpoint"], "http://localhost:7702/access/v1/requests");
    assert_eq!(metadata["capabilities"], json!(["urn:openid:authzen:capability:access-request"]));
    let jwks = api.get("/access/v1/jwks").await.json();
    assert_eq!(jwks["keys"][0]["kty"], "OKP");
    assert_eq!(jwks["keys"][0]["use"], "sig");
}

#[tokio::test]
async fn health_is_told() {
    let api = Api::new();
    assert_eq!(api.get("/healthz").await.status, StatusCode::OK);
    api.world.clock.advance(Seconds::new(90));
    let ready = api.get("/readyz").await;
    assert_eq!(ready.json(), json!({"ready": true, "revision": 1, "age_seconds": 90}));
    api.world.policy.set_lease_ended(true);
    assert_eq!(api.get("/readyz").await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(api.post(EVALUATION, &request("read")).await.context("/reason"), "lease_ended");
    api.world.policy.remove();
    assert_eq!(api.get("/readyz").await.json()["reason"], "no_policy");
    assert_eq!(api.get("/healthz").await.status, StatusCode::OK);
}

#[tokio::test]
async fn over_tcp_a_token_and_a_local_host_are_needed() {
    let world = World::new();
    let check = Check::new(world.gate.clone(), Settings::default(), "http://127.0.0.1:7702");
    let routes = check.routes_with_token(Token::new("s3cret"));
    let ask = |host: Option<&str>, token: Option<&str>| {
        let mut request = post(EVALUATION, &request("read"));
        if let Some(host) = host {
            request.headers_mut().insert(header::HOST, host.parse().unwrap());
        }
        if let Some(token) = token {
            request.headers_mut().insert(header::AUTHORIZATION, token.parse().unwrap());
        }
        send(&routes, request)
    };
    let local = Some("127.0.0.1:7702");
    assert!(ask(local, Some("Bearer s3cret")).await.decision());
    for token in [None, Some("Bearer wrong"), Some("Bearer "), Some("Basic s3cret"), Some("s3cret")] {
        let reply = ask(local, token).await;
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{token:?}");
        assert!(reply.headers["www-authenticate"].to_str().unwrap().starts_with("Bearer realm="));
    }
    for host in [None, Some("evil.example.com"), Some("evil.example.com:7702")] {
        let reply = ask(host, Some("Bearer s3cret")).await;
        assert_eq!(reply.status, StatusCode::MISDIRECTED_REQUEST, "{host:?}");
    }
    // Health and metadata hold no secrets.
    let health = Request::get("/healthz").header(header::HOST, "localhost").body(Body::empty()).unwrap();
    assert_eq!(send(&routes, health).await.status, StatusCode::OK);
    for path in ["/access/v1/requests", EVALUATIONS] {
        let mut request = post(path, &json!({}));
        request.headers_mut().insert(header::HOST, "localhost".parse().unwrap());
        assert_eq!(send(&routes, request).await.status, StatusCode::UNAUTHORIZED);
    }
}
