//! A link's life: lost and found again, renewed, pushed to, revoked.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use countersign_model::Revision;
use countersign_protocol::{BundleAck, BundleOutcome, Frame, PushBundle, RefusalCode, codec};
use countersign_transport::{CloseCode, LinkState, RequestError};

use crate::fixture::{
    Plane, Sidecar, Told, authority, certificate, enrolled, heartbeat, patient, soon, wait,
};

fn loopback() -> std::net::SocketAddr {
    (std::net::Ipv4Addr::LOCALHOST, 0).into()
}

#[tokio::test]
async fn a_link_comes_back_after_the_control_plane_restarts() {
    let authority = authority();
    let (identity, trust) = (enrolled(&authority, "a"), authority.trust_bundle().unwrap());
    let shared = Arc::new(Mutex::new(authority));
    let plane = Plane::listen(Arc::clone(&shared), patient(), loopback()).unwrap();
    let address = plane.address;
    let sidecar = Sidecar::start(address, identity, trust);
    sidecar.up().await;
    tokio::join!(plane.handle.close(CloseCode::Shutdown, "restarting"), sidecar.down());
    drop(plane);
    assert!(matches!(sidecar.link.request(heartbeat()).await, Err(RequestError::Down)));
    // The port is free once the last of the old server is gone.
    let mut plane = soon(async {
        loop {
            match Plane::listen(Arc::clone(&shared), patient(), address) {
                Ok(plane) => return plane,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    })
    .await;
    plane.greeted().await;
    sidecar.up().await;
    sidecar.link.request(heartbeat()).await.unwrap();
}

#[tokio::test]
async fn a_certificate_is_renewed_without_dropping_the_link() {
    let authority = authority();
    let (identity, trust) = (enrolled(&authority, "a"), authority.trust_bundle().unwrap());
    let old_serial = identity.certificate().serial.clone();
    let mut plane = Plane::start(authority, patient());
    let sidecar = Sidecar::start(plane.address, identity, trust);
    let session = plane.greeted().await;
    assert_eq!(certificate(&session).serial, old_serial);
    sidecar.up().await;

    let (renewed, trust) = sidecar.link.renew().await.unwrap();
    sidecar.link.set_identity(&renewed, &trust).unwrap();
    let new_serial = &renewed.certificate().serial;
    assert_ne!(new_serial, &old_serial);
    sidecar.link.request(heartbeat()).await.unwrap();
    assert_eq!(plane.handle.connections(), 1, "it is still the same connection");

    // The new certificate is what the next handshake shows.
    session.close(CloseCode::Replaced, "come back");
    let next = plane.greeted().await;
    assert_eq!(&certificate(&next).serial, new_serial);
}

#[tokio::test]
async fn a_revoked_agent_is_told_at_once() {
    let authority = authority();
    let (identity, trust) = (enrolled(&authority, "a"), authority.trust_bundle().unwrap());
    let mut plane = Plane::start(authority, patient());
    let sidecar = Sidecar::start(plane.address, identity, trust);
    let session = plane.greeted().await;
    sidecar.up().await;
    let link = sidecar.link.clone();
    let waiting = tokio::spawn(async move { link.request(wait()).await });
    session.close(CloseCode::Revoked, "agent a was revoked");
    let (reason, refused) = sidecar.down().await;
    assert_eq!(refused, Some(RefusalCode::Revoked));
    assert!(reason.contains("agent a was revoked"), "{reason}");
    assert!(soon(waiting).await.unwrap().is_err(), "whoever waits is told");
}

#[tokio::test]
async fn a_large_bundle_is_pushed_and_acknowledged() {
    let authority = authority();
    let (identity, trust) = (enrolled(&authority, "a"), authority.trust_bundle().unwrap());
    let mut plane = Plane::start(authority, patient());
    let mut sidecar = Sidecar::start(plane.address, identity, trust);
    let session = plane.greeted().await;
    let files: BTreeMap<_, _> = (0..8).map(|n| (format!("policies/{n}.cedar"), vec![n; 1 << 20])).collect();
    let bundle = PushBundle { manifest: "signed".to_owned(), files };
    let encoded = codec::encode(&bundle.clone().into()).unwrap();
    let pushed = tokio::spawn(async move { session.ask::<PushBundle>(&encoded).await });
    let mut push = soon(sidecar.pushes.next()).await.unwrap();
    assert_eq!(soon(push.receive()).await.unwrap(), Frame::PushBundle(bundle));
    let acknowledged = BundleAck { revision: Some(Revision(2)), outcome: BundleOutcome::Activated };
    push.answer(acknowledged.clone()).await.unwrap();
    assert_eq!(soon(pushed).await.unwrap().unwrap(), acknowledged);
}

#[tokio::test]
async fn a_wait_that_is_given_up_is_noticed_on_the_other_side() {
    let authority = authority();
    let (identity, trust) = (enrolled(&authority, "a"), authority.trust_bundle().unwrap());
    let mut plane = Plane::start(authority, patient());
    let sidecar = Sidecar::start(plane.address, identity, trust);
    plane.greeted().await;
    sidecar.up().await;
    let link = sidecar.link.clone();
    let waiting = tokio::spawn(async move { link.request(wait()).await });
    soon(async {
        while plane.most_waiting.load(std::sync::atomic::Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    waiting.abort();
    assert!(matches!(plane.next().await, Told::Abandoned));
    sidecar.link.request(heartbeat()).await.unwrap();
}

#[tokio::test]
async fn a_link_without_a_control_plane_fails_fast_and_says_why() {
    let authority = authority();
    let (identity, trust) = (enrolled(&authority, "a"), authority.trust_bundle().unwrap());
    let plane = Plane::start(authority, patient());
    let address = plane.address;
    let sidecar = Sidecar::start(address, identity, trust);
    assert!(matches!(sidecar.link.request(heartbeat()).await, Err(RequestError::Down)));
    sidecar.up().await;
    let closing = plane.handle.close(CloseCode::Shutdown, "maintenance");
    let ((), (reason, refused)) = tokio::join!(closing, sidecar.down());
    assert!(reason.contains("maintenance") && refused.is_none(), "{reason}");
}

#[tokio::test]
async fn a_link_that_is_shut_down_says_good_bye() {
    let authority = authority();
    let (identity, trust) = (enrolled(&authority, "a"), authority.trust_bundle().unwrap());
    let mut plane = Plane::start(authority, patient());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let config = countersign_transport::LinkConfig {
        control: plane.address.to_string(),
        identity,
        trust,
        limits: patient(),
        backoff: countersign_transport::Backoff::default(),
        hello: Box::new(crate::fixture::hello),
        entropy: Box::new(|| 0),
    };
    let (link, _pushes, driver) = countersign_transport::Link::new(config).unwrap();
    let run = tokio::spawn(driver.run(async move {
        let _ = stopped.await;
    }));
    let session = plane.greeted().await;
    soon(link.state().wait_for(LinkState::is_up)).await.unwrap();
    drop(stop);
    soon(run).await.unwrap();
    assert_eq!(*link.state().borrow(), LinkState::Closed);
    assert!(soon(session.closed()).await.to_string().contains("the sidecar stops"));
}
