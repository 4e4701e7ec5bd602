//! Policy revisions.

use countersign_audit::kind;

use super::*;
use crate::{BundleFiles, BundleStore, CommandError, NewBundle, PageRequest, PushRefusal};

fn files(content: &str) -> BundleFiles {
    let file = |path: &str| (path.to_owned(), content.as_bytes().to_vec());
    BundleFiles::from([file("bundle.toml"), file("policies/a.cedar")])
}

fn bundle(revision: u64, content: &str) -> NewBundle {
    NewBundle {
        revision: Revision(revision),
        name: "starter".into(),
        digest: Digest::of(content.as_bytes()),
        manifest: format!("signed.{revision}"),
        files: files(content),
        note: None,
        rollback_of: None,
    }
}

#[tokio::test]
async fn the_newest_revision_is_in_force_and_a_rollback_is_a_new_one() {
    let store = new_store();
    assert_eq!(store.active_bundle().await.unwrap(), None);
    assert_eq!(store.active_revision().await.unwrap(), None);
    store.push_bundle(bundle(1, "one"), by("author@example.com")).await.unwrap();
    store.push_bundle(bundle(2, "two"), by("author@example.com")).await.unwrap();
    let back = NewBundle { rollback_of: Some(Revision(1)), ..bundle(3, "one") };
    store.push_bundle(back, by("author@example.com")).await.unwrap();
    let active = store.active_bundle().await.unwrap().unwrap();
    assert_eq!((active.revision.revision, active.revision.rollback_of), (Revision(3), Some(Revision(1))));
    assert_eq!(active.files, files("one"));
    assert_eq!(store.bundle(Revision(2)).await.unwrap().unwrap().files, files("two"));
    assert_eq!(store.bundle(Revision(4)).await.unwrap(), None);
    let history = store.policy_history(PageRequest::first(9)).await.unwrap();
    let numbers: Vec<_> = history.items.iter().map(|revision| revision.revision.0).collect();
    assert_eq!(numbers, [3, 2, 1]);
    let pushed = [kind::POLICY_PUSHED, kind::POLICY_ACTIVATED];
    let rolled_back = [kind::POLICY_ROLLED_BACK, kind::POLICY_ACTIVATED];
    assert_eq!(kinds(&whole_ledger(&store, None).await), [pushed, pushed, rolled_back].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_who_push_at_once_one_has_to_sign_again() {
    let store = new_store();
    let first = store.push_bundle(bundle(1, "one"), by("a"));
    let second = store.push_bundle(bundle(1, "two"), by("b"));
    let (first, second) = tokio::join!(first, second);
    let refusal = [first, second].into_iter().find_map(Result::err).unwrap();
    let (next, given) = (Revision(2), Revision(1));
    assert_eq!(refusal, CommandError::Refused(PushRefusal::NotNext { next, given }));
    assert_eq!(store.active_revision().await.unwrap(), Some(Revision(1)));
}

#[tokio::test]
async fn a_rollback_brings_back_what_was_there_and_nothing_else() {
    let store = new_store();
    store.push_bundle(bundle(1, "one"), by("a")).await.unwrap();
    for (old, content) in [(1, "forged"), (2, "one")] {
        let forged = NewBundle { rollback_of: Some(Revision(old)), ..bundle(2, content) };
        let refused = store.push_bundle(forged, by("a")).await;
        assert_eq!(refused, Err(CommandError::Refused(PushRefusal::NotARollback(Revision(old)))));
    }
}
