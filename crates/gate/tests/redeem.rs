//! Redeeming a grant, and every way to get an operation through without one (I1, I2).
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use countersign_approval::{GrantClaims, Input};
use countersign_gate::{Answer, Cause, Outcome, record::Kind};
use countersign_model::{ApprovalId, Seconds};
use countersign_testkit::{
    World,
    world::{POLICIES, REQUIREMENTS, denied, deploy, eventually, held, intent, permitted, spiffe},
};
use proptest::prelude::*;
use serde_json::json;

/// A deployment of version 1 that people have approved.
async fn approved(world: &World) -> ApprovalId {
    let held = world.held(deploy("1")).await;
    let id = world.gate.request(&held).await.unwrap().id;
    world.control.approve(id);
    id
}

async fn redeem(world: &World, version: &str, id: ApprovalId, grant: Option<&str>) -> Answer {
    world.gate.redeem(deploy(version), id, grant).await
}

/// Presents a grant that says something else than the real one, signed with the right key.
async fn redeem_changed(world: &World, change: impl FnOnce(&mut GrantClaims)) -> Cause {
    let id = approved(world).await;
    let mut claims = world.control.claims(id).unwrap();
    change(&mut claims);
    let grant = world.control.sign(&claims);
    let cause = denied(redeem(world, "1", id, Some(&grant)).await).cause;
    assert_eq!(world.journal.used(id), 0);
    cause
}

#[tokio::test]
async fn an_approved_operation_is_permitted_once() {
    let world = World::new();
    let id = approved(&world).await;
    permitted(redeem(&world, "1", id, None).await).hand_over().await;
    assert_eq!(world.journal.outcomes(), [Outcome::HandedOver]);
    for _ in 0..3 {
        assert_eq!(denied(redeem(&world, "1", id, None).await).cause, Cause::Used);
    }
    assert_eq!(world.journal.used(id), 1);
    let refused = world.audit.kinds().into_iter().filter(|kind| *kind == Kind::GrantRefused).count();
    assert_eq!(refused, 3);
}

#[tokio::test]
async fn an_approval_does_not_fit_another_operation() {
    let world = World::new();
    let id = approved(&world).await;
    assert_eq!(denied(redeem(&world, "2", id, None).await).cause, Cause::OutOfScope);
    let grant = world.control.grant(id).unwrap();
    assert_eq!(denied(redeem(&world, "2", id, Some(&grant)).await).cause, Cause::OutOfScope);
    drop(permitted(redeem(&world, "1", id, None).await));
}

#[tokio::test]
async fn what_is_not_decided_yet_is_not_approved() {
    let world = World::new();
    let status = world.gate.request(&world.held(deploy("1")).await).await.unwrap();
    assert_eq!(denied(redeem(&world, "1", status.id, None).await).cause, Cause::Undecided);
}

#[tokio::test]
async fn an_approval_that_nobody_knows_is_none() {
    let world = World::new();
    let unknown = ApprovalId::from_bytes([7; 16]);
    assert!(matches!(denied(redeem(&world, "1", unknown, None).await).cause, Cause::Grant(_)));
}

#[tokio::test]
async fn a_grant_for_another_sidecar_is_refused() {
    let world = World::new();
    let cause =
        redeem_changed(&world, |claims| claims.aud = spiffe("spiffe://example.org/agent/other")).await;
    assert!(matches!(cause, Cause::Grant(_)), "{cause:?}");
}

#[tokio::test]
async fn a_grant_of_another_control_plane_is_refused() {
    let world = World::new();
    let cause =
        redeem_changed(&world, |claims| claims.iss = spiffe("spiffe://example.com/control-plane")).await;
    assert!(matches!(cause, Cause::Grant(_)), "{cause:?}");
}

#[tokio::test]
async fn a_grant_of_another_approval_is_refused() {
    let world = World::new();
    let cause = redeem_changed(&world, |claims| claims.jti = ApprovalId::from_bytes([7; 16])).await;
    assert!(matches!(cause, Cause::Grant(_)), "{cause:?}");
}

#[tokio::test]
async fn a_grant_that_has_ended_is_refused() {
    let world = World::new();
    let id = approved(&world).await;
    let grant = world.control.grant(id).unwrap();
    world.clock.advance(Seconds::new(5 * 60));
    world.control.set_unreachable(true);
    assert_eq!(denied(redeem(&world, "1", id, Some(&grant)).await).cause, Cause::Lapsed);
}

#[tokio::test]
async fn a_grant_that_nobody_signed_is_refused() {
    let world = World::new();
    let id = approved(&world).await;
    let grant = world.control.grant(id).unwrap();
    let cut = &grant[..grant.rfind('.').unwrap()];
    let unsigned = format!("{cut}.");
    for forged in [unsigned.as_str(), "", "a.b.c", &grant[1..]] {
        let cause = denied(redeem(&world, "1", id, Some(forged)).await).cause;
        assert!(matches!(cause, Cause::Grant(_)), "{cause:?}");
    }
    assert_eq!(world.journal.used(id), 0);
}

#[tokio::test]
async fn a_grant_whose_key_is_no_longer_trusted_is_refused() {
    let world = World::new();
    let id = approved(&world).await;
    let mut snapshot = (*world.gate.policy().unwrap()).clone();
    snapshot.jwks = countersign_model::signing::Jwks::default();
    world.policy.activate(snapshot);
    assert!(matches!(denied(redeem(&world, "1", id, None).await).cause, Cause::Grant(_)));
}

/// Who is cut off cannot hear that a lasting grant was taken back, and so does not use one.
#[tokio::test]
async fn a_grant_of_several_uses_is_worth_nothing_while_nobody_can_be_asked() {
    let world = World::new();
    let publish = || intent("publish", json!({}));
    let id = world.gate.request(&world.held(publish()).await).await.unwrap().id;
    world.control.approve(id);
    let grant = world.control.grant(id).unwrap();
    drop(permitted(world.gate.redeem(publish(), id, Some(&grant)).await));
    world.control.set_unreachable(true);
    let denial = denied(world.gate.redeem(publish(), id, Some(&grant)).await);
    assert!(matches!(&denial.cause, Cause::Unreachable(why) if why.contains("several uses")), "{denial}");
    let waits = denied(world.gate.hold(world.held(publish()).await, |_| {}).await);
    assert!(matches!(waits.cause, Cause::Unreachable(_)), "nor does one that waited for it");
    assert_eq!(world.journal.used(id), 1);
    // One for a single use is bounded by the time to start it.
    world.control.set_unreachable(false);
    let once = approved(&world).await;
    let grant = world.control.grant(once).unwrap();
    world.control.set_unreachable(true);
    drop(permitted(redeem(&world, "1", once, Some(&grant)).await));
}

#[tokio::test]
async fn a_window_is_for_one_operation_and_ends() {
    let world = World::new();
    let windowed = REQUIREMENTS.replacen("quorum = 1", "quorum = 1\ngrant = { window = \"1h\" }", 1);
    world.activate(2, POLICIES, &windowed);
    let id = approved(&world).await;
    for number in 1..=40 {
        let permit = permitted(world.gate.hold(held(world.gate.decide(deploy("1")).await), |_| {}).await);
        assert_eq!(permit.used().map(|used| (used.approval, used.number)), Some((id, number)));
        world.clock.advance(Seconds::new(60));
    }
    let grant = world.control.grant(id).unwrap();
    assert_eq!(denied(redeem(&world, "2", id, Some(&grant)).await).cause, Cause::OutOfScope);
    assert_eq!(world.journal.used(id), 40, "each use is journalled (I2)");
    world.clock.advance(Seconds::new(20 * 60));
    assert_eq!(denied(redeem(&world, "1", id, Some(&grant)).await).cause, Cause::Lapsed);
}

#[tokio::test]
async fn a_revoked_approval_is_refused_even_if_its_grant_was_kept() {
    let world = World::new();
    let id = approved(&world).await;
    let grant = world.control.grant(id).unwrap();
    world.control.apply(id, &Input::Revoke { by: "owner@example.com".to_owned(), reason: None });
    assert!(matches!(denied(redeem(&world, "1", id, Some(&grant)).await).cause, Cause::Revoked(_)));
    // Offline, the sidecar remembers what it was told.
    world.journal.revoke(id);
    world.control.set_unreachable(true);
    assert!(matches!(denied(redeem(&world, "1", id, Some(&grant)).await).cause, Cause::Revoked(_)));
}

#[tokio::test]
async fn offline_a_grant_that_is_presented_is_used_and_an_id_alone_is_not() {
    let world = World::new();
    let id = approved(&world).await;
    let grant = world.control.grant(id).unwrap();
    world.control.set_unreachable(true);
    assert!(matches!(denied(redeem(&world, "1", id, None).await).cause, Cause::Unreachable(_)));
    permitted(redeem(&world, "1", id, Some(&grant)).await).hand_over().await;
    assert_eq!(denied(redeem(&world, "1", id, Some(&grant)).await).cause, Cause::Used);
}

#[tokio::test]
async fn policy_has_the_last_word() {
    let world = World::new();
    let id = approved(&world).await;
    let frozen = format!(
        "{POLICIES}\n@reason(\"Deploys are frozen\") forbid (principal, action == Action::\"deploy\", resource);"
    );
    world.activate(2, &frozen, REQUIREMENTS);
    let denial = denied(redeem(&world, "1", id, None).await);
    assert_eq!(denial.cause, Cause::Policy);
    assert!(denial.to_string().contains("Deploys are frozen"), "{denial}");
    assert_eq!(world.journal.used(id), 0);
}

#[tokio::test]
async fn a_stricter_policy_asks_for_what_is_missing() {
    let world = World::new();
    let id = approved(&world).await;
    let stricter = format!(
        "{POLICIES}\n@approval(\"press\") forbid (principal, action == Action::\"deploy\", resource)
         unless {{ context.approvals.contains(\"press\") }};"
    );
    world.activate(2, &stricter, REQUIREMENTS);
    let again = held(redeem(&world, "1", id, None).await);
    assert_eq!(again.requirements(), &["press".parse().unwrap()]);
    assert_eq!(world.journal.used(id), 0);
}

#[tokio::test]
async fn a_use_that_cannot_be_journalled_is_not_used() {
    let world = World::new();
    let id = approved(&world).await;
    world.journal.set_broken(true);
    assert!(matches!(denied(redeem(&world, "1", id, None).await).cause, Cause::Journal(_)));
    world.journal.set_broken(false);
    drop(permitted(redeem(&world, "1", id, None).await));
}

#[tokio::test]
async fn a_use_that_cannot_be_recorded_is_spent_and_does_not_run() {
    let world = World::new();
    let id = approved(&world).await;
    world.audit.set_full(true);
    assert!(matches!(denied(redeem(&world, "1", id, None).await).cause, Cause::Unrecorded(_)));
    world.audit.set_full(false);
    assert_eq!(denied(redeem(&world, "1", id, None).await).cause, Cause::Used);
    eventually("it is reported", || world.journal.outcomes() == [Outcome::NotStarted]).await;
}

#[tokio::test]
async fn after_a_crash_between_use_and_execution_the_grant_cannot_be_used_again() {
    let mut world = World::new();
    let id = approved(&world).await;
    let grant = world.control.grant(id).unwrap();
    // The process dies with the permit in its hands: nothing in it is dropped.
    std::mem::forget(permitted(redeem(&world, "1", id, Some(&grant)).await));
    world.restart();
    assert_eq!(denied(redeem(&world, "1", id, Some(&grant)).await).cause, Cause::Used);
    world.control.set_unreachable(true);
    assert_eq!(denied(redeem(&world, "1", id, Some(&grant)).await).cause, Cause::Used);
    assert_eq!(world.journal.used(id), 1);
}

#[tokio::test]
async fn many_at_once_share_one_use() {
    let world = World::new();
    let id = approved(&world).await;
    let attempts = futures::future::join_all((0..20).map(|_| redeem(&world, "1", id, None))).await;
    let permits = attempts.iter().filter(|answer| matches!(answer, Answer::Permitted(_))).count();
    assert_eq!((permits, world.journal.used(id)), (1, 1));
}

#[tokio::test]
async fn a_use_is_durable_before_its_permit_exists() {
    let world = World::new();
    let id = approved(&world).await;
    let permit = permitted(redeem(&world, "1", id, None).await);
    let kinds = world.audit.kinds();
    assert_eq!(kinds, [Kind::Held, Kind::GrantConsumed, Kind::Permitted]);
    assert!(world.audit.was_durable(1));
    assert_eq!(world.journal.used(id), 1);
    drop(permit);
}

/// What an agent may try with one approval.
#[derive(Debug, Clone)]
enum Attempt {
    Redeem { same: bool, present: bool },
    Hold { same: bool },
    Restart,
    Revoke,
    Link { up: bool },
    Journal { works: bool },
    Wait { seconds: u32 },
}

fn attempts() -> impl Strategy<Value = Vec<Attempt>> {
    let attempt = prop_oneof![
        4 => any::<(bool, bool)>().prop_map(|(same, present)| Attempt::Redeem { same, present }),
        2 => any::<bool>().prop_map(|same| Attempt::Hold { same }),
        1 => Just(Attempt::Restart),
        1 => Just(Attempt::Revoke),
        1 => any::<bool>().prop_map(|up| Attempt::Link { up }),
        1 => any::<bool>().prop_map(|works| Attempt::Journal { works }),
        1 => (1..400_u32).prop_map(|seconds| Attempt::Wait { seconds }),
    ];
    proptest::collection::vec(attempt, 1..20)
}

/// Whatever is tried, in whatever order, one approval of one use lets one operation through, the approved one.
async fn try_everything(attempts: Vec<Attempt>) {
    let mut world = World::new();
    let id = approved(&world).await;
    let grant = world.control.grant(id).unwrap();
    let mut permits = 0;
    let mut revoked = false;
    for attempt in attempts {
        match attempt {
            Attempt::Redeem { same, present } => {
                let version = if same { "1" } else { "2" };
                let answer = redeem(&world, version, id, present.then_some(&*grant)).await;
                if let Answer::Permitted(permit) = answer {
                    assert!(same && !revoked);
                    permits += 1;
                    permit.hand_over().await;
                }
            }
            Attempt::Hold { same } => {
                let held =
                    world.held(intent("deploy", json!({"version": if same { "1" } else { "2" }}))).await;
                // Nobody votes any more, so a hold either uses the approval up at once or waits for ever.
                let hold = world.gate.hold(held, |_| {});
                tokio::select! {
                    biased;
                    answer = hold => if let Answer::Permitted(permit) = answer {
                        assert!(same && !revoked);
                        permits += 1;
                        permit.hand_over().await;
                    },
                    () = yield_often() => {}
                }
            }
            Attempt::Restart => world.restart(),
            Attempt::Revoke => {
                revoked = true;
                world.journal.revoke(id);
            }
            Attempt::Link { up } => world.control.set_unreachable(!up),
            Attempt::Journal { works } => world.journal.set_broken(!works),
            Attempt::Wait { seconds } => world.clock.advance(Seconds::new(seconds)),
        }
    }
    assert!(permits <= 1);
    assert!(world.journal.used(id) <= 1);
}

async fn yield_often() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn one_approval_lets_one_operation_through(attempts in attempts()) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(try_everything(attempts));
    }
}
