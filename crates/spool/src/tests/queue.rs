//! The event queue.

use std::{fs, os::unix::fs::PermissionsExt};

use countersign_audit::Chain;
use proptest::prelude::*;

use super::*;
use crate::{AcknowledgeError, AppendError, Finished};

#[tokio::test]
async fn events_are_numbered_without_gaps_and_go_on_after_a_restart() {
    let disk = CrashingStorage::default();
    let spool = open(&disk);
    assert_eq!(spool.append(vec![draft(), draft()]).await.unwrap().last_seq, 2);
    spool.enqueue(vec![draft()]).unwrap();
    spool.close().await;
    let spool = open(&disk);
    assert_eq!(spool.append(vec![draft()]).await.unwrap().last_seq, 4);
    assert_eq!(chained_events(&spool, &mut Chain::new(source())).await.len(), 4);
}

#[tokio::test]
async fn a_batch_is_bounded_by_count_and_by_size_but_never_empty() {
    let spool = open(&CrashingStorage::default());
    spool.append(vec![draft(); 5]).await.unwrap();
    let all = spool.unacknowledged(100, usize::MAX).await.unwrap();
    assert_eq!(all.len(), 5);
    assert_eq!(spool.unacknowledged(2, usize::MAX).await.unwrap(), all[..2]);
    assert_eq!(spool.unacknowledged(100, all[0].bytes.len() + 1).await.unwrap(), all[..1]);
    assert_eq!(spool.unacknowledged(100, 0).await.unwrap(), all[..1]);
}

#[tokio::test]
async fn what_was_acknowledged_is_gone_and_nothing_else() {
    let disk = CrashingStorage::default();
    let spool = open(&disk);
    spool.append(vec![draft(); 5]).await.unwrap();
    spool.acknowledge(3).await.unwrap();
    assert_eq!(spool.depth().events, 2);
    assert_eq!(spool.unacknowledged(9, usize::MAX).await.unwrap()[0].seq, 4);
    let beyond = spool.acknowledge(6).await;
    assert_eq!(beyond, Err(AcknowledgeError::Beyond { through: 6, last_seq: 5 }));
    spool.acknowledge(5).await.unwrap();
    assert_eq!((spool.depth().events, spool.depth().bytes), (0, 0));
    spool.close().await;
    assert_eq!(open(&disk).append(vec![draft()]).await.unwrap().last_seq, 6);
}

#[tokio::test]
async fn batched_events_become_durable_by_themselves() {
    let spool = open(&CrashingStorage::default());
    let mut depth = spool.watch_depth();
    spool.enqueue(vec![draft()]).unwrap();
    depth.wait_for(|depth| depth.last_seq == 1).await.unwrap();
    assert_eq!(spool.unacknowledged(9, usize::MAX).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_full_spool_refuses_events_and_uses_but_takes_the_outcome_of_what_has_happened() {
    let settings = Settings { max_bytes: 400, ..settings() };
    let spool = Spool::open_on(CrashingStorage::default(), &source(), settings, entropy()).unwrap();
    assert_eq!(spool.journal().consume(consumption(1, 2)).await, Ok(1));
    spool.append(vec![draft()]).await.unwrap();
    assert!(spool.depth().bytes >= 400);
    assert!(matches!(spool.append(vec![draft()]).await, Err(AppendError::Full(_))));
    assert!(matches!(spool.enqueue(vec![draft()]), Err(AppendError::Full(_))));
    let consumed = spool.journal().consume(consumption(1, 2)).await;
    assert!(matches!(consumed, Err(crate::ConsumeError::Full(_))));
    let ending = crate::Ending::Executed;
    let finished = Finished { approval: approval(1), use_number: 1, ending, at: NOW, event: Some(draft()) };
    spool.journal().finish(finished).await.unwrap();
    assert_eq!(spool.depth().events, 3);
    spool.acknowledge(3).await.unwrap();
    assert_eq!(spool.journal().consume(consumption(1, 2)).await, Ok(2));
}

#[tokio::test]
async fn the_file_is_its_owners_alone_and_one_process_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("spool.redb");
    fs::write(&path, []).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let spool = Spool::open(&path, &source(), settings(), entropy()).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let second = Spool::open(&path, &source(), settings(), entropy());
    assert!(matches!(second, Err(OpenError::InUse)));
    spool.append(vec![draft()]).await.unwrap();
    spool.close().await;
    let other = "spiffe://example.org/agent/b".parse().unwrap();
    let wrong = Spool::open(&path, &other, settings(), entropy());
    assert!(matches!(wrong, Err(OpenError::Source { .. })));
}

#[test]
fn a_file_that_was_being_made_when_the_process_was_killed_is_in_nobodys_way() {
    let folder = tempfile::tempdir().unwrap();
    let half_made = folder.path().join(format!("spool.new-{}", std::process::id()));
    fs::write(half_made, [0; 5_000]).unwrap();
    let path = folder.path().join("spool.redb");
    drop(Spool::open(&path, &source(), settings(), entropy()).unwrap());
    let files: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(files, ["spool.redb"]);
}

#[tokio::test]
async fn without_storage_every_answer_is_an_error() {
    let disk = CrashingStorage::default();
    let spool = open(&disk);
    disk.cut_in(0);
    assert!(spool.append(vec![draft()]).await.is_err());
    assert!(spool.append(vec![draft()]).await.is_err());
    assert!(spool.enqueue(vec![draft()]).is_err());
    assert!(spool.journal().consume(consumption(1, 1)).await.is_err());
}

#[derive(Debug, Clone)]
enum Step {
    Append(usize),
    Enqueue(usize),
    Acknowledge(u64),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1_usize..4).prop_map(Step::Append),
        (1_usize..4).prop_map(Step::Enqueue),
        (0_u64..6).prop_map(Step::Acknowledge),
        Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn whatever_happens_the_queue_is_one_chain_without_gaps(steps in prop::collection::vec(step(), 1..20)) {
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            let disk = CrashingStorage::default();
            let mut spool = open(&disk);
            let (mut last, mut acknowledged, mut chain) = (0, 0, Chain::new(source()));
            for step in steps {
                match step {
                    Step::Append(count) => {
                        last += count as u64;
                        assert_eq!(spool.append(vec![draft(); count]).await.unwrap().last_seq, last);
                    }
                    Step::Enqueue(count) => {
                        last += count as u64;
                        spool.enqueue(vec![draft(); count]).unwrap();
                        spool.flush().await.unwrap();
                    }
                    Step::Acknowledge(more) => {
                        let through = (acknowledged + more).min(last);
                        let mut seen = chain.clone();
                        let events = chained_events(&spool, &mut seen).await;
                        assert_eq!(events.len() as u64, last - acknowledged);
                        let gone = (through - acknowledged) as usize;
                        events[..gone].iter().for_each(|event| chain.accept(event).unwrap());
                        spool.acknowledge(through).await.unwrap();
                        acknowledged = through;
                    }
                    Step::Reopen => {
                        spool.close().await;
                        spool = open(&disk);
                    }
                }
                assert_eq!(spool.depth().last_seq, last);
                assert_eq!(spool.depth().events, last - acknowledged);
            }
        });
    }
}
