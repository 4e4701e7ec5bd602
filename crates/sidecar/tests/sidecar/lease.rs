//! Without its control plane a sidecar enforces what it has, for as long as it may (I9).

use std::time::Duration;

use countersign_model::Seconds;
use countersign_spool::{Settings, Spool};

use crate::{
    beside::{Home, decided},
    control::{Control, PATIENCE, agent_id, now},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_cold_start_without_the_control_plane_enforces_the_last_bundle() {
    let mut control = Control::start().await;
    let home = Home::new(&control);
    home.ready().await.shutdown().await.unwrap();
    control.stop().await;
    let running = home.ready().await;
    assert_eq!(decided(&running, "read").await, "permit");
    assert_eq!(decided(&running, "erase").await, "policy");
    assert_eq!(decided(&running, "deploy").await, "unreachable");
    let before = control.known().events.len();
    control.resume().await;
    // What happened meanwhile arrives once, in order, without gaps.
    let held = |known: &crate::control::Known| {
        known.events.iter().skip(before).any(|event| event.event().kind == "operation.held").then_some(())
    };
    control.until("what happened offline is shipped", held).await;
}

async fn edit_state(home: &Home, edit: impl AsyncFnOnce(&Spool)) {
    let path = home.data().join("spool.redb");
    let spool = Spool::open(&path, &agent_id(), Settings::default(), Box::new(|| [5; 10])).unwrap();
    edit(&spool).await;
    spool.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cold_start_after_the_lease_denies_everything_until_the_control_plane_is_heard() {
    let mut control = Control::start().await;
    let home = Home::new(&control);
    home.ready().await.shutdown().await.unwrap();
    control.stop().await;
    edit_state(&home, async |spool| {
        spool.state().contacted(now().minus(Seconds::new(3_601))).await.unwrap();
    })
    .await;
    let running = home.ready().await;
    assert_eq!(decided(&running, "read").await, "lease_ended");
    control.resume().await;
    let heard = async {
        while decided(&running, "read").await != "permit" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, heard).await.expect("heard in time");
}

/// Attack: stop the sidecar, set the clock back, start it.
#[tokio::test(flavor = "multi_thread")]
async fn setting_the_clock_back_before_a_cold_start_extends_no_lease() {
    let mut control = Control::start().await;
    let home = Home::new(&control);
    home.ready().await.shutdown().await.unwrap();
    control.stop().await;
    edit_state(&home, async |spool| {
        // As if the clock had been ahead: the last contact is in the future, and the hour is used up.
        spool.state().contacted(now().plus(Seconds::new(7_200))).await.unwrap();
        spool.state().lease_spent(3_600_000).await.unwrap();
    })
    .await;
    let running = home.ready().await;
    assert_eq!(decided(&running, "read").await, "lease_ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_agent_is_permitted_nothing_more() {
    let mut control = Control::start().await;
    let home = Home::new(&control);
    let running = home.ready().await;
    assert_eq!(decided(&running, "read").await, "permit");
    control.known().revoked = true;
    control.stop().await;
    control.resume().await;
    let denied = async {
        while decided(&running, "read").await != "lease_ended" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, denied).await.expect("denied in time");
    running.shutdown().await.unwrap();
    control.stop().await;
    // Cutting the network afterwards does not help.
    let running = home.ready().await;
    assert_eq!(decided(&running, "read").await, "lease_ended");
}
