//! Deciding without people: permit, deny, hold, and everything that must end in a denial (I1, I6, I8, I10).

use countersign_gate::{Act, Cause, Interceptor, Outcome, record::Kind};
use countersign_model::{Object, provenance::Initiator};
use countersign_policy::mapping::CommandLine;
use countersign_testkit::{
    World,
    world::{POLICIES, REQUIREMENTS, deploy, eventually, intent, read},
};
use serde_json::{Value, json};

#[tokio::test]
async fn what_policy_allows_is_permitted_and_its_outcome_recorded() {
    let world = World::new();
    let permit = world.permit(read()).await;
    assert_eq!(permit.revision().0, 1);
    assert!(permit.used().is_none());
    permit.consume().finish(Outcome::Executed).await;
    assert_eq!(world.audit.kinds(), [Kind::Permitted, Kind::Executed]);
}

#[tokio::test]
async fn what_policy_forbids_is_denied_with_its_reason_once_that_is_durable() {
    let world = World::new();
    let denial = world.denied(intent("wipe", json!({}))).await;
    assert_eq!(denial.cause, Cause::Policy);
    assert!(denial.to_string().contains("Nothing may be wiped"), "{denial}");
    assert_eq!(world.audit.kinds(), [Kind::Denied]);
    assert!(world.audit.last_was_durable());
}

#[tokio::test]
async fn what_nobody_permits_is_denied() {
    let world = World::new();
    let denial = world.denied(intent("unheard-of", json!({}))).await;
    assert_eq!((denial.cause, denial.policies.len()), (Cause::Policy, 0));
}

#[tokio::test]
async fn what_needs_approval_is_held_with_exactly_its_requirements_once_that_is_durable() {
    let world = World::new();
    let held = world.held(deploy("1")).await;
    assert_eq!(held.requirements(), &["sre".parse().unwrap()]);
    assert_eq!(held.requirement(&held.requirements()[0]).unwrap().quorum, 1);
    assert_eq!(world.audit.kinds(), [Kind::Held]);
    assert!(world.audit.last_was_durable());
    assert!(world.control.approvals().is_empty(), "deciding asks nobody");
}

#[tokio::test]
async fn without_policy_or_after_its_lease_everything_is_denied() {
    let world = World::new();
    world.policy.set_lease_ended(true);
    assert_eq!(world.denied(read()).await.cause, Cause::LeaseEnded);
    world.policy.set_lease_ended(false);
    world.policy.remove();
    assert_eq!(world.denied(read()).await.cause, Cause::NoPolicy);
    assert_eq!(world.audit.kinds(), [Kind::Denied, Kind::Denied]);
}

#[tokio::test]
async fn what_cannot_be_recorded_does_not_run() {
    let world = World::new();
    world.audit.set_full(true);
    assert!(matches!(world.denied(read()).await.cause, Cause::Unrecorded(_)));
    assert!(matches!(world.denied(deploy("1")).await.cause, Cause::Unrecorded(_)));
}

#[tokio::test]
async fn a_bundle_can_ask_for_every_permit_to_be_durable() {
    let world = World::new();
    let permit = world.permit(read()).await;
    assert!(!world.audit.last_was_durable());
    permit.hand_over().await;
    let bundle = countersign_testkit::world::bundle_with(
        "name = \"sync\"\n[audit]\ndurability = \"sync\"\n",
        POLICIES,
        REQUIREMENTS,
    );
    world.activate_bundle(2, bundle);
    world.permit(read()).await.hand_over().await;
    assert!(world.audit.last_was_durable());
}

#[tokio::test]
async fn too_much_at_a_time_is_denied_and_room_comes_back() {
    let world = World::with(|settings| settings.max_under_way = 1);
    let running = world.permit(read()).await.consume();
    assert_eq!(world.denied(read()).await.cause, Cause::Busy);
    running.finish(Outcome::Executed).await;
    world.permit(read()).await.hand_over().await;
}

#[tokio::test]
async fn an_execution_that_is_dropped_is_an_unknown_outcome() {
    let world = World::new();
    drop(world.permit(read()).await.consume());
    eventually("it is recorded", || world.audit.kinds().contains(&Kind::OutcomeUnknown)).await;
    assert!(world.audit.last_was_durable());
}

#[tokio::test]
async fn a_permit_that_is_dropped_was_never_started() {
    let world = World::new();
    drop(world.permit(read()).await);
    eventually("it is recorded", || world.audit.kinds().contains(&Kind::Failed)).await;
    let last = world.audit.records().pop().unwrap();
    assert_eq!(last.body()["outcome"], "not_started");
}

#[tokio::test]
async fn an_outcome_waits_until_it_can_be_recorded() {
    let world = World::new();
    let running = world.permit(read()).await.consume();
    world.audit.set_full(true);
    running.finish(Outcome::Failed { detail: "exit code 3".to_owned() }).await;
    assert_eq!(world.audit.kinds(), [Kind::Permitted]);
    world.audit.set_full(false);
    eventually("it is recorded", || world.audit.kinds().contains(&Kind::Failed)).await;
    assert_eq!(world.audit.records().pop().unwrap().body()["message"], "exit code 3");
}

#[tokio::test]
async fn an_operation_that_json_cannot_carry_exactly_is_denied() {
    let world = World::new();
    let denial = world.denied(intent("read", json!({"n": 9_007_199_254_740_993_u64}))).await;
    assert!(matches!(denial.cause, Cause::Malformed(_)));
    assert_eq!(world.audit.records()[0].body()["about"], "read");
}

#[tokio::test]
async fn an_operation_that_is_too_large_is_denied() {
    let world = World::new();
    let denial = world.denied(intent("read", json!({"text": "x".repeat(300_000)}))).await;
    assert!(matches!(denial.cause, Cause::Malformed(_)));
}

#[tokio::test]
async fn what_an_interceptor_cannot_read_is_refused_and_recorded() {
    let world = World::new();
    let denial = world.gate.refuse(Interceptor::Mcp, "files", "not JSON".to_owned(), None).await;
    assert_eq!(denial.cause, Cause::Malformed("not JSON".to_owned()));
    assert_eq!(world.audit.kinds(), [Kind::Denied]);
    assert!(world.audit.last_was_durable());
}

#[tokio::test]
async fn secrets_reach_no_record() {
    let world = World::new();
    let mut secret = intent("deploy", json!({"password": "hunter2", "version": "1"}));
    secret.provenance.prompt = Some("-----BEGIN RSA PRIVATE KEY-----\nhunter2".to_owned());
    let held = world.held(secret.clone()).await;
    let body = Value::Object(world.audit.records()[0].body()).to_string();
    assert!(!body.contains("hunter2"), "{body}");
    assert!(body.contains("/action/properties/password"), "{body}");

    let status = world.gate.request(&held).await.unwrap();
    let submission = world.control.approvals().pop().unwrap().request.submission;
    assert_eq!(submission.redacted, ["/action/properties/password"]);
    assert!(!format!("{submission:?}").contains("hunter2"));
    // The digest is over what runs, so another secret is another operation (I10).
    world.control.approve(status.id);
    let other = intent("deploy", json!({"password": "hunter3", "version": "1"}));
    let answer = world.gate.redeem(other, status.id, None).await;
    assert_eq!(countersign_testkit::world::denied(answer).cause, Cause::OutOfScope);
}

#[tokio::test]
async fn the_subject_that_a_caller_asserts_binds() {
    let world = World::new();
    let mut for_alice = deploy("1");
    for_alice.asserted_subject =
        Some(serde_json::from_value(json!({"type": "User", "id": "alice@example.com"})).unwrap());
    let mut for_bob = deploy("1");
    for_bob.asserted_subject =
        Some(serde_json::from_value(json!({"type": "User", "id": "bob@example.com"})).unwrap());
    let alice = world.held(for_alice).await;
    assert_ne!(alice.digest(), world.held(for_bob).await.digest());
    assert_eq!(alice.operation().context["subject"]["id"], "alice@example.com");
}

#[tokio::test]
async fn a_caller_cannot_say_that_it_is_approved() {
    let world = World::new();
    let mut pretending = deploy("1");
    if let Act::Operation { operation, .. } = &mut pretending.act {
        operation.context.insert("approvals".to_owned(), json!(["sre"]));
    }
    assert_eq!(world.held(pretending).await.digest(), world.held(deploy("1")).await.digest());
}

fn command(argv: &[&str], facts: &Value) -> countersign_gate::Intent {
    let facts: Object = facts.as_object().cloned().unwrap_or_default();
    let command = CommandLine {
        argv: argv.iter().map(ToString::to_string).collect(),
        cwd: "/srv".to_owned(),
        ..CommandLine::default()
    };
    countersign_gate::Intent { act: Act::Command { command, facts }, ..read() }
}

#[tokio::test]
async fn facts_about_a_command_bind_over_what_a_mapping_says() {
    let world = World::new();
    let policies = r#"permit (principal, action, resource);
        @approval("sre") forbid (principal, action == Exec::Action::"run", resource)
        unless { context.approvals.contains("sre") };"#;
    world.activate(2, policies, REQUIREMENTS);
    let one = world.held(command(&["ls"], &json!({"command": "hidden", "program_digest": "a"}))).await;
    let two = world.held(command(&["ls"], &json!({"program_digest": "b"}))).await;
    assert_ne!(one.digest(), two.digest());
    assert_eq!(two.operation().context["program_digest"], "b");
    assert_eq!(two.operation().subject.kind, "Agent");
}

#[tokio::test]
async fn provenance_is_shown_and_does_not_bind() {
    let world = World::new();
    let mut explained = deploy("1");
    explained.provenance.reason = Some("the tests are green".to_owned());
    explained.provenance.initiator =
        Some(Initiator { person: "dev@example.com".parse().unwrap(), verified: false });
    let held = world.held(explained).await;
    assert_eq!(held.digest(), world.held(deploy("1")).await.digest());
    let body: Object = world.audit.records()[0].body();
    assert_eq!(body["provenance"]["reason"], "the tests are green");
    world.gate.request(&held).await.unwrap();
    let provenance = world.control.approvals().pop().unwrap().request.submission.provenance;
    assert_eq!(provenance.initiator.unwrap().person.as_str(), "dev@example.com");
}
