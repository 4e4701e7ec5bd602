//! The check API as its callers see it: the Access Request and Approval Profile.

mod api;

use api::{Api, EVALUATION, REQUESTS, changed, deploy, post, request, send, submission};
use axum::body::Body;
use countersign_gate::Outcome;
use countersign_intercept::check::Settings;
use countersign_model::{ApprovalId, Seconds};
use countersign_testkit::world::{POLICIES, REQUIREMENTS, eventually};
use http::{Method, Request, StatusCode};
use serde_json::{Value, json};

#[tokio::test]
async fn what_needs_approval_is_a_requestable_denial() {
    let api = Api::new();
    let denial = api.post(EVALUATION, &deploy()).await;
    assert!(!denial.decision());
    assert_eq!(denial.context("/reason"), "approval_required");
    assert_eq!(denial.context("/access_request/endpoint"), "http://localhost:7702/access/v1/requests");
    assert!(denial.context("/evaluation_id").is_string());
    assert!(denial.context("/evaluated_at").is_string());
    assert!(denial.context("/access_request/expires_at").is_string());
    assert_eq!(denial.context("/access_request/template"), "sre");
    assert_eq!(denial.context("/policies/0/id"), "prod-deploy");
}

#[tokio::test]
async fn the_whole_way_of_an_approval() {
    let api = Api::new();
    let (id, task) = api.requested().await;
    assert_eq!(task["status"], "pending");
    assert_eq!(task["status_endpoint"], format!("http://localhost:7702/access/v1/requests/{id}"));
    assert!(task["links"]["cancel"].as_str().unwrap().ends_with("/cancel"));
    let shown = api.world.control.approvals().pop().unwrap().request.submission;
    assert_eq!(shown.provenance.reason.as_deref(), Some("the customer waits"));

    let pending = api.get(&format!("{REQUESTS}/{id}")).await;
    assert_eq!(pending.headers["retry-after"], "1");
    // Not decided yet is not approved.
    let early = api.present(deploy(), &json!({"id": id})).await;
    assert_eq!(early.next(), (json!("approval_pending"), json!("retry")));
    assert!(early.context("/retry_after").is_number());

    api.world.control.approve(id);
    let done = api.task(id).await;
    assert_eq!(done["task"]["status"], "approved");
    let approval = &done["result"]["approval"];
    assert_eq!(approval["id"], id.to_string());
    assert!(approval["state"].is_string() && approval["approved_until"].is_string());

    let permitted = api.present(deploy(), approval).await;
    assert!(permitted.decision());
    assert_eq!(permitted.context("/approval/id"), id.to_string());
    assert_eq!(permitted.context("/approval/approved_until"), approval["approved_until"]);
    assert_eq!(api.world.journal.outcomes(), [Outcome::HandedOver]);
}

#[tokio::test]
async fn an_approval_serves_once_and_a_new_one_can_be_asked_for() {
    let api = Api::new();
    let (id, approval) = api.approved().await;
    assert!(api.present(deploy(), &approval).await.decision());
    for _ in 0..3 {
        let replay = api.present(deploy(), &approval).await;
        assert_eq!(replay.next(), (json!("approval_expired"), json!("request")));
        assert!(replay.context("/access_request").is_object());
    }
    assert_eq!(api.world.journal.used(id), 1);
    let again = api.present(deploy(), &approval).await;
    let reply = api.post(REQUESTS, &submission(&again)).await;
    // The grant is used up here; the control plane may not have heard of that yet.
    assert_ne!(reply.json()["task"]["id"], id.to_string(), "{}", reply.text);
    assert_eq!(reply.status, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn an_approval_does_not_fit_another_operation() {
    let api = Api::new();
    let (id, approval) = api.approved().await;
    let changes: [(&str, Value); 5] = [
        ("/action/properties/version", json!("2")),
        ("/resource/id", json!("ledger")),
        ("/subject/id", json!("bob@example.com")),
        ("/subject/properties", json!({"act": {"sub": "other"}})),
        ("/context", json!({"environment": "production"})),
    ];
    for (pointer, value) in changes {
        let reply = api.present(changed(&deploy(), pointer, value), &approval).await;
        assert_eq!(reply.next(), (json!("out_of_scope"), json!("request")), "{pointer}");
    }
    assert_eq!(api.world.journal.used(id), 0);
    assert!(api.present(deploy(), &approval).await.decision());
}

#[tokio::test]
async fn what_is_no_approval_is_not_one() {
    let api = Api::new();
    let (id, approval) = api.approved().await;
    let other = ApprovalId::from_bytes([9; 16]);
    for forged in [
        json!({"id": other}),
        json!({"id": other, "state": approval["state"]}),
        json!({"id": id, "state": "a.b.c"}),
        json!({"id": id, "state": {"any": 1}}),
        json!({"id": "not-an-id"}),
        json!(true),
    ] {
        let reply = api.present(deploy(), &forged).await;
        assert_eq!(reply.next(), (json!("approval_unverifiable"), json!("none")), "{forged}");
        assert_eq!(reply.context("/access_request"), Value::Null, "{forged}");
    }
    assert_eq!(api.world.journal.used(id), 0);
}

#[tokio::test]
async fn an_approval_that_does_not_help_takes_nothing_away() {
    let api = Api::new();
    let reply = api.present(request("read"), &json!({"id": ApprovalId::from_bytes([9; 16])})).await;
    assert!(reply.decision());
}

#[tokio::test]
async fn a_refusal_is_final() {
    let api = Api::new();
    let (id, _) = api.requested().await;
    api.world.control.deny(id);
    assert_eq!(api.task(id).await["task"]["status"], "denied");
    let reply = api.present(deploy(), &json!({"id": id})).await;
    assert_eq!(reply.next(), (json!("approval_denied"), json!("none")));
    assert_eq!(reply.context("/access_request"), Value::Null);
    // Evaluating and asking again meets the same refusal, and no person.
    let denial = api.post(EVALUATION, &deploy()).await;
    let again = api.post(REQUESTS, &submission(&denial)).await;
    assert_eq!((again.status, &again.json()["task"]["status"]), (StatusCode::CREATED, &json!("denied")));
    assert_eq!(api.world.control.approvals().len(), 1);
}

#[tokio::test]
async fn policy_that_changed_has_the_last_word() {
    let api = Api::new();
    let (_, approval) = api.approved().await;
    let frozen = format!(
        "{POLICIES}\n@reason(\"Frozen\") forbid (principal, action == Action::\"deploy\", resource);"
    );
    api.world.activate(2, &frozen, REQUIREMENTS);
    let reply = api.present(deploy(), &approval).await;
    assert_eq!(reply.next(), (json!("policy_denied"), json!("none")));
}

#[tokio::test]
async fn an_asserted_user_is_the_initiator_and_cannot_approve() {
    for (trust_subject, kind) in [(false, "user"), (false, "User"), (false, "App::User"), (true, "user")] {
        let api = Api::with(Settings { trust_subject, ..Settings::default() });
        let mut asked = changed(&deploy(), "/subject/type", json!(kind));
        asked["context"] = json!({"provenance": {"initiator": "somebody-else@example.com", "reason": "r"}});
        let denial = api.post(EVALUATION, &asked).await;
        let submitted = changed(&submission(&denial), "/subject/type", json!(kind));
        let reply = api.post(REQUESTS, &submitted).await;
        assert_eq!(reply.status, StatusCode::ACCEPTED, "{}", reply.text);
        let provenance = api.world.control.approvals().pop().unwrap().request.submission.provenance;
        let initiator = provenance.initiator.unwrap();
        assert_eq!(initiator.person.as_str(), "alice@example.com");
        assert_eq!(initiator.verified, trust_subject);
        // What the agent said goes before what its caller adds.
        assert_eq!(provenance.reason.as_deref(), Some("r"));
    }
}

#[tokio::test]
async fn provenance_and_what_policy_never_sees_do_not_bind() {
    let api = Api::new();
    let (_, approval) = api.approved().await;
    let mut later = deploy();
    later["context"] = json!({"provenance": {"model": "m", "session": "s", "prompt": "p"}, "time": "now"});
    assert!(api.present(later, &approval).await.decision());
}

#[tokio::test]
async fn a_submission_must_be_about_the_denial() {
    let api = Api::new();
    let denial = api.post(EVALUATION, &deploy()).await;
    let good = submission(&denial);
    let expires = &good["denial"]["expires_at"];
    for body in [
        changed(&good, "/action/properties/version", json!("2")),
        changed(&good, "/resource/id", json!("ledger")),
        changed(&good, "/subject/id", json!("bob@example.com")),
        changed(&good, "/denial/evaluation_id", json!("00000000-0000-7000-8000-000000000000")),
        changed(&good, "/denial/evaluation_id", json!("garbage")),
        changed(&good, "/denial", json!({"binding_token": "x", "expires_at": expires})),
    ] {
        let reply = api.post(REQUESTS, &body).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{body}");
        reply.problem("invalid_denial_binding");
    }
    for body in [
        changed(&good, "/denial/expires_at", Value::Null),
        changed(&good, "/denial/expires_at", json!("soon")),
        changed(&good, "/items", json!([])),
    ] {
        assert_eq!(api.post(REQUESTS, &body).await.status, StatusCode::BAD_REQUEST, "{body}");
    }
    assert!(api.world.control.approvals().is_empty());
}

#[tokio::test]
async fn a_context_that_was_denied_must_be_submitted_whole() {
    let api = Api::new();
    let mut asked = deploy();
    asked["context"] = json!({"environment": "production"});
    let denial = api.post(EVALUATION, &asked).await;
    let mut body = submission(&denial);
    api.post(REQUESTS, &body).await.problem("invalid_denial_binding");
    body["context"]["environment"] = json!("staging");
    api.post(REQUESTS, &body).await.problem("invalid_denial_binding");
    body["context"]["environment"] = json!("production");
    assert_eq!(api.post(REQUESTS, &body).await.status, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn a_denial_that_nobody_can_lift_is_not_requestable() {
    let api = Api::new();
    let denial = api.post(EVALUATION, &request("wipe")).await;
    let mut body = request("wipe");
    body["denial"] =
        json!({"evaluation_id": denial.context("/evaluation_id"), "expires_at": "2099-01-01T00:00:00Z"});
    api.post(REQUESTS, &body).await.problem("not_requestable");
}

#[tokio::test]
async fn a_denial_can_be_asked_about_for_a_while() {
    let api = Api::new();
    let denial = api.post(EVALUATION, &deploy()).await;
    let body = submission(&denial);
    api.world.clock.advance(Seconds::new(600));
    let reply = api.post(REQUESTS, &body).await;
    assert_eq!(reply.status, StatusCode::GONE);
    reply.problem("expired_denial");
    // Echoing a later time changes nothing.
    let later = changed(&body, "/denial/expires_at", json!("2099-01-01T00:00:00Z"));
    api.post(REQUESTS, &later).await.problem("expired_denial");
}

#[tokio::test]
async fn an_idempotency_key_stands_for_one_request() {
    let api = Api::new();
    let denial = api.post(EVALUATION, &deploy()).await;
    let body = submission(&denial);
    let with_key = |body: &Value| {
        let mut request = post(REQUESTS, body);
        request.headers_mut().insert("idempotency-key", "key-1".parse().unwrap());
        request
    };
    let first = api.send(with_key(&body)).await;
    let second = api.send(with_key(&body)).await;
    assert_eq!(first.json()["task"]["id"], second.json()["task"]["id"]);
    let other = changed(&body, "/context/business_justification", json!("something else"));
    let conflict = api.send(with_key(&other)).await;
    assert_eq!(conflict.status, StatusCode::CONFLICT);
    conflict.problem("duplicate_request");
    // The same operation without a key is the same request, too: people are asked once.
    let third = api.post(REQUESTS, &other).await;
    assert_eq!(first.json()["task"]["id"], third.json()["task"]["id"]);
    assert_eq!(api.world.control.approvals().len(), 1);
}

#[tokio::test]
async fn a_caller_can_wait_for_a_task() {
    let api = Api::new();
    let (id, _) = api.requested().await;
    let path = format!("{REQUESTS}/{id}");
    let wait = |seconds: &str| {
        Request::get(&path).header("prefer", format!("wait={seconds}")).body(Body::empty()).unwrap()
    };
    let short = api.send(wait("0")).await;
    assert_eq!(short.headers["preference-applied"], "wait=0");
    assert_eq!(short.json()["task"]["status"], "pending");
    let (waited, ()) = tokio::join!(api.send(wait("60")), async {
        tokio::task::yield_now().await;
        api.world.control.approve(id);
    });
    assert_eq!(waited.json()["task"]["status"], "approved");
}

#[tokio::test]
async fn a_caller_that_hangs_up_while_it_waits_leaves_the_task_pending() {
    let api = Api::new();
    let (id, _) = api.requested().await;
    let request = Request::get(format!("{REQUESTS}/{id}")).header("prefer", "wait=60").body(Body::empty());
    let routes = api.routes.clone();
    let waiting = tokio::spawn(async move { send(&routes, request.unwrap()).await });
    tokio::task::yield_now().await;
    waiting.abort();
    eventually("it is gone", || waiting.is_finished()).await;
    assert_eq!(api.task(id).await["task"]["status"], "pending");
}

#[tokio::test]
async fn a_task_can_be_cancelled_while_it_is_pending() {
    let api = Api::new();
    let (id, _) = api.requested().await;
    let cancel = format!("{REQUESTS}/{id}/cancel");
    let reply = api.send(Request::post(&cancel).body(Body::empty()).unwrap()).await;
    assert_eq!((reply.status, &reply.json()["task"]["status"]), (StatusCode::OK, &json!("cancelled")));
    let again = api.post(&cancel, &json!({"reason": "changed my mind"})).await;
    assert_eq!(again.status, StatusCode::CONFLICT);
    again.problem("invalid_task_state");
    let delete = Request::builder().method(Method::DELETE).uri(&cancel).body(Body::empty()).unwrap();
    assert_eq!(api.send(delete).await.status, StatusCode::CONFLICT);
}

#[tokio::test]
async fn tasks_that_are_not_there_are_unknown() {
    let api = Api::new();
    for id in ["garbage", "00000000-0000-7000-8000-000000000000"] {
        let reply = api.get(&format!("{REQUESTS}/{id}")).await;
        assert_eq!(reply.status, StatusCode::NOT_FOUND);
        reply.problem("unknown_task");
        let cancel = api.post(&format!("{REQUESTS}/{id}/cancel"), &json!({})).await;
        cancel.problem("unknown_task");
    }
}

#[tokio::test]
async fn without_a_control_plane_nobody_can_be_asked() {
    let api = Api::new();
    let denial = api.post(EVALUATION, &deploy()).await;
    let (id, approval) = api.approved().await;
    api.world.control.set_unreachable(true);
    let reply = api.post(REQUESTS, &submission(&denial)).await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(reply.headers["content-type"], "application/problem+json");
    assert_eq!(api.get(&format!("{REQUESTS}/{id}")).await.status, StatusCode::SERVICE_UNAVAILABLE);
    let by_id = api.present(deploy(), &json!({"id": id})).await;
    assert_eq!(by_id.next(), (json!("unreachable"), json!("retry")));
    assert!(api.present(deploy(), &approval).await.decision());
    assert!(api.post(EVALUATION, &request("read")).await.decision());
}
