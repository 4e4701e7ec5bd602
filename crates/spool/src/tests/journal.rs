//! The grant journal: the ways in which an agent could get an operation through twice.

use std::collections::BTreeSet;

use countersign_model::{Charge, Seconds};
use serde_json::json;

use super::*;
use crate::{ConsumeError, Ending, FinishError, Finished, GrantJournal, LastingGrant, Report};

fn finished(n: u8, use_number: u32, ending: Ending) -> Finished {
    Finished { approval: approval(n), use_number, ending, at: NOW, event: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn however_many_race_for_a_grant_each_use_is_given_out_once() {
    let spool = open(&CrashingStorage::default());
    let racers: Vec<_> = (0..40)
        .map(|_| {
            let journal = spool.journal().clone();
            tokio::spawn(async move { journal.consume(consumption(1, 3)).await })
        })
        .collect();
    let mut given = BTreeSet::new();
    let mut refused = 0;
    for racer in racers {
        match racer.await.unwrap() {
            Ok(number) => assert!(given.insert(number)),
            Err(error) => {
                assert_eq!(error, ConsumeError::UsedUp(3));
                refused += 1;
            }
        }
    }
    assert_eq!((given, refused), (BTreeSet::from([1, 2, 3]), 37));
}

#[tokio::test]
async fn a_use_and_its_event_are_there_after_a_restart_and_the_use_is_not_given_out_again() {
    let disk = CrashingStorage::default();
    let spool = open(&disk);
    assert_eq!(spool.journal().consume(consumption(1, 1)).await, Ok(1));
    // The process is killed here.
    let spool = open(&disk.after_crash(countersign_testkit::Loss::Everything));
    assert_eq!(spool.journal().consume(consumption(1, 1)).await, Err(ConsumeError::UsedUp(1)));
    assert_eq!(spool.journal().used(approval(1)), Ok((1, Vec::new())));
    let events = chained_events(&spool, &mut Chain::new(source())).await;
    assert_eq!(events[0].event().kind, kind::GRANT_CONSUMED);
    assert_eq!(events[0].event().body["use_number"], 1);
    let unfinished = spool.journal().unfinished().unwrap();
    assert_eq!((unfinished[0].approval, unfinished[0].number), (approval(1), 1));
    spool.journal().finish(finished(1, 1, Ending::OutcomeUnknown)).await.unwrap();
    assert_eq!(spool.journal().unfinished().unwrap(), []);
}

#[tokio::test]
async fn a_grant_is_refused_for_another_operation_after_its_end_and_after_revocation() {
    let spool = open(&CrashingStorage::default());
    let journal = spool.journal();
    journal.consume(consumption(1, 5)).await.unwrap();
    let other = Consumption { granted: Digest::of(b"other"), ..consumption(1, 5) };
    assert!(matches!(journal.consume(other).await, Err(ConsumeError::OtherOperation(_))));
    let late = Consumption { at: LATER, ..consumption(1, 5) };
    assert_eq!(journal.consume(late).await, Err(ConsumeError::Expired(LATER)));
    // A second grant of the same approval never adds uses.
    journal.consume(consumption(2, 1)).await.unwrap();
    assert_eq!(journal.consume(consumption(2, 9)).await, Err(ConsumeError::UsedUp(1)));
    assert!(!journal.is_revoked(approval(1)));
    journal.revoke(approval(1)).await.unwrap();
    assert!(journal.is_revoked(approval(1)));
    assert_eq!(journal.consume(consumption(1, 5)).await, Err(ConsumeError::Revoked));
}

#[tokio::test]
async fn a_revocation_outlives_a_restart() {
    let disk = CrashingStorage::default();
    let spool = open(&disk);
    spool.journal().revoke(approval(1)).await.unwrap();
    let spool = open(&disk.after_crash(countersign_testkit::Loss::Everything));
    assert!(spool.journal().is_revoked(approval(1)));
    assert_eq!(spool.journal().consume(consumption(1, 1)).await, Err(ConsumeError::Revoked));
}

#[tokio::test]
async fn setting_the_clock_back_after_pruning_brings_no_use_back() {
    let spool = open(&CrashingStorage::default());
    let journal = spool.journal();
    journal.consume(consumption(1, 1)).await.unwrap();
    journal.finish(finished(1, 1, Ending::Executed)).await.unwrap();
    journal.reported(approval(1), 1, Report::Outcome).await.unwrap();
    let after = LATER.plus(GrantJournal::MARGIN);
    assert_eq!(journal.prune(after).await, Ok(1));
    assert_eq!(journal.used(approval(1)), Ok((0, Vec::new())));
    // The row is gone, the clock says that the grant is good, and still it is refused.
    assert_eq!(journal.consume(consumption(1, 1)).await, Err(ConsumeError::Expired(LATER)));
    let fresh = Consumption { not_after: LATER.plus(Seconds::new(1)), ..consumption(2, 1) };
    assert_eq!(journal.consume(fresh).await, Ok(1));
}

#[tokio::test]
async fn nothing_is_pruned_that_somebody_still_has_to_know() {
    let spool = open(&CrashingStorage::default());
    let journal = spool.journal();
    let after = LATER.plus(GrantJournal::MARGIN);
    journal.consume(consumption(1, 1)).await.unwrap();
    assert_eq!(journal.prune(after).await, Ok(0), "no outcome");
    journal.finish(finished(1, 1, Ending::Failed)).await.unwrap();
    assert_eq!(journal.prune(after).await, Ok(0), "not reported");
    journal.reported(approval(1), 1, Report::Outcome).await.unwrap();
    assert_eq!(journal.prune(LATER).await, Ok(0), "not old enough");
    assert_eq!(journal.prune(after).await, Ok(1));
}

#[tokio::test]
async fn an_outcome_is_noted_once() {
    let spool = open(&CrashingStorage::default());
    let journal = spool.journal();
    let unknown = journal.finish(finished(1, 1, Ending::Executed)).await;
    assert_eq!(unknown, Err(FinishError::NoSuchUse(1)));
    journal.consume(consumption(1, 1)).await.unwrap();
    journal.finish(finished(1, 1, Ending::OutcomeUnknown)).await.unwrap();
    journal.finish(finished(1, 1, Ending::OutcomeUnknown)).await.unwrap();
    let other = journal.finish(finished(1, 1, Ending::Executed)).await;
    assert_eq!(other, Err(FinishError::EndedOtherwise(Ending::OutcomeUnknown)));
}

#[tokio::test]
async fn the_control_plane_is_told_of_every_use_and_outcome_until_it_knows() {
    let spool = open(&CrashingStorage::default());
    let journal = spool.journal();
    journal.consume(consumption(1, 2)).await.unwrap();
    journal.consume(consumption(1, 2)).await.unwrap();
    assert_eq!(journal.unreported(10).unwrap().len(), 2);
    assert_eq!(journal.unreported(1).unwrap().len(), 1);
    journal.reported(approval(1), 1, Report::Claim).await.unwrap();
    // An outcome that did not happen yet cannot have been reported.
    journal.reported(approval(1), 1, Report::Outcome).await.unwrap();
    assert!(journal.unreported(10).unwrap()[0].claim_reported);
    journal.finish(finished(1, 1, Ending::Executed)).await.unwrap();
    assert_eq!(journal.unreported(10).unwrap()[0].ended, Some((Ending::Executed, NOW)));
    journal.reported(approval(1), 1, Report::Outcome).await.unwrap();
    let left = journal.unreported(10).unwrap();
    assert_eq!(left.iter().map(|one| one.use_number).collect::<Vec<_>>(), [2]);
}

fn charged(n: u8, amount: &str) -> Consumption {
    let charge = Charge { amount: amount.parse().unwrap(), total: "10".parse().unwrap() };
    let lasting = LastingGrant { question: Digest::of(&[n]), grant: format!("grant-{n}") };
    let digest = Digest::of(amount.as_bytes());
    Consumption { digest, charges: vec![charge], lasting: Some(lasting), ..consumption(n, 5) }
}

/// The attack is to have two operations see the same rest of a budget.
#[tokio::test(flavor = "multi_thread")]
async fn however_many_race_for_a_budget_no_more_is_spent_than_there_is() {
    let spool = open(&CrashingStorage::default());
    let racers: Vec<_> = (0..20)
        .map(|_| {
            let journal = spool.journal().clone();
            tokio::spawn(async move { journal.consume(charged(1, "3.4")).await })
        })
        .collect();
    let mut given = 0;
    for racer in racers {
        match racer.await.unwrap() {
            Ok(_) => given += 1,
            Err(error) => assert_eq!(error, ConsumeError::OverBudget),
        }
    }
    assert_eq!(given, 2);
    assert_eq!(spool.journal().used(approval(1)).unwrap(), (2, vec!["6.8".parse().unwrap()]));
}

#[tokio::test]
async fn what_is_spent_and_what_lasts_is_there_after_a_crash() {
    let disk = CrashingStorage::default();
    let spool = open(&disk);
    spool.journal().consume(charged(1, "7.5")).await.unwrap();
    spool.journal().consume(consumption(2, 1)).await.unwrap();
    let spool = open(&disk.after_crash(countersign_testkit::Loss::Everything));
    let journal = spool.journal();
    assert_eq!(journal.consume(charged(1, "2.51")).await, Err(ConsumeError::OverBudget));
    let lasting = LastingGrant { question: Digest::of(&[1]), grant: "grant-1".to_owned() };
    assert_eq!(journal.lasting(NOW).unwrap(), [(approval(1), lasting)]);
    assert_eq!(journal.lasting(LATER).unwrap(), []);
    assert_eq!(journal.consume(charged(1, "2.5")).await, Ok(2));
    let events = chained_events(&spool, &mut Chain::new(source())).await;
    let left = |number: usize| {
        let body = &events[number].event().body;
        (body.get("uses_left").cloned(), body.get("amounts_left").cloned())
    };
    assert_eq!(left(0), (Some(json!(4)), Some(json!(["2.5"]))));
    assert_eq!(left(1), (None, None));
    assert_eq!(left(2), (Some(json!(3)), Some(json!(["0"]))));
}
