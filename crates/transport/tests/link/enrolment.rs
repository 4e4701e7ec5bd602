//! Machines that come with nothing but a join token.

use std::sync::{Arc, Mutex};

use countersign_model::Digest;
use countersign_pki::{JoinSecret, JoinToken};
use countersign_protocol::RefusalCode;
use countersign_transport::{EnrolError, RequestError, enrol};

use crate::fixture::{
    Plane, Sidecar, agent, authority, bundle_keys, enrolled, heartbeat, now, patient, soon, token,
};

async fn try_enrol(plane: &Plane, token: &JoinToken) -> Result<countersign_transport::Enrolment, EnrolError> {
    soon(enrol(&plane.address.to_string(), token, None, "test".to_owned(), patient())).await
}

#[tokio::test]
async fn a_machine_with_a_token_gets_an_identity_with_which_it_has_a_link() {
    let authority = authority();
    let token = token(&authority);
    let plane = Plane::start(authority, patient());
    let enrolment = try_enrol(&plane, &token.expose().parse().unwrap()).await.unwrap();
    assert_eq!(enrolment.identity.spiffe_id(), &agent("newcomer"));
    assert_eq!(enrolment.enrolled.bundle_keys, bundle_keys());
    let sidecar = Sidecar::start(plane.address, enrolment.identity, enrolment.trust);
    sidecar.up().await;
    sidecar.link.request(heartbeat()).await.unwrap();
}

#[tokio::test]
async fn a_token_from_before_a_rotation_still_names_its_control_plane() {
    let old = authority();
    let token = token(&old);
    let plane = Plane::start(old.rotate(now()).unwrap(), patient());
    try_enrol(&plane, &token).await.unwrap();
}

#[tokio::test]
async fn a_refused_token_is_reported_as_such() {
    let authority = authority();
    let token = JoinToken { secret: JoinSecret::new([8; 32]), ..token(&authority) };
    let plane = Plane::start(authority, patient());
    match try_enrol(&plane, &token).await {
        Err(EnrolError::Request(RequestError::Refused(refused))) => {
            assert_eq!(refused.code, RefusalCode::JoinToken);
        }
        other => panic!("{other:?}"),
    }
}

/// The attack: somebody in between, with an authority of their own, waits for secrets.
#[tokio::test]
async fn the_secret_is_not_said_to_a_control_plane_that_the_token_does_not_name() {
    let (real, fake) = (authority(), authority());
    let mut plane = Plane::start(fake, patient());
    let refused = try_enrol(&plane, &token(&real)).await.unwrap_err();
    assert!(matches!(refused, EnrolError::Connect(_)), "{refused}");
    assert!(refused.to_string().contains("UnknownIssuer"), "{refused}");
    let nobody = JoinToken { authority: Digest::of(b"no certificate at all"), ..token(&real) };
    assert!(try_enrol(&plane, &nobody).await.is_err());
    plane.told.close();
    assert!(plane.told.recv().await.is_none(), "nobody got as far as an enrolment");
}

/// The attack: an agent of the same authority takes other machines' tokens.
#[tokio::test]
async fn the_secret_is_not_said_to_an_agent() {
    let authority = authority();
    let (token, trust) = (token(&authority), authority.trust_bundle().unwrap());
    let rogue = enrolled(&authority, "rogue");
    let listen = (std::net::Ipv4Addr::LOCALHOST, 0).into();
    let shared = Arc::new(Mutex::new(authority));
    let plane = Plane::showing(rogue, trust, shared, patient(), listen).unwrap();
    assert!(try_enrol(&plane, &token).await.is_err());
}
