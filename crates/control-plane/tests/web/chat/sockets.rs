//! Slack over sockets that the control plane opens: nothing of it has to be reachable.

use countersign_testkit::chats::FakeSlack;
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::{WebSocketStream, accept_async, tungstenite::Message};

use super::office::{Office, Way, click};
use crate::stage::{ONE, TWO, deploy};

type Socket = WebSocketStream<TcpStream>;

const APPROVE: &str = "countersign.approve";

struct Peer(TcpListener);

impl Peer {
    /// An office whose Slack is reached over sockets, and the other end of these.
    async fn with_office() -> (Self, Office) {
        let (slack, peer) = (FakeSlack::start().await, Self(TcpListener::bind("127.0.0.1:0").await.unwrap()));
        slack.sockets_are_at(&format!("ws://{}/link?ticket=secret", peer.0.local_addr().unwrap()));
        let office = Office::with(slack, Way::Sockets).await;
        (peer, office)
    }

    /// The next socket, greeted.
    async fn socket(&self) -> Socket {
        let (stream, _) = self.0.accept().await.unwrap();
        let mut socket = accept_async(stream).await.unwrap();
        socket.send(Message::text(json!({"type": "hello", "num_connections": 2}).to_string())).await.unwrap();
        socket
    }
}

async fn send(socket: &mut Socket, envelope: &str, payload: &Value) {
    let message = json!({"type": "interactive", "envelope_id": envelope, "accepts_response_payload": true, "payload": payload});
    socket.send(Message::text(message.to_string())).await.unwrap();
}

/// The next envelope that is acknowledged.
async fn acknowledged(socket: &mut Socket) -> String {
    while let Some(message) = socket.next().await {
        if let Message::Text(text) = message.unwrap() {
            let answer: Value = serde_json::from_str(&text).unwrap();
            return answer["envelope_id"].as_str().unwrap().to_owned();
        }
    }
    panic!("the socket was closed");
}

#[tokio::test]
async fn a_click_over_a_socket_is_a_vote_and_the_same_over_the_other_one_is_none() {
    let (peer, office) = Peer::with_office().await;
    let (mut first, mut second) = (peer.socket().await, peer.socket().await);
    office.link("U1", ONE).await;
    office.link("U2", TWO).await;
    let id = office.stage.submit(deploy("payments"), "two").await;
    let ticket = office.card(&id).await.ticket(APPROVE);
    let one = click("U1", "T1", APPROVE, &ticket);
    send(&mut first, "e-1", &one).await;
    assert_eq!(acknowledged(&mut first).await, "e-1");
    office.slack.until_whispered("U1", "approval is counted").await;
    // Slack sends what it believes was lost again, over whichever socket there is.
    send(&mut second, "e-1", &one).await;
    assert_eq!(acknowledged(&mut second).await, "e-1");
    send(&mut second, "e-2", &click("U2", "T1", APPROVE, &ticket)).await;
    office.slack.until_whispered("U2", "approval is counted").await;
    assert_eq!(office.view(&id).await["state"], "approved");
    assert_eq!(office.slack.count("chat.postEphemeral"), 2);
    // Without the signing secret there is no way in by HTTP.
    assert_eq!(office.deliver(&one).await.as_u16(), 404);
}
