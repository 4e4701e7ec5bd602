//! Join tokens, revocation, renewal.

use std::time::{Duration, Instant};

use countersign_control_plane::services::{AgentState, JoinTokenState, PageRequest};
use countersign_pki::JoinSecret;
use countersign_protocol::{Heartbeat, RefusalCode};
use countersign_transport::{EnrolError, LinkState, RenewError, RequestError};
use futures::future::join_all;

use crate::world::{Sidecar, World, admin, until};

fn refused(error: &EnrolError) -> Option<RefusalCode> {
    match error {
        EnrolError::Request(RequestError::Refused(refused)) => Some(refused.code),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_token_enrols_one_machine_however_many_race_for_it() {
    let world = World::start().await;
    let token = world.add_agent("bot").await;
    let results = join_all((0..8).map(|_| world.enrol(&token))).await;
    let (enrolled, refusals): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    assert_eq!(enrolled.len(), 1);
    for refusal in refusals {
        assert_eq!(refused(&refusal.unwrap_err()), Some(RefusalCode::JoinToken));
    }
    let tokens = world.running.services().agents.join_tokens(&admin(), &PageRequest::default()).await;
    assert_eq!(tokens.unwrap().items[0].state, JoinTokenState::Used);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_withdrawn_or_expired_token_enrols_nobody() {
    let world = World::start().await;
    let mut forged = world.add_agent("forged").await;
    forged.secret = JoinSecret::new([7; 32]);
    assert_eq!(refused(&world.enrol(&forged).await.unwrap_err()), Some(RefusalCode::JoinToken));

    let withdrawn = world.add_agent("withdrawn").await;
    let agents = &world.running.services().agents;
    agents.revoke_join_token(&admin(), withdrawn.id).await.unwrap();
    assert_eq!(refused(&world.enrol(&withdrawn).await.unwrap_err()), Some(RefusalCode::JoinToken));

    let late = world.add_agent("late").await;
    world.ahead.advance(3_601);
    assert_eq!(refused(&world.enrol(&late).await.unwrap_err()), Some(RefusalCode::JoinToken));
}

/// A machine that was given the token of another control plane does not even say its secret.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_only_shown_to_the_authority_that_made_it() {
    let (ours, theirs) = (World::start().await, World::start().await);
    let token = theirs.add_agent("bot").await;
    assert!(matches!(ours.enrol(&token).await, Err(EnrolError::Connect(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn revoking_an_agent_closes_its_link_within_a_second_and_keeps_it_out() {
    let world = World::with_policy().await;
    let sidecar = world.sidecar("bot").await;
    sidecar.until_revision(1).await;
    let begun = Instant::now();
    let name = "bot".parse().unwrap();
    let agents = &world.running.services().agents;
    let view = agents.revoke(&admin(), &name, Some("lost".to_owned())).await.unwrap();
    assert_eq!(view.state, AgentState::Revoked);
    let down = sidecar.until_state(|state| !state.is_up()).await;
    assert!(begun.elapsed() < Duration::from_secs(1), "took {:?}", begun.elapsed());
    let is_revoked =
        |state: &LinkState| matches!(state, LinkState::Down { refused: Some(RefusalCode::Revoked), .. });
    assert!(is_revoked(&down), "{down:?}");

    // A new connection with the certificate, which is still valid by itself, is turned away.
    let again = Sidecar::connect(
        &world.control(),
        sidecar.identity.clone(),
        sidecar.trust.clone(),
        sidecar.bundle_keys.clone(),
    );
    again.until_state(is_revoked).await;
    assert!(!agents.show(&admin(), &name).await.unwrap().connected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_renewed_without_dropping_the_link() {
    let world = World::start().await;
    let sidecar = world.sidecar("bot").await;
    let (renewed, trust) = sidecar.link.renew().await.unwrap();
    assert_eq!(renewed.spiffe_id(), sidecar.identity.spiffe_id());
    assert_ne!(renewed.certificate().serial, sidecar.identity.certificate().serial);
    let heartbeat = Heartbeat { revision: None, spool_depth: 3, pending: vec![] };
    sidecar.link.request(heartbeat).await.unwrap();
    let next = Sidecar::connect(&world.control(), renewed, trust, sidecar.bundle_keys.clone());
    next.until_up().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_agent_gets_no_certificate() {
    let world = World::start().await;
    let sidecar = world.sidecar("bot").await;
    let name = "bot".parse().unwrap();
    world.running.services().agents.revoke(&admin(), &name, None).await.unwrap();
    // Whether the link is already closed or the request is refused, there is no certificate.
    assert!(matches!(sidecar.link.renew().await, Err(RenewError::Request(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_says_how_each_sidecar_is() {
    let world = World::with_policy().await;
    let sidecar = world.sidecar("bot").await;
    sidecar.until_revision(1).await;
    let revision = Some(countersign_model::Revision(1));
    let heartbeat = Heartbeat { revision, spool_depth: 7, pending: vec![] };
    sidecar.link.request(heartbeat).await.unwrap();
    let agents = &world.running.services().agents;
    let view = agents.show(&admin(), &"bot".parse().unwrap()).await.unwrap();
    assert!(view.connected && view.lease_ends.is_some() && view.svid_expires_at.is_some());
    assert_eq!((view.revision, view.spool_depth), (Some(1), Some(7)));
    drop(sidecar);
    until("the sidecar is gone", || async {
        !agents.show(&admin(), &"bot".parse().unwrap()).await.unwrap().connected
    })
    .await;
}
