//! From a held call to its outcome, whatever happens on the way.

use countersign_approval::{CancelReason, Outcome};
use countersign_audit::EventDraft;
use countersign_intercept::local::wire::{Event, OutcomeReport};
use countersign_model::{ApprovalId, Digest, Seconds};
use countersign_spool::{Consumption, Settings, Spool};

use crate::{
    beside::{Home, call, decided, outcome},
    control::{Control, agent_id, now},
};

#[tokio::test(flavor = "multi_thread")]
async fn an_approved_call_runs_once_and_its_outcome_is_reported() {
    let control = Control::start().await;
    let home = Home::new(&control);
    let running = home.ready().await;
    let mut exchange = call(running.socket().to_owned(), "deploy").await;
    let id = control.asked().await;
    control.until("it is waited for", |known| known.waited_for.contains(&id).then_some(())).await;
    control.approve(id);
    let Event::Permit(permit) = outcome(&mut exchange).await else { panic!("no permit") };
    let claim = control.until("the claim", |known| known.claims.first().copied()).await;
    assert_eq!((claim.id, claim.use_number), (id, 1));
    exchange.finish(permit.evaluation, &OutcomeReport::executed()).await.unwrap();
    let ended = control.until("the outcome", |known| known.outcomes.first().copied()).await;
    assert_eq!((ended.id, ended.outcome), (id, Outcome::Executed));
    assert_eq!(control.known().claims.len(), 1);
}

/// The link breaks while people decide: who waits goes on waiting, and gets the answer.
#[tokio::test(flavor = "multi_thread")]
async fn waiting_outlives_the_link() {
    let mut control = Control::start().await;
    let home = Home::new(&control);
    let running = home.ready().await;
    let mut exchange = call(running.socket().to_owned(), "deploy").await;
    let id = control.asked().await;
    control.stop().await;
    control.approve(id);
    control.resume().await;
    assert!(matches!(outcome(&mut exchange).await, Event::Permit(_)));
}

/// The requester goes while nobody can be told: the request is taken back as soon as somebody can.
#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_waits_for_is_cancelled_when_the_link_is_back() {
    let mut control = Control::start().await;
    let home = Home::new(&control);
    let running = home.ready().await;
    let exchange = call(running.socket().to_owned(), "deploy").await;
    let id = control.asked().await;
    control.until("it is waited for", |known| known.waited_for.contains(&id).then_some(())).await;
    control.stop().await;
    drop(exchange);
    control.resume().await;
    let cancelled = control.until("it is cancelled", |known| known.cancelled.first().copied()).await;
    assert_eq!((cancelled.id, cancelled.why), (id, CancelReason::RequesterGone));
}

/// The sidecar itself goes, and its clients with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_cancels_what_its_clients_waited_for() {
    let mut control = Control::start().await;
    let home = Home::new(&control);
    let running = home.ready().await;
    let exchange = call(running.socket().to_owned(), "deploy").await;
    let id = control.asked().await;
    control.until("it is waited for", |known| known.waited_for.contains(&id).then_some(())).await;
    control.stop().await;
    running.shutdown().await.unwrap();
    drop(exchange);
    control.resume().await;
    let running = home.ready().await;
    let cancelled = control.until("it is cancelled", |known| known.cancelled.first().copied()).await;
    assert_eq!((cancelled.id, cancelled.why), (id, CancelReason::RequesterGone));
    drop(running);
}

/// I2: an approval that was taken back is of no use, although its grant is a good one.
#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_approval_permits_nothing() {
    let control = Control::start().await;
    let home = Home::new(&control);
    let running = home.ready().await;
    let mut exchange = call(running.socket().to_owned(), "deploy").await;
    let id = control.asked().await;
    control.revoke(id).await;
    control.approve(id);
    let Event::Denied(denied) = outcome(&mut exchange).await else { panic!("permitted") };
    assert_eq!(denied.code, "revoked");
    assert!(control.known().claims.is_empty());
}

/// The sidecar was killed between the use of a grant and its outcome.
#[tokio::test(flavor = "multi_thread")]
async fn an_execution_that_a_crash_interrupted_is_reported_as_unknown() {
    let control = Control::start().await;
    let home = Home::new(&control);
    home.ready().await.shutdown().await.unwrap();
    let approval = ApprovalId::new(now(), [8; 10]);
    let path = home.data().join("spool.redb");
    let spool = Spool::open(&path, &agent_id(), Settings::default(), Box::new(|| [5; 10])).unwrap();
    let consumption = Consumption {
        approval,
        digest: Digest::of(b"operation"),
        granted: Digest::of(b"operation"),
        uses: 1,
        charges: Vec::new(),
        lasting: None,
        not_after: now().plus(Seconds::new(300)),
        at: now(),
        event: EventDraft::new(now(), "grant.consumed"),
    };
    spool.journal().consume(consumption).await.unwrap();
    spool.close().await;

    let running = home.ready().await;
    let ended = control.until("the outcome", |known| known.outcomes.first().copied()).await;
    assert_eq!((ended.id, ended.use_number, ended.outcome), (approval, 1, Outcome::OutcomeUnknown));
    assert_eq!(control.known().claims[0].id, approval);
    let recorded = |known: &crate::control::Known| {
        let unknown = known.events.iter().find(|event| event.event().kind == "operation.outcome_unknown");
        unknown.map(|event| event.event().approval)
    };
    assert_eq!(control.until("the record", recorded).await, Some(approval));
    assert_eq!(decided(&running, "read").await, "permit");
}
