//! The other end of the sockets, played by this process.

use std::sync::Mutex;

use axum::{Json, Router, routing::post};
use countersign_model::{ApprovalId, Digest, Timestamp};
use serde_json::Value;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_tungstenite::accept_async;

use super::{super::interaction::Interaction, *};
use crate::{channel::ticket::Ticket, clock::Clock};

type Peer = WebSocketStream<TcpStream>;

/// Connections in a hurry, and what comes in over them.
struct World {
    listener: TcpListener,
    taken: mpsc::UnboundedReceiver<Interaction>,
    health: Health,
    stop: CancellationToken,
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl World {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ticket = format!("ws://{}/?ticket=secret", listener.local_addr().unwrap());
        let open = move || async move { Json(json!({"ok": true, "url": ticket})) };
        let router = Router::new().route("/apps.connections.open", post(open));
        let slack = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}/", slack.local_addr().unwrap()).parse().unwrap();
        tokio::spawn(async move { axum::serve(slack, router).await });

        let (give, taken) = mpsc::unbounded_channel();
        let give = Mutex::new(give);
        let handle = move |interaction| {
            give.lock().unwrap().send(interaction).unwrap();
            let work: super::super::inbox::Work = Box::pin(async {});
            work
        };
        let (stop, health) = (CancellationToken::new(), Health::new(Clock::system()));
        let soon = Duration::from_millis(20);
        let pace = Pace {
            hello: Duration::from_secs(10),
            silence: Duration::from_millis(100),
            retirement: Duration::from_secs(10),
            backoff: Backoff { first: soon, most: soon },
        };
        let inbox = Arc::new(Inbox::new(Clock::system(), handle));
        let api = Arc::new(WebApi::new(base, "bot", Some("app")).unwrap());
        let sockets = Arc::new(SocketMode::new(api, inbox, health.clone(), pace));
        tokio::spawn(sockets.run(stop.clone()));
        Self { listener, taken, health, stop }
    }

    /// The next connection, before anything is said on it.
    async fn next(&self) -> Peer {
        let (stream, _) = self.listener.accept().await.unwrap();
        accept_async(stream).await.unwrap()
    }

    async fn greeted(&self) -> Peer {
        let mut peer = self.next().await;
        say(&mut peer, json!({"type": "hello"})).await;
        peer
    }
}

async fn say(peer: &mut Peer, message: Value) {
    peer.send(Message::text(message.to_string())).await.unwrap();
}

fn click(envelope: &str) -> Value {
    let approval = ApprovalId::new(Timestamp::from_millis(1), [1; 10]);
    let ticket = Ticket { approval, version: 1, digest: Digest::of(b"x") };
    let payload = json!({
        "type": "block_actions", "user": {"id": envelope, "team_id": "T1"},
        "container": {"channel_id": "C1", "message_ts": "1.0"},
        "actions": [{"action_id": "countersign.details", "value": ticket.to_string()}],
    });
    json!({"type": "interactive", "envelope_id": envelope, "payload": payload})
}

/// Reads until something is said, answering pings as the library does.
async fn heard(peer: &mut Peer) -> Option<Value> {
    while let Some(Ok(message)) = peer.next().await {
        if let Message::Text(text) = message {
            return serde_json::from_str(&text).ok();
        }
    }
    None
}

#[tokio::test]
async fn a_connection_that_is_replaced_is_read_to_its_end() {
    let mut world = World::new().await;
    let (mut old, mut other) = (world.greeted().await, world.greeted().await);
    say(&mut old, json!({"type": "disconnect", "reason": "refresh_requested"})).await;
    let mut new = world.greeted().await;
    for (peer, name) in [(&mut old, "old"), (&mut other, "other"), (&mut new, "new")] {
        say(peer, click(name)).await;
        assert_eq!(heard(peer).await.unwrap(), json!({"envelope_id": name}));
        assert_eq!(world.taken.recv().await.unwrap().user, name);
    }
}

#[tokio::test]
async fn every_envelope_is_acknowledged_and_taken_once() {
    let mut world = World::new().await;
    let (mut one, mut other) = (world.greeted().await, world.greeted().await);
    for peer in [&mut one, &mut other] {
        say(peer, click("twice")).await;
        assert_eq!(heard(peer).await.unwrap()["envelope_id"], "twice");
    }
    say(&mut one, json!({"type": "events_api", "envelope_id": "event", "payload": {}})).await;
    assert_eq!(heard(&mut one).await.unwrap()["envelope_id"], "event");
    // Neither nonsense nor a binary message ends a connection.
    one.send(Message::text("{")).await.unwrap();
    one.send(Message::binary(vec![1, 2, 3])).await.unwrap();
    say(&mut one, click("last")).await;
    assert_eq!(heard(&mut one).await.unwrap()["envelope_id"], "last");
    assert_eq!(world.taken.recv().await.unwrap().user, "twice");
    assert_eq!(world.taken.recv().await.unwrap().user, "last");
}

#[tokio::test]
async fn a_silent_connection_is_asked_and_then_replaced() {
    let world = World::new().await;
    let (silent, mut other) = (world.greeted().await, world.greeted().await);
    // The other one answers pings for as long as it is read, and stays.
    let reading = tokio::spawn(async move { heard(&mut other).await });
    let mut new = world.next().await;
    drop(silent);
    say(&mut new, json!({"type": "hello"})).await;
    assert!(!reading.is_finished());
    assert!(world.health.is_up());
}

#[tokio::test]
async fn without_any_connection_the_channel_does_not_work() {
    let world = World::new().await;
    // What answers no hello is no connection.
    let (one, other) = (world.next().await, world.next().await);
    drop((one, other));
    while world.health.is_up() {
        let _gone = world.next().await;
    }
    let _back = world.greeted().await;
    while !world.health.is_up() {
        tokio::task::yield_now().await;
    }
}
