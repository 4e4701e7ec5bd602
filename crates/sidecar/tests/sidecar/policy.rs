//! Bundles that must not come into force (I6, I7).

use countersign_model::{Revision, signing::SigningKey};
use countersign_protocol::{BundleOutcome, PushBundle};

use crate::{
    beside::{Home, decided},
    control::{Control, POLICIES, bundle_key, pushed, pushed_for},
};

const DENY: &str = "@id(\"none\") forbid (principal, action, resource);";
const PERMIT: &str = "@id(\"all\") permit (principal, action, resource);";

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_that_is_not_what_it_should_be_changes_nothing() {
    let control = Control::start().await;
    let home = Home::new(&control);
    let running = home.ready().await;
    let stranger = SigningKey::from_seed(&[66; 32]).unwrap();
    let mut swapped = pushed(2, POLICIES, &bundle_key());
    swapped.files.insert("policies/test.cedar".to_owned(), PERMIT.as_bytes().to_vec());
    let bad: [(&str, PushBundle); 5] = [
        ("signed", pushed(2, PERMIT, &stranger)),
        ("not those that were signed", swapped),
        ("trust domain", pushed_for(2, PERMIT, &bundle_key(), "other.example".parse().unwrap())),
        ("not newer", pushed(1, PERMIT, &bundle_key())),
        ("policies/test.cedar", pushed(2, "permit (principal, action", &bundle_key())),
    ];
    for (why, bundle) in bad {
        let ack = control.push(bundle).await;
        assert_eq!(ack.revision, Some(Revision(1)), "{why}");
        let BundleOutcome::Refused(reason) = ack.outcome else { panic!("{why}: {:?}", ack.outcome) };
        assert!(reason.contains(why), "{why}: {reason}");
        assert_eq!(decided(&running, "erase").await, "policy");
        assert_eq!(decided(&running, "read").await, "permit");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_bundle_is_in_force_when_it_is_acknowledged_and_stays_so() {
    let control = Control::start().await;
    let home = Home::new(&control);
    let running = home.ready().await;
    let first = control.known().current.clone().unwrap();
    assert_eq!(control.push(first.clone()).await.outcome, BundleOutcome::Unchanged);
    let ack = control.push(pushed(2, DENY, &bundle_key())).await;
    assert_eq!((ack.revision, ack.outcome), (Some(Revision(2)), BundleOutcome::Activated));
    assert_eq!(decided(&running, "read").await, "policy");
    // A bundle that was in force once does not come back by being sent again.
    assert!(matches!(control.push(first).await.outcome, BundleOutcome::Refused(_)));
    running.shutdown().await.unwrap();
    let running = home.ready().await;
    assert_eq!(decided(&running, "read").await, "policy");
}
