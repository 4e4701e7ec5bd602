//! Power is cut at every single change that the storage sees, and the disk may have kept any part of
//! what was not synced. Whatever was acknowledged must be there, and nothing may be there by half.

use std::collections::BTreeMap;

use countersign_model::Revision;
use countersign_testkit::Loss;

use super::*;
use crate::{Ending, Finished, StoredBundle};

/// What was acknowledged before the power was cut.
#[derive(Debug, Default)]
struct Acknowledged {
    last_seq: u64,
    removed_through: u64,
    /// Approval → uses that were given out, and those of them whose outcome was noted.
    uses: BTreeMap<u8, (u32, u32)>,
    bundle: Option<u64>,
}

/// Does a bit of everything until the power is gone.
async fn work(spool: &Spool) -> Acknowledged {
    let mut done = Acknowledged::default();
    for round in 1_u8..=4 {
        if let Ok(appended) = spool.append(vec![draft(); 3]).await {
            done.last_seq = appended.last_seq;
        }
        for _ in 0..2 {
            if let Ok(number) = spool.journal().consume(consumption(round, 2)).await {
                done.uses.entry(round).or_default().0 = number;
            }
        }
        let (approval, ending) = (approval(round), Ending::Executed);
        let finished = Finished { approval, use_number: 1, ending, at: NOW, event: Some(draft()) };
        if spool.journal().finish(finished).await.is_ok() {
            done.uses.entry(round).or_default().1 = 1;
        }
        let bundle = StoredBundle { revision: Revision(round.into()), bytes: vec![round; 20_000] };
        if spool.state().activate_bundle(bundle, Some(draft())).await.is_ok() {
            done.bundle = Some(round.into());
        }
        let through = done.last_seq.saturating_sub(1);
        if spool.acknowledge(through).await.is_ok() {
            done.removed_through = through;
        }
    }
    done
}

/// Opens what is left and holds it against what was acknowledged.
async fn check(disk: CrashingStorage, done: &Acknowledged, context: &str) {
    let spool = open(&disk);
    let depth = spool.depth();
    assert!(depth.last_seq >= done.last_seq, "{context}: {depth:?} {done:?}");
    let events = spool.unacknowledged(usize::MAX, usize::MAX).await.unwrap();
    assert_eq!(events.len() as u64, depth.events, "{context}");
    assert_eq!(events.iter().map(|event| event.bytes.len() as u64).sum::<u64>(), depth.bytes, "{context}");
    // Every event after the last one that was removed is there, and they are one chain.
    let events: Vec<_> =
        events.into_iter().map(|event| CanonicalEvent::parse(event.bytes).unwrap()).collect();
    if let Some(first) = events.first() {
        assert!(first.event().seq <= done.last_seq.max(done.removed_through) + 1, "{context}");
        let mut chain = Chain::resume(source(), first.event().seq - 1, first.event().previous);
        events.iter().for_each(|event| chain.accept(event).unwrap());
        assert_eq!(chain.next_seq(), depth.last_seq + 1, "{context}");
    }
    for (round, (given, ended)) in &done.uses {
        let (used, _) = spool.journal().used(approval(*round)).unwrap();
        assert!(used >= *given, "{context}: a use was forgotten");
        let open = spool.journal().unfinished().unwrap();
        let open: Vec<_> = open.iter().filter(|one| one.approval == approval(*round)).collect();
        assert!(open.len() as u32 <= used - ended, "{context}: an outcome was forgotten");
        // No use beyond the grant, whatever happened.
        for _ in used..2 {
            spool.journal().consume(consumption(*round, 2)).await.unwrap();
        }
        assert!(spool.journal().consume(consumption(*round, 2)).await.is_err(), "{context}");
    }
    let bundle = spool.state().active_bundle().unwrap();
    let revision = bundle.as_ref().map(|bundle| bundle.revision.0);
    assert!(revision >= done.bundle, "{context}: {revision:?}");
    assert!(bundle.is_none_or(|bundle| bundle.bytes == vec![bundle.revision.0 as u8; 20_000]), "{context}");
    spool.append(vec![draft()]).await.unwrap();
}

#[tokio::test]
async fn whenever_the_power_is_cut_what_was_acknowledged_is_there() {
    let whole = CrashingStorage::default();
    let spool = open(&whole);
    let created = whole.changes();
    work(&spool).await;
    let changes = whole.changes();
    // How a file comes into being at all is another test's matter.
    for cut in created..changes {
        let disk = CrashingStorage::cut_after(cut);
        let done = work(&open(&disk)).await;
        for loss in [Loss::Everything, Loss::Nothing, Loss::Some(cut), Loss::Some(!cut)] {
            check(disk.after_crash(loss), &done, &format!("cut after {cut} of {changes}, {loss:?}")).await;
        }
    }
}
