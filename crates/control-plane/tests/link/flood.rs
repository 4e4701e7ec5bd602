//! What one agent may ask of people: how much at a time, how much within a span, and never the same twice.

use std::collections::BTreeSet;

use countersign_approval::{CancelReason, Phase, Submission};
use countersign_control_plane::services::VoteDecision;
use countersign_model::{EvaluationId, provenance::Initiator};
use countersign_protocol::{CancelApproval, Heartbeat, RefusalCode};
use countersign_transport::RequestError;
use futures::StreamExt;

use crate::world::{Sidecar, World, admin, other_digest, reviewer, submission};

/// The message of a refusal that says so.
fn too_many<T>(result: &Result<T, RequestError>) -> Option<&str> {
    match result {
        Err(RequestError::Refused(refused)) if refused.code == RefusalCode::TooMany => Some(&refused.message),
        _ => None,
    }
}

/// How many events of a kind there are.
async fn recorded(world: &World, kind: &str) -> usize {
    let mut export = world.running.services().audit.export(&admin()).await.unwrap();
    let mut log = Vec::new();
    while let Some(chunk) = export.next().await {
        log.extend_from_slice(&chunk.unwrap());
    }
    String::from_utf8(log).unwrap().matches(kind).count()
}

/// The question `number` of a sidecar.
async fn ask(sidecar: &Sidecar, number: usize) -> Result<countersign_approval::Status, RequestError> {
    sidecar.submit(submission(&number.to_string(), "deploy", "one", 1)).await
}

/// The very same question as `submission("k", …)`, as it is asked after a restart: under another key.
fn same_under(key: &str, evaluation: u8) -> Submission {
    let evaluation = EvaluationId::from_bytes([evaluation; 16]);
    Submission { key: key.to_owned(), evaluation, ..submission("k", "deploy", "one", 1) }
}

/// An agent that asks without end does not get to wear its reviewers out, and does not fill the log either.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_cannot_flood_its_reviewers() {
    let world = World::with_policy().await;
    let (flood, other) = (world.sidecar("flood").await, world.sidecar("other").await);
    let asked = futures::future::join_all((0..50).map(|number| ask(&flood, number))).await;
    let taken: Vec<_> = asked.iter().flatten().map(|status| status.id).collect();
    assert_eq!(taken.len(), 20, "also when all ask at once");
    assert!(asked.iter().filter_map(too_many).all(|why| why.contains("20 requests of this agent wait")));
    assert_eq!(asked.iter().filter_map(too_many).count(), 30);
    assert_eq!(recorded(&world, "requests.refused").await, 1, "once for the whole burst");

    // Asking again for what waits already is no more than it was, and another agent is none the worse.
    let waits = asked.iter().position(Result::is_ok).unwrap();
    assert_eq!(
        Some(ask(&flood, waits).await.unwrap().id),
        asked[waits].as_ref().ok().map(|status| status.id)
    );
    ask(&other, 1).await.unwrap();

    // What was refused was queued nowhere: room that comes back is for who asks then.
    flood.link.request(CancelApproval { id: taken[0], why: CancelReason::Requester }).await.unwrap();
    let later = ask(&flood, 1_000).await.unwrap();
    assert!(!taken.contains(&later.id));
    assert_eq!(recorded(&world, "requests.resumed").await, 1);
    assert_eq!(recorded(&world, "approval.requested").await, 22);
}

/// Being turned down quickly gives no right to ask more.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_cannot_ask_faster_than_people_read() {
    let world = World::with_policy().await;
    let sidecar = world.sidecar("bot").await;
    for number in 0..60 {
        let id = ask(&sidecar, number).await.unwrap().id;
        sidecar.link.request(CancelApproval { id, why: CancelReason::Requester }).await.unwrap();
    }
    let refused = ask(&sidecar, 60).await;
    assert!(too_many(&refused).unwrap().contains("60 times within 10m"), "{refused:?}");
    world.ahead.advance(11);
    ask(&sidecar, 60).await.unwrap();
    assert!(too_many(&ask(&sidecar, 61).await).is_some(), "one has come back, not all");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_very_same_question_is_put_to_people_once() {
    let world = World::with_policy().await;
    let sidecar = world.sidecar("bot").await;
    let first = sidecar.submit(same_under("k", 1)).await.unwrap();
    let asked = (2..=8).map(|number| sidecar.submit(same_under(&format!("k{number}"), number)));
    let again = futures::future::join_all(asked).await;
    assert!(again.iter().all(|status| status.as_ref().unwrap().id == first.id));
    // A submission that is sent twice was asked once.
    sidecar.submit(same_under("k", 1)).await.unwrap();
    let view = world.running.services().approvals.get(&admin(), first.id).await.unwrap();
    assert_eq!((view.asked, view.version), (8, first.version), "and a vote on what was seen still counts");
    assert_eq!(recorded(&world, "approval.requested").await, 1);

    // It lives for as long as anybody who asked does.
    world.ahead.advance(50);
    sidecar.submit(same_under("k9", 9)).await.unwrap();
    world.ahead.advance(50);
    let pending = vec![first.id];
    sidecar.link.request(Heartbeat { revision: None, spool_depth: 0, pending }).await.unwrap();
    assert_eq!(sidecar.until_status(first.id, |_| true).await.phase, Phase::Pending);

    // Once it is decided, the same is a new question: an answer is never given twice.
    world.vote(&reviewer("reviewer-one"), first.id, VoteDecision::Deny).await.unwrap();
    let anew = sidecar.submit(same_under("later", 10)).await.unwrap();
    assert_ne!(anew.id, first.id);
    let replay = sidecar.submit(same_under("k", 11)).await.unwrap();
    assert_eq!((replay.id, replay.phase), (first.id, Phase::Denied), "but for who comes back for that one");
}

/// Whoever attaches to a question gets its answer, so it must be their question in everything that counts.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_attaches_to_somebody_elses_question() {
    let world = World::with_policy().await;
    let (bot, thief) = (world.sidecar("bot").await, world.sidecar("thief").await);
    let own = same_under("k", 1);
    let mut seen = BTreeSet::from([bot.submit(own.clone()).await.unwrap().id]);
    assert!(seen.insert(thief.submit(same_under("k", 1)).await.unwrap().id), "another agent");

    let person = |name: &str| Initiator { person: name.parse().unwrap(), verified: false };
    let for_one = |key: &str, name: &str| {
        let mut asked = same_under(key, 2);
        asked.provenance.initiator = Some(person(name));
        asked
    };
    // Reviewer one could vote on what runs for two, and would then run it for themselves (I3).
    assert!(seen.insert(bot.submit(for_one("a", "reviewer-two@example.com")).await.unwrap().id));
    assert!(seen.insert(bot.submit(for_one("b", "reviewer-one@example.com")).await.unwrap().id));

    let pinned = Submission { tool_pin: Some(other_digest()), ..same_under("c", 3) };
    assert!(seen.insert(bot.submit(pinned).await.unwrap().id), "a tool that describes itself otherwise");
    let stricter = Submission { requirements: vec!["two".parse().unwrap()], ..same_under("d", 4) };
    assert!(seen.insert(bot.submit(stricter).await.unwrap().id), "another requirement");
    world.push(&[("tests/none.toml", "")]).await;
    let revised = Submission { revision: countersign_model::Revision(2), ..same_under("e", 5) };
    assert!(seen.insert(bot.submit(revised).await.unwrap().id), "another revision");
}
