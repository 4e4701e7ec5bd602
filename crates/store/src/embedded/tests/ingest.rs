//! Sidecars' events: what is repeated, missing, changed or malformed (I8).

use std::collections::BTreeMap;

use countersign_audit::kind;
use proptest::prelude::*;
use serde_json::json;

use super::{sidecar::Sidecar, *};
use crate::{Anomaly, CommandError, IngestRefusal, Ingested};

async fn ingest(store: &EmbeddedStore, events: Vec<Vec<u8>>) -> Ingested {
    store.ingest(sidecar_of("agent-1"), events, NOW).await.unwrap()
}

fn clean(through: u64, accepted: usize, duplicates: usize) -> Ingested {
    Ingested { through, accepted, duplicates, anomalies: Vec::new() }
}

#[tokio::test]
async fn a_batch_that_is_sent_again_changes_nothing() {
    let disk = CrashingStorage::default();
    let store = open(&disk);
    let source = sidecar_of("agent-1");
    let mut sidecar = Sidecar::new(&source);
    let events = sidecar.events(5);
    assert_eq!(store.source_head(&source).await.unwrap(), None);
    assert_eq!(ingest(&store, events[..3].to_vec()).await, clean(3, 3, 0));
    assert_eq!(ingest(&store, events[..3].to_vec()).await, clean(3, 0, 3));
    store.close().await;
    let store = open(&disk);
    assert_eq!(ingest(&store, events[1..].to_vec()).await, clean(5, 2, 2));
    assert_eq!(store.source_head(&source).await.unwrap(), Some((5, sidecar.0.head())));
    assert_eq!(whole_ledger(&store, None).await.len(), 5);
    for (seq, bytes) in (1..).zip(&events) {
        assert_eq!(store.event_of(&source, seq).await.unwrap().unwrap().bytes, *bytes);
    }
    assert_eq!(store.event_of(&source, 6).await.unwrap(), None);
    assert_eq!(store.event_of(&sidecar_of("agent-2"), 1).await.unwrap(), None);
}

#[tokio::test]
async fn a_gap_is_named_and_what_comes_late_is_kept() {
    let store = new_store();
    let source = sidecar_of("agent-1");
    let events = Sidecar::new(&source).events(8);
    ingest(&store, events[..2].to_vec()).await;
    let gap = ingest(&store, events[5..].to_vec()).await;
    assert_eq!((gap.through, gap.accepted), (8, 3));
    assert_eq!(gap.anomalies, [Anomaly::Missing { from: 3, to: 5 }]);
    let late = ingest(&store, events[3..6].to_vec()).await;
    assert_eq!((late.accepted, late.duplicates, late.through), (2, 1, 8));
    assert_eq!(late.anomalies, [Anomaly::Late { seq: 4 }, Anomaly::Late { seq: 5 }]);
    assert_eq!(ingest(&store, events[3..].to_vec()).await, clean(8, 0, 5));
    assert_eq!(store.event_of(&source, 4).await.unwrap().unwrap().bytes, events[3]);
    assert_eq!(store.event_of(&source, 3).await.unwrap(), None);
    let recorded = whole_ledger(&store, Some(&source)).await;
    let gaps: Vec<_> = recorded.iter().filter(|event| event.event().kind == kind::LEDGER_GAP).collect();
    assert_eq!(gaps.len(), 2);
    assert_eq!(gaps[0].event().body["source"], source.to_string());
    assert_eq!(gaps[0].event().body["problems"], json!([{"problem": "missing", "from": 3, "to": 5}]));
}

#[tokio::test]
async fn a_changed_event_is_named_and_the_first_one_stays() {
    let store = new_store();
    let source = sidecar_of("agent-1");
    let mut sidecar = Sidecar::new(&source);
    let first = sidecar.event("the truth");
    let mut forger = Sidecar::new(&source);
    let forged = forger.event("another story");
    ingest(&store, vec![first.bytes().to_vec()]).await;
    let answer = ingest(&store, vec![forged.bytes().to_vec(), forger.event("more").into_bytes()]).await;
    assert_eq!((answer.accepted, answer.duplicates, answer.through), (1, 0, 2));
    let changed = Anomaly::Changed { seq: 1, kept: first.digest(), refused: forged.digest() };
    let unlinked = Anomaly::Unlinked { seq: 2, claimed: forged.digest(), actual: first.digest() };
    assert_eq!(answer.anomalies, [changed, unlinked]);
    let kept = store.event_of(&source, 1).await.unwrap().unwrap();
    assert_eq!(kept.bytes, first.bytes());
    let recorded = whole_ledger(&store, Some(&source)).await;
    assert_eq!(recorded.last().unwrap().event().body["count"], 2);
}

#[tokio::test]
async fn an_agent_that_is_enrolled_anew_may_begin_again_once() {
    let store = new_store();
    let source = sidecar_of("agent-1");
    enrolled(&store, 1).await;
    let old = Sidecar::new(&source).events(3);
    assert_eq!(ingest(&store, old.clone()).await, clean(3, 3, 0));
    // Enrolled anew with its old spool, it just goes on.
    store.add_join_token(agent_id(1), join_token(2), by("admin@example.com")).await.unwrap();
    store.redeem_join_token(redemption(2)).await.unwrap();
    assert_eq!(ingest(&store, old.clone()).await, clean(3, 0, 3));
    // On a new machine it begins again.
    let mut reborn = Sidecar::new(&source);
    let new: Vec<_> = ["hello", "again"].map(|what| reborn.event(what).into_bytes()).into();
    let answer = ingest(&store, new.clone()).await;
    assert_eq!((answer.through, answer.accepted), (2, 2));
    assert_eq!(answer.anomalies, [Anomaly::Restarted { expected: 4 }]);
    assert_eq!(store.event_of(&source, 1).await.unwrap().unwrap().bytes, new[0]);
    // A second new beginning takes a second enrolment.
    let answer = ingest(&store, old[..1].to_vec()).await;
    assert!(matches!(answer.anomalies[..], [Anomaly::Changed { seq: 1, .. }]));
}

#[tokio::test]
async fn a_batch_that_no_sidecar_of_ours_would_send_is_refused_whole() {
    let store = new_store();
    let source = sidecar_of("agent-1");
    let events = Sidecar::new(&source).events(3);
    let refusal = async |events: Vec<Vec<u8>>| match store.ingest(source.clone(), events, NOW).await {
        Err(CommandError::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    };
    assert_eq!(refusal(vec![]).await, IngestRefusal::Size(0));
    let many = vec![events[0].clone(); IngestRefusal::MAX_EVENTS + 1];
    assert_eq!(refusal(many).await, IngestRefusal::Size(IngestRefusal::MAX_EVENTS + 1));
    let order = vec![events[1].clone(), events[0].clone()];
    assert_eq!(refusal(order).await, IngestRefusal::OutOfOrder { position: 1 });
    let spaced = [b" ".as_slice(), &events[1]].concat();
    let malformed = refusal(vec![events[0].clone(), spaced]).await;
    assert!(matches!(malformed, IngestRefusal::Malformed { position: 1, .. }));
    let claimed = sidecar_of("agent-2");
    let foreign = Sidecar::new(&claimed).events(1);
    assert_eq!(refusal(foreign).await, IngestRefusal::OtherSource { position: 0, claimed });
    let own = Sidecar::new(&control_plane()).events(1);
    let claimed = control_plane();
    assert_eq!(refusal(own).await, IngestRefusal::OtherSource { position: 0, claimed });
    assert_eq!(store.head().await.unwrap().size, 0);
}

/// What a link may do to a sidecar's events: pieces of the sequence, in any order, again and again.
fn pieces() -> impl Strategy<Value = Vec<(usize, usize)>> {
    prop::collection::vec((0_usize..20, 1_usize..8), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn each_event_is_kept_once_and_every_gap_named(pieces in pieces(), restart in any::<bool>()) {
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            let disk = CrashingStorage::default();
            let mut store = open(&disk);
            let source = sidecar_of("agent-1");
            let events = Sidecar::new(&source).events(28);
            let mut known: BTreeMap<u64, ()> = BTreeMap::new();
            for (first, count) in pieces {
                let sent = &events[first..first + count];
                let answer = ingest(&store, sent.to_vec()).await;
                let seqs: Vec<_> = (first as u64 + 1..).take(count).collect();
                let end = known.last_key_value().map_or(0, |(seq, ())| *seq);
                let new = seqs.iter().filter(|seq| !known.contains_key(seq)).count();
                assert_eq!((answer.accepted, answer.duplicates), (new, count - new));
                let late = seqs.iter().filter(|seq| **seq < end && !known.contains_key(seq)).count();
                let gap = seqs.first().is_some_and(|first| *first > end + 1);
                assert_eq!(answer.anomalies.len(), late + usize::from(gap));
                known.extend(seqs.into_iter().map(|seq| (seq, ())));
                assert_eq!(answer.through, *known.last_key_value().unwrap().0);
                if restart {
                    store.close().await;
                    store = open(&disk);
                }
            }
            let ledger = whole_ledger(&store, Some(&source)).await;
            let mut kept: Vec<_> = ledger.iter().filter(|event| event.event().source == source).collect();
            kept.sort_by_key(|event| event.event().seq);
            assert!(kept.iter().map(|event| event.event().seq).eq(known.keys().copied()));
            for seq in known.keys() {
                let found = store.event_of(&source, *seq).await.unwrap().unwrap();
                assert_eq!(found.bytes, events[*seq as usize - 1]);
            }
        });
    }
}
