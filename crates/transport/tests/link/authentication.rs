//! Who gets a link, and who is believed to be the control plane.

use std::sync::{Arc, Mutex};

use countersign_model::Seconds;
use countersign_pki::{Authority, SpiffeId, TrustBundle};
use countersign_transport::LINK_ALPN;

use crate::{
    abuse::Raw,
    fixture::{
        HOUR, Plane, Sidecar, agent, authority, enrolled, heartbeat, identity_of, now, patient, spiffe_id,
    },
};

fn loopback() -> std::net::SocketAddr {
    (std::net::Ipv4Addr::LOCALHOST, 0).into()
}

#[tokio::test]
async fn both_sides_show_who_they_are_and_talk() {
    let authority = authority();
    let (identity, trust) = (enrolled(&authority, "deploy-bot"), authority.trust_bundle().unwrap());
    let mut plane = Plane::start(authority, patient());
    let sidecar = Sidecar::start(plane.address, identity, trust);
    sidecar.up().await;
    assert_eq!(spiffe_id(&plane.greeted().await), &agent("deploy-bot"));
    assert!(sidecar.link.request(heartbeat()).await.unwrap().lease_renewed_at > now().minus(HOUR));
}

#[tokio::test]
async fn a_control_plane_of_another_authority_is_not_believed() {
    let (ours, other) = (authority(), authority());
    let identity = enrolled(&other, "a");
    let plane = Plane::start(other, patient());
    let sidecar = Sidecar::start(plane.address, identity, ours.trust_bundle().unwrap());
    let (reason, _) = sidecar.down().await;
    assert!(reason.contains("UnknownIssuer"), "{reason}");
}

#[tokio::test]
async fn a_sidecar_of_another_authority_is_refused() {
    let (ours, other) = (authority(), authority());
    let trust = ours.trust_bundle().unwrap();
    let plane = Plane::start(ours, patient());
    let sidecar = Sidecar::start(plane.address, enrolled(&other, "a"), trust);
    sidecar.down().await;
    assert!(sidecar.link.request(heartbeat()).await.is_err());
}

#[tokio::test]
async fn an_expired_certificate_is_refused_on_either_side() {
    let authority = authority();
    let trust = authority.trust_bundle().unwrap();
    let past = now().minus(Seconds::new(2 * 3_600));
    let expired = identity_of(&authority, &agent("a"), past);
    let old_plane = authority.control_plane_identity(past, HOUR).unwrap();
    let (good, shared) = (enrolled(&authority, "a"), Arc::new(Mutex::new(authority)));
    let plane = Plane::listen(Arc::clone(&shared), patient(), loopback()).unwrap();
    let sidecar = Sidecar::start(plane.address, expired, trust.clone());
    let (reason, _) = sidecar.down().await;
    assert!(reason.contains("xpired"), "{reason}");
    let plane = Plane::showing(old_plane, trust.clone(), shared, patient(), loopback()).unwrap();
    let (reason, _) = Sidecar::start(plane.address, good, trust).down().await;
    assert!(reason.contains("xpired"), "{reason}");
}

/// The attack: an enrolled agent uses its own, perfectly good certificate to pose as the control plane.
#[tokio::test]
async fn an_agent_cannot_pose_as_the_control_plane() {
    let authority = authority();
    let trust = authority.trust_bundle().unwrap();
    let (rogue, victim) = (enrolled(&authority, "rogue"), enrolled(&authority, "victim"));
    let plane =
        Plane::showing(rogue, trust.clone(), Arc::new(Mutex::new(authority)), patient(), loopback()).unwrap();
    let (reason, _) = Sidecar::start(plane.address, victim, trust).down().await;
    assert!(reason.contains("is not the control plane"), "{reason}");
}

#[tokio::test]
async fn the_control_planes_own_certificate_is_not_a_sidecars() {
    let authority = authority();
    let trust = authority.trust_bundle().unwrap();
    let identity = authority.control_plane_identity(now(), HOUR).unwrap();
    let plane = Plane::start(authority, patient());
    Sidecar::start(plane.address, identity, trust).down().await;
}

/// Two trust domains under one root, as when an operator brings a corporate CA for both.
#[tokio::test]
async fn a_sidecar_of_another_trust_domain_is_refused_under_the_same_root() {
    let pem = |authority: &Authority| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("authority.pem");
        authority.save(&path).unwrap();
        std::fs::read(path).unwrap()
    };
    let ours = authority();
    let text = pem(&ours);
    let theirs = Authority::from_pem("example.com".parse().unwrap(), &text, b"", now()).unwrap();
    let id = SpiffeId::agent("example.com".parse().unwrap(), "a".parse().unwrap());
    let trust: TrustBundle = ours.trust_bundle().unwrap();
    assert_eq!(theirs.trust_bundle().unwrap(), trust);
    let plane = Plane::start(ours, patient());
    let raw = Raw::connect(plane.address, LINK_ALPN, Some(&identity_of(&theirs, &id, now()))).await;
    assert!(raw.ended().await.contains("TLS"));
}

#[tokio::test]
async fn a_link_needs_a_client_certificate() {
    let plane = Plane::start(authority(), patient());
    let raw = Raw::connect(plane.address, LINK_ALPN, None).await;
    let ended = raw.ended().await;
    assert!(ended.contains("a client certificate is needed"), "{ended}");
}

#[tokio::test]
async fn another_protocol_is_not_spoken() {
    let authority = authority();
    let identity = enrolled(&authority, "a");
    let plane = Plane::start(authority, patient());
    let refused = Raw::try_connect(plane.address, b"countersign/9", Some(&identity)).await;
    let error = refused.unwrap_err().to_string();
    assert!(error.contains("120"), "TLS alert no_application_protocol: {error}");
}

#[tokio::test]
async fn a_rotation_overlaps_and_then_the_old_root_is_dropped() {
    let old = authority();
    let (before, old_trust) = (enrolled(&old, "before"), old.trust_bundle().unwrap());
    let shared = Arc::new(Mutex::new(old));
    let mut plane = Plane::listen(Arc::clone(&shared), patient(), loopback()).unwrap();
    let first = Sidecar::start(plane.address, before.clone(), old_trust.clone());
    first.up().await;
    let live = plane.greeted().await;

    // Rotate under a live link. It stays, and the new certificates count from the next handshake.
    let new = Arc::try_unwrap(rotate(&shared)).unwrap();
    let (both, after) = (new.trust_bundle().unwrap(), enrolled(&new, "after"));
    plane.handle.set_trust(&both).unwrap();
    plane.handle.set_identity(&new.control_plane_identity(now(), HOUR).unwrap());
    first.link.request(heartbeat()).await.unwrap();
    let second = Sidecar::start(plane.address, after.clone(), both.clone());
    second.up().await;
    assert_eq!(spiffe_id(&plane.greeted().await), &agent("after"));
    // Who knows only the old root, and has only an old certificate, comes back too.
    let third = Sidecar::start(plane.address, before, old_trust);
    third.up().await;
    assert_eq!(spiffe_id(&plane.greeted().await), &agent("before"));

    // Drop the old root: who still has a certificate of it is refused, who has a new one is not.
    let new_only = TrustBundle::new(both.certificates()[..1].to_vec()).unwrap();
    plane.handle.set_trust(&new_only).unwrap();
    live.close(countersign_transport::CloseCode::Replaced, "come back");
    let (reason, _) = first.down().await;
    assert!(reason.contains("come back") || reason.contains("welcome"), "{reason}");
    let fourth = Sidecar::start(plane.address, after, new_only);
    fourth.up().await;
    assert_eq!(spiffe_id(&plane.greeted().await), &agent("after"));
    assert!(!first.link.state().borrow().is_up());
}

/// Rotates, and gives back the new authority.
fn rotate(shared: &Mutex<Authority>) -> Arc<Authority> {
    let mut place = shared.lock().unwrap();
    let old = std::mem::replace(&mut *place, authority());
    Arc::new(old.rotate(now()).unwrap())
}
