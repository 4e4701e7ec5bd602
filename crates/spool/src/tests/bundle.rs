//! What the sidecar remembers.

use countersign_model::Revision;
use countersign_testkit::Loss;

use super::*;
use crate::{ActivateError, PendingApproval, StoredBundle};

fn bundle(revision: u64) -> StoredBundle {
    StoredBundle { revision: Revision(revision), bytes: vec![revision as u8; 100_000] }
}

#[tokio::test]
async fn a_bundle_replaces_the_one_before_whole_and_survives() {
    let disk = CrashingStorage::default();
    let spool = open(&disk);
    assert_eq!(spool.state().active_bundle(), Ok(None));
    spool.state().activate_bundle(bundle(1), None).await.unwrap();
    spool.state().activate_bundle(bundle(3), Some(draft())).await.unwrap();
    let spool = open(&disk.after_crash(Loss::Everything));
    assert_eq!(spool.state().active_bundle(), Ok(Some(bundle(3))));
    assert_eq!(spool.depth().events, 1);
}

#[tokio::test]
async fn an_old_bundle_sent_again_does_not_bring_old_policy_back() {
    let spool = open(&CrashingStorage::default());
    spool.state().activate_bundle(bundle(2), None).await.unwrap();
    let old = spool.state().activate_bundle(bundle(1), Some(draft())).await;
    let (active, given) = (Revision(2), Revision(1));
    assert_eq!(old, Err(ActivateError::NotNewer { active, given }));
    let forged = StoredBundle { bytes: vec![9], ..bundle(2) };
    assert!(spool.state().activate_bundle(forged, None).await.is_err());
    spool.state().activate_bundle(bundle(2), Some(draft())).await.unwrap();
    assert_eq!(spool.state().active_bundle(), Ok(Some(bundle(2))));
    assert_eq!(spool.depth().events, 0, "the same bundle again is no news");
}

#[tokio::test]
async fn contact_and_pending_approvals_are_remembered() {
    let disk = CrashingStorage::default();
    let spool = open(&disk);
    let mut pending =
        PendingApproval { key: "k".into(), approval: None, submission: "{}".into(), since: NOW };
    spool.state().remember_pending(pending.clone()).await.unwrap();
    pending.approval = Some(approval(1));
    spool.state().remember_pending(pending.clone()).await.unwrap();
    spool.state().contacted(NOW).await.unwrap();
    let spool = open(&disk.after_crash(Loss::Everything));
    assert_eq!(spool.state().pending().unwrap(), [pending]);
    assert_eq!(spool.state().last_contact(), Ok(Some(NOW)));
    spool.state().forget_pending("k".into()).await.unwrap();
    assert_eq!(spool.state().pending().unwrap(), []);
}
