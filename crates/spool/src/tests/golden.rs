//! Every version of every record that was ever written stays readable. A file is added for each new
//! version and never changed.

use std::path::Path;

use countersign_audit::Chain;
use countersign_model::{Digest, Revision};

use super::{NOW, approval, source};
use crate::{
    Ending, PendingApproval,
    bundle::ActiveBundle,
    codec::{self, Record},
    journal::{Ended, GrantRow, PrunedThrough, UseRow},
    lasting::LastingRow,
    state::LastContact,
    work::Tail,
};

/// Compares a record as it was stored once with what it means.
fn holds<R: Record + PartialEq + std::fmt::Debug>(name: &str, meaning: &R) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(name);
    let stored = std::fs::read(path).unwrap();
    let (version, json) = stored.split_first().unwrap();
    let bytes = [&[version - b'0'], json].concat();
    assert_eq!(codec::decode::<R>(&bytes).unwrap(), *meaning, "golden/{name}");
    let written = codec::encode(meaning).unwrap();
    assert_eq!(codec::decode::<R>(&written).unwrap(), *meaning);
}

#[test]
fn every_version_ever_written_is_readable() {
    let digest = Digest::of(b"operation");
    let chain = Chain::resume(source(), 7, digest);
    holds("tail.1", &Tail { chain, events: 3, bytes: 1_800 });
    holds("last-contact.1", &LastContact(NOW));
    holds("active-bundle.1", &ActiveBundle { revision: Revision(4), digest });
    holds("pruned-through.1", &PrunedThrough(NOW));
    let row = GrantRow { digest, uses: 3, used: 1, not_after: NOW, spent: Vec::new() };
    holds("grant.1", &row);
    holds("grant-of-a-task.1", &GrantRow { spent: vec!["12.5".parse().unwrap()], ..row });
    holds("lasting.1", &LastingRow { question: digest, grant: "a.b.c".into(), not_after: NOW });
    let ended = Some(Ended { ending: Ending::OutcomeUnknown, at: NOW });
    holds("use.1", &UseRow { digest, consumed_at: NOW, claim_reported: true, ended });
    let pending = PendingApproval {
        key: "key".into(),
        approval: Some(approval(1)),
        submission: "{\"key\":\"key\"}".into(),
        since: NOW,
    };
    holds("pending.1", &pending);
}

#[test]
fn a_version_of_the_future_is_refused() {
    let mut bytes = codec::encode(&LastContact(NOW)).unwrap();
    bytes[0] += 1;
    assert!(codec::decode::<LastContact>(&bytes).is_err());
    assert!(codec::decode::<LastContact>(&[]).is_err());
}
