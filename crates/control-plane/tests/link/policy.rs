//! Policy on its way to sidecars, and what a change of it makes of open requests.

use countersign_approval::Phase;
use countersign_control_plane::services::{PageRequest, PolicyError, PushPolicy};
use countersign_model::Revision;
use countersign_protocol::RefusalCode;
use countersign_transport::RequestError;

use crate::world::{World, admin, bundle, reviewer, submission, until};

const STRICTER: &str = r#"
    [requirements.one]
    reviewers = ["*"]
    quorum = 2
    [requirements.two]
    reviewers = ["*"]
    quorum = 2
    decide_within = "10m"
    execute_within = "5m"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_push_reaches_connected_sidecars_which_acknowledge_it() {
    let world = World::with_policy().await;
    let sidecar = world.sidecar("bot").await;
    let first = sidecar.until_revision(1).await;
    assert_eq!((first.name.as_str(), first.trust_domain.as_str()), ("test", "test.example"));
    let pushed = world.push(&[("bundle.toml", "name = \"second\"\nlease = \"2h\"\n")]).await;
    assert_eq!((pushed.revision, pushed.active), (2, true));
    assert_eq!(sidecar.until_revision(2).await.name, "second");
    let policies = &world.running.services().policies;
    until("the acknowledgement is noted", || async {
        let history = policies.history(&admin(), &PageRequest::default()).await.unwrap();
        history.items[0].enforced_by == 1 && history.items[1].enforced_by == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_is_a_new_revision_with_the_old_files() {
    let world = World::with_policy().await;
    world.push(&[("bundle.toml", "name = \"second\"\n")]).await;
    let policies = &world.running.services().policies;
    let back = policies.rollback(&admin(), Revision(1), Some("too strict".to_owned())).await.unwrap();
    assert_eq!((back.revision, back.rollback_of, back.name.as_str()), (3, Some(1), "test"));
    assert!(matches!(policies.rollback(&admin(), Revision(9), None).await, Err(PolicyError::NotFound(_))));
    let shown = policies.show(&admin(), None).await.unwrap();
    assert_eq!((shown.revision.revision, shown.files.contains_key("bundle.toml")), (3, true));
}

/// I7: a bundle with anything wrong in it changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_bad_bundle_is_refused_whole_with_every_problem() {
    let world = World::with_policy().await;
    let policies = &world.running.services().policies;
    let bad = bundle(&[("policies/bad.cedar", "permit (principal"), ("approvals.toml", "nonsense = 1\n")]);
    let refused = policies.push(&admin(), PushPolicy { files: bad, note: None }).await;
    let Err(PolicyError::Invalid(validation)) = refused else { panic!("{refused:?}") };
    assert!(validation.problems.len() >= 2, "{validation:?}");

    let failing = "[[test]]\nname = \"wrong\"\nexpect = \"deny\"\n[test.operation]\n\
                   action = { name = \"read\" }\nresource = { type = \"Service\", id = \"x\" }\n";
    let failing = PushPolicy { files: bundle(&[("tests/own.toml", failing)]), note: None };
    assert!(matches!(policies.push(&admin(), failing).await, Err(PolicyError::Invalid(_))));
    let unallowed = PushPolicy { files: bundle(&[]), note: None };
    let unallowed = policies.push(&reviewer("reviewer-one"), unallowed).await;
    assert!(matches!(unallowed, Err(PolicyError::Right(_))));
    assert_eq!(policies.show(&admin(), None).await.unwrap().revision.revision, 1);
}

/// People who were asked under one rule do not answer for another one (I7).
#[tokio::test(flavor = "multi_thread")]
async fn a_changed_requirement_invalidates_what_was_asked_under_it_and_nothing_else() {
    let world = World::with_policy().await;
    let sidecar = world.sidecar("bot").await;
    let pending = sidecar.submit(submission("a", "deploy", "one", 1)).await.unwrap().id;
    let approved = sidecar.submit(submission("b", "deploy", "one", 1)).await.unwrap().id;
    let other = sidecar.submit(submission("c", "pay", "two", 1)).await.unwrap().id;
    world.approve("reviewer-one", approved).await;
    world.push(&[("approvals.toml", STRICTER)]).await;
    sidecar.until_status(pending, |status| status.phase == Phase::Invalidated).await;
    let status = sidecar.until_status(approved, |status| status.phase == Phase::Invalidated).await;
    assert!(status.grant.is_none());
    sidecar.until_told(|told| told.withdrawn.iter().any(|revoke| revoke.id == approved)).await;
    assert_eq!(sidecar.until_status(other, |_| true).await.phase, Phase::Pending);

    // Naming the old revision does not bring its rule back.
    let late = sidecar.submit(submission("d", "deploy", "one", 1)).await;
    let Err(RequestError::Refused(refused)) = late else { panic!("{late:?}") };
    assert_eq!(refused.code, RefusalCode::Conflict);
    sidecar.submit(submission("d", "deploy", "one", 2)).await.unwrap();
}
